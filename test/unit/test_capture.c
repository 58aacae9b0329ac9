#include "common/capture.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
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
        char *text, *at, plain[1024] = "", buffer[1024];
        struct capture_position from;
        size_t len, read = 0, n;

        ck_assert_int_eq(capture_tail(directory, &agent, lines, &text, &len, &from), 0);
        while ((n = capture_read(&from, directory, &agent, buffer + read, sizeof buffer - read)))
                read += n;
        ck_assert_uint_eq(read, len); /* from is where they begin */
        ck_assert_mem_eq(buffer, text, len);
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
        struct capture_position from;
        char *text;
        size_t len;

        ck_assert_int_eq(capture_tail(directory, &agent, 5, &text, &len, &from), -ENOENT);
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

/* Files' times are those of the last tick. */
static void wait_for_tick(void)
{
        struct timespec from, now;

        clock_gettime(CLOCK_REALTIME_COARSE, &from);
        do
                clock_gettime(CLOCK_REALTIME_COARSE, &now);
        while (now.tv_sec == from.tv_sec && now.tv_nsec == from.tv_nsec);
}

START_TEST(test_follows_over_a_change_of_files)
{
        static const char long_line[] = "long 456789012345678901234567890123456789012345678901234567890";
        struct capture_position position = { 0 };
        char buffer[256];

        append("old");
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 25 + 3 + 1);
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 0);
        append(long_line);
        append("new");
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 25 + strlen(long_line) + 1);
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 25 + 3 + 1);
        ck_assert_int_eq(memcmp(buffer + 25, "new\n", 4), 0);
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 0);
        /* Two changes between two looks: what is left is both files. */
        append(long_line);
        append(long_line);
        wait_for_tick();
        append(long_line);
        append("last");
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, 110), 25 + strlen(long_line) + 1);
        ck_assert_uint_gt(capture_read(&position, directory, &agent, buffer, sizeof buffer), 0);
}
END_TEST

START_TEST(test_follows_what_begins_later)
{
        struct capture_position position = { 0 };
        char buffer[256];

        append("first");
        ck_assert_uint_eq(capture_read(&position, directory, &agent, buffer, sizeof buffer), 25 + 5 + 1);
}
END_TEST

static void check_refused(int error)
{
        struct capture_position from = { 0 };
        char *text, buffer[16];
        size_t len;

        ck_assert_int_eq(capture_tail(directory, &agent, 5, &text, &len, &from), error);
        ck_assert_uint_eq(capture_read(&from, directory, &agent, buffer, sizeof buffer), 0);
}

/* What an agent with the worker's user can put in its place. */
START_TEST(test_neither_waits_for_nor_follows_what_is_no_file_of_its_own)
{
        char path[CAPTURE_PATH_MAX], other[CAPTURE_PATH_MAX];
        int fd;

        capture_path(path, directory, &agent, false);
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        check_refused(-EINVAL);
        ck_assert_int_eq(capture_append(directory, 100, &agent, 0, "x", 1), -ENXIO);
        fd = open(path, O_RDWR); /* now there is a reader */
        ck_assert_int_eq(capture_append(directory, 100, &agent, 0, "x", 1), -EINVAL);
        close(fd);
        unlink(path);
        ck_assert_int_eq(symlink("/etc/passwd", path), 0);
        check_refused(-ELOOP);
        unlink(path);
        append("secret");
        snprintf(other, sizeof other, "%s/other", directory);
        ck_assert_int_eq(link(path, other), 0);
        check_refused(-EINVAL);
        unlink(other);
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
        tcase_add_test(tcase, test_neither_waits_for_nor_follows_what_is_no_file_of_its_own);
        tcase_add_test(tcase, test_says_why_when_it_cannot_write);
        tcase_add_test(tcase, test_removes_only_old_files_of_agents);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
