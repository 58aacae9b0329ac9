/* Agents that have nothing to do for max_idle_time are ended on purpose. */
#include "test/unit/pool_harness.h"

#define IDLE_S 60
static struct id process;

static struct id idle_agent(int32_t max_idle_time)
{
        struct id id;

        process = first_worker();
        id = spawn(NULL);
        agent_at(&id)->max_idle_time = max_idle_time;
        acts();
        stored(&id, 0);
        reserved(&id, &process);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        acts();
        return id;
}

static void check_ended(const struct id *id)
{
        ck_assert_str_eq(acts(), "sS");
        ck_assert_int_eq(act('s')->state, AGENT_TERMINATED);
        ck_assert_int_eq(agent_at(id)->state, AGENT_STOPPING);
        ck_assert_str_eq(agent_at(id)->last_exit->reason, "idle for 60 s");
}

START_TEST(test_ends_the_agent_when_it_was_idle_for_its_time)
{
        struct id id = idle_agent(IDLE_S);
        struct pool_stats stats;

        wait_until(now + 59999);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1);
        check_ended(&id);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        stored(&id, 0);
        ck_assert_str_eq(acts(), "a");
        ck_assert_str_eq(events, "agent_terminated ");
        pool_stats(pool, &stats);
        ck_assert_uint_eq(stats.idle_ends, 1);
}
END_TEST

START_TEST(test_says_why_when_an_idle_agent_is_gone)
{
        struct id id = idle_agent(IDLE_S);
        struct pool_action action;
        char detail[192] = "";

        wait_until(now + 60000);
        acts();
        reply(REPLY_EXITED, &id, &process, 1, 0);
        while (pool_next_action(pool, &action))
                if (action.type == POOL_EVENT)
                        strcpy(detail, action.detail);
        ck_assert_str_eq(detail, "idle for 60 s");
}
END_TEST

START_TEST(test_never_ends_the_agent_when_its_time_is_zero)
{
        struct id id = idle_agent(0);

        wait_until(now + 10000000);
        acts();
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
}
END_TEST

START_TEST(test_counts_idle_time_from_the_last_message)
{
        struct id id = idle_agent(IDLE_S);

        wait_until(now + 50000);
        pool_in_flight(pool, agent_at(&id), 1, now);
        wait_until(now + 200000);
        ck_assert_str_eq(acts(), ""); /* it works */
        pool_in_flight(pool, agent_at(&id), 0, now);
        wait_until(now + 30000);
        pool_in_flight(pool, agent_at(&id), 0, now); /* a notification */
        wait_until(now + 59999);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1);
        check_ended(&id);
}
END_TEST

START_TEST(test_counts_idle_time_anew_when_it_starts_again)
{
        struct id id = idle_agent(IDLE_S);

        wait_until(now + 59000);
        pool_worker_exited(pool, &process, "killed", now);
        wait_until(now + 3000);
        acts();
        ck_assert_int_eq(agent_at(&id)->state, AGENT_STARTING); /* nobody waits idly for a worker */
        process = worker_up();
        stored(&id, 0);
        reserved(&id, &process);
        reply(REPLY_SPAWNED, &id, &process, 2, 0);
        wait_until(now + 59999);
        acts();
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
        wait_until(now + 1);
        check_ended(&id);
}
END_TEST

START_TEST(test_does_not_end_the_agent_while_it_emits)
{
        struct id id = idle_agent(IDLE_S);

        for (int i = 0; i < 10; i++) {
                wait_until(now + 50000);
                pool_active(agent_at(&id), false, now);
        }
        ck_assert_str_eq(acts(), "");
        wait_until(now + 59999);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1);
        check_ended(&id);
}
END_TEST

/* Its worker says so with each heartbeat, so that the time begins two of them after the last. */
START_TEST(test_does_not_end_the_agent_while_a_request_is_unanswered)
{
        struct id id = idle_agent(IDLE_S);
        int64_t slack = 2 * pool_config(pool)->heartbeat_interval_ms;

        for (int i = 0; i < 200; i++) {
                wait_until(now + 1000);
                pool_active(agent_at(&id), true, now);
                pool_active(agent_at(&id), false, now); /* never earlier */
        }
        wait_until(now + 59999 + slack);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1);
        check_ended(&id);
}
END_TEST

START_TEST(test_counts_idle_time_anew_when_a_new_master_finds_it)
{
        struct agent *agent = agent_new();
        struct hosted_agent hosted = { .agent_id = agent->agent_id, .epoch = 3 };

        agent->state = AGENT_IDLE;
        agent->epoch = 3;
        agent->max_idle_time = IDLE_S;
        pool_restore(pool, agent, now);
        process = id_new();
        pool_worker_adopt(pool, &process, 5, now);
        settle();
        pool_worker_ready(pool, &process, &hosted, 1, now);
        wait_until(now + 59999);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1);
        check_ended(&hosted.agent_id);
}
END_TEST

START_TEST(test_answers_a_terminate_that_comes_while_it_ends_for_idleness)
{
        struct id id = idle_agent(IDLE_S);

        wait_until(now + 60000);
        acts();
        ck_assert_int_eq(pool_terminate(pool, agent_at(&id), true, &id, now), 0);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        stored(&id, 0);
        acts();
        ck_assert_int_eq(act('A')->error, POOL_OK);
        ck_assert_ptr_eq(act('A')->waiter, &id);
}
END_TEST

static void add(TCase *tcase)
{
        tcase_add_test(tcase, test_ends_the_agent_when_it_was_idle_for_its_time);
        tcase_add_test(tcase, test_does_not_end_the_agent_while_it_emits);
        tcase_add_test(tcase, test_does_not_end_the_agent_while_a_request_is_unanswered);
        tcase_add_test(tcase, test_says_why_when_an_idle_agent_is_gone);
        tcase_add_test(tcase, test_never_ends_the_agent_when_its_time_is_zero);
        tcase_add_test(tcase, test_counts_idle_time_from_the_last_message);
        tcase_add_test(tcase, test_counts_idle_time_anew_when_it_starts_again);
        tcase_add_test(tcase, test_counts_idle_time_anew_when_a_new_master_finds_it);
        tcase_add_test(tcase, test_answers_a_terminate_that_comes_while_it_ends_for_idleness);
}

int main(void)
{
        return run_suite("pool_idle", add);
}
