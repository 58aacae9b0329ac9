#include "common/fd.h"
#include "master/http/listen.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const struct listen_owner owner = { 0660, (uid_t)-1, (gid_t)-1 };
static char directory[64], path[100], unix_text[120], reason[512];

static void setup(void)
{
        strcpy(directory, "/tmp/test_listen.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/socket", directory);
        snprintf(unix_text, sizeof unix_text, "unix:%s", path);
        reason[0] = '\0';
}

static void teardown(void)
{
        unlink(path);
        ck_assert_int_eq(rmdir(directory), 0);
}

static int open_ok(const char *text, char described[LISTEN_TEXT_SIZE])
{
        int fd = -1, r = listen_open(text, &owner, &fd, reason, sizeof reason);

        ck_assert_msg(r == 0, "%s", reason);
        ck_assert_int_eq(listen_describe(fd, described), 0);
        return fd;
}

static void check_refused(const char *text, int error, const char *needle)
{
        int fd = -1;

        ck_assert_int_eq(listen_open(text, &owner, &fd, reason, sizeof reason), error);
        ck_assert_int_eq(fd, -1);
        ck_assert_msg(strstr(reason, text) != NULL, "does not name the address: %s", reason);
        ck_assert_msg(strstr(reason, needle) != NULL, "not \"%s\": %s", needle, reason);
}

static int connect_port(int family, const char *described)
{
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

        in.sin_port = in6.sin6_port = htons((uint16_t)atoi(strrchr(described, ':') + 1));
        r = family == AF_INET ? connect(fd, (struct sockaddr *)&in, sizeof in)
                              : connect(fd, (struct sockaddr *)&in6, sizeof in6);
        fd_close(fd);
        return r;
}

START_TEST(test_says_the_real_port_when_asked_for_any)
{
        char text[LISTEN_TEXT_SIZE];
        int fd = open_ok("127.0.0.1:0", text);

        ck_assert_int_eq(strncmp(text, "127.0.0.1:", 10), 0);
        ck_assert_int_gt(atoi(text + 10), 0);
        ck_assert_int_eq(connect_port(AF_INET, text), 0);
        ck_assert_int_eq(listen_close(fd), -1);
}
END_TEST

START_TEST(test_listens_on_ipv6_when_asked)
{
        char text[LISTEN_TEXT_SIZE];
        int fd = open_ok("[::1]:0", text);

        ck_assert_int_eq(strncmp(text, "[::1]:", 6), 0);
        ck_assert_int_eq(connect_port(AF_INET6, text), 0);
        listen_close(fd);
}
END_TEST

START_TEST(test_listens_on_all_addresses_of_both_kinds_when_asked_for_any)
{
        char text[LISTEN_TEXT_SIZE];
        int fd = open_ok("*:0", text);

        ck_assert_int_eq(connect_port(AF_INET, text), 0);
        ck_assert_int_eq(connect_port(AF_INET6, text), 0);
        ck_assert(listen_matches(fd, "*:0"));
        listen_close(fd);
}
END_TEST

START_TEST(test_refuses_when_the_port_is_taken)
{
        char text[LISTEN_TEXT_SIZE], holder[40];
        int fd = open_ok("127.0.0.1:0", text);

        snprintf(holder, sizeof holder, "test_listen, pid %d, listens", (int)getpid());
        check_refused(text, -EADDRINUSE, holder);
        listen_close(fd);
        fd = open_ok("[::1]:0", text);
        check_refused(text, -EADDRINUSE, holder);
        listen_close(fd);
}
END_TEST

START_TEST(test_refuses_when_the_address_is_not_of_this_host)
{
        check_refused("192.0.2.1:0", -EADDRNOTAVAIL, "does not have that address");
        check_refused("host.invalid:80", -EADDRNOTAVAIL, "server.listen");
        check_refused("nonsense", -EINVAL, "HOST:PORT");
}
END_TEST

START_TEST(test_makes_a_socket_file_for_the_group_when_unix)
{
        char text[LISTEN_TEXT_SIZE];
        struct stat st;
        int fd = open_ok(unix_text, text);

        ck_assert_str_eq(text, unix_text);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 0777, 0660);
        listen_close(fd);
        ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(test_replaces_a_socket_file_when_nobody_listens_on_it)
{
        char text[LISTEN_TEXT_SIZE];
        int fd;

        fd_close(open_ok(unix_text, text)); /* as if killed: the file stays */
        ck_assert_int_eq(access(path, F_OK), 0);
        fd = open_ok(unix_text, text);
        listen_close(fd);
}
END_TEST

START_TEST(test_refuses_when_somebody_listens_on_the_socket_file)
{
        char text[LISTEN_TEXT_SIZE];
        int fd = open_ok(unix_text, text);

        check_refused(unix_text, -EADDRINUSE, "another program listens there");
        listen_close(fd);
}
END_TEST

START_TEST(test_keeps_a_file_when_it_is_no_socket)
{
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        fputs("precious", file);
        fclose(file);
        check_refused(unix_text, -EADDRINUSE, "no socket");
        ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(test_refuses_when_the_path_does_not_exist)
{
        check_refused("unix:/nonexistent/socket", -ENOENT, "No such file");
}
END_TEST

START_TEST(test_matches_only_what_it_would_open)
{
        char text[LISTEN_TEXT_SIZE];
        int tcp = open_ok("127.0.0.1:0", text), local;

        ck_assert(listen_matches(tcp, text));
        ck_assert(listen_matches(tcp, "127.0.0.1:0"));
        ck_assert(!listen_matches(tcp, "127.0.0.1:1"));
        ck_assert(!listen_matches(tcp, "127.0.0.2:0"));
        ck_assert(!listen_matches(tcp, "[::1]:0"));
        ck_assert(!listen_matches(tcp, unix_text));
        local = open_ok(unix_text, text);
        ck_assert(listen_matches(local, unix_text));
        ck_assert(!listen_matches(local, "unix:/tmp/other"));
        ck_assert(!listen_matches(local, "127.0.0.1:0"));
        ck_assert(!listen_matches(-1, unix_text));
        listen_close(tcp);
        listen_close(local);
}
END_TEST

START_TEST(test_takes_a_lent_socket_when_it_listens)
{
        int pair[2], fd = socket(AF_INET, SOCK_STREAM, 0);

        ck_assert_int_eq(listen_take_lent(fd, reason, sizeof reason), -EPROTOTYPE);
        ck_assert_ptr_nonnull(strstr(reason, "no listening stream socket"));
        ck_assert_int_eq(listen(fd, 1), 0);
        ck_assert_int_eq(listen_take_lent(fd, reason, sizeof reason), 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        fd_close(fd);
        ck_assert_int_eq(listen_take_lent(-1, reason, sizeof reason), -EBADF);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
        ck_assert_int_eq(listen_take_lent(pair[0], reason, sizeof reason), -EPROTOTYPE);
        fd_close(pair[0]);
        fd_close(pair[1]);
}
END_TEST

START_TEST(test_knows_lent_sockets_when_they_are_for_this_process)
{
        char pid[32];

        snprintf(pid, sizeof pid, "%d", (int)getpid());
        setenv("LISTEN_FDS", "2", 1);
        ck_assert_uint_eq(listen_lent(), 0);
        setenv("LISTEN_PID", "1", 1);
        ck_assert_uint_eq(listen_lent(), 0);
        setenv("LISTEN_PID", pid, 1);
        ck_assert_uint_eq(listen_lent(), 2);
        setenv("LISTEN_FDS", "-1", 1);
        ck_assert_uint_eq(listen_lent(), 0);
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_PID");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("listen");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_checked_fixture(all, setup, teardown);
        tcase_add_test(all, test_says_the_real_port_when_asked_for_any);
        tcase_add_test(all, test_listens_on_ipv6_when_asked);
        tcase_add_test(all, test_listens_on_all_addresses_of_both_kinds_when_asked_for_any);
        tcase_add_test(all, test_refuses_when_the_port_is_taken);
        tcase_add_test(all, test_refuses_when_the_address_is_not_of_this_host);
        tcase_add_test(all, test_makes_a_socket_file_for_the_group_when_unix);
        tcase_add_test(all, test_replaces_a_socket_file_when_nobody_listens_on_it);
        tcase_add_test(all, test_refuses_when_somebody_listens_on_the_socket_file);
        tcase_add_test(all, test_keeps_a_file_when_it_is_no_socket);
        tcase_add_test(all, test_refuses_when_the_path_does_not_exist);
        tcase_add_test(all, test_matches_only_what_it_would_open);
        tcase_add_test(all, test_takes_a_lent_socket_when_it_listens);
        tcase_add_test(all, test_knows_lent_sockets_when_they_are_for_this_process);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
