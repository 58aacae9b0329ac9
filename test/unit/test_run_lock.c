#include "common/fd.h"
#include "common/proc.h"
#include "master/boot/run_lock.h"

#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64], path[100], reason[512];

static void setup(void)
{
        strcpy(directory, "/tmp/test_run_lock.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/lock", directory);
}

static void teardown(void)
{
        unlink(path);
        ck_assert_int_eq(rmdir(directory), 0);
}

START_TEST(test_refuses_and_names_the_holder_when_held)
{
        int fd = -1, second = -1;
        char holder[64];

        ck_assert_int_eq(run_lock_take(path, &fd, reason, sizeof reason), 0);
        ck_assert_int_eq(run_lock_take(path, &second, reason, sizeof reason), -EBUSY);
        ck_assert_ptr_nonnull(strstr(reason, "not known yet"));
        ck_assert_int_eq(run_lock_write(fd, "127.0.0.1:8000"), 0);
        ck_assert_int_eq(run_lock_take(path, &second, reason, sizeof reason), -EBUSY);
        ck_assert_int_eq(second, -1);
        snprintf(holder, sizeof holder, "pid %d, listening on 127.0.0.1:8000", getpid());
        ck_assert_ptr_nonnull(strstr(reason, holder));
        ck_assert_ptr_nonnull(strstr(reason, path));
        run_lock_drop(path, fd);
}
END_TEST

START_TEST(test_leaves_no_file_when_dropped)
{
        int fd = -1;

        ck_assert_int_eq(run_lock_take(path, &fd, reason, sizeof reason), 0);
        ck_assert_int_eq(run_lock_drop(path, fd), -1);
        ck_assert_int_eq(access(path, F_OK), -1);
        ck_assert_int_eq(run_lock_drop(path, -1), -1);
}
END_TEST

START_TEST(test_is_free_when_the_holder_was_killed)
{
        int fd = -1, status;
        pid_t pid = fork();

        if (pid == 0) {
                if (run_lock_take(path, &fd, reason, sizeof reason) < 0 || run_lock_write(fd, "x") < 0)
                        _exit(1);
                raise(SIGKILL);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        ck_assert_int_eq(access(path, F_OK), 0);
        ck_assert_int_eq(run_lock_take(path, &fd, reason, sizeof reason), 0);
        run_lock_drop(path, fd);
}
END_TEST

START_TEST(test_is_in_progress_when_a_child_outlives_the_holder)
{
        int fd = -1, pipe_fds[2], status;
        char byte;
        pid_t pid;

        ck_assert_int_eq(pipe(pipe_fds), 0);
        pid = fork();
        if (pid == 0) {
                if (run_lock_take(path, &fd, reason, sizeof reason) < 0 || run_lock_write(fd, "x") < 0)
                        _exit(1);
                if (fork() == 0) { /* until the test closes its end */
                        close(pipe_fds[1]);
                        _exit(read(pipe_fds[0], &byte, 1) == 0 ? 0 : 1);
                }
                raise(SIGKILL);
        }
        close(pipe_fds[0]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        ck_assert_int_eq(run_lock_take(path, &fd, reason, sizeof reason), -EINPROGRESS);
        ck_assert_ptr_nonnull(strstr(reason, "left behind when it was killed"));
        close(pipe_fds[1]);
        while (run_lock_take(path, &fd, reason, sizeof reason) == -EINPROGRESS)
                usleep(1000);
        ck_assert_int_ge(fd, 0);
        run_lock_drop(path, fd);
}
END_TEST

/* Somebody else keeps the lock, and its holder cannot finish its exit: the first process of a PID namespace waits there
 * until its last one, which is a child of a process outside, was reaped. */
START_TEST(test_is_in_progress_when_the_holder_is_on_its_way_out)
{
        int fd = -1, second = -1, tell[2], gate[2], status;
        struct proc_stat stat = { 0 };
        pid_t outside, first;
        char text[100];

        ck_assert_int_eq(pipe(tell), 0);
        ck_assert_int_eq(pipe(gate), 0);
        outside = fork();
        if (outside == 0) {
                close(gate[1]);
                if (unshare(geteuid() == 0 ? CLONE_NEWPID : CLONE_NEWUSER | CLONE_NEWPID) < 0)
                        _exit(1);
                for (int i = 0; i < 2; i++) {
                        pid_t pid = fork();

                        if (pid == 0)
                                _exit(read(gate[0], text, 1) == 0 ? 0 : 1);
                        if (i == 0)
                                first = pid;
                }
                _exit(write(tell[1], &first, sizeof first) == sizeof first && read(gate[0], text, 1) == 0 ? 0 : 1);
        }
        close(tell[1]);
        ck_assert_int_eq(read(tell[0], &first, sizeof first), sizeof first);
        ck_assert_int_eq(proc_stat(first, &stat), 0);
        ck_assert_int_eq(run_lock_take(path, &fd, reason, sizeof reason), 0);
        snprintf(text, sizeof text, "%d, listening on x\nstarted %llu\n", first, stat.started);
        ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        ck_assert_int_eq(run_lock_take(path, &second, reason, sizeof reason), -EBUSY);
        ck_assert_int_eq(kill(first, SIGKILL), 0);
        while (run_lock_take(path, &second, reason, sizeof reason) == -EBUSY)
                usleep(1000);
        ck_assert_int_eq(proc_stat(first, &stat), 0);
        ck_assert_int_ne(stat.state, 'Z'); /* it was seen before its end */
        ck_assert_int_eq(run_lock_take(path, &second, reason, sizeof reason), -EINPROGRESS);
        close(gate[1]);
        ck_assert_int_eq(waitpid(outside, &status, 0), outside);
        ck_assert_int_eq(status, 0);
        run_lock_drop(path, fd);
}
END_TEST

START_TEST(test_explains_when_the_directory_is_missing)
{
        int fd = -1;

        ck_assert_int_eq(run_lock_take("/nonexistent/lock", &fd, reason, sizeof reason), -ENOENT);
        ck_assert_ptr_nonnull(strstr(reason, "/nonexistent/lock"));
}
END_TEST

/* Two that always try to get it: one lock at a time, also while the holder removes the file. */
START_TEST(test_has_one_holder_when_many_come_and_go)
{
        char held[120];
        int status;

        snprintf(held, sizeof held, "%s/held", directory);
        for (int child = 0; child < 4; child++)
                if (fork() == 0) {
                        int fd = -1;

                        for (int i = 0; i < 3000; i++) {
                                if (run_lock_take(path, &fd, reason, sizeof reason) < 0)
                                        continue;
                                if (mkdir(held, 0700) < 0)
                                        _exit(1); /* somebody else has it, too */
                                rmdir(held);
                                run_lock_drop(path, fd);
                        }
                        _exit(0);
                }
        for (int child = 0; child < 4; child++) {
                ck_assert_int_gt(wait(&status), 0);
                ck_assert_int_eq(status, 0);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("run_lock");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_checked_fixture(all, setup, teardown);
        tcase_set_timeout(all, 60);
        tcase_add_test(all, test_refuses_and_names_the_holder_when_held);
        tcase_add_test(all, test_leaves_no_file_when_dropped);
        tcase_add_test(all, test_is_free_when_the_holder_was_killed);
        tcase_add_test(all, test_is_in_progress_when_a_child_outlives_the_holder);
        tcase_add_test(all, test_is_in_progress_when_the_holder_is_on_its_way_out);
        tcase_add_test(all, test_explains_when_the_directory_is_missing);
        tcase_add_test(all, test_has_one_holder_when_many_come_and_go);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
