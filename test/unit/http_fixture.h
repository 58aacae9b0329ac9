/* A real server on loopback and its clients in one thread: who waits for bytes turns the server's loop meanwhile. */
#ifndef TEST_UNIT_HTTP_FIXTURE_H
#define TEST_UNIT_HTTP_FIXTURE_H
#include "common/fd.h"
#include "master/http/http_internal.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define REPLY_MAX (4 << 20)
#define HOST "Host: h\r\n"
#define GET_OK "GET /ok HTTP/1.1\r\n" HOST "\r\n"

static struct {
        struct event_base *base;
        struct http_server *server;
        struct http_config config; /* a test changes it before start() */
        int port;
        struct http_request *held[64]; /* by /later, oldest first */
        size_t held_count;
        struct http_stream *stream; /* of the last GET /stream */
        unsigned streams_gone;
        bool idle; /* on_idle was called */
        unsigned handled;
        char reply[REPLY_MAX]; /* what the client has read, NUL-terminated */
        size_t reply_len;
} t;

static void answer_text(struct http_request *request, int status, const char *text)
{
        http_answer(request, status, "text/plain", text, strlen(text));
}

static inline void handle_ok(struct http_request *request, void *arg)
{
        (void)arg;
        t.handled++;
        answer_text(request, 200, "ok");
}

static inline void handle_echo(struct http_request *request, void *arg)
{
        size_t len;
        const char *body = http_request_body(request, &len);

        (void)arg;
        t.handled++;
        ck_assert_int_eq(body[len], '\0');
        http_answer(request, 200, "application/json", body, len);
}

static inline void handle_item(struct http_request *request, void *arg)
{
        char text[256];
        const char *item = http_request_param(request, "item"), *part = http_request_param(request, "part");

        (void)arg;
        snprintf(text, sizeof text, "%s|%s", item ? item : "-", part ? part : "-");
        answer_text(request, 200, text);
}

static inline void handle_special(struct http_request *request, void *arg)
{
        (void)arg;
        answer_text(request, 200, "special");
}

static inline void handle_query(struct http_request *request, void *arg)
{
        char text[1024] = "", *end = text;
        const char *name;

        (void)arg;
        for (size_t i = 0; (name = http_request_query_name(request, i)); i++)
                end += sprintf(end, "%s=%s;", name, http_request_query(request, name));
        answer_text(request, 200, text);
}

static inline void handle_header(struct http_request *request, void *arg)
{
        const char *value = http_request_header(request, "x-test");

        (void)arg;
        http_answer_header(request, "X-Answer", "a: b");
        answer_text(request, 200, value ? value : "absent");
}

static inline void handle_later(struct http_request *request, void *arg)
{
        (void)arg;
        ck_assert_uint_lt(t.held_count, 64);
        t.held[t.held_count++] = request;
}

static inline void handle_big(struct http_request *request, void *arg)
{
        char *big = calloc(1, REPLY_MAX - 4096);

        (void)arg;
        memset(big, 'x', REPLY_MAX - 4096);
        http_answer(request, 200, "text/plain", big, REPLY_MAX - 4096);
        free(big);
}

static inline void handle_problem(struct http_request *request, void *arg)
{
        (void)arg;
        http_answer_problem(request, 503, "\"%s\"\n%d of %d \xff", "pool", 1, 2);
}

static inline void on_gone(void *arg)
{
        ck_assert_ptr_eq(arg, &t);
        t.streams_gone++;
        t.stream = NULL;
}

static inline void handle_stream(struct http_request *request, void *arg)
{
        (void)arg;
        t.stream = http_answer_stream(request, on_gone, &t);
}

static const struct http_route routes[] = {
        { HTTP_GET, "/ok", handle_ok, 0 },
        { HTTP_POST, "/echo", handle_echo, 0 },
        { HTTP_PUT, "/echo", handle_echo, 0 },
        { HTTP_GET, "/items/special", handle_special, 0 },
        { HTTP_GET, "/items/{item}", handle_item, 0 },
        { HTTP_DELETE, "/items/{item}", handle_item, 0 },
        { HTTP_GET, "/items/{item}/parts/{part}", handle_item, 0 },
        { HTTP_POST, "/items/special/parts/{part}", handle_item, 0 },
        { HTTP_GET, "/query", handle_query, 0 },
        { HTTP_GET, "/header", handle_header, 0 },
        { HTTP_GET, "/later", handle_later, 0 },
        { HTTP_GET, "/big", handle_big, 0 },
        { HTTP_GET, "/problem", handle_problem, 0 },
        { HTTP_GET, "/stream", handle_stream, 0 },
        { 0, NULL, NULL, 0 },
};

static int listen_on(const struct sockaddr *address, socklen_t len)
{
        int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bind(fd, address, len), 0);
        ck_assert_int_eq(listen(fd, 1024), 0);
        return fd;
}

/* Everything generous, so that a test that is about one limit meets only that one. */
static void setup(void)
{
        memset(&t, 0, sizeof t);
        t.config = (struct http_config){
                .routes = routes, .max_connections = 5000, .max_connections_per_address = 5000,
                .max_body_bytes = 1 << 20, .request_timeout_ms = 600000, .idle_timeout_ms = 600000,
                .write_timeout_ms = 600000, .server_name = "test",
        };
        signal(SIGPIPE, SIG_IGN);
}

static void start(void)
{
        struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof any;
        struct event_config *config = event_config_new();

        event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
        t.base = event_base_new_with_config(config);
        event_config_free(config);
        t.server = http_server_new(t.base, &t.config);
        ck_assert_ptr_nonnull(t.server);
        int fd = listen_on((struct sockaddr *)&any, sizeof any);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&any, &len), 0);
        t.port = ntohs(any.sin_port);
        ck_assert_int_eq(http_server_listen(t.server, fd, NULL), 0);
}

static void teardown(void)
{
        if (!t.base)
                return;
        http_server_free(t.server);
        for (size_t i = 0; i < t.held_count; i++)
                http_answer(t.held[i], 200, NULL, NULL, 0);
        event_base_free(t.base);
        libevent_global_shutdown();
        t.base = NULL;
}

/* What is ready now; with wait, first up to 5 ms for something to get ready. */
static inline void turn(bool wait)
{
        if (wait) {
                struct timeval soon = { .tv_usec = 5000 };

                event_base_loopexit(t.base, &soon);
                event_base_loop(t.base, EVLOOP_ONCE);
        }
        event_base_loop(t.base, EVLOOP_NONBLOCK);
}

/* Until the condition holds; the suite's timeout ends a wait in vain. */
#define WAIT_FOR(condition)                                                                                  \
        do                                                                                                   \
                turn(true);                                                                                  \
        while (!(condition))

static inline int client_connect_to(const struct sockaddr *address, socklen_t len)
{
        int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(connect(fd, address, len), 0);
        fd_nonblock(fd);
        return fd;
}

static inline int client_connect(void)
{
        struct sockaddr_in address = {
                .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)t.port)
        };

        return client_connect_to((struct sockaddr *)&address, sizeof address);
}

static inline void client_send(int fd, const char *data, size_t len)
{
        while (len > 0) {
                ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

                if (sent > 0) {
                        data += sent;
                        len -= (size_t)sent;
                } else if (errno == EAGAIN) {
                        turn(false);
                } else {
                        return; /* the server has had enough; its answer tells */
                }
        }
}

static inline void client_say(int fd, const char *text)
{
        client_send(fd, text, strlen(text));
}

/* Appends what is there to t.reply: 1 bytes came, 0 nothing now, -1 end of file, -2 reset. */
static inline int client_poll(int fd)
{
        ssize_t len = recv(fd, t.reply + t.reply_len, REPLY_MAX - 1 - t.reply_len, 0);

        if (len < 0)
                return errno == EAGAIN ? 0 : -2;
        if (len == 0)
                return -1;
        t.reply_len += (size_t)len;
        t.reply[t.reply_len] = '\0';
        return 1;
}

static inline void reply_clear(void)
{
        t.reply_len = 0;
        t.reply[0] = '\0';
}

/* 0 at end of file, -ECONNRESET. */
static inline int client_read_all(int fd)
{
        int got;

        reply_clear();
        while ((got = client_poll(fd)) >= 0)
                if (got == 0)
                        turn(true);
        return got == -1 ? 0 : -ECONNRESET;
}

static inline void client_read_until(int fd, const char *text)
{
        while (!strstr(t.reply, text)) {
                int got = client_poll(fd);

                ck_assert_msg(got >= 0, "closed before \"%s\": %s", text, t.reply);
                if (got == 0)
                        turn(true);
        }
}

/* One whole answer with Content-Length, alone in t.reply. Returns its status. */
static inline int client_read_answer(int fd)
{
        reply_clear();
        client_read_until(fd, "\r\n\r\n");
        const char *length = strstr(t.reply, "Content-Length: ");
        size_t total = (size_t)(strstr(t.reply, "\r\n\r\n") + 4 - t.reply);
        if (length)
                total += strtoul(length + 16, NULL, 10);
        while (t.reply_len < total)
                if (client_poll(fd) == 0)
                        turn(true);
        ck_assert_uint_eq(t.reply_len, total);
        return atoi(t.reply + 9);
}

static inline const char *reply_body(void)
{
        return strstr(t.reply, "\r\n\r\n") + 4;
}

/* A connection of its own: sends, reads to the end. Returns the first status, 0 without an answer. */
static inline int ask(const char *text)
{
        int fd = client_connect();

        client_say(fd, text);
        shutdown(fd, SHUT_WR);
        ck_assert_int_eq(client_read_all(fd), 0);
        close(fd);
        return t.reply_len ? atoi(t.reply + 9) : 0;
}

static inline int run_suite(const char *name, const TTest *const *tests)
{
        Suite *suite = suite_create(name);
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, 300);
        for (; *tests; tests++)
                tcase_add_test(tcase, *tests);
        suite_add_tcase(suite, tcase);
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
#endif
