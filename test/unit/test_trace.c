#include "common/trace.h"

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

static const char *const wrong[] = {
        NULL, "", "00", "00-", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
};

START_TEST(test_takes_a_traceparent_and_nothing_else)
{
        ck_assert(trace_valid("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        ck_assert(trace_valid("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"));
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                ck_assert_msg(!trace_valid(wrong[i]), "%s", wrong[i]);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("trace");
        TCase *tcase = tcase_create("trace");
        SRunner *runner;
        int failed;

        tcase_add_test(tcase, test_takes_a_traceparent_and_nothing_else);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
