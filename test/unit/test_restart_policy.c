#include "registry/core/restart_policy.h"

#include <check.h>
#include <stdlib.h>

static struct pool_restart_config config;
static struct agent agent;
static uint32_t delay;
static const struct agent_exit clean = { .code = 0 }, crashed = { .code = 3 }, killed = { .code = -1, .signal = 9 };
/* A module's end by signal may come with code 0. */
static const struct agent_exit signalled = { .code = 0, .signal = 15 };

static void setup(void)
{
        config = (struct pool_restart_config){ .policy = POOL_PERMANENT, .intensity = 5, .period_seconds = 60,
                .delay_ms = 100, .delay_max_ms = 1000, .healthy_seconds = 30 };
        agent = (struct agent){ .state = AGENT_IDLE };
        delay = 12345;
}

static enum restart_verdict ends(const struct agent_exit *exit, int64_t now)
{
        return restart_decide(&config, &agent, RESTART_EXITED, exit, now, 0xffffffff, &delay);
}

START_TEST(test_restarts_when_policy_and_end_say_so)
{
        static const struct {
                int policy;
                const struct agent_exit *exit;
                enum restart_verdict verdict;
        } cases[] = {
                { POOL_PERMANENT, &clean, RESTART_AGAIN },     { POOL_PERMANENT, &crashed, RESTART_AGAIN },
                { POOL_PERMANENT, &killed, RESTART_AGAIN },    { POOL_TRANSIENT, &clean, RESTART_STOPPED },
                { POOL_TRANSIENT, &crashed, RESTART_AGAIN },   { POOL_TRANSIENT, &killed, RESTART_AGAIN },
                { POOL_TRANSIENT, &signalled, RESTART_AGAIN }, { POOL_TEMPORARY, &clean, RESTART_STOPPED },
                { POOL_TEMPORARY, &crashed, RESTART_FAILED },  { POOL_TEMPORARY, &killed, RESTART_FAILED },
        };

        config.policy = cases[_i].policy;
        ck_assert_int_eq((int)ends(cases[_i].exit, 1000), (int)cases[_i].verdict);
        ck_assert_uint_eq(agent.restarts_in_window, cases[_i].verdict == RESTART_AGAIN);
}
END_TEST

START_TEST(test_counts_as_failure_when_start_failed_or_worker_died)
{
        config.policy = POOL_TRANSIENT;
        ck_assert_int_eq((int)restart_decide(&config, &agent, RESTART_START_FAILED, NULL, 1, 0, &delay), RESTART_AGAIN);
        ck_assert_int_eq((int)restart_decide(&config, &agent, RESTART_WORKER_DIED, NULL, 1, 0, &delay), RESTART_AGAIN);
        config.policy = POOL_TEMPORARY;
        ck_assert_int_eq((int)restart_decide(&config, &agent, RESTART_WORKER_DIED, NULL, 1, 0, &delay), RESTART_FAILED);
}
END_TEST

START_TEST(test_gives_up_when_intensity_is_exceeded)
{
        for (int i = 0; i < 5; i++)
                ck_assert_int_eq((int)ends(&crashed, 1000 + i), RESTART_AGAIN);
        ck_assert_int_eq((int)ends(&crashed, 61000), RESTART_TOO_OFTEN);
}
END_TEST

START_TEST(test_begins_new_window_when_period_is_over)
{
        for (int i = 0; i < 5; i++)
                ck_assert_int_eq((int)ends(&crashed, 1000), RESTART_AGAIN);
        ck_assert_int_eq((int)ends(&crashed, 61001), RESTART_AGAIN);
        ck_assert_uint_eq(agent.restarts_in_window, 1);
}
END_TEST

START_TEST(test_never_restarts_when_intensity_is_zero)
{
        config.intensity = 0;
        ck_assert_int_eq((int)ends(&crashed, 1000), RESTART_TOO_OFTEN);
}
END_TEST

START_TEST(test_doubles_delay_up_to_the_limit_when_failing_again)
{
        static const uint32_t full[] = { 100, 200, 400, 800, 1000 };

        for (int i = 0; i < 5; i++) {
                ends(&crashed, 1000);
                ck_assert_uint_ge(delay, full[i] / 2);
                ck_assert_uint_le(delay, full[i]);
        }
}
END_TEST

START_TEST(test_begins_with_first_delay_when_it_was_healthy)
{
        for (int i = 0; i < 4; i++)
                ends(&crashed, 1000);
        agent.running_since = 2000;
        ends(&crashed, 2000 + 29999);
        ck_assert_uint_gt(delay, 100);
        setup();
        for (int i = 0; i < 4; i++)
                ends(&crashed, 1000);
        agent.running_since = 2000;
        ends(&crashed, 2000 + 30000);
        ck_assert_uint_le(delay, 100);
}
END_TEST

START_TEST(test_restarts_at_once_when_worker_died_the_first_time)
{
        ck_assert_int_eq((int)restart_decide(&config, &agent, RESTART_WORKER_DIED, NULL, 1000, 0, &delay), RESTART_AGAIN);
        ck_assert_uint_eq(delay, 0);
        ck_assert_int_eq((int)restart_decide(&config, &agent, RESTART_WORKER_DIED, NULL, 1000, 0, &delay), RESTART_AGAIN);
        ck_assert_uint_ge(delay, 100);
        ck_assert_uint_eq(agent.restarts_in_window, 2);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("restart_policy");
        TCase *tcase = tcase_create("restart_policy");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, setup, NULL);
        tcase_add_loop_test(tcase, test_restarts_when_policy_and_end_say_so, 0, 10);
        tcase_add_test(tcase, test_counts_as_failure_when_start_failed_or_worker_died);
        tcase_add_test(tcase, test_gives_up_when_intensity_is_exceeded);
        tcase_add_test(tcase, test_begins_new_window_when_period_is_over);
        tcase_add_test(tcase, test_never_restarts_when_intensity_is_zero);
        tcase_add_test(tcase, test_doubles_delay_up_to_the_limit_when_failing_again);
        tcase_add_test(tcase, test_begins_with_first_delay_when_it_was_healthy);
        tcase_add_test(tcase, test_restarts_at_once_when_worker_died_the_first_time);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
