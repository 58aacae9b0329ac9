#include "common/clock.h"
#include "common/timer.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

static struct {
        struct event_base *base;
        struct timer timer;
        struct timer *heap; /* freed by its own callback */
        unsigned fired;
        unsigned enough; /* leaves the loop after so many */
} t;

static void on_fired(void *arg)
{
        (void)arg;
        if (++t.fired == t.enough)
                event_base_loopbreak(t.base);
}

static void on_heap_fired(void *arg)
{
        t.fired++;
        timer_stop(arg);
        free(arg);
        t.heap = NULL;
}

static void setup(void)
{
        t.fired = 0;
        t.enough = 1;
        t.base = event_base_new();
        timer_init(&t.timer, t.base, on_fired, NULL);
}

static void teardown(void)
{
        timer_stop(&t.timer);
        event_base_free(t.base);
}

START_TEST(test_fires_once_when_armed_for_once)
{
        ck_assert(!timer_armed(&t.timer));
        ck_assert_int_eq(timer_once(&t.timer, 1), 0);
        ck_assert(timer_armed(&t.timer));
        event_base_dispatch(t.base); /* ends as nothing is armed */
        ck_assert_uint_eq(t.fired, 1);
        ck_assert(!timer_armed(&t.timer));
}
END_TEST

START_TEST(test_fires_on_the_next_turn_when_due_in_the_past)
{
        ck_assert_int_eq(timer_once(&t.timer, -5), 0);
        event_base_loop(t.base, EVLOOP_NONBLOCK);
        ck_assert_uint_eq(t.fired, 1);
}
END_TEST

START_TEST(test_fires_at_a_time_of_the_clock_when_armed_for_it)
{
        ck_assert_int_eq(timer_at(&t.timer, clock_mono_ms() + 1), 0);
        ck_assert(timer_armed(&t.timer));
        event_base_dispatch(t.base);
        ck_assert_uint_eq(t.fired, 1);
        timer_once(&t.timer, 1);
        ck_assert_int_eq(timer_at(&t.timer, INT64_MAX), 0);
        ck_assert(!timer_armed(&t.timer));
}
END_TEST

START_TEST(test_fires_again_and_again_when_periodic)
{
        t.enough = 3;
        ck_assert_int_eq(timer_every(&t.timer, 0), 0);
        event_base_dispatch(t.base);
        ck_assert_uint_eq(t.fired, 3);
        ck_assert(timer_armed(&t.timer));
}
END_TEST

START_TEST(test_is_no_longer_periodic_when_armed_for_once)
{
        timer_every(&t.timer, 1);
        timer_once(&t.timer, 1);
        event_base_dispatch(t.base);
        ck_assert_uint_eq(t.fired, 1);
}
END_TEST

START_TEST(test_fires_at_once_instead_when_fired_now)
{
        timer_once(&t.timer, 60000);
        timer_now(&t.timer);
        event_base_loop(t.base, EVLOOP_NONBLOCK);
        ck_assert_uint_eq(t.fired, 1);
        ck_assert(!timer_armed(&t.timer));

        timer_every(&t.timer, 60000);
        timer_now(&t.timer);
        event_base_loop(t.base, EVLOOP_NONBLOCK);
        ck_assert_uint_eq(t.fired, 2);
        ck_assert(timer_armed(&t.timer));
}
END_TEST

START_TEST(test_does_not_fire_when_stopped)
{
        struct timer never = { 0 };

        timer_once(&t.timer, 0);
        timer_now(&t.timer);
        timer_stop(&t.timer);
        timer_stop(&t.timer);
        timer_stop(&never);
        ck_assert(!timer_armed(&never));
        event_base_dispatch(t.base);
        ck_assert_uint_eq(t.fired, 0);
}
END_TEST

START_TEST(test_may_be_freed_when_it_fires)
{
        t.heap = calloc(1, sizeof *t.heap);
        timer_init(t.heap, t.base, on_heap_fired, t.heap);
        timer_every(t.heap, 1);
        event_base_dispatch(t.base);
        ck_assert_uint_eq(t.fired, 1);
        ck_assert_ptr_null(t.heap);
}
END_TEST

START_TEST(test_splits_milliseconds_when_made_a_timeval)
{
        ck_assert_int_eq(timer_interval(1234).tv_sec, 1);
        ck_assert_int_eq(timer_interval(1234).tv_usec, 234000);
        ck_assert_int_eq(timer_interval(-1).tv_sec, 0);
        ck_assert_int_eq(timer_interval(-1).tv_usec, 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("timer");
        TCase *tcase = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, test_fires_once_when_armed_for_once);
        tcase_add_test(tcase, test_fires_on_the_next_turn_when_due_in_the_past);
        tcase_add_test(tcase, test_fires_at_a_time_of_the_clock_when_armed_for_it);
        tcase_add_test(tcase, test_fires_again_and_again_when_periodic);
        tcase_add_test(tcase, test_is_no_longer_periodic_when_armed_for_once);
        tcase_add_test(tcase, test_fires_at_once_instead_when_fired_now);
        tcase_add_test(tcase, test_does_not_fire_when_stopped);
        tcase_add_test(tcase, test_may_be_freed_when_it_fires);
        tcase_add_test(tcase, test_splits_milliseconds_when_made_a_timeval);
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
