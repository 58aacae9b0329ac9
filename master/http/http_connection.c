/* One connection: reads requests, hands them to their routes one after the other, closes in order. */
#include "common/clock.h"
#include "common/log.h"
#include "master/http/http_internal.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How soon and how seldom it is looked whether a client that sends no more is still there. */
#define LOOK_MIN_MS 20
#define LOOK_MAX_MS 5000

static size_t input_length(const struct http_connection *connection)
{
        return evbuffer_get_length(bufferevent_get_input(connection->bev));
}

static size_t output_length(const struct http_connection *connection)
{
        return evbuffer_get_length(bufferevent_get_output(connection->bev));
}

/* The timer is left alone when the deadline moves away: it looks again when it fires. */
void http_connection_set_deadline(struct http_connection *connection, int64_t mono_ms)
{
        connection->deadline = mono_ms;
        if (!mono_ms || (connection->armed && connection->armed <= mono_ms))
                return;
        int64_t wait = mono_ms - clock_mono_ms();
        struct timeval tv = { .tv_sec = wait > 0 ? wait / 1000 : 0, .tv_usec = wait > 0 ? wait % 1000 * 1000 : 0 };
        connection->armed = event_add(connection->timer, &tv) == 0 ? mono_ms : 0;
}

static void set_timeout(struct http_connection *connection, int64_t since, int64_t timeout_ms)
{
        http_connection_set_deadline(connection, timeout_ms > 0 ? since + timeout_ms : 0);
}

void http_connection_wake(struct http_connection *connection)
{
        event_active(connection->timer, EV_TIMEOUT, 1);
}

void http_connection_free(struct http_connection *connection)
{
        struct http_request *request = connection->request;
        struct http_stream *stream = connection->stream;
        bool waits = request && connection->state == HTTP_WORKING && request->on_gone;

        connection->stream = NULL;
        connection->request = NULL;
        if (stream)
                http_stream_gone(stream);
        if (request && connection->state == HTTP_WORKING && !request->held)
                request->connection = NULL; /* the handler's, until it answers */
        else
                http_request_free(request);
        if (connection->state == HTTP_WORKING)
                connection->server->stats.requests_active--;
        http_server_forget(connection->server, connection);
        event_free(connection->timer);
        if (connection->inner)
                bufferevent_free(connection->inner);
        bufferevent_free(connection->bev);
        http_parser_free(connection->parser);
        free(connection);
        if (waits)
                request->on_gone(request);
}

/* Our side ends; the peer's is read and dropped until it ends too, or an unread byte would turn our answer into a
 * reset. */
static void connection_close(struct http_connection *connection)
{
        if (connection->peer_done) {
                http_connection_free(connection);
                return;
        }
        connection->state = HTTP_CLOSING;
        bufferevent_enable(connection->bev, EV_READ);
        evutil_socket_t fd = bufferevent_getfd(connection->bev);
        SSL *ssl = bufferevent_openssl_get_ssl(connection->bev);
        if (ssl && SSL_is_init_finished(ssl))
                SSL_shutdown(ssl);
        if (fd >= 0)
                shutdown(fd, SHUT_WR);
        struct evbuffer *input = bufferevent_get_input(connection->bev);
        evbuffer_drain(input, evbuffer_get_length(input));
        set_timeout(connection, clock_mono_ms(), connection->server->linger_ms);
}

void http_connection_finish(struct http_connection *connection)
{
        http_connection_answered(connection, true, false);
        if (output_length(connection) == 0)
                connection_close(connection);
}

static void connection_idle(struct http_connection *connection)
{
        connection->state = HTTP_READING_HEAD;
        connection->began = 0;
        connection->searched = 0;
        connection->line_skipped = false;
        bufferevent_enable(connection->bev, EV_READ);
        set_timeout(connection, clock_mono_ms(), connection->server->config.idle_timeout_ms);
}

void http_connection_answered(struct http_connection *connection, bool queued, bool keep_alive)
{
        if (connection->state == HTTP_WORKING)
                connection->server->stats.requests_active--;
        connection->request = NULL;
        connection->stream = NULL;
        connection->look_ms = 0;
        connection->state = HTTP_WRITING;
        connection->keep_alive = keep_alive;
        connection->broken = !queued;
        if (queued)
                set_timeout(connection, clock_mono_ms(), connection->server->config.write_timeout_ms);
        else
                http_connection_wake(connection);
}

void http_connection_streams(struct http_connection *connection, struct http_stream *stream)
{
        connection->server->stats.requests_active--;
        connection->request = NULL;
        connection->stream = stream;
        connection->state = HTTP_STREAMING;
        bufferevent_enable(connection->bev, EV_READ);
}

/* What the peer means by the rest is not to be trusted. */
void http_connection_refuse(struct http_connection *connection, int status, const char *detail)
{
        struct http_request *request = connection->request;
        char allow[64] = "";

        if (!request)
                request = http_request_new(connection, "", 0);
        if (!request) {
                http_connection_answered(connection, false, false);
                return;
        }
        if (status == 405)
                http_answer_header(request, "Allow", http_allow_text(request->allowed, allow));
        if (status == 400)
                connection->server->stats.parse_errors++;
        request->head.keep_alive = false;
        http_answer_problem(request, status, "%s", detail);
}

void http_connection_dispatch(struct http_connection *connection)
{
        struct http_server *server = connection->server;
        struct http_request *request = connection->request;
        char allow[64] = "";

        connection->state = HTTP_WORKING;
        server->stats.requests_active++;
        http_connection_set_deadline(connection, 0);
        request->held = request->route && request->route->role &&
                        (server->give || server->hold == HTTP_HOLD_ALL || (server->hold && !http_request_may_move(request)));
        if (server->give && request->held) {
                http_give_connection(connection);
        } else if (request->route && !request->held) {
                if (!server->config.refuse || !server->config.refuse(request, server->config.arg))
                        request->route->handle(request, server->config.arg);
        } else if (!request->route) {
                http_answer_header(request, "Allow", http_allow_text(request->allowed, allow)); /* OPTIONS */
                http_answer(request, 204, NULL, NULL, 0);
        }
}

static void read_body(struct http_connection *connection)
{
        struct evbuffer *input = bufferevent_get_input(connection->bev);
        const char *detail = NULL;
        int parsed = HTTP_PARSED_MORE;

        while (parsed == HTTP_PARSED_MORE && evbuffer_get_length(input) > 0) {
                struct evbuffer_iovec part;
                size_t taken = 0;

                evbuffer_peek(input, -1, NULL, &part, 1);
                parsed = http_parser_body(connection->parser, part.iov_base, part.iov_len, &connection->request->body,
                        &taken, &detail);
                evbuffer_drain(input, taken);
        }
        if (parsed == HTTP_PARSED_ALL)
                http_connection_dispatch(connection);
        else if (parsed != HTTP_PARSED_MORE)
                http_connection_refuse(connection, parsed, detail);
        else if (connection->peer_done)
                http_connection_refuse(connection, 400, "the body ends before its time");
}

static void begin_body(struct http_connection *connection)
{
        struct http_request *request = connection->request;

        connection->state = HTTP_READING_BODY;
        if (!connection->began)
                connection->began = clock_mono_ms();
        set_timeout(connection, connection->began, connection->server->config.request_timeout_ms);
        if (request->expects_continue && input_length(connection) == 0 &&
                bufferevent_write(connection->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25) < 0) {
                http_connection_refuse(connection, 503, "out of memory");
                return;
        }
        read_body(connection);
}

static void take_head(struct http_connection *connection, const char *text, size_t len)
{
        const char *detail = NULL;

        connection->request = http_request_new(connection, text, len);
        evbuffer_drain(bufferevent_get_input(connection->bev), len);
        connection->server->stats.requests++;
        if (!connection->request) {
                http_connection_refuse(connection, 503, "out of memory");
                return;
        }
        int status = http_head_read(connection->parser, connection->request, len, &detail);
        if (status)
                http_connection_refuse(connection, status, detail);
        else if (connection->request->head.complete)
                http_connection_dispatch(connection);
        else
                begin_body(connection);
}

/* No head yet, and len bytes of it. */
static void await_head(struct http_connection *connection, size_t len)
{
        if (len >= HTTP_HEAD_MAX)
                http_connection_refuse(connection, connection->searched ? 431 : 414,
                        connection->searched ? "the head is over 16384 bytes" : "the request line is over 16384 bytes");
        else if (connection->peer_done && len > 0)
                http_connection_refuse(connection, 400, "the head ends before its empty line");
        else if (connection->peer_done)
                http_connection_free(connection);
        else if (len > 0 && !connection->began) {
                connection->began = clock_mono_ms();
                set_timeout(connection, connection->began, connection->server->config.request_timeout_ms);
        }
}

static void read_head(struct http_connection *connection)
{
        struct evbuffer *input = bufferevent_get_input(connection->bev);
        const char *text = (const char *)evbuffer_pullup(input, -1);
        size_t len = evbuffer_get_length(input);

        /* RFC 9112 2.2: old clients send an empty line after a body. */
        if (len >= 2 && !connection->line_skipped && memcmp(text, "\r\n", 2) == 0) {
                connection->line_skipped = true;
                evbuffer_drain(input, 2);
                text = (const char *)evbuffer_pullup(input, -1);
                len -= 2;
        }
        if (len > 0 && !text) {
                http_connection_free(connection);
                return;
        }
        size_t head_len = len ? http_head_length(text, len, &connection->searched) : 0;
        if (head_len && head_len <= HTTP_HEAD_MAX)
                take_head(connection, text, head_len);
        else
                await_head(connection, len);
}

void http_connection_step(struct http_connection *connection)
{
        struct evbuffer *input = bufferevent_get_input(connection->bev);

        switch (connection->state) {
        case HTTP_READING_HEAD:
                read_head(connection);
                return;
        case HTTP_READING_BODY:
                read_body(connection);
                return;
        case HTTP_STREAMING:
        case HTTP_RELAYING:
        case HTTP_CLOSING:
                evbuffer_drain(input, evbuffer_get_length(input));
                return;
        case HTTP_WORKING:
        case HTTP_WRITING: /* the next request waits. No watermark: libevent 2.1 crashes when it has no memory to set one */
                if (input_length(connection) >= HTTP_HEAD_MAX)
                        bufferevent_disable(connection->bev, EV_READ);
                return;
        }
}

static void on_readable(struct bufferevent *bev, void *arg)
{
        (void)bev;
        http_connection_step(arg);
}

static void on_written(struct bufferevent *bev, void *arg)
{
        struct http_connection *connection = arg;

        (void)bev;
        if (output_length(connection) > 0)
                return;
        if (connection->state == HTTP_STREAMING)
                http_stream_drained(connection->stream);
        if (connection->state == HTTP_RELAYING)
                http_give_relayed(connection);
        if (connection->state != HTTP_WRITING)
                return;
        bool more = input_length(connection) > 0;
        if (!connection->keep_alive || (connection->peer_done && !more) ||
                (connection->server->draining && !connection->server->give)) {
                connection_close(connection);
                return;
        }
        connection_idle(connection);
        if (connection->server->give)
                http_give_connection(connection);
        else if (more)
                http_connection_step(connection);
}

/* Whether nobody is at the other end: it has closed its socket, or answered what we wrote with a reset. */
static bool has_gone(const struct http_connection *connection)
{
        struct pollfd poll_fd = { .fd = bufferevent_getfd(connection->bev) };

        return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLHUP | POLLERR));
}

/* Who ends its sending with FIN may still read. On TCP that is told apart from one who closed by writing something: an
 * interim response (RFC 9110 15.2) means nothing to the one and is reset by the other. */
void http_connection_look(struct http_connection *connection)
{
        bool first = connection->look_ms == 0;

        if (has_gone(connection) || bufferevent_openssl_get_ssl(connection->bev)) {
                connection->broken = true;
                http_connection_wake(connection);
                return;
        }
        if (first && connection->request->head.minor > 0)
                bufferevent_write(connection->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        connection->look_ms = first ? LOOK_MIN_MS : connection->look_ms * 2 < LOOK_MAX_MS ? connection->look_ms * 2 : LOOK_MAX_MS;
        http_connection_set_deadline(connection, clock_mono_ms() + connection->look_ms);
}

static void peer_done(struct http_connection *connection)
{
        connection->peer_done = true;
        if (connection->state == HTTP_WORKING && connection->request->on_gone)
                http_connection_look(connection);
        if (connection->state == HTTP_READING_HEAD || connection->state == HTTP_READING_BODY)
                http_connection_step(connection);
        else if (connection->state == HTTP_STREAMING || connection->state == HTTP_CLOSING)
                http_connection_free(connection);
}

/* Whoever came just before a drain is still heard, if it speaks at once. */
static void handshake_done(struct http_connection *connection)
{
        connection->handshaking = false;
        connection_idle(connection);
        if (connection->server->draining)
                set_timeout(connection, clock_mono_ms(), connection->server->linger_ms);
}

/* Why a client does not get in: it hears no more than an alert. */
static void log_tls_error(const struct http_connection *connection)
{
        unsigned long error = bufferevent_get_openssl_error(connection->bev);
        const char *reason = error ? ERR_reason_error_string(error) : NULL;

        if (reason)
                log_debug("tls.failed", "peer=%s error=%s", connection->peer, LOG_Q(reason));
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
        (void)bev;
        if (what & BEV_EVENT_ERROR)
                log_tls_error(arg);
        if (what & BEV_EVENT_CONNECTED)
                handshake_done(arg);
        else if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING))
                peer_done(arg);
        else if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
                http_connection_free(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        struct http_connection *connection = arg;
        int64_t now = clock_mono_ms();

        (void)fd;
        (void)what;
        connection->armed = 0;
        if (connection->broken)
                http_connection_free(connection);
        else if (connection->state == HTTP_STREAMING && !http_stream_tick(connection->stream, now))
                http_connection_free(connection);
        else if (!connection->deadline || connection->state == HTTP_STREAMING)
                return;
        else if (now < connection->deadline)
                http_connection_set_deadline(connection, connection->deadline);
        else if (connection->state == HTTP_WORKING)
                http_connection_look(connection);
        else if (connection->state == HTTP_READING_BODY)
                http_connection_refuse(connection, 408, "the body was not all there in time");
        else
                http_connection_free(connection);
}

void http_connection_drain(struct http_connection *connection)
{
        if (connection->state == HTTP_STREAMING) {
                connection->stream->ending = true;
                http_connection_wake(connection);
        } else if (connection->state == HTTP_READING_HEAD && input_length(connection) == 0 && !connection->handshaking) {
                http_connection_free(connection);
        }
}

int http_connection_open(struct http_server *server, struct bufferevent *take_bev, struct http_address *address,
        const struct http_peer *peer)
{
        struct http_connection *connection = calloc(1, sizeof *connection);
        struct http_parser *parser = http_parser_new();
        struct event *timer = connection ? event_new(server->base, -1, 0, on_timer, connection) : NULL;

        if (!parser || !timer) {
                free(connection);
                http_parser_free(parser);
                bufferevent_free(take_bev);
                return -ENOMEM;
        }
        connection->server = server;
        connection->bev = take_bev;
        connection->timer = timer;
        connection->parser = parser;
        connection->address = address;
        memcpy(connection->peer, peer->text, sizeof connection->peer);
        connection->from = peer->from;
        connection->loopback = peer->loopback;
        http_server_remember(server, connection);
        bufferevent_setcb(take_bev, on_readable, on_written, on_event, connection);
        connection_idle(connection);
        connection->handshaking = bufferevent_openssl_get_ssl(take_bev);
        if (connection->handshaking) /* it has as long as a request, from the first moment */
                set_timeout(connection, clock_mono_ms(), server->config.request_timeout_ms);
        bufferevent_enable(take_bev, EV_READ | EV_WRITE);
        return 0;
}
