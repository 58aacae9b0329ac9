/* The server dies, hangs, loses its answers. After each: nothing that was answered is lost, nothing is doubled. */
#include "test/unit/store_breakable.h"
#include "test/unit/store_proxy.h"

static bool has_row(const struct id *agent_id)
{
        return strcmp(ask(&db, format("SELECT COUNT(*) FROM agents WHERE agent_id = '%s'", ID_TEXT(agent_id))), "1") == 0;
}

/* ---- a stream of inserts ---- */

enum { STREAM = 3000, IN_FLIGHT = 50 };

static struct {
        struct store_agent agents[STREAM];
        int error[STREAM];
        unsigned sent, answered, good;
} stream;

static void send_next(void);
static void on_streamed(void *arg, int error)
{
        struct store_agent *agent = arg;

        stream.error[agent - stream.agents] = error;
        stream.answered++;
        stream.good += error == 0;
        send_next();
}

static void send_next(void)
{
        struct store_agent *agent = &stream.agents[stream.sent];

        if (stream.sent == STREAM)
                return;
        *agent = an_agent();
        stream.sent++;
        ck_assert_int_eq(store_agent_insert(store, agent, on_streamed, agent), 0);
        ck_assert_int_eq(store_event_add(store,
                                 &(struct store_event){ .at = agent->created_at, .event = "agent_spawned",
                                         .agent_id = agent->agent_id, .epoch = 1 }),
                0);
}

START_TEST(test_nothing_is_lost_or_doubled_when_server_crashes_under_writes)
{
        enum backend backend = _i ? PGBOUNCER : POSTGRES;

        open_own(backend, &(struct store_options){ .wait_ms = 120000 });
        for (int i = 0; i < IN_FLIGHT; i++)
                send_next();
        for (unsigned crash = 1; crash <= 3; crash++) {
                LOOP_UNTIL(stream.answered >= crash * 500);
                server_stop(&own);
                postgres_start(&own);
        }
        LOOP_UNTIL(stream.answered == STREAM);
        ck_assert_uint_eq(stream.good, STREAM);
        LOOP_UNTIL(status().queued == 0);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), format("%d", STREAM));
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), format("%d", STREAM));
        ck_assert_str_eq(ask(&db, "SELECT COUNT(DISTINCT agent_id) FROM agent_events"), format("%d", STREAM));
        ck_assert(status().available);
        close_store(store);
        stop_own();
}
END_TEST

START_TEST(test_waiting_is_bounded_and_facts_are_kept_when_server_is_away)
{
        struct store_agent kept, refused;
        struct store_status now;

        open_own(POSTGRES, &(struct store_options){ .wait_ms = 300 });
        ck_assert_int_eq(insert_one(&kept), 0);
        server_stop(&own);
        ck_assert_int_eq(insert_one(&refused), -EAGAIN);
        now = status();
        ck_assert(!now.available);
        ck_assert_ptr_nonnull(strstr(now.reason, format("cannot connect to postgresql://postgres:***@127.0.0.1:%d/", own.port)));
        ck_assert_ptr_null(strstr(now.reason, "secret"));
        kept.state = "terminated";
        ck_assert_int_eq(FINISH(store_agent_update, store, &kept), -EINPROGRESS);
        ck_assert_int_eq(FINISH(store_agent_delete, store, &refused.agent_id), -EINPROGRESS);
        ck_assert_int_eq(store_event_add(store, &(struct store_event){ .at = 1, .event = "e" }), 0);
        ck_assert_uint_ge(status().queued, 3); /* more if the first insert may have been carried out: with its undo */
        postgres_start(&own);
        LOOP_UNTIL(status().queued == 0);
        ck_assert_str_eq(ask(&db, "SELECT state FROM agents"), "terminated");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "1");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "1");
        ck_assert_int_eq(insert_one(&refused), 0);
        close_store(store);
        stop_own();
}
END_TEST

START_TEST(test_idle_store_notices_when_server_goes_and_returns)
{
        open_own(POSTGRES, NULL);
        server_stop(&own);
        LOOP_UNTIL(!status().available);
        ck_assert_str_ne(status().reason, "");
        postgres_start(&own);
        LOOP_UNTIL(status().available);
        ck_assert_str_eq(status().reason, "");
        close_store(store);
        stop_own();
}
END_TEST

START_TEST(test_open_waits_for_server_when_asked_to)
{
        struct store_agent agent;
        char url[256];

        open_own(POSTGRES, NULL);
        close_store(store);
        server_stop(&own);
        snprintf(url, sizeof url, "%s", db.url);
        store = open_store(url, &(struct store_options){ .start_away = true, .wait_ms = 60000 });
        ck_assert(!status().available);
        agent = an_agent();
        ck_assert_int_eq(store_agent_insert(store, &agent, NULL, NULL), 0);
        postgres_start(&own);
        LOOP_UNTIL(status().queued == 0);
        ck_assert(has_row(&agent.agent_id));
        close_store(store);
        stop_own();
}
END_TEST

static void open_behind_proxy(enum backend backend, const struct store_options *options)
{
        database_new(&db, backend);
        proxy_start(backend == PGBOUNCER ? bouncer.port : postgres.port);
        snprintf(db.url, sizeof db.url, "postgresql://postgres:secret@127.0.0.1:%d/%s", proxy.port, db.name);
        store = open_store(db.url, options);
}

static void close_behind_proxy(void)
{
        close_store(store);
        proxy_stop();
}

static void eat_answer(const char *after)
{
        proxy.eat_after = after;
        proxy.mode = EAT_ANSWER;
}

START_TEST(test_commit_is_not_doubled_when_its_answer_was_lost)
{
        struct store_key key = { .scope = "spawn", .key = "k", .body_sha256 = "00", .created_at = 1, .expires_at = 2 };
        struct outcome outcome = { .calls = 0 };
        struct store_agent agent;

        open_behind_proxy(_i ? PGBOUNCER : POSTGRES, &(struct store_options){ .wait_ms = 120000 });
        agent = an_agent();
        eat_answer("INSERT INTO \"agentpool\".agents");
        ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
        WAIT_UNTIL(proxy.eaten == 1);
        ck_assert(has_row(&agent.agent_id));
        ck_assert_uint_eq(outcome.calls, 0);
        proxy.mode = PASS;
        LOOP_UNTIL(outcome.calls == 1);
        ck_assert_int_eq(outcome.error, 0);
        /* Several statements: the answer to COMMIT. */
        proxy.mode = HOLE;
        for (int i = 0; i < 20; i++) {
                agent = an_agent();
                ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
                agent.state = "idle";
                ck_assert_int_eq(store_agent_update(store, &agent, on_outcome, &outcome), 0);
                ck_assert_int_eq(store_event_add(store, &(struct store_event){ .at = 1, .event = "e" }), 0);
        }
        ck_assert_int_eq(store_key_insert(store, &key, on_outcome, &outcome), 0);
        eat_answer("COMMIT");
        WAIT_UNTIL(proxy.eaten == 2);
        proxy.mode = PASS;
        LOOP_UNTIL(outcome.calls == 42 && status().queued == 0);
        ck_assert_uint_eq(outcome.good, 42);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "21");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "20");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM idempotency_keys"), "1");
        close_behind_proxy();
}
END_TEST

START_TEST(test_given_up_insert_leaves_nothing_when_its_commit_was_done)
{
        struct store_key key = { .scope = "spawn", .key = "k", .body_sha256 = "00", .created_at = 1, .expires_at = 2 };
        struct outcome outcome = { .calls = 0 };
        struct store_agent agent, other;

        open_behind_proxy(POSTGRES, &(struct store_options){ .wait_ms = 400 });
        ck_assert_int_eq(insert_one(&other), 0);
        agent = an_agent();
        eat_answer("INSERT INTO \"agentpool\".agents");
        ck_assert_int_eq(FINISH(store_agent_insert, store, &agent), -EAGAIN);
        ck_assert_uint_eq(proxy.eaten, 1);
        ck_assert(has_row(&agent.agent_id));
        proxy.mode = PASS;
        LOOP_UNTIL(status().queued == 0 && status().available);
        ck_assert(!has_row(&agent.agent_id));
        ck_assert(has_row(&other.agent_id));
        eat_answer("INSERT INTO \"agentpool\".idempotency_keys");
        ck_assert_int_eq(store_key_insert(store, &key, on_outcome, &outcome), 0);
        LOOP_UNTIL(outcome.calls);
        ck_assert_int_eq(outcome.error, -EAGAIN);
        proxy.mode = PASS;
        LOOP_UNTIL(status().queued == 0 && status().available);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM idempotency_keys"), "0");
        /* The same again is a new promise. */
        ck_assert_int_eq(FINISH(store_agent_insert, store, &agent), 0);
        ck_assert(has_row(&agent.agent_id));
        close_behind_proxy();
}
END_TEST

START_TEST(test_hung_server_counts_as_away_when_no_answer_comes)
{
        struct store_agent agent;

        open_behind_proxy(POSTGRES, &(struct store_options){ .wait_ms = 100 });
        proxy.mode = HOLE;
        ck_assert_int_eq(insert_one(&agent), -EAGAIN);
        ck_assert_msg(strstr(status().reason, "no answer in time") != NULL, "%s", status().reason);
        proxy.mode = PASS;
        LOOP_UNTIL(status().queued == 0 && status().available);
        ck_assert(!has_row(&agent.agent_id));
        ck_assert_int_eq(insert_one(&agent), 0);
        close_behind_proxy();
}
END_TEST

START_TEST(test_close_is_bounded_when_server_hangs)
{
        struct outcome outcome = { .calls = 0 };
        struct store_agent agent = an_agent();

        open_behind_proxy(POSTGRES, NULL);
        proxy.mode = HOLE;
        ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
        store_close(store, 200); /* well before ANSWER_MS: the test would see the next line's error otherwise */
        ck_assert_uint_eq(outcome.calls, 1);
        ck_assert_int_eq(outcome.error, -EAGAIN);
        event_base_free(base);
        proxy_stop();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("store faults");
        TCase *tcase = tcase_create("faults");

        tcase_set_timeout(tcase, TIMEOUT_S);
        tcase_add_loop_test(tcase, test_nothing_is_lost_or_doubled_when_server_crashes_under_writes, 0, 2);
        tcase_add_test(tcase, test_waiting_is_bounded_and_facts_are_kept_when_server_is_away);
        tcase_add_test(tcase, test_idle_store_notices_when_server_goes_and_returns);
        tcase_add_test(tcase, test_open_waits_for_server_when_asked_to);
        tcase_add_loop_test(tcase, test_commit_is_not_doubled_when_its_answer_was_lost, 0, 2);
        tcase_add_test(tcase, test_given_up_insert_leaves_nothing_when_its_commit_was_done);
        tcase_add_test(tcase, test_hung_server_counts_as_away_when_no_answer_comes);
        tcase_add_test(tcase, test_close_is_bounded_when_server_hangs);
        suite_add_tcase(suite, tcase);
        return run_suite(suite);
}
