/* Connections: deadlines, clients that go, caps, draining, running out of descriptors. */
#include "common/log.h"
#include "test/unit/http_fixture.h"

#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

#define GET_LATER "GET /later HTTP/1.1\r\n" HOST "\r\n"
#define POST_BODY "POST /echo HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"

static unsigned connections(void)
{
        return t.server->stats.connections;
}

/* One byte at every turn of the loop until the server closes. */
static void drip(int fd, const char *begin)
{
        reply_clear();
        client_say(fd, begin);
        while (client_poll(fd) == 0) {
                client_send(fd, "x", 1);
                turn(true);
        }
        while (client_poll(fd) > 0)
                ;
}

START_TEST(test_closes_silently_when_head_drips)
{
        t.config.request_timeout_ms = 50;
        start();
        int fd = client_connect();
        drip(fd, "GET /ok HTTP/1.1\r\nX: ");
        ck_assert_uint_eq(t.reply_len, 0);
        WAIT_FOR(connections() == 0);
        close(fd);
}
END_TEST

START_TEST(test_answers_408_when_body_drips)
{
        t.config.request_timeout_ms = 50;
        start();
        int fd = client_connect();
        drip(fd, POST_BODY);
        ck_assert_int_eq(strncmp(t.reply, "HTTP/1.1 408 ", 13), 0);
        close(fd);
        ck_assert_uint_eq(t.handled, 0);
        WAIT_FOR(connections() == 0);
}
END_TEST

START_TEST(test_counts_deadline_from_first_byte_when_head_takes_most_of_it)
{
        t.config.request_timeout_ms = 200;
        start();
        int fd = client_connect();
        client_say(fd, "P");
        WAIT_FOR(TAILQ_FIRST(&t.server->connections) && TAILQ_FIRST(&t.server->connections)->began);
        int64_t deadline = TAILQ_FIRST(&t.server->connections)->deadline;
        client_say(fd, &POST_BODY[1]);
        WAIT_FOR(TAILQ_FIRST(&t.server->connections)->state == HTTP_READING_BODY);
        ck_assert_int_eq(TAILQ_FIRST(&t.server->connections)->deadline, deadline);
        ck_assert_int_eq(client_read_answer(fd), 408);
        close(fd);
}
END_TEST

START_TEST(test_closes_when_idle)
{
        t.config.idle_timeout_ms = 50;
        start();
        int silent = client_connect(), served = client_connect();
        client_say(served, GET_OK);
        ck_assert_int_eq(client_read_answer(served), 200);
        ck_assert_int_eq(client_read_all(silent), 0);
        ck_assert_int_eq(client_read_all(served), 0);
        ck_assert_uint_eq(connections(), 0);
        close(silent);
        close(served);
}
END_TEST

START_TEST(test_waits_for_handler_when_idle_and_request_deadlines_pass)
{
        t.config.idle_timeout_ms = t.config.request_timeout_ms = 20;
        start();
        int other = client_connect(), fd = client_connect();
        client_say(fd, GET_LATER);
        WAIT_FOR(t.held_count == 1);
        ck_assert_int_eq(client_read_all(other), 0); /* its deadlines passed meanwhile */
        other = (close(other), client_connect());
        ck_assert_int_eq(client_read_all(other), 0);
        t.held_count = 0;
        answer_text(t.held[0], 200, "late");
        ck_assert_int_eq(client_read_answer(fd), 200);
        close(other);
        close(fd);
}
END_TEST

START_TEST(test_closes_when_answer_is_not_read)
{
        t.config.write_timeout_ms = 50;
        start();
        int fd = client_connect();
        client_say(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
        WAIT_FOR(connections() == 1);
        WAIT_FOR(connections() == 0);
        close(fd);
}
END_TEST

START_TEST(test_lingers_only_so_long_when_client_does_not_close)
{
        start();
        t.server->linger_ms = 50;
        int fd = client_connect();
        client_say(fd, "nonsense\r\n\r\n");
        ck_assert_int_eq(client_read_all(fd), 0);
        WAIT_FOR(connections() == 0);
        close(fd);
}
END_TEST

START_TEST(test_answers_when_client_half_closes)
{
        start();
        int fd = client_connect();
        client_say(fd, GET_LATER GET_OK);
        shutdown(fd, SHUT_WR);
        WAIT_FOR(t.held_count == 1);
        turn(true);
        ck_assert(http_request_alive(t.held[0]));
        t.held_count = 0;
        answer_text(t.held[0], 200, "late");
        ck_assert_int_eq(client_read_all(fd), 0);
        ck_assert_ptr_nonnull(strstr(t.reply, "late"));
        ck_assert_ptr_nonnull(strstr(t.reply, "\r\n\r\nok"));
        close(fd);
        WAIT_FOR(connections() == 0);
}
END_TEST

static void reset(int fd)
{
        struct linger now = { .l_onoff = 1, .l_linger = 0 };

        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
}

START_TEST(test_frees_answer_when_client_was_reset)
{
        start();
        int fd = client_connect();
        client_say(fd, GET_LATER);
        WAIT_FOR(t.held_count == 1);
        reset(fd);
        WAIT_FOR(connections() == 0);
        ck_assert(!http_request_alive(t.held[0]));
        ck_assert_str_eq(http_request_path(t.held[0]), "/later");
        ck_assert_uint_eq(t.server->stats.requests_active, 0);
        http_answer_header(t.held[0], "X-A", "b");
        http_answer_problem(t.held[0], 503, "too late");
        t.held_count = 0;
        fd = client_connect();
        client_say(fd, GET_LATER);
        WAIT_FOR(t.held_count == 1);
        reset(fd);
        WAIT_FOR(connections() == 0);
        ck_assert_ptr_null(http_answer_stream(t.held[0], on_gone, &t));
        t.held_count = 0;
        ck_assert_uint_eq(t.streams_gone, 0);
}
END_TEST

START_TEST(test_survives_when_client_closed_before_answer)
{
        start();
        int fd = client_connect();
        client_say(fd, GET_LATER GET_OK GET_OK);
        WAIT_FOR(t.held_count == 1);
        close(fd);
        turn(true);
        t.held_count = 0;
        answer_text(t.held[0], 200, "nobody reads it");
        WAIT_FOR(connections() == 0);
}
END_TEST

START_TEST(test_frees_requests_when_server_goes_first)
{
        start();
        int fd = client_connect();
        client_say(fd, GET_LATER);
        WAIT_FOR(t.held_count == 1);
        t.server = http_server_free(t.server);
        ck_assert(!http_request_alive(t.held[0]));
        close(fd); /* teardown answers */
}
END_TEST

START_TEST(test_refuses_when_connections_are_many)
{
        int fds[4];

        t.config.max_connections = 3;
        start();
        for (int i = 0; i < 4; i++)
                fds[i] = client_connect();
        WAIT_FOR(t.server->stats.accepted == 4);
        ck_assert_uint_eq(t.server->stats.refused, 1);
        ck_assert_int_eq(client_read_all(fds[3]), 0);
        close(fds[0]);
        WAIT_FOR(connections() == 2);
        ck_assert_int_eq(ask(GET_OK), 200);
        for (int i = 1; i < 4; i++)
                close(fds[i]);
}
END_TEST

START_TEST(test_refuses_address_when_it_has_its_share)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char peer[64];
        int fds[6];

        t.config.max_connections_per_address = 2;
        start();
        snprintf(address.sun_path, sizeof address.sun_path, "/tmp/test_http.%d", getpid());
        ck_assert_int_eq(http_server_listen(t.server, listen_on((struct sockaddr *)&address, sizeof address), NULL), 0);
        for (int i = 0; i < 3; i++)
                fds[i] = client_connect();
        WAIT_FOR(t.server->stats.accepted == 3);
        ck_assert_int_eq(client_read_all(fds[2]), 0);
        ck_assert_uint_eq(connections(), 2);
        for (int i = 3; i < 6; i++) /* not counted */
                fds[i] = client_connect_to((struct sockaddr *)&address, sizeof address);
        WAIT_FOR(connections() == 5);
        client_say(fds[5], GET_LATER);
        WAIT_FOR(t.held_count == 1);
        snprintf(peer, sizeof peer, "unix:uid=%u,pid=%d", getuid(), getpid());
        ck_assert_str_eq(http_request_peer(t.held[0]), peer);
        for (int i = 0; i < 6; i++)
                close(fds[i]);
        WAIT_FOR(connections() == 1); /* the one with the request */
        ck_assert_ptr_null(t.server->addresses);
        unlink(address.sun_path);
}
END_TEST

START_TEST(test_serves_when_ipv6)
{
        struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        socklen_t len = sizeof address;

        start();
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0) {
                close(fd); /* a machine without IPv6 */
                return;
        }
        ck_assert_int_eq(listen(fd, 16), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
        ck_assert_int_eq(http_server_listen(t.server, fd, NULL), 0);
        fd = client_connect_to((struct sockaddr *)&address, len);
        client_say(fd, GET_LATER);
        WAIT_FOR(t.held_count == 1);
        ck_assert_int_eq(strncmp(http_request_peer(t.held[0]), "[::1]:", 6), 0);
        close(fd);
}
END_TEST

START_TEST(test_serves_when_1000_connections_idle)
{
        enum { COUNT = 1000 };
        static int fds[COUNT];
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        start();
        for (int i = 0; i < COUNT; i++) {
                fds[i] = client_connect();
                turn(false);
        }
        WAIT_FOR(connections() == COUNT);
        ck_assert_int_eq(ask(GET_OK), 200);
        for (int i = 0; i < COUNT; i++)
                client_say(fds[i], GET_OK);
        for (int i = 0; i < COUNT; i++)
                ck_assert_int_eq(client_read_answer(fds[i]), 200);
        for (int i = 0; i < COUNT; i++)
                close(fds[i]);
        WAIT_FOR(connections() == 0);
}
END_TEST

static unsigned count_lines(const char *path, const char *word)
{
        FILE *file = fopen(path, "re");
        char line[1024];
        unsigned count = 0;

        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof line, file))
                count += strstr(line, word) != NULL;
        fclose(file);
        return count;
}

/* A child limits this process until our end of the socket closes: valgrind only pretends when a process limits itself,
 * and cannot fork under the limit. */
static pid_t limit_descriptors(rlim_t count, int *ret_until)
{
        struct rlimit limit;
        int ends[2];
        char set = 0;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
                close(ends[0]);
                prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit);
                prlimit(getppid(), RLIMIT_NOFILE, &(struct rlimit){ count, limit.rlim_max }, NULL);
                if (write(ends[1], &set, 1) != 1 || read(ends[1], &set, 1) != 0)
                        _exit(1);
                _exit(prlimit(getppid(), RLIMIT_NOFILE, &limit, NULL) == 0 ? 0 : 1);
        }
        ck_assert_int_eq(read(ends[0], &set, 1), 1);
        close(ends[1]);
        *ret_until = ends[0];
        return pid;
}

START_TEST(test_pauses_accepting_when_out_of_descriptors)
{
        char log[] = "/tmp/test_http.XXXXXX";
        int fds[5], until, status = -1;

        start();
        int fd = mkstemp(log);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(log_open(log, LOG_INFO, LOG_TEXT), 0);
        for (int i = 0; i < 5; i++)
                fds[i] = client_connect(); /* wait in the backlog */
        pid_t limiter = limit_descriptors((rlim_t)fds[4] + 4, &until); /* two connections fit */
        WAIT_FOR(connections() == 2 && t.server->pause_logged);
        for (int pauses = 0; pauses < 3; pauses++) { /* it tries again, and pauses again */
                struct timeval first, later;

                evtimer_pending(t.server->resume, &first);
                WAIT_FOR(evtimer_pending(t.server->resume, &later) && evutil_timercmp(&first, &later, <));
        }
        client_say(fds[0], GET_OK); /* those inside are served */
        ck_assert_int_eq(client_read_answer(fds[0]), 200);
        ck_assert_uint_eq(connections(), 2);
        close(until);
        ck_assert_int_eq(waitpid(limiter, &status, 0), limiter);
        ck_assert_int_eq(status, 0);
        WAIT_FOR(connections() == 5);
        client_say(fds[4], GET_OK);
        ck_assert_int_eq(client_read_answer(fds[4]), 200);
        ck_assert_uint_eq(count_lines(log, "http.accept_paused"), 1);
        for (int i = 0; i < 5; i++)
                close(fds[i]);
        close(fd);
        log_open(NULL, LOG_INFO, LOG_TEXT);
        unlink(log);
}
END_TEST

static void on_idle(void *arg)
{
        ck_assert_ptr_eq(arg, &t);
        t.idle = true;
}

START_TEST(test_drains_at_once_when_all_are_idle)
{
        start();
        int fd = client_connect();
        client_say(fd, GET_OK);
        ck_assert_int_eq(client_read_answer(fd), 200);
        http_server_drain(t.server, on_idle, &t);
        ck_assert(!t.idle); /* never from within the call */
        WAIT_FOR(t.idle);
        ck_assert_int_eq(client_read_all(fd), 0);
        ck_assert_uint_eq(t.reply_len, 0);
        close(fd);
}
END_TEST

START_TEST(test_drains_after_answers_when_requests_are_under_way)
{
        start();
        int works = client_connect(), reads = client_connect();
        client_say(works, GET_LATER GET_OK);
        client_say(reads, "GET /ok HTTP/1.1\r\n");
        WAIT_FOR(t.held_count == 1 && connections() == 2);
        turn(true);
        http_server_drain(t.server, on_idle, &t);
        struct sockaddr_in address = {
                .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)t.port)
        };
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), -1);
        close(fd);
        turn(true);
        ck_assert(!t.idle);
        t.held_count = 0;
        answer_text(t.held[0], 200, "late");
        ck_assert_int_eq(client_read_all(works), 0);
        ck_assert_ptr_nonnull(strstr(t.reply, "Connection: close\r\n"));
        ck_assert_ptr_nonnull(strstr(t.reply, "late"));
        ck_assert_ptr_null(strstr(t.reply, "\r\n\r\nok")); /* the next one is not begun */
        close(works);
        ck_assert(!t.idle);
        client_say(reads, HOST "\r\n");
        ck_assert_int_eq(client_read_all(reads), 0);
        ck_assert_ptr_nonnull(strstr(t.reply, "\r\n\r\nok"));
        close(reads);
        WAIT_FOR(t.idle);
}
END_TEST

START_TEST(test_drains_when_nobody_is_connected)
{
        start();
        http_server_drain(t.server, on_idle, &t);
        WAIT_FOR(t.idle);
}
END_TEST

START_TEST(test_refuses_to_listen_when_descriptor_is_bad)
{
        start();
        ck_assert_int_eq(http_server_listen(t.server, 100000, NULL), -EBADF);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = {
                test_closes_silently_when_head_drips,
                test_answers_408_when_body_drips,
                test_counts_deadline_from_first_byte_when_head_takes_most_of_it,
                test_closes_when_idle,
                test_waits_for_handler_when_idle_and_request_deadlines_pass,
                test_closes_when_answer_is_not_read,
                test_lingers_only_so_long_when_client_does_not_close,
                test_answers_when_client_half_closes,
                test_frees_answer_when_client_was_reset,
                test_survives_when_client_closed_before_answer,
                test_frees_requests_when_server_goes_first,
                test_refuses_when_connections_are_many,
                test_refuses_address_when_it_has_its_share,
                test_serves_when_ipv6,
                test_serves_when_1000_connections_idle,
                test_pauses_accepting_when_out_of_descriptors,
                test_drains_at_once_when_all_are_idle,
                test_drains_after_answers_when_requests_are_under_way,
                test_drains_when_nobody_is_connected,
                test_refuses_to_listen_when_descriptor_is_bad,
                NULL,
        };
        return run_suite("http_connection", tests);
}
