#include "worker/launch.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[32], here[PATH_MAX];
static struct launch launch;
static char reason[256];

static void make_folder(const char *name)
{
        ck_assert_int_eq(mkdir(name, 0755), 0);
}

static void make_script(const char *path, const char *words, mode_t mode)
{
        FILE *file = fopen(path, "w");

        ck_assert_ptr_nonnull(file);
        fprintf(file, "#!/bin/sh\necho %s\n", words);
        fclose(file);
        chmod(path, mode);
}

static void setup(void)
{
        ck_assert_ptr_nonnull(getcwd(here, sizeof here));
        strcpy(dir, "/tmp/agentpool-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(dir));
        ck_assert_int_eq(chdir(dir), 0);
        make_folder("a");
        make_folder("b");
        make_folder("c");
        make_folder("a/folder");
        make_script("a/locked", "a", 0644);
        make_script("a/only_locked", "a", 0644);
        make_script("b/tool", "b", 0755);
        make_script("b/locked", "b", 0755);
        make_script("b/folder", "b", 0755);
        make_script("c/tool", "c", 0755);
        make_script("here", "here", 0755);
        memset(&launch, 0, sizeof launch);
}

static void teardown(void)
{
        char command[64];

        launch_done(&launch);
        snprintf(command, sizeof command, "rm -r %s", dir);
        ck_assert_int_eq(chdir(here), 0);
        ck_assert_int_eq(system(command), 0);
}

/* 0 and what the program wrote to its stdout, or the error of launch_run. */
static int run(const char *program, char *ret_output, size_t size)
{
        int out[2], null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), pidfd, r;
        ssize_t n;
        pid_t pid;

        ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
        ck_assert_int_eq(launch_argument(&launch, program, NULL), 0);
        launch.fds[0] = launch.fds[2] = null_fd;
        launch.fds[1] = out[1];
        r = launch_run(&launch, &pid, &pidfd, reason, sizeof reason);
        close(out[1]);
        if (r == 0) {
                n = read(out[0], ret_output, size - 1);
                ck_assert_int_ge(n, 0);
                ret_output[n] = '\0';
                ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
                if (pidfd >= 0)
                        close(pidfd);
        }
        close(out[0]);
        close(null_fd);
        return r;
}

static const struct {
        const char *path, *program, *output;
        int error;
} searches[] = {
        { "a:b:c", "tool", "b\n", 0 },
        { "c:b", "tool", "c\n", 0 },
        { "a:b", "locked", "b\n", 0 },
        { "a:b", "folder", "b\n", 0 },
        { "a:nowhere", "only_locked", NULL, -EACCES },
        { "a:b", "nothing", NULL, -ENOENT },
        { "", "here", "here\n", 0 },
        { "a::b", "here", "here\n", 0 },
        { "a:b:", "here", "here\n", 0 },
        { "a", "here", NULL, -ENOENT },
        { "a", "./here", "here\n", 0 },
        { "a", "b/tool", "b\n", 0 },
        { "b", "a/locked", NULL, -EACCES },
        { "b", "a/folder", NULL, -EACCES },
        { "b", "", NULL, -ENOENT },
        { "b", "b/tool/tool", NULL, -ENOTDIR },
};

START_TEST(test_finds_the_program_as_execvp_does)
{
        char output[64];

        ck_assert_int_eq(launch_variable(&launch, "PATH", searches[_i].path), 0);
        ck_assert_int_eq(run(searches[_i].program, output, sizeof output), searches[_i].error);
        if (searches[_i].output)
                ck_assert_str_eq(output, searches[_i].output);
        else
                ck_assert_ptr_nonnull(strstr(reason, strerror(-searches[_i].error)));
}
END_TEST

START_TEST(test_finds_the_program_from_here_when_it_runs_elsewhere)
{
        char output[64];

        launch.directory = "c";
        ck_assert_int_eq(run("b/tool", output, sizeof output), 0);
        ck_assert_str_eq(output, "b\n");
}
END_TEST

START_TEST(test_uses_the_usual_path_when_none_is_given)
{
        char output[64];

        ck_assert_int_eq(run("env", output, sizeof output), 0);
        ck_assert_str_eq(output, ""); /* nothing in its environment either */
}
END_TEST

START_TEST(test_keeps_the_last_of_equal_variables)
{
        char output[64];

        ck_assert_int_eq(launch_variable(&launch, "A", "1"), 0);
        ck_assert_int_eq(launch_variable(&launch, "AB", "2"), 0);
        ck_assert_int_eq(launch_variable(&launch, "A", "3=4"), 0);
        ck_assert_int_eq(run("/usr/bin/env", output, sizeof output), 0);
        ck_assert_str_eq(output, "A=3=4\nAB=2\n");
}
END_TEST

static const struct {
        const char *text, *argument;
        bool placeholder;
} arguments[] = {
        { "", "", false },
        { "plain", "plain", false },
        { "${args.a}", "1", true },
        { "x${args.a}${args.bb}y", "x1${args.a}y", true }, /* values are not looked at again */
        { "${args.none}${args.}", "", true },
        { "${args.a", "${args.a", false },
        { "$args.a} ${arg.a} $${args.a}", "$args.a} ${arg.a} $1", true },
        { "${args.number}", "", true },
};

START_TEST(test_replaces_what_args_name)
{
        cJSON *args = cJSON_Parse("{\"a\":\"1\",\"bb\":\"${args.a}\",\"number\":1}");

        ck_assert_int_eq(launch_argument(&launch, arguments[_i].text, args), 0);
        ck_assert_str_eq(launch.argv.items[0], arguments[_i].argument);
        ck_assert_ptr_null(launch.argv.items[1]);
        ck_assert_int_eq(launch_has_placeholder(arguments[_i].text), arguments[_i].placeholder);
        cJSON_Delete(args);
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("launch");
        TCase *c = tcase_create("launch");

        suite_add_tcase(all, c);
        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 60);
        tcase_add_loop_test(c, test_finds_the_program_as_execvp_does, 0, sizeof searches / sizeof *searches);
        tcase_add_test(c, test_finds_the_program_from_here_when_it_runs_elsewhere);
        tcase_add_test(c, test_uses_the_usual_path_when_none_is_given);
        tcase_add_test(c, test_keeps_the_last_of_equal_variables);
        tcase_add_loop_test(c, test_replaces_what_args_name, 0, sizeof arguments / sizeof *arguments);
        return all;
}

int main(void)
{
        SRunner *runner = srunner_create(suite());
        int failed;

        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed != 0;
}
