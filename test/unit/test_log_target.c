/* Nobody reads what is logged: no write waits for that, what is lost is counted, others' descriptors stay as they were. A test that
 * waits for a reader ends by its time-out. */
#include "common/log.h"
#include "common/log_target.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define LINES 4000 /* more than any buffer here holds */

static char directory[64], file[96];
static int saved; /* standard error of the test */

static void set_up(void)
{
        snprintf(directory, sizeof directory, "/tmp/agentpool-target-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(file, sizeof file, "%s/log", directory);
        saved = dup(STDERR_FILENO);
        signal(SIGPIPE, SIG_IGN);
}

static void tear_down(void)
{
        dup2(saved, STDERR_FILENO);
        unlink(file);
        ck_assert_int_eq(rmdir(directory), 0);
}

/* Adds what is there to text, which is as large as both. */
static void read_on(int fd, char *text, size_t size)
{
        size_t len = strlen(text);
        ssize_t n;

        while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
                len += (size_t)n;
        ck_assert_uint_lt(len, size - 1);
        text[len] = '\0';
}

/* Writes more than there is room for, then reads: what was not kept was counted, where a line fitted again. */
static void check_loses_and_counts(int reader)
{
        static char text[1 << 20];
        unsigned long lost = 0, kept = 0, lines;

        for (int i = 0; i < LINES; i++)
                log_info("stuck", "i=%d %0100d", i, 0);
        fcntl(reader, F_SETFL, O_NONBLOCK);
        text[0] = '\0';
        do {
                read_on(reader, text, sizeof text);
                log_info("again", "n=%d", 1);
        } while (!strstr(text, "again n=1\n"));
        for (const char *at = text; (at = strstr(at, "log.dropped lines=")); at++) {
                ck_assert_int_eq(sscanf(at, "log.dropped lines=%lu", &lines), 1);
                lost += lines;
        }
        for (const char *at = text; (at = strstr(at, "stuck i=")); at++)
                kept++;
        ck_assert_uint_gt(kept, 0);
        ck_assert_uint_ge(lost + kept, LINES); /* a line that was torn is both */
        ck_assert_uint_le(lost + kept, LINES + 2);
}

/* fd becomes standard error; what it is stays as others have it. */
static void check_stderr(int fd, int reader)
{
        int flags = fcntl(fd, F_GETFL);

        ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
        ck_assert_int_eq(log_open(NULL, LOG_INFO, LOG_TEXT), 0);
        check_loses_and_counts(reader);
        ck_assert_int_eq(fcntl(fd, F_GETFL), flags);
        ck_assert_int_eq(flags & O_NONBLOCK, 0);
}

START_TEST(test_goes_on_when_stderr_is_a_pipe)
{
        int fds[2], fd;

        ck_assert_int_eq(pipe(fds), 0);
        check_stderr(fds[1], fds[0]);
        fd = log_fd();
        ck_assert_int_ne(fd, STDERR_FILENO);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(log_open(NULL, LOG_INFO, LOG_TEXT), 0); /* a worker's, whose user could not open it again */
        ck_assert_int_eq(log_fd(), fd);
        close(fds[0]);
        log_info("gone", "n=%d", 1);
        close(fds[1]);
}
END_TEST

START_TEST(test_goes_on_when_stderr_is_a_terminal)
{
        struct termios raw;
        int master, slave;

        ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
        tcgetattr(slave, &raw);
        cfmakeraw(&raw);
        tcsetattr(slave, TCSANOW, &raw);
        check_stderr(slave, master);
        tcflow(slave, TCOOFF); /* Ctrl-S */
        for (int i = 0; i < LINES; i++)
                log_info("stopped", "i=%d", i);
        tcflow(slave, TCOON);
        close(slave);
        close(master);
}
END_TEST

START_TEST(test_goes_on_when_stderr_is_a_socket)
{
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        check_stderr(fds[1], fds[0]);
        close(fds[0]);
        log_info("gone", "n=%d", 1);
        close(fds[1]);
}
END_TEST

START_TEST(test_goes_on_when_the_log_is_a_fifo)
{
        ck_assert_int_eq(mkfifo(file, 0600), 0);
        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_TEXT), 0);
        log_info("first", "n=%d", 1);
        int reader = open(file, O_RDONLY | O_NONBLOCK);
        check_loses_and_counts(reader);
        close(reader);
        ck_assert_int_eq(log_reopen(), 0);
        for (int i = 0; i < LINES; i++)
                log_info("stuck", "i=%d", i);
        ck_assert_int_eq(log_open(NULL, LOG_INFO, LOG_TEXT), 0);
}
END_TEST

START_TEST(test_goes_on_when_the_journal_does_not_read)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int journal = socket(AF_UNIX, SOCK_DGRAM, 0);
        char record[2 * LOG_LINE_MAX] = "";
        ssize_t n;

        snprintf(address.sun_path, sizeof address.sun_path, "%s", file);
        ck_assert_int_eq(bind(journal, (struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_JOURNAL), 0);
        for (int i = 0; i < LINES; i++)
                log_info("stuck", "i=%d", i);
        while (recv(journal, record, sizeof record - 1, MSG_DONTWAIT) > 0)
                ck_assert_ptr_null(strstr(record, "log.dropped"));
        log_info("again", "n=%d", 1);
        n = recv(journal, record, sizeof record - 1, MSG_DONTWAIT);
        ck_assert_int_gt(n, 0);
        record[n] = '\0';
        ck_assert_ptr_nonnull(strstr(record, "AGENTPOOL_EVENT=log.dropped"));
        ck_assert_int_eq(log_open(NULL, LOG_INFO, LOG_TEXT), 0);
        close(journal);
}
END_TEST

/* One that may not be opened again, and that another process fills between a look and a write. */
START_TEST(test_puts_whole_or_nothing_when_only_the_pipe_itself_is_there)
{
        char text[PIPE_BUF], got[2 * PIPE_BUF];
        size_t count = 0;
        int fds[2];

        ck_assert_int_eq(pipe(fds), 0);
        memset(text, 'x', sizeof text);
        while (log_target_put(fds[1], text, 100) == 100)
                count++;
        ck_assert_int_eq(errno, EAGAIN);
        ck_assert_uint_gt(count, 0);
        ck_assert_int_eq(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
        for (size_t i = 0; i < count; i++)
                ck_assert_int_eq(read(fds[0], got, 100), 100);
        ck_assert_int_eq(log_target_put(fds[1], text, sizeof text), (ssize_t)sizeof text);
        ck_assert_int_eq(read(fds[0], got, sizeof got), (ssize_t)sizeof text);
        ck_assert_int_eq(memcmp(got, text, sizeof text), 0);
        close(fds[0]);
        ck_assert_int_eq(log_target_put(fds[1], text, 100), -1);
        ck_assert_int_eq(errno, EPIPE);
        close(fds[1]);
        ck_assert_int_eq(log_target_put(fds[1], text, 100), -1);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("log_target");
        TCase *tcase = tcase_create("log_target");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, test_goes_on_when_stderr_is_a_pipe);
        tcase_add_test(tcase, test_goes_on_when_stderr_is_a_terminal);
        tcase_add_test(tcase, test_goes_on_when_stderr_is_a_socket);
        tcase_add_test(tcase, test_goes_on_when_the_log_is_a_fifo);
        tcase_add_test(tcase, test_goes_on_when_the_journal_does_not_read);
        tcase_add_test(tcase, test_puts_whole_or_nothing_when_only_the_pipe_itself_is_there);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
