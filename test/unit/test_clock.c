#include "common/clock.h"

#include <check.h>
#include <time.h>

START_TEST(test_format_is_rfc_3339_when_any_time)
{
        char text[CLOCK_TEXT_SIZE];

        ck_assert_ptr_eq(clock_format(1769903999999, text), text);
        ck_assert_str_eq(text, "2026-01-31T23:59:59.999Z");
        ck_assert_str_eq(CLOCK_TEXT(0), "1970-01-01T00:00:00.000Z");
        ck_assert_str_eq(CLOCK_TEXT(1709208000007), "2024-02-29T12:00:00.007Z");
        ck_assert_str_eq(CLOCK_TEXT(INT64_C(253402300799999)), "9999-12-31T23:59:59.999Z");
}
END_TEST

START_TEST(test_format_stays_in_the_form_when_the_time_is_absurd)
{
        ck_assert_str_eq(CLOCK_TEXT(INT64_MAX), "9999-12-31T23:59:59.999Z");
        ck_assert_str_eq(CLOCK_TEXT(INT64_MIN), "1970-01-01T00:00:00.000Z");
        ck_assert_str_eq(CLOCK_TEXT(-1), "1970-01-01T00:00:00.000Z");
}
END_TEST

START_TEST(test_mono_never_goes_back_when_read_often)
{
        int64_t last = clock_mono_ms();

        ck_assert_int_gt(last, 0);
        for (int i = 0; i < 10000; i++) {
                int64_t now = clock_mono_ms();

                ck_assert_int_ge(now, last);
                last = now;
        }
}
END_TEST

START_TEST(test_wall_agrees_with_time_when_read)
{
        int64_t before = (int64_t)time(NULL), now = clock_wall_ms(), after = (int64_t)time(NULL);

        /* time() may lag by a tick. */
        ck_assert_int_ge(now / 1000, before);
        ck_assert_int_le(now / 1000, after + 1);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("clock");
        TCase *tcase = tcase_create("clock");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_format_is_rfc_3339_when_any_time);
        tcase_add_test(tcase, test_format_stays_in_the_form_when_the_time_is_absurd);
        tcase_add_test(tcase, test_mono_never_goes_back_when_read_often);
        tcase_add_test(tcase, test_wall_agrees_with_time_when_read);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
