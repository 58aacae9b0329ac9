/* The breakers of a pool: workers that do not start or end at once, agents that do not start or stay. */
#include "test/unit/pool_harness.h"

static int waiters[8];

static enum breaker_state state_of(enum pool_breaker which)
{
        return pool_breaker(pool, which)->state;
}

static const char *reason_of(enum pool_error expected)
{
        static char detail[192];
        enum pool_error error = POOL_OK;
        struct id id;

        ck_assert_int_eq(try_spawn(NULL, &id, &error, detail), -EBUSY);
        ck_assert_int_eq((int)error, (int)expected);
        return detail;
}

/* Forks until the breaker opens. */
static void workers_fail(void)
{
        for (int i = 0; i < 3; i++) {
                if (i)
                        wait_until(pool_next_deadline(pool));
                acts();
                pool_worker_fork_failed(pool, &last_fork, EAGAIN, now);
        }
        ck_assert_int_eq((int)state_of(POOL_WORKERS), BREAKER_OPEN);
}

START_TEST(test_forks_nothing_while_the_breaker_is_open)
{
        struct pool_stats stats;

        settle();
        spawn(&waiters[0]);
        workers_fail();
        ck_assert_str_eq(acts(), "dAaw"); /* the one that waits is answered at once */
        ck_assert_int_eq(act('A')->error, POOL_E_BREAKER);
        ck_assert_str_eq(events, "breaker_opened agent_spawn_failed worker_exited ");
        ck_assert_str_eq(reason_of(POOL_E_BREAKER),
                "the pool's breaker for workers is open for 10 s more: fork: Resource temporarily unavailable");
        pool_stats(pool, &stats);
        ck_assert(stats.tripped);
        ck_assert_str_eq(stats.reason, "workers do not start: fork: Resource temporarily unavailable");
        config.min_workers = 2;
        wait_until(now + 9999);
        ck_assert_str_eq(acts(), "");
        ck_assert_int_eq(pool_retry_seconds(pool, now), 1);
}
END_TEST

START_TEST(test_tries_one_fork_when_it_has_cooled_down)
{
        config.min_workers = 3;
        settle();
        acts();
        for (struct pool_worker *w = pool_first_worker(pool), *next; w; w = next) {
                struct id id = w->process_id;

                next = w->hh.next;
                pool_worker_fork_failed(pool, &id, EAGAIN, now);
        }
        acts();
        wait_until(now + 10000);
        ck_assert_str_eq(acts(), "F");
        ck_assert_str_eq(events, "breaker_half_open ");
        if (_i) {
                pool_worker_exited(pool, &last_fork, "exit status 1", now);
                ck_assert_str_eq(acts(), "Rw");
                ck_assert_int_eq((int)state_of(POOL_WORKERS), BREAKER_OPEN);
                return;
        }
        worker_up();
        wait_until(now + 999);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1); /* it lives */
        ck_assert_str_eq(acts(), "FF");
        ck_assert_str_eq(events, "breaker_closed ");
}
END_TEST

START_TEST(test_forks_no_other_while_the_one_that_was_tried_is_killed)
{
        config.min_workers = 1;
        settle();
        workers_fail();
        acts();
        wait_until(now + 10000);
        ck_assert_str_eq(acts(), "F");
        wait_until(now + config.worker_start_timeout_ms);
        ck_assert_str_eq(acts(), "K");
        ck_assert_str_eq(events, "worker_stale breaker_opened ");
        pool_worker_exited(pool, &last_fork, "killed by signal 9 (KILL)", now);
        ck_assert_str_eq(acts(), "Rw");
        ck_assert_str_eq(pool_breaker(pool, POOL_WORKERS)->reason, "it is not ready within worker_start_timeout_ms");
}
END_TEST

START_TEST(test_closes_when_an_agent_runs_in_the_worker_that_was_tried)
{
        struct id process, id;

        settle();
        spawn(NULL);
        workers_fail();
        wait_until(now + 10000);
        id = spawn(NULL);
        ck_assert_ptr_nonnull(strchr(acts(), 'F'));
        process = worker_up();
        stored(&id, 0);
        reserved(&id, &process);
        ck_assert_int_eq((int)state_of(POOL_WORKERS), BREAKER_HALF_OPEN);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_int_eq((int)state_of(POOL_WORKERS), BREAKER_CLOSED);
}
END_TEST

START_TEST(test_opens_when_workers_end_before_an_agent_ran_in_them)
{
        struct id process;

        config.min_workers = 1;
        settle();
        for (int i = 0; i < 3; i++) {
                acts();
                process = worker_up();
                pool_worker_exited(pool, &process, "killed by signal 11 (SEGV)", ++now);
        }
        acts();
        ck_assert_int_eq((int)state_of(POOL_WORKERS), BREAKER_OPEN);
        ck_assert_str_eq(pool_breaker(pool, POOL_WORKERS)->reason, "killed by signal 11 (SEGV)");
}
END_TEST

START_TEST(test_counts_one_failure_when_many_workers_end_together)
{
        struct id ids[3];
        int count = 0;

        config.min_workers = 3;
        settle();
        acts();
        for (struct pool_worker *w = pool_first_worker(pool); w; w = w->hh.next)
                ids[count++] = w->process_id;
        for (int i = 0; i < 3; i++)
                pool_worker_ready(pool, &ids[i], NULL, 0, now);
        now += 5;
        for (int i = 0; i < 3; i++)
                pool_worker_exited(pool, &ids[i], "killed", now);
        acts();
        ck_assert_uint_eq(pool_breaker(pool, POOL_WORKERS)->failures, 1);
        ck_assert_int_eq((int)state_of(POOL_WORKERS), BREAKER_CLOSED);
}
END_TEST

START_TEST(test_places_in_workers_that_run_while_their_breaker_is_open)
{
        struct id process, id;

        config.max_agents_per_worker = 1;
        process = first_worker();
        config.min_workers = 2;
        pool_tick(pool, now);
        workers_fail();
        id = spawn(NULL);
        acts();
        stored(&id, 0);
        reserved(&id, &process);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        acts();
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
        ck_assert_ptr_nonnull(strstr(reason_of(POOL_E_BREAKER), "for workers is open"));
}
END_TEST

/* --- agents --------------------------------------------------------------------------------------------------- */

static struct id spawn_fails(const struct id *process)
{
        struct id id = spawn(&waiters[0]);

        acts();
        reserved(&id, process);
        reply(REPLY_SPAWN_FAILED, &id, process, 1, 0);
        return id;
}

START_TEST(test_starts_nothing_when_agents_did_not_start)
{
        struct id process = first_worker();
        struct pool_stats stats;

        for (int i = 0; i < 3; i++)
                spawn_fails(&process);
        acts();
        ck_assert_int_eq(act('A')->error, POOL_E_START); /* it has its own answer */
        ck_assert_str_eq(reason_of(POOL_E_BREAKER), "the pool's breaker for agents is open for 10 s more: no such file");
        pool_stats(pool, &stats);
        ck_assert(stats.tripped);
        ck_assert_str_eq(stats.reason, "agents do not stay: no such file");
}
END_TEST

/* An answered agent ends again and again: started again under its restart policy until the breaker opens. */
static struct id crash_until_open(const struct id *process)
{
        struct id id = running(process);

        for (unsigned epoch = 1; state_of(POOL_AGENTS) == BREAKER_CLOSED; epoch++) {
                if (epoch > 1) {
                        wait_until(now + 1000);
                        stored(&id, 0);
                        reserved(&id, process);
                        reply(REPLY_SPAWNED, &id, process, epoch, 0);
                }
                reply(REPLY_EXITED, &id, process, epoch, 3);
                acts();
        }
        return id;
}

START_TEST(test_holds_restarts_back_while_the_breaker_is_open)
{
        struct id process = first_worker(), id = crash_until_open(&process);

        ck_assert_uint_eq(agent_at(&id)->restarts, 3);
        wait_until(now + 1000);
        stored(&id, 0);
        wait_until(now + 8999);
        ck_assert_ptr_null(strchr(acts(), 'r'));
        ck_assert_int_eq(agent_at(&id)->phase, PHASE_WAITING);
        wait_until(now + 1);
        ck_assert_str_eq(acts(), "r");
        ck_assert_ptr_nonnull(strstr(reason_of(POOL_E_BREAKER), "half open: one is being tried; last: it ended"));
        reserved(&id, &process);
        reply(REPLY_SPAWNED, &id, &process, agent_at(&id)->epoch, 0);
        if (_i) {
                reply(REPLY_EXITED, &id, &process, agent_at(&id)->epoch, 3);
                ck_assert_int_eq((int)state_of(POOL_AGENTS), BREAKER_OPEN);
                ck_assert_uint_eq(pool_breaker(pool, POOL_AGENTS)->opened, 2);
                return;
        }
        acts();
        wait_until(now + 9999);
        ck_assert_int_eq((int)state_of(POOL_AGENTS), BREAKER_HALF_OPEN);
        wait_until(now + 1); /* healthy */
        acts();
        ck_assert_str_eq(events, "breaker_closed ");
        spawn(NULL);
}
END_TEST

START_TEST(test_tries_another_when_the_one_being_tried_is_terminated)
{
        struct id process = first_worker(), id = crash_until_open(&process), next;

        wait_until(now + 1000);
        pool_terminate(pool, agent_at(&id), true, NULL, now);
        stored(&id, 0);
        wait_until(now + 9000);
        acts();
        next = spawn(NULL);
        ck_assert_str_eq(acts(), "ir");
        reserved(&next, &process);
        pool_terminate(pool, agent_at(&next), true, NULL, now);
        spawn(NULL);
        ck_assert_ptr_nonnull(strchr(acts(), 'r'));
}
END_TEST

START_TEST(test_stays_closed_when_more_agents_run_than_fail)
{
        struct id process;

        config.max_agents_per_worker = 10;
        process = first_worker();
        for (int i = 0; i < 5; i++)
                running(&process);
        for (int i = 0; i < 4; i++)
                spawn_fails(&process);
        ck_assert_int_eq((int)state_of(POOL_AGENTS), BREAKER_CLOSED);
        spawn_fails(&process);
        ck_assert_int_eq((int)state_of(POOL_AGENTS), BREAKER_OPEN);
        ck_assert_uint_eq(pool_worker(pool, &process)->used, 5); /* what runs is left alone */
}
END_TEST

START_TEST(test_counts_no_failure_when_the_end_says_nothing_about_the_pool)
{
        struct id process = first_worker(), healthy = running(&process), moved = running(&process);

        wait_until(now + 10000);
        reply(REPLY_EXITED, &healthy, &process, 1, 3); /* it was healthy */
        pool_worker_exited(pool, &process, "killed", now);
        acts();
        ck_assert_uint_eq(agent_at(&moved)->epoch, 2);
        ck_assert_uint_eq(pool_breaker(pool, POOL_AGENTS)->failures, 0);
}
END_TEST

START_TEST(test_starts_again_when_an_operator_resets_it)
{
        struct id process, id;

        config.breaker.auto_reset = false;
        process = first_worker();
        id = crash_until_open(&process);
        wait_until(now + 1000);
        stored(&id, 0);
        wait_until(now + 1000000);
        ck_assert_ptr_null(strchr(acts(), 'r'));
        ck_assert_str_eq(reason_of(POOL_E_BREAKER), "the pool's breaker for agents is open until it is reset: it ended");
        ck_assert_int_eq(pool_retry_seconds(pool, now), 10);
        pool_reset(pool, now);
        acts();
        ck_assert_int_eq((int)state_of(POOL_AGENTS), BREAKER_CLOSED);
        ck_assert_str_eq(events, "breaker_closed ");
}
END_TEST

START_TEST(test_tries_at_once_when_a_rollout_begins)
{
        config.min_workers = 1;
        settle();
        workers_fail();
        acts();
        ck_assert_int_eq(pool_rollout(pool, 1, 0, now), 0);
        ck_assert_str_eq(acts(), "F");
        ck_assert_int_eq((int)state_of(POOL_WORKERS), BREAKER_CLOSED);
}
END_TEST

static void add(TCase *tcase)
{
        tcase_add_test(tcase, test_forks_nothing_while_the_breaker_is_open);
        tcase_add_loop_test(tcase, test_tries_one_fork_when_it_has_cooled_down, 0, 2);
        tcase_add_test(tcase, test_forks_no_other_while_the_one_that_was_tried_is_killed);
        tcase_add_test(tcase, test_closes_when_an_agent_runs_in_the_worker_that_was_tried);
        tcase_add_test(tcase, test_opens_when_workers_end_before_an_agent_ran_in_them);
        tcase_add_test(tcase, test_counts_one_failure_when_many_workers_end_together);
        tcase_add_test(tcase, test_places_in_workers_that_run_while_their_breaker_is_open);
        tcase_add_test(tcase, test_starts_nothing_when_agents_did_not_start);
        tcase_add_loop_test(tcase, test_holds_restarts_back_while_the_breaker_is_open, 0, 2);
        tcase_add_test(tcase, test_tries_another_when_the_one_being_tried_is_terminated);
        tcase_add_test(tcase, test_stays_closed_when_more_agents_run_than_fail);
        tcase_add_test(tcase, test_counts_no_failure_when_the_end_says_nothing_about_the_pool);
        tcase_add_test(tcase, test_starts_again_when_an_operator_resets_it);
        tcase_add_test(tcase, test_tries_at_once_when_a_rollout_begins);
}

int main(void)
{
        return run_suite("pool_breaker", add);
}
