/* Connections that move to the server of another process: packed with what is known of them, and the client's socket. TLS
 * cannot move: there the client's bytes go through this process, for the one request that is under way. */
#include "common/clock.h"
#include "common/fd.h"
#include "master/http/http_internal.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define UNDER_WAY "it was under way longer than a reload waits (shutdown_timeout); look what came of it before asking again"
#define GONE "the master that went on with it is gone, and nobody knows how far it came; ask again"

/* In front of the head as it came, the body, the note, and what was read besides, in this order. */
struct packed {
        uint32_t version, size;
        uint32_t begun, last, loopback;
        uint64_t head_len, body_len, note_len, rest_len;
        struct in6_addr from;
        char peer[HTTP_PEER_SIZE];
        char user[65];
        struct id id;
};
#define VERSION 1

static bool is_tls(const struct http_connection *connection)
{
        return bufferevent_openssl_get_ssl(connection->bev);
}

static void put(char **to, const char *from, size_t len)
{
        if (len)
                memcpy(*to, from, len);
        *to += len;
}

/* The caller's to free(); NULL when out of memory. */
static char *pack(const struct http_connection *connection, size_t *ret_len)
{
        const struct http_request *request = connection->request;
        struct evbuffer *input = bufferevent_get_input(connection->bev);
        const char *note = request && !request->held ? request->note : NULL;
        struct packed packed = { .version = VERSION, .size = sizeof packed, .begun = request && !request->held,
                .last = is_tls(connection) || connection->last, .loopback = connection->loopback, .from = connection->from,
                .head_len = request ? request->raw_len : 0, .body_len = request ? request->body.len : 0,
                .note_len = note ? strlen(note) + 1 : 0,
                .rest_len = is_tls(connection) ? 0 : evbuffer_get_length(input) };
        size_t len = sizeof packed + packed.head_len + packed.body_len + packed.note_len + packed.rest_len;
        char *data = malloc(len), *to = data;

        if (!data)
                return NULL;
        memcpy(packed.peer, connection->peer, sizeof packed.peer);
        if (request) {
                memcpy(packed.user, request->user, sizeof packed.user);
                packed.id = request->id;
        }
        put(&to, (const char *)&packed, sizeof packed);
        put(&to, request ? request->raw : NULL, packed.head_len);
        put(&to, request ? request->body.bytes : NULL, packed.body_len);
        put(&to, note, packed.note_len);
        evbuffer_copyout(input, to, packed.rest_len);
        *ret_len = len;
        return data;
}

/* ---- TLS ---- */

void http_give_relayed(struct http_connection *connection)
{
        http_connection_set_deadline(connection, 0);
        bufferevent_enable(connection->inner, EV_READ);
}

/* The answer, as the other process writes it: at most so much of it is here. */
static void on_inner_readable(struct bufferevent *inner, void *arg)
{
        struct http_connection *connection = arg;
        struct evbuffer *output = bufferevent_get_output(connection->bev);

        connection->keep_alive = true; /* something was relayed */
        bufferevent_write_buffer(connection->bev, bufferevent_get_input(inner));
        if (evbuffer_get_length(output) < HTTP_STREAM_MAX)
                return;
        bufferevent_disable(inner, EV_READ);
        http_connection_set_deadline(connection, clock_mono_ms() + connection->server->config.write_timeout_ms);
}

static void on_inner_event(struct bufferevent *inner, short what, void *arg)
{
        struct http_connection *connection = arg;

        if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
                return;
        if (evbuffer_get_length(bufferevent_get_input(inner)) > 0)
                on_inner_readable(inner, arg);
        bufferevent_disable(inner, EV_READ);
        if (connection->keep_alive)
                http_connection_finish(connection);
        else
                http_connection_refuse(connection, 503, GONE);
}

/* The socket that the other process gets, or -errno. */
static int begin_relay(struct http_connection *connection)
{
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        connection->inner = bufferevent_socket_new(connection->server->base, ends[0], BEV_OPT_CLOSE_ON_FREE);
        if (!connection->inner) {
                fd_close(ends[0]);
                fd_close(ends[1]);
                return -ENOMEM;
        }
        bufferevent_setcb(connection->inner, on_inner_readable, NULL, on_inner_event, connection);
        bufferevent_enable(connection->inner, EV_READ | EV_WRITE);
        bufferevent_enable(connection->bev, EV_READ);
        return ends[1];
}

/* ---- away ---- */

/* Whose answer is not ours any more. */
static void detach(struct http_connection *connection)
{
        struct http_request *request = connection->request;

        connection->request = NULL;
        if (connection->state == HTTP_WORKING)
                connection->server->stats.requests_active--;
        if (request && request->held)
                http_request_free(request);
        else if (request)
                request->connection = NULL;
}

/* Its answer is this. */
static void give_up(struct http_connection *connection, const char *detail)
{
        detach(connection);
        connection->state = HTTP_READING_BODY;
        http_connection_refuse(connection, 503, detail);
}

/* Begun here: elsewhere it would be done once more. */
static bool is_bound(const struct http_connection *connection)
{
        const struct http_request *request = connection->request;

        return request && !request->held && !http_request_may_move(request);
}

static void give(struct http_connection *connection)
{
        struct http_server *server = connection->server;
        size_t len = 0;
        char *data = pack(connection, &len);
        int fd = !data ? -ENOMEM : is_tls(connection) ? begin_relay(connection)
                                                      : fcntl(bufferevent_getfd(connection->bev), F_DUPFD_CLOEXEC, 3);

        if (fd < 0) {
                give_up(connection, "no descriptor or memory is left to go on with it; ask again");
        } else {
                detach(connection);
                connection->state = is_tls(connection) ? HTTP_RELAYING : HTTP_READING_HEAD;
                connection->keep_alive = false;
                server->give(server->on_idle_arg, data, len, fd);
                if (connection->state == HTTP_READING_HEAD)
                        http_connection_free(connection);
        }
        free(data);
}

void http_give_connection(struct http_connection *connection)
{
        bool idle = connection->state == HTTP_READING_HEAD && !is_tls(connection);

        if (connection->state == HTTP_WORKING && is_bound(connection))
                give_up(connection, UNDER_WAY);
        else if (connection->state == HTTP_WORKING || idle)
                give(connection);
        else if (connection->state == HTTP_READING_HEAD || connection->state == HTTP_STREAMING)
                http_connection_drain(connection);
}

/* ---- here it comes ---- */

/* The request as it was let in. 0, or as http_head_read. */
static int take_request(struct http_connection *connection, const struct packed *packed, const char *data,
        const char **ret_detail)
{
        const char *body = data + packed->head_len, *note = body + packed->body_len;
        struct http_request *request = http_request_new(connection, data, packed->head_len);
        int status;

        *ret_detail = "out of memory";
        connection->request = request;
        if (!request)
                return 503;
        connection->server->stats.requests++;
        memcpy(request->user, packed->user, sizeof request->user);
        request->id = packed->id;
        request->begun = packed->begun;
        request->before = packed->note_len ? strndup(note, packed->note_len) : NULL;
        request->body.bytes = packed->body_len ? malloc(packed->body_len + 1) : NULL;
        if ((packed->note_len && !request->before) || (packed->body_len && !request->body.bytes))
                return 503;
        status = http_head_read(connection->parser, request, packed->head_len, ret_detail);
        if (status)
                return status;
        if (packed->begun && !id_is_zero(&request->id))
                http_answer_header(request, "X-Request-Id", ID_TEXT(&request->id));
        if (packed->body_len) {
                memcpy(request->body.bytes, body, packed->body_len);
                request->body.bytes[packed->body_len] = '\0';
                request->body.len = packed->body_len;
                request->body.size = packed->body_len + 1;
        }
        request->head.keep_alive = request->head.keep_alive && !packed->last;
        return 0;
}

static void go_on(struct http_connection *connection, const struct packed *packed, const char *data)
{
        const char *detail = NULL;
        int status;

        connection->last = packed->last;
        if (packed->rest_len)
                evbuffer_prepend(bufferevent_get_input(connection->bev),
                        data + packed->head_len + packed->body_len + packed->note_len, packed->rest_len);
        if (!packed->head_len) {
                if (packed->rest_len)
                        http_connection_step(connection);
                return;
        }
        status = take_request(connection, packed, data, &detail);
        if (status)
                http_connection_refuse(connection, status, detail);
        else
                http_connection_dispatch(connection);
}

static bool is_whole(const struct packed *packed, size_t len)
{
        return packed->version == VERSION && packed->size == sizeof *packed && packed->head_len <= HTTP_HEAD_MAX &&
               packed->body_len <= len && packed->note_len <= len && packed->rest_len <= len &&
               sizeof *packed + packed->head_len + packed->body_len + packed->note_len + packed->rest_len == len;
}

int http_server_take_over(struct http_server *server, const char *data, size_t len, int take_fd)
{
        struct http_peer peer = { .text = "" };
        struct http_address *address = NULL;
        struct packed packed = { 0 };
        struct bufferevent *bev;

        if (len >= sizeof packed)
                memcpy(&packed, data, sizeof packed);
        if (!is_whole(&packed, len)) {
                fd_close(take_fd);
                return -EPROTO;
        }
        memcpy(peer.text, packed.peer, sizeof peer.text);
        peer.from = packed.from;
        peer.loopback = packed.loopback;
        if (strncmp(peer.text, "unix:", 5) != 0)
                address = http_server_address(server, &peer.from);
        bev = bufferevent_socket_new(server->base, take_fd, BEV_OPT_CLOSE_ON_FREE);
        if (!bev)
                fd_close(take_fd);
        if (!bev || http_connection_open(server, bev, address, &peer) < 0)
                return -ENOMEM;
        go_on(TAILQ_LAST(&server->connections, http_connections), &packed, data + sizeof packed);
        return 0;
}
