/* In ordinary builds the library has no fault points, so that this test brings its own. */
#ifndef AGENTPOOL_FAULTS
#define AGENTPOOL_FAULTS 1
#include "common/fault.c"
#endif
#include "common/clock.h"
#include "common/fault.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs passages in a child whose faults are spec; returns its wait status (also when it only stopped). */
static int child(const char *spec, int (*passages)(void))
{
        int status, pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

                dup2(null, STDERR_FILENO);
                if (spec)
                        setenv("AGENTPOOL_FAULT", spec, 1);
                else
                        unsetenv("AGENTPOOL_FAULT");
                _exit(passages());
        }
        ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
        if (WIFSTOPPED(status)) {
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
        }
        return status;
}

static int four(void)
{
        int failed = 0;

        for (int i = 0; i < 4; i++)
                failed |= (FAULT_POINT("a.b") == -EAGAIN) << i;
        return FAULT_POINT("a") < 0 || FAULT_POINT("a.bc") < 0 ? 99 : failed;
}

START_TEST(test_point_passes_when_nothing_is_armed)
{
        ck_assert_int_eq(child(NULL, four), 0);
        ck_assert_int_eq(child("", four), 0);
        ck_assert_int_eq(child("x=kill", four), 0);
}
END_TEST

START_TEST(test_point_strikes_once_when_a_file_asks_for_it)
{
        char directory[] = "/tmp/ap-fault-XXXXXX", path[64];
        FILE *file;

        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/a.b", directory);
        setenv("AGENTPOOL_FAULT_DIR", directory, 1);
        ck_assert_int_eq(child(NULL, four), 0);
        file = fopen(path, "we");
        fputs("error:EAGAIN", file);
        fclose(file);
        ck_assert_int_eq(WEXITSTATUS(child(NULL, four)), 1);
        ck_assert_int_eq(child(NULL, four), 0);
        ck_assert_int_eq(access(path, F_OK), -1);
        unsetenv("AGENTPOOL_FAULT_DIR");
        rmdir(directory);
}
END_TEST

START_TEST(test_point_fails_when_armed_with_an_error)
{
        ck_assert_int_eq(WEXITSTATUS(child("a.b=error:EAGAIN", four)), 15);
        ck_assert_int_eq(WEXITSTATUS(child("a.b=error:EAGAIN@3", four)), 4);
        ck_assert_int_eq(WEXITSTATUS(child("x=stop,a.b=error:EAGAIN@1,a.b=error:EAGAIN@4", four)), 9);
        ck_assert_int_eq(WEXITSTATUS(child("a.b=error:EAGAIN@9", four)), 0);
}
END_TEST

static int four_in_a_child(void)
{
        int status, pid;

        if (four() != 4)
                return 98;
        pid = fork();
        if (pid == 0)
                _exit(four());
        waitpid(pid, &status, 0);
        return WEXITSTATUS(status);
}

START_TEST(test_passages_count_anew_when_forked)
{
        ck_assert_int_eq(WEXITSTATUS(child("a.b=error:EAGAIN@3", four_in_a_child)), 4);
}
END_TEST

START_TEST(test_point_ends_the_process_when_armed_to_kill_or_stop)
{
        int status = child("a.b=kill@2", four);

        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        status = child("a.b=stop", four);
        ck_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
}
END_TEST

static int hang(void)
{
        signal(SIGALRM, SIG_DFL); /* Check's handler would end the test */
        ualarm(50000, 0);
        return FAULT_POINT("a.b");
}

START_TEST(test_point_never_returns_when_armed_to_hang)
{
        int status = child("a.b=hang", hang);

        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}
END_TEST

static int wait_a_little(void)
{
        int64_t start = clock_mono_ms();

        return FAULT_POINT("a.b") == 0 && clock_mono_ms() - start >= 30 ? 0 : 1;
}

START_TEST(test_point_waits_when_armed_with_a_delay)
{
        ck_assert_int_eq(child("a.b=delay:31", wait_a_little), 0);
}
END_TEST

START_TEST(test_program_aborts_when_the_list_is_wrong)
{
        static const char *const wrong[] = { "a.b", "=kill", "a.b=", "a.b=murder", "a.b=delay:", "a.b=delay:-1",
                "a.b=delay:1s", "a.b=error:ENOSUCH", "a.b=error:", "a.b=kill@0", "a.b=kill@", "a.b=kill@x", "a@2=kill",
                "a.b=error:EAGAIN,", ",", ("a=kill,b=kill,c=kill,d=kill,e=kill,f=kill,g=kill,h=kill,i=kill,j=kill,"
                "k=kill,l=kill,m=kill,n=kill,o=kill,p=kill,q=kill") };

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                int status = child(wrong[i], four);

                ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: %d", wrong[i], status);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("fault");
        TCase *tcase = tcase_create("fault");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_point_passes_when_nothing_is_armed);
        tcase_add_test(tcase, test_point_strikes_once_when_a_file_asks_for_it);
        tcase_add_test(tcase, test_point_fails_when_armed_with_an_error);
        tcase_add_test(tcase, test_passages_count_anew_when_forked);
        tcase_add_test(tcase, test_point_ends_the_process_when_armed_to_kill_or_stop);
        tcase_add_test(tcase, test_point_never_returns_when_armed_to_hang);
        tcase_add_test(tcase, test_point_waits_when_armed_with_a_delay);
        tcase_add_test(tcase, test_program_aborts_when_the_list_is_wrong);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
