#include "master/boot/seccomp.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs the child's part where nothing comes back from: 0, or the line that failed. */
static int in_child(int (*install)(void), int (*part)(void))
{
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                _exit(install() == 0 ? part() : 255);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status);
}

#define EXPECT(condition)                       \
        do {                                    \
                if (!(condition))               \
                        return __LINE__ % 251;  \
        } while (0)
#define REFUSED(call) ((call) == -1 && errno == EPERM)

static void *in_thread(void *arg)
{
        return arg;
}

/* What everything below the forker does. */
static int works(void)
{
        pthread_t thread;
        void *result = NULL;
        int fd = open("/dev/null", O_RDWR), status;
        pid_t pid = fork();

        if (pid == 0)
                _exit(7);
        EXPECT(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
        EXPECT(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
        EXPECT(pthread_create(&thread, NULL, in_thread, &status) == 0 && pthread_join(thread, &result) == 0);
        EXPECT(result == &status);
        return 0;
}

static int everywhere(void)
{
        char *const argv[] = { (char[]){ "true" }, NULL };
        int status;
        pid_t pid;

        EXPECT(REFUSED(syscall(SYS_bpf, 0, NULL, 0)));
        EXPECT(REFUSED(syscall(SYS_init_module, NULL, 0, "")));
        EXPECT(REFUSED(syscall(SYS_keyctl, 0, -3, 0)));
        EXPECT(REFUSED(syscall(SYS_reboot, 0, 0, 0)));
        EXPECT(REFUSED(syscall(SYS_userfaultfd, 0)));
        EXPECT(syscall(SYS_getppid) == getppid());
#ifdef __x86_64__
        EXPECT(REFUSED(syscall(SYS_getppid | 0x40000000)));
#endif
        pid = fork();
        if (pid == 0)
                _exit(execv("/bin/true", argv) == 0 ? 0 : 1);
        EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        return works();
}

static int master_only(void)
{
        char *const argv[] = { (char[]){ "true" }, NULL };

        EXPECT(REFUSED(execv("/bin/true", argv)));
        EXPECT(REFUSED(syscall(SYS_execveat, -1, "/bin/true", argv, NULL, 0)));
        EXPECT(REFUSED(mount("none", "/tmp", "tmpfs", 0, NULL)));
        EXPECT(REFUSED(syscall(SYS_unshare, 0)));
        EXPECT(REFUSED(syscall(SYS_setresuid, -1, -1, -1)));
        EXPECT(REFUSED(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0)));
#ifndef __SANITIZE_ADDRESS__
        EXPECT(REFUSED(syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0)));
#endif
        return works();
}

static int both(void)
{
        int r = seccomp_everywhere();

        return r ? r : seccomp_master();
}

START_TEST(test_refuses_what_changes_the_machine_and_nothing_else)
{
        ck_assert_int_eq(in_child(seccomp_everywhere, everywhere), 0);
}
END_TEST

START_TEST(test_refuses_the_master_programs_and_other_processes)
{
        ck_assert_int_eq(in_child(seccomp_master, master_only), 0);
        ck_assert_int_eq(in_child(both, master_only), 0);
}
END_TEST

START_TEST(test_says_so_when_the_kernel_does_not_let_it)
{
        /* Without no_new_privs only root may install a filter. */
        if (getuid() == 0)
                return;
        ck_assert_int_eq(seccomp_everywhere(), -EACCES);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("seccomp");
        TCase *tcase = tcase_create("seccomp");
        SRunner *runner = srunner_create(suite);

        tcase_add_test(tcase, test_refuses_what_changes_the_machine_and_nothing_else);
        tcase_add_test(tcase, test_refuses_the_master_programs_and_other_processes);
        tcase_add_test(tcase, test_says_so_when_the_kernel_does_not_let_it);
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed != 0;
}
