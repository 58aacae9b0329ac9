#include "common/capture.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];
static struct id agent;

static void setup(void)
{
        strcpy(directory, "/tmp/agentpool-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        agent = id_new();
}

static void teardown(void)
{
        char path[CAPTURE_PATH_MAX];

        unlink(capture_path(path, directory, &agent, false));
        unlink(capture_path(path, directory, &agent, true));
        ck_assert_int_eq(rmdir(directory), 0);
}

static void append(const char *line)
{
        ck_assert_int_eq(capture_append(directory, 100, &agent, 0, line, strlen(line)), 0);
}

static void check_tail(unsigned lines, const char *expected)
{
        char *text, *at, plain[1024] = "";
        size_t len;

        ck_assert_int_eq(capture_tail(directory, &agent, lines, &text, &len), 0);
        /* Without the times. */
        for (at = text; at < text + len; at = strchr(at, '\n') + 1) {
                ck_assert_int_eq(strncmp(at, "1970-01-01T00:00:00.000Z ", 25), 0);
                strncat(plain, at + 25, strcspn(at + 25, "\n") + 1);
        }
        ck_assert_str_eq(plain, expected);
        free(text);
}

START_TEST(test_keeps_the_last_lines_over_two_files)
{
        char *text;
        size_t len;

        ck_assert_int_eq(capture_tail(directory, &agent, 5, &text, &len), -ENOENT);
        append("one");
        append("two");
        check_tail(5, "one\ntwo\n");
        append("three 56789012345678901234567890123456789012345678901234567890"); /* now it is full */
        append("four");
        check_tail(9, "one\ntwo\nthree 56789012345678901234567890123456789012345678901234567890\nfour\n");
        check_tail(1, "four\n");
        append("five 456789012345678901234567890123456789012345678901234567890");
        append("six"); /* what was in the older file goes */
        check_tail(9, "four\nfive 456789012345678901234567890123456789012345678901234567890\nsix\n");
}
END_TEST

START_TEST(test_follows_over_a_change_of_files)
{
        static const char long_line[] = "long 456789012345678901234567890123456789012345678901234567890";
        struct capture_position position;
        char buffer[256];

        append("old");
        capture_seek_end(&position, directory, &agent);
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 0);
        append(long_line);
        append("new");
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 25 + strlen(long_line) + 1);
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 25 + 3 + 1);
        ck_assert_int_eq(memcmp(buffer + 25, "new\n", 4), 0);
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 0);
}
END_TEST

START_TEST(test_follows_what_begins_later)
{
        struct capture_position position;
        char buffer[256];

        capture_seek_end(&position, directory, &agent);
        append("first");
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 25 + 5 + 1);
}
END_TEST

START_TEST(test_says_why_when_it_cannot_write)
{
        ck_assert_int_eq(capture_append("/nonexistent", 100, &agent, 0, "x", 1), -ENOENT);
        ck_assert_int_eq(capture_append("/proc", 100, &agent, 0, "x", 1), -ENOENT);
}
END_TEST

START_TEST(test_removes_only_old_files_of_agents)
{
        char path[CAPTURE_PATH_MAX], other[128];
        FILE *file;

        append("line");
        snprintf(other, sizeof other, "%s/other.log", directory);
        file = fopen(other, "w");
        ck_assert_ptr_nonnull(file);
        fclose(file);
        ck_assert_uint_eq(capture_prune(directory, 1000), 0);
        ck_assert_uint_eq(capture_prune(directory, INT64_MAX), 1);
        ck_assert_int_eq(access(capture_path(path, directory, &agent, false), F_OK), -1);
        ck_assert_int_eq(unlink(other), 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("capture");
        TCase *tcase = tcase_create("capture");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, test_keeps_the_last_lines_over_two_files);
        tcase_add_test(tcase, test_follows_over_a_change_of_files);
        tcase_add_test(tcase, test_follows_what_begins_later);
        tcase_add_test(tcase, test_says_why_when_it_cannot_write);
        tcase_add_test(tcase, test_removes_only_old_files_of_agents);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
