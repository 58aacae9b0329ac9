/* Messages that wait for their answer, with stand-ins for what carries and records them. */
#include "master/control/messages.h"

#include "common/clock.h"
#include "master/control/mirror.h"
#include "master/control/pools.h"
#include "master/control/workers.h"
#include "registry/redis/registry_redis.h"
#include "sql/store.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- stand-ins --- */

static int publish_result, control_result;
static registry_cb on_published;
static void *published;
static unsigned publishes, controls, records, mirrored;
static struct master_pool master_pool;
static char recorded[64];
static struct id last_command;
static uint64_t last_epoch;
static int64_t last_timeout_ms;
static char cancelled[64]; /* why, "": none was */
static struct message *sent_message;
static struct agent *known; /* by its id */

int registry_publish_command(struct registry *registry, const char *pool_name, const struct id *process_id,
        const char *command, registry_cb cb, void *arg)
{
        struct command decoded;

        (void)registry;
        (void)pool_name;
        (void)process_id;
        publishes++;
        ck_assert_int_eq(command_decode(command, strlen(command), &decoded), 0);
        if (decoded.type == COMMAND_CANCEL)
                snprintf(cancelled, sizeof cancelled, "%s", decoded.reason);
        if (decoded.type == COMMAND_CANCEL)
                ck_assert(id_equal(&decoded.message_id, &last_command));
        else
                last_command = decoded.command_id;
        last_epoch = decoded.epoch;
        last_timeout_ms = decoded.timeout_ms;
        command_done(&decoded);
        if (publish_result == 0) {
                on_published = cb;
                published = arg;
        }
        return publish_result;
}

int workers_send_command(struct workers *workers, const struct id *process_id, const char *command)
{
        (void)workers;
        (void)process_id;
        ck_assert_ptr_nonnull(strstr(command, "\"message"));
        controls++;
        return control_result;
}

int store_execution_add(struct store *store, const struct store_execution *execution)
{
        (void)store;
        records++;
        snprintf(recorded, sizeof recorded, "%s %s", execution->method, execution->status);
        return 0;
}

struct agent *pools_agent(const struct pools *pools, const struct id *agent_id)
{
        (void)pools;
        (void)agent_id;
        return known;
}

struct master_pool *pools_of(const struct pools *pools, const struct agent *agent)
{
        (void)pools;
        (void)agent;
        return &master_pool;
}

void mirror_command(const struct master_pool *pool, const struct id *process_id, const char *command)
{
        (void)process_id;
        (void)command;
        mirrored += pool->apart;
}

struct master_pool *pools_find(const struct pools *pools, const char *pool_name)
{
        (void)pools;
        (void)pool_name;
        return NULL;
}

void pools_wake(struct pools *pools, struct master_pool *pool)
{
        (void)pools;
        (void)pool;
}

/* --- fixture --- */

/* Static wherever one is: the fixture ends what still waits. */
struct answer {
        unsigned count;
        enum message_result result;
        char detail[128];
};

static struct pool_config config;
static struct master master;
static struct pool *pool;
static struct pool_worker worker;
static struct agent agent;

static void setup(void)
{
        static char name[] = "pool";

        config = (struct pool_config){ .pool_name = name, .heartbeat_interval_ms = 2000 };
        pool = pool_new(&config, 1, 0);
        worker = (struct pool_worker){ .process_id = id_new(), .pool = pool };
        agent = (struct agent){ .agent_id = id_new(), .pool = pool, .worker = &worker, .epoch = 1,
                .state = AGENT_IDLE, .phase = PHASE_NONE };
        master = (struct master){ .base = event_base_new() };
        master.messages = messages_new(&master);
        master_pool = (struct master_pool){ 0 };
        mirrored = 0;
        publish_result = control_result = 0;
        known = NULL;
        cancelled[0] = '\0';
        publishes = controls = records = 0;
        published = NULL;
}

/* What Redis says of the last message. */
static void tell(int error)
{
        void *arg = published;

        published = NULL;
        if (arg)
                on_published(arg, error);
}

static void teardown(void)
{
        master.messages = messages_free(master.messages);
        tell(-ECANCELED);
        event_base_free(master.base);
        pool = pool_free(pool);
}

static void on_answer(void *arg, enum message_result result, const char *message, const char *detail)
{
        struct answer *answer = arg;

        (void)message;
        answer->count++;
        answer->result = result;
        snprintf(answer->detail, sizeof answer->detail, "%s", detail ? detail : "");
}

static int ask(struct answer *answer, int64_t timeout_ms)
{
        static char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"work\"}", client[] = "c";

        tell(0);
        return messages_send(master.messages, &agent, text, client, timeout_ms, answer ? on_answer : NULL, answer, &sent_message);
}

static void reply_with(const char *text)
{
        struct reply reply = { .type = REPLY_ANSWER, .command_id = last_command, .message = strdup(text) };

        messages_reply(master.messages, &reply);
        reply_done(&reply);
}

/* --- tests --- */

static void wait_for(const struct answer *answer)
{
        while (answer->count == 0)
                event_base_loop(master.base, EVLOOP_ONCE);
}

START_TEST(test_answers_once_when_the_reply_comes_twice)
{
        static struct answer answer;

        ck_assert_int_eq(ask(&answer, 10000), 0);
        ck_assert_uint_eq(messages_waiting(master.messages), 1);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        ck_assert_uint_eq(answer.count, 1);
        ck_assert_int_eq(answer.result, MESSAGE_ANSWERED);
        ck_assert_str_eq(recorded, "work completed");
        ck_assert_uint_eq(records, 1);
        ck_assert_uint_eq(messages_waiting(master.messages), 0);
}
END_TEST

START_TEST(test_records_a_failure_when_the_answer_is_an_error)
{
        static struct answer answer;

        ask(&answer, 10000);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-1,\"message\":\"no\"}}");
        ck_assert_int_eq(answer.result, MESSAGE_ANSWERED);
        ck_assert_str_eq(recorded, "work failed");
}
END_TEST

START_TEST(test_gives_up_when_the_deadline_passes)
{
        static struct answer answer;

        ask(&answer, 1);
        wait_for(&answer);
        ck_assert_int_eq(answer.result, MESSAGE_TIMEOUT);
        ck_assert_str_eq(recorded, "work timeout");
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        tell(-ENOENT); /* and whatever becomes of it now */
        ck_assert_uint_eq(answer.count, 1);
}
END_TEST

START_TEST(test_tells_the_agent_when_the_deadline_passes)
{
        static struct answer answer;

        ask(&answer, 1);
        tell(0);
        known = &agent;
        wait_for(&answer);
        ck_assert_int_eq(answer.result, MESSAGE_TIMEOUT);
        ck_assert_str_eq(cancelled, "the agent did not answer in time");
        ck_assert_int_gt(agent.idle_since, clock_mono_ms()); /* it may work on it still: its worker will say */
}
END_TEST

START_TEST(test_tells_the_agent_when_nobody_waits_any_more)
{
        static struct answer answer;

        ask(&answer, 10000);
        tell(0);
        known = &agent;
        messages_cancel(sent_message, "the client has gone");
        ck_assert_uint_eq(answer.count, 1);
        ck_assert_int_eq(answer.result, MESSAGE_FAILED);
        ck_assert_str_eq(answer.detail, "the client has gone");
        ck_assert_str_eq(cancelled, "the client has gone");
        ck_assert_uint_eq(messages_waiting(master.messages), 0);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        ck_assert_uint_eq(answer.count, 1);
}
END_TEST

START_TEST(test_fails_all_of_an_agent_when_it_is_gone)
{
        static struct answer answers[3], other;
        struct id agent_id = agent.agent_id;

        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(ask(&answers[i], 10000), 0);
        agent.agent_id = id_new();
        ask(&other, 10000);
        messages_agent_gone(master.messages, &agent_id, 1, "exit status 3");
        messages_agent_gone(master.messages, &agent_id, 1, "exit status 4");
        for (int i = 0; i < 3; i++) {
                wait_for(&answers[i]);
                ck_assert_uint_eq(answers[i].count, 1);
                ck_assert_int_eq(answers[i].result, MESSAGE_FAILED);
                ck_assert_str_eq(answers[i].detail, "exit status 3");
        }
        ck_assert_str_eq(cancelled, "");
        ck_assert_uint_eq(other.count, 0);
        master.messages = messages_free(master.messages);
        ck_assert_uint_eq(other.count, 1);
        ck_assert_int_eq(other.result, MESSAGE_FAILED);
}
END_TEST

/* What the agent answered before its end comes by another way than the news of it. */
START_TEST(test_takes_the_answer_that_comes_after_the_news_of_the_end)
{
        static struct answer answered, open, late;

        ask(&late, 50);
        ask(&open, 10000);
        ask(&answered, 10000);
        messages_agent_gone(master.messages, &agent.agent_id, 60000, "exit status 0");
        ck_assert_uint_eq(answered.count, 0);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        ck_assert_int_eq(answered.result, MESSAGE_ANSWERED);
        wait_for(&late); /* no longer than its client waits */
        ck_assert_int_eq(late.result, MESSAGE_FAILED);
        ck_assert_str_eq(late.detail, "exit status 0");
        ck_assert_uint_eq(open.count, 0);
        master.messages = messages_free(master.messages);
        ck_assert_str_eq(open.detail, "exit status 0");
}
END_TEST

START_TEST(test_takes_the_control_socket_when_redis_is_away)
{
        static struct answer answer;

        publish_result = -EAGAIN;
        ck_assert_int_eq(ask(&answer, 10000), 0);
        ck_assert_uint_eq(controls, 1);
        ck_assert_uint_eq(messages_waiting(master.messages), 1);
        control_result = -EMSGSIZE;
        ck_assert_int_eq(ask(&answer, 10000), -EMSGSIZE);
        ck_assert_uint_eq(messages_waiting(master.messages), 1);
        ck_assert_uint_eq(answer.count, 0); /* the caller answers that one */
}
END_TEST

START_TEST(test_does_not_ask_redis_when_the_master_does_without)
{
        static struct answer answer;

        master.mode.degraded = true;
        ck_assert_int_eq(ask(&answer, 10000), 0);
        ck_assert_uint_eq(publishes, 0);
        ck_assert_uint_eq(controls, 1);
        ck_assert_uint_eq(messages_waiting(master.messages), 1);
}
END_TEST

START_TEST(test_takes_the_control_socket_when_the_worker_has_no_redis)
{
        static struct answer answer;

        master_pool.apart = true;
        ck_assert_int_eq(ask(&answer, 10000), 0);
        ck_assert_uint_eq(publishes, 0);
        ck_assert_uint_eq(controls, 1);
        ck_assert_uint_eq(mirrored, 1);
}
END_TEST

START_TEST(test_takes_the_control_socket_when_nobody_was_subscribed)
{
        static struct answer answer;

        ask(&answer, 10000);
        tell(-ENOENT);
        ck_assert_uint_eq(controls, 1);
        ck_assert_uint_eq(answer.count, 0);
        control_result = -EPIPE;
        ask(&answer, 10000);
        tell(-ENOENT);
        ck_assert_uint_eq(answer.count, 1);
        ck_assert_int_eq(answer.result, MESSAGE_FAILED);
}
END_TEST

/* It may have it: the agent would do the work twice. */
START_TEST(test_sends_nothing_twice_when_nobody_knows_whether_it_came)
{
        static struct answer answer;

        ask(&answer, 10000);
        tell(-EAGAIN);
        ck_assert_uint_eq(controls, 0);
        ck_assert_uint_eq(messages_waiting(master.messages), 1);
}
END_TEST

START_TEST(test_waits_for_nothing_when_it_is_a_notification)
{
        ck_assert_int_eq(ask(NULL, 10000), 0);
        ck_assert_uint_eq(messages_waiting(master.messages), 0);
        tell(-ENOENT);
        ck_assert_uint_eq(controls, 1);
        ck_assert_uint_eq(records, 0);
}
END_TEST

START_TEST(test_refuses_when_the_agent_has_no_worker)
{
        static struct answer answer;

        agent.worker = NULL;
        ck_assert_int_eq(ask(&answer, 10000), -EAGAIN);
        ck_assert_uint_eq(publishes, 0);
}
END_TEST

/* --- while it starts again --- */

static void restarted(void)
{
        agent.epoch++;
        agent.state = AGENT_IDLE;
        agent.moving = false;
        agent.worker = &worker;
        messages_agent_changed(master.messages, &agent);
}

static void begin_restart(void)
{
        agent.state = AGENT_STARTING;
        agent.moving = true;
        agent.worker = NULL;
}

START_TEST(test_waits_for_the_next_start_when_the_agent_is_restarted)
{
        static struct answer sent, held;

        ck_assert_int_eq(ask(&sent, 10000), 0);
        begin_restart();
        ck_assert_int_eq(ask(&held, 10000), 0);
        messages_agent_changed(master.messages, &agent);
        ck_assert_uint_eq(publishes, 1);
        messages_agent_gone(master.messages, &agent.agent_id, 0, "exit status 0");
        wait_for(&sent);
        ck_assert_uint_eq(sent.count, 1);
        ck_assert_uint_eq(held.count, 0);
        restarted();
        ck_assert_uint_eq(publishes, 2);
        ck_assert_uint_eq(last_epoch, 2);
        ck_assert_int_le(last_timeout_ms, 10000 + 1000);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        ck_assert_uint_eq(held.count, 1);
        ck_assert_int_eq(held.result, MESSAGE_ANSWERED);
        ck_assert_uint_eq(records, 2);
        ck_assert_uint_eq(messages_waiting(master.messages), 0);
}
END_TEST

START_TEST(test_keeps_its_deadline_when_it_waits_for_a_start)
{
        static struct answer answer;

        begin_restart();
        ask(&answer, 1);
        wait_for(&answer);
        ck_assert_int_eq(answer.result, MESSAGE_TIMEOUT);
        ck_assert_str_eq(answer.detail, "the agent did not start in time");
        restarted();
        ck_assert_uint_eq(publishes, 0);
        ck_assert_uint_eq(records, 1);
}
END_TEST

START_TEST(test_is_refused_when_the_agent_does_not_come_back)
{
        static struct answer held, gone;

        begin_restart();
        ask(&held, 10000);
        agent.state = AGENT_FAILED;
        messages_agent_changed(master.messages, &agent);
        ck_assert_int_eq(held.result, MESSAGE_REFUSED);
        ck_assert_str_eq(held.detail, "the agent is failed");
        begin_restart();
        ask(&gone, 10000);
        messages_agent_forgotten(master.messages, &agent.agent_id, "the agent is gone");
        ck_assert_int_eq(gone.result, MESSAGE_REFUSED);
}
END_TEST

START_TEST(test_does_not_wait_when_the_agent_is_held_back_or_everything_ends)
{
        static struct answer held, answer;

        begin_restart();
        ask(&held, 10000);
        messages_close(master.messages);
        ck_assert_int_eq(held.result, MESSAGE_FAILED);
        master.closing = true;
        ck_assert_int_eq(ask(&answer, 10000), -EAGAIN);
        master.closing = agent.moving = false;
        agent.phase = PHASE_DELAYED;
        ck_assert_int_eq(ask(&answer, 10000), -EAGAIN);
        agent.phase = PHASE_WAITING;
        ck_assert_int_eq(ask(&answer, 10000), 0);
}
END_TEST

START_TEST(test_waits_once_more_when_its_worker_was_left_meanwhile)
{
        static struct answer answer;

        known = &agent;
        ask(&answer, 10000);
        begin_restart();
        tell(-ENOENT);
        ck_assert_uint_eq(controls, 0);
        restarted();
        ck_assert_uint_eq(publishes, 2);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        ck_assert_int_eq(answer.result, MESSAGE_ANSWERED);
        ck_assert_uint_eq(records, 1);
}
END_TEST

START_TEST(test_gives_a_notification_that_waited_to_the_next_start)
{
        begin_restart();
        ck_assert_int_eq(ask(NULL, 10000), 0);
        ck_assert_uint_eq(publishes, 0);
        restarted();
        ck_assert_uint_eq(publishes, 1);
        ck_assert_uint_eq(messages_waiting(master.messages), 0);
        ck_assert_uint_eq(records, 0);
}
END_TEST

/* --- an earlier master's --- */

static char note[160];

static void on_note(void *arg, const char *text)
{
        (void)arg;
        snprintf(note, sizeof note, "%s", text);
}

/* The next master has only what the last one's note says. */
static void next_master(void)
{
        tell(0);
        messages_each(master.messages, on_note);
        master.messages = messages_drop(master.messages);
        master.messages = messages_new(&master);
}

static int resume(struct answer *answer)
{
        static char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"work\"}", client[] = "c";

        sent_message = NULL;
        return messages_resume(master.messages, &agent, note, text, client, on_answer, answer, &sent_message);
}

START_TEST(test_goes_on_with_what_another_master_sent)
{
        static struct answer before, answer;

        ask(&before, 10000);
        next_master();
        ck_assert_int_eq(resume(&answer), 0);
        ck_assert_ptr_nonnull(sent_message);
        ck_assert_uint_eq(publishes, 1);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        ck_assert_uint_eq(before.count, 0);
        ck_assert_int_eq(answer.result, MESSAGE_ANSWERED);
        ck_assert_str_eq(recorded, "work completed");
}
END_TEST

START_TEST(test_keeps_an_answer_until_its_message_is_handed_over)
{
        static struct answer answer, late;

        ask(NULL, 10000);
        ask(&answer, 10000);
        next_master();
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1e400}");
        ck_assert_int_eq(resume(&answer), 0);
        ck_assert_uint_eq(answer.count, 1);
        ck_assert_int_eq(answer.result, MESSAGE_ANSWERED);
        ck_assert_ptr_null(sent_message);
        ck_assert_int_eq(resume(&late), 0);
        ck_assert_uint_eq(late.count, 0); /* each answer is for one */
        messages_settled(master.messages);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":8}");
        ck_assert_int_eq(late.result, MESSAGE_ANSWERED);
}
END_TEST

START_TEST(test_fails_what_another_master_sent_when_the_agent_started_anew)
{
        static struct answer answer;

        ask(&answer, 10000);
        next_master();
        agent.epoch++;
        ck_assert_int_eq(resume(&answer), 0);
        ck_assert_ptr_nonnull(sent_message);
        wait_for(&answer);
        ck_assert_int_eq(answer.result, MESSAGE_FAILED);
        ck_assert_str_eq(answer.detail, MESSAGES_AGENT_ENDED);
        ck_assert_str_eq(cancelled, "");
        snprintf(note, sizeof note, "no note");
        ck_assert_int_eq(resume(&answer), -EPROTO);
}
END_TEST

/* The agent may not have another epoch yet. */
START_TEST(test_fails_what_another_master_sent_when_that_one_knew_of_the_end)
{
        static struct answer before, answer, second;

        ask(&before, 100);
        messages_agent_gone(master.messages, &agent.agent_id, 60000, "exit status 0");
        next_master();
        ck_assert_int_eq(resume(&answer), 0);
        wait_for(&answer);
        ck_assert_int_eq(answer.result, MESSAGE_FAILED);
        ck_assert_str_eq(answer.detail, MESSAGES_AGENT_ENDED);
        ck_assert_int_eq(resume(&second), 0);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        ck_assert_int_eq(second.result, MESSAGE_ANSWERED);
}
END_TEST

START_TEST(test_sends_what_waited_for_a_start_under_another_master)
{
        static struct answer answer, refused;

        begin_restart();
        ask(&answer, 10000);
        next_master();
        ck_assert_int_eq(resume(&answer), 0);
        ck_assert_uint_eq(publishes, 0);
        restarted();
        ck_assert_uint_eq(publishes, 1);
        ck_assert_int_le(last_timeout_ms, 10000 + 1000);
        reply_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}");
        ck_assert_int_eq(answer.result, MESSAGE_ANSWERED);
        agent.state = AGENT_FAILED;
        ck_assert_int_eq(resume(&refused), 0);
        ck_assert_int_eq(refused.result, MESSAGE_REFUSED);
        ck_assert_str_eq(refused.detail, "the agent is failed");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("messages");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_checked_fixture(all, setup, teardown);
        tcase_set_timeout(all, 60);
        tcase_add_test(all, test_answers_once_when_the_reply_comes_twice);
        tcase_add_test(all, test_records_a_failure_when_the_answer_is_an_error);
        tcase_add_test(all, test_gives_up_when_the_deadline_passes);
        tcase_add_test(all, test_tells_the_agent_when_the_deadline_passes);
        tcase_add_test(all, test_tells_the_agent_when_nobody_waits_any_more);
        tcase_add_test(all, test_fails_all_of_an_agent_when_it_is_gone);
        tcase_add_test(all, test_takes_the_answer_that_comes_after_the_news_of_the_end);
        tcase_add_test(all, test_takes_the_control_socket_when_redis_is_away);
        tcase_add_test(all, test_takes_the_control_socket_when_the_worker_has_no_redis);
        tcase_add_test(all, test_takes_the_control_socket_when_nobody_was_subscribed);
        tcase_add_test(all, test_sends_nothing_twice_when_nobody_knows_whether_it_came);
        tcase_add_test(all, test_waits_for_nothing_when_it_is_a_notification);
        tcase_add_test(all, test_refuses_when_the_agent_has_no_worker);
        tcase_add_test(all, test_does_not_ask_redis_when_the_master_does_without);
        tcase_add_test(all, test_waits_for_the_next_start_when_the_agent_is_restarted);
        tcase_add_test(all, test_keeps_its_deadline_when_it_waits_for_a_start);
        tcase_add_test(all, test_is_refused_when_the_agent_does_not_come_back);
        tcase_add_test(all, test_does_not_wait_when_the_agent_is_held_back_or_everything_ends);
        tcase_add_test(all, test_waits_once_more_when_its_worker_was_left_meanwhile);
        tcase_add_test(all, test_gives_a_notification_that_waited_to_the_next_start);
        tcase_add_test(all, test_goes_on_with_what_another_master_sent);
        tcase_add_test(all, test_keeps_an_answer_until_its_message_is_handed_over);
        tcase_add_test(all, test_fails_what_another_master_sent_when_the_agent_started_anew);
        tcase_add_test(all, test_fails_what_another_master_sent_when_that_one_knew_of_the_end);
        tcase_add_test(all, test_sends_what_waited_for_a_start_under_another_master);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
