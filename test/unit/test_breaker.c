/* A breaker: every cell of its table, what it counts, when it cools down. */
#include "registry/core/breaker.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

static struct breaker breaker;
static struct breaker_config config;

static void setup(void)
{
        config = (struct breaker_config){ .threshold = 3, .window_seconds = 60, .cooldown_seconds = 10, .auto_reset = true };
        breaker_init(&breaker, 1000);
}

static bool fails(int64_t now)
{
        return breaker_failed(&breaker, &config, "no such file", 0, now);
}

static void open_it(int64_t now)
{
        ck_assert(!fails(now) && !fails(now) && fails(now));
        ck_assert_int_eq((int)breaker.state, BREAKER_OPEN);
}

START_TEST(test_takes_it_where_the_table_says_when_any_event)
{
        static const struct {
                enum breaker_state from;
                enum breaker_event event;
                enum breaker_state to;
        } steps[] = {
                { BREAKER_CLOSED, BREAKER_EV_TRIP, BREAKER_OPEN },        { BREAKER_OPEN, BREAKER_EV_COOLED, BREAKER_HALF_OPEN },
                { BREAKER_OPEN, BREAKER_EV_RESET, BREAKER_CLOSED },       { BREAKER_HALF_OPEN, BREAKER_EV_SUCCESS, BREAKER_CLOSED },
                { BREAKER_HALF_OPEN, BREAKER_EV_FAILURE, BREAKER_OPEN },  { BREAKER_HALF_OPEN, BREAKER_EV_RESET, BREAKER_CLOSED },
        };
        enum breaker_state state = (enum breaker_state)(_i / BREAKER_EVENT_COUNT), before = state, to = 0;
        enum breaker_event event = (enum breaker_event)(_i % BREAKER_EVENT_COUNT);

        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
                if (steps[i].from == state && steps[i].event == event)
                        to = steps[i].to;
        ck_assert_int_eq(breaker_state_apply(&state, event), to ? 0 : -EPROTO);
        ck_assert_int_eq((int)state, (int)(to ? to : before));
}
END_TEST

START_TEST(test_opens_at_the_threshold)
{
        open_it(2000);
        ck_assert_int_eq(breaker.since, 2000);
        ck_assert_str_eq(breaker.reason, "no such file");
        ck_assert_uint_eq(breaker.opened, 1);
        ck_assert(!fails(3000)); /* it is open already */
}
END_TEST

START_TEST(test_counts_anew_when_the_window_is_over)
{
        fails(2000);
        fails(2000);
        ck_assert(!fails(62001));
        ck_assert_uint_eq(breaker.failures, 1);
        fails(62001);
        ck_assert(fails(122001));
}
END_TEST

START_TEST(test_counts_anew_when_something_went_well)
{
        fails(2000);
        fails(2000);
        ck_assert(!breaker_succeeded(&breaker, 2000));
        ck_assert(!fails(2000));
}
END_TEST

START_TEST(test_stays_closed_when_fewer_failed_than_at_least)
{
        for (int i = 0; i < 9; i++)
                ck_assert(!breaker_failed(&breaker, &config, "x", 10, 2000));
        ck_assert(breaker_failed(&breaker, &config, "x", 10, 2000));
}
END_TEST

START_TEST(test_never_opens_when_the_threshold_is_zero)
{
        config.threshold = 0;
        for (int i = 0; i < 100; i++)
                ck_assert(!fails(2000));
}
END_TEST

START_TEST(test_is_half_open_when_it_has_cooled_down)
{
        open_it(2000);
        ck_assert_int_eq(breaker_cooled_at(&breaker, &config), 12000);
        ck_assert(!breaker_cooled(&breaker, &config, 11999));
        ck_assert(breaker_cooled(&breaker, &config, 12000));
        ck_assert_str_eq(breaker_state_name(breaker.state), "half_open");
        ck_assert_int_eq(breaker_cooled_at(&breaker, &config), INT64_MAX);
        if (_i) {
                ck_assert(fails(12500));
                ck_assert_int_eq(breaker_cooled_at(&breaker, &config), 22500);
                ck_assert_uint_eq(breaker.opened, 2);
        } else {
                ck_assert(breaker_succeeded(&breaker, 12500));
                ck_assert_uint_eq(breaker.failures, 0);
                ck_assert(!fails(12500));
        }
}
END_TEST

START_TEST(test_stays_open_until_reset_when_auto_reset_is_off)
{
        config.auto_reset = false;
        open_it(2000);
        ck_assert(!breaker_cooled(&breaker, &config, INT64_MAX - 1));
        ck_assert(breaker_reset(&breaker, 9000));
        ck_assert_int_eq((int)breaker.state, BREAKER_CLOSED);
        ck_assert(!breaker_reset(&breaker, 9000));
        open_it(10000);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("breaker");
        TCase *tcase = tcase_create("breaker");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, setup, NULL);
        tcase_add_loop_test(tcase, test_takes_it_where_the_table_says_when_any_event, BREAKER_EVENT_COUNT,
                BREAKER_STATE_COUNT * BREAKER_EVENT_COUNT);
        tcase_add_test(tcase, test_opens_at_the_threshold);
        tcase_add_test(tcase, test_counts_anew_when_the_window_is_over);
        tcase_add_test(tcase, test_counts_anew_when_something_went_well);
        tcase_add_test(tcase, test_stays_closed_when_fewer_failed_than_at_least);
        tcase_add_test(tcase, test_never_opens_when_the_threshold_is_zero);
        tcase_add_loop_test(tcase, test_is_half_open_when_it_has_cooled_down, 0, 2);
        tcase_add_test(tcase, test_stays_open_until_reset_when_auto_reset_is_off);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
