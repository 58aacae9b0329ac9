#include "common/fd.h"
#include "master/forker/notify.h"

#include <check.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[64], path[100], heard[512];
static int manager = -1;

/* name: a path, or '@' and a name in the abstract namespace. */
static void listen_on(const char *name)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        size_t len = strlen(name);

        memcpy(address.sun_path, name, len);
        if (name[0] == '@')
                address.sun_path[0] = '\0';
        manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ck_assert_int_eq(bind(manager, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
        ck_assert_int_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static void setup(void)
{
        strcpy(directory, "/tmp/test_notify.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/socket", directory);
}

static void teardown(void)
{
        manager = fd_close(manager);
        unlink(path);
        ck_assert_int_eq(rmdir(directory), 0);
        notify_forget();
}

static const char *hear(void)
{
        ssize_t n = recv(manager, heard, sizeof heard - 1, 0);

        heard[n > 0 ? n : 0] = '\0';
        return heard;
}

START_TEST(test_tells_each_state_when_it_comes)
{
        static const char *const names[] = { "@", path };
        char name[120];
        struct notify n;

        snprintf(name, sizeof name, "%s%s", names[_i][0] == '@' ? "@" : "", path);
        listen_on(name);
        notify_begin(&n);
        ck_assert_str_eq(hear(), "");
        notify_state(&n, NOTIFY_READY, 0);
        ck_assert_str_eq(hear(), "READY=1\n");
        notify_state(&n, NOTIFY_RELOADING, 0);
        ck_assert_int_eq(strncmp(hear(), "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
        ck_assert_int_gt(atoll(heard + 27), 0);
        notify_state(&n, NOTIFY_READY, 0);
        ck_assert_str_eq(hear(), "READY=1\n");
        notify_state(&n, NOTIFY_STOPPING, 3000);
        ck_assert_str_eq(hear(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=3000000\n");
        notify_state(&n, NOTIFY_READY, 0); /* there is no way back */
        ck_assert_str_eq(hear(), "");
        fd_close(n.fd);
}
END_TEST

START_TEST(test_feeds_the_watchdog_when_it_is_time)
{
        struct notify n;

        listen_on(path);
        setenv("WATCHDOG_USEC", "3600000000", 1);
        notify_begin(&n);
        notify_state(&n, NOTIFY_READY, 0);
        hear();
        n.fed_at -= 3600000;
        notify_alive(&n, "serving");
        ck_assert_str_eq(hear(), "WATCHDOG=1\nSTATUS=serving\n");
        notify_alive(&n, "serving"); /* fed just now, and nothing else is new */
        ck_assert_str_eq(hear(), "");
        n.fed_at -= 900000;
        notify_alive(&n, "serving");
        ck_assert_str_eq(hear(), "WATCHDOG=1\n");
        fd_close(n.fd);
}
END_TEST

START_TEST(test_asks_for_more_time_when_it_starts_or_reloads)
{
        struct notify n;

        listen_on(path);
        notify_begin(&n);
        notify_alive(&n, "loading");
        ck_assert_str_eq(hear(), "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=loading\n");
        notify_state(&n, NOTIFY_RELOADING, 0);
        hear();
        notify_alive(&n, "loading");
        ck_assert_str_eq(hear(), "EXTEND_TIMEOUT_USEC=30000000\n");
        notify_state(&n, NOTIFY_READY, 0);
        hear();
        notify_alive(&n, "loading"); /* without WATCHDOG_USEC there is none to feed */
        ck_assert_str_eq(hear(), "");
        fd_close(n.fd);
}
END_TEST

START_TEST(test_tells_it_later_when_the_manager_is_slow)
{
        struct notify n;
        int count = 0;

        listen_on(path);
        notify_begin(&n);
        for (int i = 0; i < 100000 && n.told; i++) /* until its socket is full */
                notify_state(&n, i % 2 ? NOTIFY_READY : NOTIFY_RELOADING, 0);
        ck_assert(!n.told);
        notify_state(&n, NOTIFY_READY, 0);
        ck_assert(!n.told);
        while (hear()[0])
                count++;
        ck_assert_int_gt(count, 0);
        notify_alive(&n, "");
        ck_assert_str_eq(hear(), "READY=1\n");
        fd_close(n.fd);
}
END_TEST

START_TEST(test_says_nothing_when_nobody_asked)
{
        static const char *const names[] = { NULL, "", "@", "relative", "vsock:2:1" };
        struct notify n;

        for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
                if (names[i])
                        setenv("NOTIFY_SOCKET", names[i], 1);
                notify_begin(&n);
                ck_assert_int_eq(n.fd, -1);
                notify_state(&n, NOTIFY_READY, 0);
                notify_alive(&n, "serving");
        }
        setenv("WATCHDOG_USEC", "1000000", 1);
        setenv("WATCHDOG_PID", "1", 1); /* another process is meant */
        listen_on(path);
        notify_begin(&n);
        ck_assert_int_eq(n.watchdog_ms, 0);
        fd_close(n.fd);
        notify_forget();
        ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
        ck_assert_ptr_null(getenv("WATCHDOG_PID"));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("notify");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_checked_fixture(all, setup, teardown);
        tcase_add_loop_test(all, test_tells_each_state_when_it_comes, 0, 2);
        tcase_add_test(all, test_feeds_the_watchdog_when_it_is_time);
        tcase_add_test(all, test_asks_for_more_time_when_it_starts_or_reloads);
        tcase_add_test(all, test_tells_it_later_when_the_manager_is_slow);
        tcase_add_test(all, test_says_nothing_when_nobody_asked);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
