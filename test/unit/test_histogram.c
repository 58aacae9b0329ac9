#include "common/histogram.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static char *printed(const struct histogram *histogram, const char *labels)
{
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);

        ck_assert_ptr_nonnull(out);
        histogram_print(histogram, out, "x", labels);
        fclose(out);
        return text;
}

static void check_line(const char *text, const char *line)
{
        ck_assert_msg(strstr(text, line) != NULL, "no \"%s\" in:\n%s", line, text);
}

START_TEST(test_counts_up_to_each_bound_and_beyond)
{
        struct histogram histogram = { 0 };
        char *text;

        histogram_add(&histogram, 250);
        histogram_add(&histogram, 251);
        histogram_add(&histogram, 40000000);
        histogram_add(&histogram, -5);
        text = printed(&histogram, "pool=\"p\"");
        check_line(text, "x_bucket{pool=\"p\",le=\"0.00025\"} 2\n");
        check_line(text, "x_bucket{pool=\"p\",le=\"0.0005\"} 3\n");
        check_line(text, "x_bucket{pool=\"p\",le=\"30\"} 3\n");
        check_line(text, "x_bucket{pool=\"p\",le=\"+Inf\"} 4\n");
        check_line(text, "x_sum{pool=\"p\"} 40.000501\n");
        check_line(text, "x_count{pool=\"p\"} 4\n");
        free(text);
}
END_TEST

START_TEST(test_prints_no_braces_when_there_are_no_labels)
{
        struct histogram histogram = { 0 };
        char *text = printed(&histogram, "");

        check_line(text, "x_bucket{le=\"1\"} 0\n");
        check_line(text, "x_sum 0.000000\n");
        check_line(text, "x_count 0\n");
        free(text);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("histogram");
        TCase *tcase = tcase_create("histogram");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_test(tcase, test_counts_up_to_each_bound_and_beyond);
        tcase_add_test(tcase, test_prints_no_braces_when_there_are_no_labels);
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
