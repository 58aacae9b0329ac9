#include "worker/runtime/launch.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
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
        launch = (struct launch){ .umask = -1 };
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

/* ---- why not ---- */

static const struct {
        const char *text;
        size_t len;
        int error;
        const char *reason; /* after "cannot execute ./tried: " */
} contents[] = {
#define TEXT(text) text, sizeof text - 1
        { TEXT("#!/bin/sh\r\necho\r\n"), -ENOENT, "No such file or directory: its first line ends in a carriage return: save it with Unix line ends" },
        { TEXT("#! /no/such/python3 -u\n"), -ENOENT, "No such file or directory: its interpreter /no/such/python3 is not there" },
        { TEXT("#!/etc/passwd/x\n"), -ENOTDIR, "Not a directory: its interpreter /etc/passwd/x is not there" },
        { TEXT("#!/etc/passwd\n"), -EACCES, "Permission denied: its interpreter /etc/passwd may not be executed" },
        { TEXT("\xef\xbb\xbf#!/bin/sh\n"), -ENOEXEC,
                "Exec format error: a byte order mark stands before its #!: save it as UTF-8 without one" },
        { TEXT(""), -ENOEXEC, "Exec format error: it is empty" },
        { TEXT("echo\n"), -ENOEXEC, "Exec format error: it is neither a program nor a script that begins with #!" },
        { TEXT("\x7f" "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x99\x99"), -ENOEXEC, "Exec format error: it was built for another kind of machine" },
};

static void check_reason(const char *expected)
{
        ck_assert_msg(strcmp(reason, expected) == 0, "%s", reason);
}

START_TEST(test_says_why_what_is_in_the_file_cannot_be_executed)
{
        FILE *file = fopen("tried", "w");
        char expected[256], output[64];

        fwrite(contents[_i].text, 1, contents[_i].len, file);
        fclose(file);
        chmod("tried", 0755);
        ck_assert_int_eq(run("./tried", output, sizeof output), contents[_i].error);
        snprintf(expected, sizeof expected, "cannot execute ./tried: %s", contents[_i].reason);
        check_reason(expected);
}
END_TEST

START_TEST(test_says_why_the_file_may_not_be_executed)
{
        char output[64], expected[256], program[80];

        ck_assert_int_eq(run("./a/folder", output, sizeof output), -EACCES);
        check_reason("cannot execute ./a/folder: Permission denied: it is a folder");
        launch_done(&launch);
        ck_assert_int_eq(run("a/locked", output, sizeof output), -EACCES);
        snprintf(expected, sizeof expected, "cannot execute a/locked: Permission denied: user %u may not execute it: chmod +x", getuid());
        check_reason(expected);
        if (getuid() != 0)
                return;
        /* The folder of this test is only its owner's. */
        launch_done(&launch);
        snprintf(program, sizeof program, "%s/b/tool", dir);
        ck_assert_int_eq(setresuid(65534, 65534, 0), 0);
        ck_assert_int_eq(run(program, output, sizeof output), -EACCES);
        ck_assert_int_eq(setresuid(0, 0, 0), 0);
        snprintf(expected, sizeof expected, "cannot execute %s: Permission denied: user 65534 may not enter the folder %s", program, dir);
        check_reason(expected);
}
END_TEST

START_TEST(test_says_that_the_file_system_is_mounted_noexec)
{
        char output[64];

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("tmpfs", "c", "tmpfs", MS_NOEXEC, NULL) < 0)
                return; /* only root may */
        make_script("c/tool", "c", 0755);
        ck_assert_int_eq(run("c/tool", output, sizeof output), -EACCES);
        check_reason("cannot execute c/tool: Permission denied: it lies on a file system that is mounted noexec");
        ck_assert_int_eq(umount("c"), 0);
}
END_TEST

START_TEST(test_says_that_somebody_still_writes_the_file)
{
        char output[64];
        int fd;

        ck_assert_int_eq(system("cp /bin/true busy"), 0);
        fd = open("busy", O_WRONLY | O_CLOEXEC);
        ck_assert_int_eq(run("./busy", output, sizeof output), -ETXTBSY);
        check_reason("cannot execute ./busy: Text file busy: a program has it open for writing: is it still being copied?");
        close(fd);
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
        tcase_add_loop_test(c, test_says_why_what_is_in_the_file_cannot_be_executed, 0, sizeof contents / sizeof *contents);
        tcase_add_test(c, test_says_why_the_file_may_not_be_executed);
        tcase_add_test(c, test_says_that_the_file_system_is_mounted_noexec);
        tcase_add_test(c, test_says_that_somebody_still_writes_the_file);
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
