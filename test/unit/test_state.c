/* Every cell of both tables: what is not listed here must be refused and change nothing. */
#include "registry/core/state.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

struct step {
        int from, event, to;
};
static const struct step agent_steps[] = {
        { AGENT_STARTING, AGENT_EV_PLACE, AGENT_STARTING },
        { AGENT_STARTING, AGENT_EV_STARTED, AGENT_IDLE },
        { AGENT_STARTING, AGENT_EV_STOP, AGENT_STOPPING },
        { AGENT_STARTING, AGENT_EV_ENDED, AGENT_STOPPED },
        { AGENT_STARTING, AGENT_EV_GAVE_UP, AGENT_FAILED },
        { AGENT_IDLE, AGENT_EV_PLACE, AGENT_STARTING },
        { AGENT_IDLE, AGENT_EV_WORK, AGENT_BUSY },
        { AGENT_IDLE, AGENT_EV_STOP, AGENT_STOPPING },
        { AGENT_IDLE, AGENT_EV_ENDED, AGENT_STOPPED },
        { AGENT_IDLE, AGENT_EV_GAVE_UP, AGENT_FAILED },
        { AGENT_BUSY, AGENT_EV_PLACE, AGENT_STARTING },
        { AGENT_BUSY, AGENT_EV_REST, AGENT_IDLE },
        { AGENT_BUSY, AGENT_EV_STOP, AGENT_STOPPING },
        { AGENT_BUSY, AGENT_EV_ENDED, AGENT_STOPPED },
        { AGENT_BUSY, AGENT_EV_GAVE_UP, AGENT_FAILED },
        { AGENT_STOPPING, AGENT_EV_GONE, AGENT_TERMINATED },
        { AGENT_STOPPED, AGENT_EV_GONE, AGENT_TERMINATED },
        { AGENT_FAILED, AGENT_EV_GONE, AGENT_TERMINATED },
};
static const struct step worker_steps[] = {
        { WORKER_STARTING, WORKER_EV_READY, WORKER_READY },
        { WORKER_STARTING, WORKER_EV_DRAIN, WORKER_DRAINING },
        { WORKER_STARTING, WORKER_EV_SUSPECT, WORKER_STALE },
        { WORKER_STARTING, WORKER_EV_EXITED, WORKER_EXITED },
        { WORKER_READY, WORKER_EV_DRAIN, WORKER_DRAINING },
        { WORKER_READY, WORKER_EV_SUSPECT, WORKER_STALE },
        { WORKER_READY, WORKER_EV_EXITED, WORKER_EXITED },
        { WORKER_DRAINING, WORKER_EV_SUSPECT, WORKER_STALE },
        { WORKER_DRAINING, WORKER_EV_EXITED, WORKER_EXITED },
        { WORKER_STALE, WORKER_EV_EXITED, WORKER_EXITED },
};

static int expected(const struct step *steps, size_t count, int from, int event)
{
        for (size_t i = 0; i < count; i++)
                if (steps[i].from == from && steps[i].event == event)
                        return steps[i].to;
        return 0;
}

START_TEST(test_takes_agent_where_the_table_says_when_any_event)
{
        enum agent_state state = (enum agent_state)(_i / AGENT_EVENT_COUNT), before = state;
        enum agent_event event = (enum agent_event)(_i % AGENT_EVENT_COUNT);
        int to = expected(agent_steps, sizeof agent_steps / sizeof *agent_steps, (int)state, (int)event);

        ck_assert_int_eq(agent_state_apply(&state, event), to ? 0 : -EPROTO);
        ck_assert_int_eq((int)state, to ? to : (int)before);
}
END_TEST

START_TEST(test_takes_worker_where_the_table_says_when_any_event)
{
        enum worker_state state = (enum worker_state)(_i / WORKER_EVENT_COUNT), before = state;
        enum worker_event event = (enum worker_event)(_i % WORKER_EVENT_COUNT);
        int to = expected(worker_steps, sizeof worker_steps / sizeof *worker_steps, (int)state, (int)event);

        ck_assert_int_eq(worker_state_apply(&state, event), to ? 0 : -EPROTO);
        ck_assert_int_eq((int)state, to ? to : (int)before);
}
END_TEST

START_TEST(test_reads_back_each_name_when_parsed)
{
        static const char *const agents[] = { "starting", "idle", "busy", "stopping", "stopped", "failed", "terminated" };
        static const char *const workers[] = { "starting", "ready", "draining", "stale", "exited" };
        enum agent_state agent;

        for (int i = 1; i < AGENT_STATE_COUNT; i++) {
                ck_assert_str_eq(agent_state_name((enum agent_state)i), agents[i - 1]);
                ck_assert_int_eq(agent_state_parse(agents[i - 1], &agent), 0);
                ck_assert_int_eq((int)agent, i);
        }
        for (int i = 1; i < WORKER_STATE_COUNT; i++)
                ck_assert_str_eq(worker_state_name((enum worker_state)i), workers[i - 1]);
}
END_TEST

START_TEST(test_refuses_names_when_unknown)
{
        enum agent_state agent = AGENT_IDLE;

        ck_assert_int_eq(agent_state_parse("IDLE", &agent), -EINVAL);
        ck_assert_int_eq(agent_state_parse("", &agent), -EINVAL);
        ck_assert_int_eq((int)agent, AGENT_IDLE);
        ck_assert_ptr_null(agent_state_name((enum agent_state)0));
        ck_assert_ptr_null(agent_state_name(AGENT_STATE_COUNT));
        ck_assert_ptr_null(worker_state_name(WORKER_STATE_COUNT));
}
END_TEST

START_TEST(test_wants_agent_when_it_should_exist)
{
        for (int i = 1; i < AGENT_STATE_COUNT; i++)
                ck_assert_int_eq(agent_state_wanted((enum agent_state)i), i <= AGENT_BUSY);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("state");
        TCase *tcase = tcase_create("state");
        SRunner *runner;
        int failed;

        tcase_add_loop_test(tcase, test_takes_agent_where_the_table_says_when_any_event, AGENT_EVENT_COUNT,
                AGENT_STATE_COUNT * AGENT_EVENT_COUNT);
        tcase_add_loop_test(tcase, test_takes_worker_where_the_table_says_when_any_event, WORKER_EVENT_COUNT,
                WORKER_STATE_COUNT * WORKER_EVENT_COUNT);
        tcase_add_test(tcase, test_reads_back_each_name_when_parsed);
        tcase_add_test(tcase, test_refuses_names_when_unknown);
        tcase_add_test(tcase, test_wants_agent_when_it_should_exist);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
