#include "common/fd.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

START_TEST(test_close_returns_none_when_called)
{
        int fd = dup(0);

        errno = 77;
        ck_assert_int_eq(fd_close(fd), -1);
        ck_assert_int_eq(fd_close(-1), -1);
        ck_assert_int_eq(fd_close(fd), -1);
        ck_assert_int_eq(errno, 77);
        ck_assert(!is_open(fd));
}
END_TEST

START_TEST(test_pair_keeps_packets_apart_when_sent_together)
{
        char data[16];
        int fds[2], fd = 5;

        ck_assert_int_eq(fd_packet_pair(fds), 0);
        ck_assert_int_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(fcntl(fds[1], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        ck_assert_int_eq(fd_receive(fds[1], data, sizeof data, &fd), -EAGAIN);
        ck_assert_int_eq(fd, -1);
        ck_assert_int_eq(fd_send(fds[0], "one", 3, -1), 0);
        ck_assert_int_eq(fd_send(fds[0], "three", 5, -1), 0);
        ck_assert_int_eq(fd_receive(fds[1], data, sizeof data, &fd), 3);
        ck_assert_int_eq(memcmp(data, "one", 3), 0);
        ck_assert_int_eq(fd_receive(fds[1], data, sizeof data, &fd), 5);
        ck_assert_int_eq(fd, -1);
        fd_close(fds[0]);
        ck_assert_int_eq(fd_receive(fds[1], data, sizeof data, &fd), 0);
        ck_assert_int_eq(fd_send(fds[1], "x", 1, -1), -EPIPE);
        fd_close(fds[1]);
}
END_TEST

START_TEST(test_send_hands_a_descriptor_over_when_given_one)
{
        int fds[2], pipe_fds[2], fd = -1;
        char data[16];

        ck_assert_int_eq(fd_packet_pair(fds), 0);
        ck_assert_int_eq(pipe(pipe_fds), 0);
        ck_assert_int_eq(fd_send(fds[0], "x", 1, pipe_fds[1]), 0);
        ck_assert(is_open(pipe_fds[1]));
        fd_close(pipe_fds[1]);
        ck_assert_int_eq(fd_receive(fds[1], data, sizeof data, &fd), 1);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(write(fd, "hello", 5), 5);
        ck_assert_int_eq(read(pipe_fds[0], data, sizeof data), 5);
        fd_close(fd);
        fd_close(pipe_fds[0]);
        fd_close(fds[0]);
        fd_close(fds[1]);
}
END_TEST

START_TEST(test_send_says_when_the_queue_is_full_or_the_packet_too_big)
{
        static char big[1 << 20];
        int fds[2], r;

        ck_assert_int_eq(fd_packet_pair(fds), 0);
        ck_assert_int_eq(fd_send(fds[0], big, sizeof big, -1), -EMSGSIZE);
        while ((r = fd_send(fds[0], big, 1000, -1)) == 0)
                ;
        ck_assert_int_eq(r, -EAGAIN);
        fd_close(fds[0]);
        fd_close(fds[1]);
}
END_TEST

START_TEST(test_receive_leaks_nothing_when_a_packet_does_not_fit)
{
        int fds[2], fd = 5, next = dup(0);
        char data[4];

        fd_close(next);
        ck_assert_int_eq(fd_packet_pair(fds), 0);
        ck_assert_int_eq(fd_send(fds[0], "12345", 5, 0), 0);
        ck_assert_int_eq(fd_receive(fds[1], data, sizeof data, &fd), -EMSGSIZE);
        ck_assert_int_eq(fd, -1);
        fd_close(fds[0]);
        fd_close(fds[1]);
        ck_assert_int_eq(fd = dup(0), next);
        fd_close(fd);
}
END_TEST

START_TEST(test_receive_keeps_one_when_two_descriptors_come)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(2 * sizeof(int))];
        } control = { 0 };
        struct iovec part = { .iov_base = (char[]){ "x" }, .iov_len = 1 };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                .msg_controllen = sizeof control };
        int fds[2], fd, first;
        char data[4];

        ck_assert_int_eq(fd_packet_pair(fds), 0);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(2 * sizeof(int));
        memcpy(CMSG_DATA(&control.align), (int[]){ 0, 0 }, 2 * sizeof(int));
        ck_assert_int_eq(sendmsg(fds[0], &message, 0), 1);
        first = dup(0);
        fd_close(first);
        ck_assert_int_eq(fd_receive(fds[1], data, sizeof data, &fd), 1);
        ck_assert_int_eq(fd, first);
        ck_assert(!is_open(first + 1));
        fd_close(fd);
        fd_close(fds[0]);
        fd_close(fds[1]);
}
END_TEST

START_TEST(test_receive_goes_without_a_descriptor_when_none_is_left)
{
        const char *preload = getenv("LD_PRELOAD");
        struct rlimit limit;
        char data[4];
        int fds[2], fd = 5;

        if (preload && strstr(preload, "vgpreload"))
                return; /* valgrind plays the limit itself and lets sockets pass it */

        ck_assert_int_eq(fd_packet_pair(fds), 0);
        ck_assert_int_eq(fd_send(fds[0], "x", 1, 0), 0);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = (rlim_t)fds[1] + 1;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        ck_assert_int_eq(fd_receive(fds[1], data, sizeof data, &fd), 1);
        ck_assert_int_eq(fd, -1);
        fd_close(fds[0]);
        fd_close(fds[1]);
}
END_TEST

START_TEST(test_nonblock_sets_the_flag_when_open)
{
        int fds[2];

        ck_assert_int_eq(pipe(fds), 0);
        ck_assert_int_eq(fd_nonblock(fds[0]), 0);
        ck_assert_int_eq(fcntl(fds[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        fd_close(fds[0]);
        fd_close(fds[1]);
        ck_assert_int_eq(fd_nonblock(fds[0]), -EBADF);
}
END_TEST

static void refuse_close_range(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { sizeof filter / sizeof *filter, filter };

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                _exit(2);
}

static void fill_table(void)
{
        struct rlimit limit;

        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = 60;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                _exit(3);
        while (dup(0) >= 0)
                ;
}

/* What of 0 to 59 is open in a child after fd_close_all_but, which before holds those, 7, 20, 21 and 50. */
static int leftovers(void (*before)(void), const int *keep, size_t keep_count)
{
        int status, pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                for (size_t i = 0; i < 4; i++)
                        dup2(0, (int[]){ 7, 20, 21, 50 }[i]);
                if (before)
                        before();
                fd_close_all_but(keep, keep_count);
                for (int fd = 3; fd < 60; fd++) {
                        int kept = 0;

                        for (size_t i = 0; i < keep_count; i++)
                                kept |= keep[i] == fd;
                        if (is_open(fd) != kept)
                                _exit(100 + fd);
                }
                _exit(is_open(0) && is_open(2) ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void both(void)
{
        fill_table();
        refuse_close_range();
}

START_TEST(test_close_all_but_keeps_only_those_when_asked)
{
        void (*const before[])(void) = { NULL, refuse_close_range, both };

        for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
                ck_assert_int_eq(leftovers(before[i], NULL, 0), 0);
                ck_assert_int_eq(leftovers(before[i], (int[]){ 50, 20, 7, 21 }, 4), 0);
                ck_assert_int_eq(leftovers(before[i], (int[]){ 7, -1, 7, 2, 0 }, 5), 0);
                ck_assert_int_eq(leftovers(before[i], (int[]){ 21 }, 1), 0);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("fd");
        TCase *tcase = tcase_create("fd");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_close_returns_none_when_called);
        tcase_add_test(tcase, test_pair_keeps_packets_apart_when_sent_together);
        tcase_add_test(tcase, test_send_hands_a_descriptor_over_when_given_one);
        tcase_add_test(tcase, test_send_says_when_the_queue_is_full_or_the_packet_too_big);
        tcase_add_test(tcase, test_receive_leaks_nothing_when_a_packet_does_not_fit);
        tcase_add_test(tcase, test_receive_keeps_one_when_two_descriptors_come);
        tcase_add_test(tcase, test_receive_goes_without_a_descriptor_when_none_is_left);
        tcase_add_test(tcase, test_nonblock_sets_the_flag_when_open);
        tcase_add_test(tcase, test_close_all_but_keeps_only_those_when_asked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
