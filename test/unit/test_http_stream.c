/* Server-Sent Events. */
#include "test/unit/http_fixture.h"

#define GET_STREAM "GET /stream HTTP/1.1\r\n" HOST "\r\n"

static int stream_open(const char *request)
{
        int fd = client_connect();

        client_say(fd, request);
        WAIT_FOR(t.stream);
        reply_clear();
        client_read_until(fd, "\r\n\r\n");
        ck_assert_int_eq(atoi(t.reply + 9), 200);
        ck_assert_ptr_nonnull(strstr(t.reply, "\r\nContent-Type: text/event-stream\r\n"));
        ck_assert_ptr_nonnull(strstr(t.reply, "\r\nCache-Control: no-cache\r\n"));
        ck_assert_ptr_null(strstr(t.reply, "Content-Length"));
        return fd;
}

static void say(const char *event, const char *data)
{
        ck_assert_int_eq(http_stream_event(t.stream, event, data, strlen(data)), 0);
}

START_TEST(test_streams_events_when_http_1_1)
{
        start();
        int fd = stream_open(GET_STREAM);
        ck_assert_ptr_nonnull(strstr(t.reply, "\r\nTransfer-Encoding: chunked\r\n"));
        ck_assert_uint_eq(t.server->stats.requests_active, 0);
        say("agent_spawned", "{\"a\":1}");
        say(NULL, "a\nb\r\nc\rd\n");
        say(NULL, "");
        http_stream_close(t.stream);
        ck_assert_int_eq(client_read_all(fd), 0);
        ck_assert_str_eq(t.reply, "24\r\nevent: agent_spawned\ndata: {\"a\":1}\n\n\r\n"
                                  "21\r\ndata: a\ndata: b\ndata: c\ndata: d\n\n\r\n"
                                  "8\r\ndata: \n\n\r\n"
                                  "0\r\n\r\n");
        ck_assert_uint_eq(t.streams_gone, 0);
        close(fd);
        WAIT_FOR(t.server->stats.connections == 0);
}
END_TEST

START_TEST(test_streams_without_chunks_when_http_1_0)
{
        start();
        int fd = stream_open("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        ck_assert_ptr_null(strstr(t.reply, "Transfer-Encoding"));
        ck_assert_ptr_nonnull(strstr(t.reply, "Connection: close"));
        say("e", "x");
        http_stream_close(t.stream);
        ck_assert_int_eq(client_read_all(fd), 0);
        ck_assert_str_eq(t.reply, "event: e\ndata: x\n\n");
        close(fd);
}
END_TEST

START_TEST(test_ends_stream_when_head)
{
        start();
        ck_assert_int_eq(ask("HEAD /stream HTTP/1.1\r\n" HOST "\r\n"), 200);
        ck_assert_ptr_nonnull(strstr(t.reply, "\r\nContent-Type: text/event-stream\r\n"));
        ck_assert_str_eq(reply_body(), "");
        ck_assert_uint_eq(t.streams_gone, 1);
}
END_TEST

START_TEST(test_pings_when_stream_is_quiet)
{
        start();
        t.server->ping_ms = 20;
        int fd = stream_open(GET_STREAM);
        client_read_until(fd, "3\r\n:\n\n\r\n3\r\n:\n\n\r\n3\r\n:\n\n\r\n");
        ck_assert_uint_eq(t.streams_gone, 0);
        close(fd);
        WAIT_FOR(t.streams_gone == 1);
}
END_TEST

START_TEST(test_tells_owner_when_client_goes)
{
        start();
        int closes = stream_open(GET_STREAM);
        close(closes);
        WAIT_FOR(t.streams_gone == 1);
        int resets = stream_open(GET_STREAM);
        setsockopt(resets, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        close(resets);
        WAIT_FOR(t.streams_gone == 2);
        int talks = stream_open(GET_STREAM);
        for (int i = 0; i < 4096; i++)
                client_say(talks, GET_OK); /* not read as a request, nor kept */
        say(NULL, "x");
        client_read_until(talks, "data: x");
        ck_assert_uint_eq(t.handled, 0);
        close(talks);
        WAIT_FOR(t.streams_gone == 3);
        ck_assert_uint_eq(t.server->stats.connections, 0);
}
END_TEST

START_TEST(test_drops_client_when_it_does_not_read)
{
        char *data = malloc(16 * 1024);
        struct http_stream *stream;
        int error;

        start();
        memset(data, 'x', 16 * 1024);
        int fd = stream_open(GET_STREAM);
        stream = t.stream;
        while ((error = http_stream_event(stream, "e", data, 16 * 1024)) == 0)
                turn(false);
        ck_assert_int_eq(error, -EPIPE);
        ck_assert_uint_eq(t.streams_gone, 0); /* not from within the call */
        ck_assert_int_eq(http_stream_event(stream, "e", data, 1), -EPIPE);
        WAIT_FOR(t.streams_gone == 1);
        ck_assert_uint_eq(t.server->stats.connections, 0);
        close(fd);
        free(data);
}
END_TEST

START_TEST(test_closes_dropped_stream_when_owner_is_first)
{
        char *data = calloc(1, HTTP_STREAM_MAX);

        start();
        int fd = stream_open(GET_STREAM);
        ck_assert_int_eq(http_stream_event(t.stream, "e", data, HTTP_STREAM_MAX), 0); /* nothing was unread */
        ck_assert_int_eq(http_stream_event(t.stream, "e", data, 1), -EPIPE);
        http_stream_close(t.stream);
        WAIT_FOR(t.server->stats.connections == 0);
        ck_assert_uint_eq(t.streams_gone, 0);
        close(fd);
        free(data);
}
END_TEST

START_TEST(test_drops_client_when_write_deadline_passes)
{
        char *data = calloc(1, 128 * 1024);

        t.config.write_timeout_ms = 50;
        start();
        int fd = stream_open(GET_STREAM);
        while (t.streams_gone == 0) { /* fills the sockets, never more than half of what may wait */
                if (evbuffer_get_length(bufferevent_get_output(t.stream->connection->bev)) == 0)
                        ck_assert_int_eq(http_stream_event(t.stream, "e", data, 128 * 1024), 0);
                turn(true);
        }
        close(fd);
        free(data);
}
END_TEST

START_TEST(test_keeps_stream_when_write_deadline_passes_but_all_was_read)
{
        t.config.write_timeout_ms = 20;
        start();
        t.server->ping_ms = 50;
        int fd = stream_open(GET_STREAM);
        say("e", "x");
        client_read_until(fd, ":\n\n\r\n3\r\n:\n\n\r\n");
        ck_assert_uint_eq(t.streams_gone, 0);
        close(fd);
}
END_TEST

static void on_idle(void *arg)
{
        ck_assert_ptr_eq(arg, &t);
        t.idle = true;
}

START_TEST(test_ends_stream_when_server_drains)
{
        start();
        int fd = stream_open(GET_STREAM);
        say(NULL, "x");
        http_server_drain(t.server, on_idle, &t);
        ck_assert_uint_eq(t.streams_gone, 0);
        ck_assert_int_eq(http_stream_event(t.stream, NULL, "y", 1), -EPIPE);
        ck_assert_int_eq(client_read_all(fd), 0);
        ck_assert_str_eq(t.reply, "9\r\ndata: x\n\n\r\n0\r\n\r\n");
        ck_assert_uint_eq(t.streams_gone, 1);
        close(fd);
        WAIT_FOR(t.idle);
}
END_TEST

START_TEST(test_tells_owner_when_server_is_freed)
{
        start();
        int fd = stream_open(GET_STREAM);
        t.server = http_server_free(t.server);
        ck_assert_uint_eq(t.streams_gone, 1);
        close(fd);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = {
                test_streams_events_when_http_1_1,
                test_streams_without_chunks_when_http_1_0,
                test_ends_stream_when_head,
                test_pings_when_stream_is_quiet,
                test_tells_owner_when_client_goes,
                test_drops_client_when_it_does_not_read,
                test_closes_dropped_stream_when_owner_is_first,
                test_drops_client_when_write_deadline_passes,
                test_keeps_stream_when_write_deadline_passes_but_all_was_read,
                test_ends_stream_when_server_drains,
                test_tells_owner_when_server_is_freed,
                NULL,
        };
        return run_suite("http_stream", tests);
}
