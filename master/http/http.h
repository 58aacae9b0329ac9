/* HTTP/1.1 server on libevent bufferevents, parsed by llhttp behind checks of ours. Routes are a table; a handler
 * gets one request with its whole body and answers it once, now or later. Sources: RFC 9110, RFC 9112, RFC 9457. */
#ifndef MASTER_HTTP_HTTP_H
#define MASTER_HTTP_HTTP_H
#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_method { HTTP_GET = 1, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OPTIONS, HTTP_METHOD_COUNT };

struct http_server;
struct http_request;
struct id;
struct ssl_ctx_st;

#define HTTP_SEGMENTS_MAX 4
/* A route: method and path; a segment in braces matches any one segment and is handed to the handler decoded:
 * "/api/v1/agents/{agent_id}". Literal segments win over braces. HEAD is served by GET. */
struct http_route {
        enum http_method method;
        const char *path;
        void (*handle)(struct http_request *request, void *arg);
        int role; /* what config.admit asks of the client; 0: nothing */
};

struct http_config {
        const struct http_route *routes; /* ends with a NULL path */
        bool (*refuse)(struct http_request *request, void *arg); /* true: it answered, no handler does; NULL: none */
        /* At the end of a head, before any of its body: 0, or the status to refuse with and *ret_detail (kept until the next call); headers
         * may be added. route NULL: there is none for this path and method. NULL: everybody may do everything. */
        int (*admit)(struct http_request *request, const struct http_route *route, void *arg, const char **ret_detail);
        bool (*resumes)(const struct http_route *route); /* another process can go on with what its handler began; NULL: none */
        void *arg;                       /* for handlers */
        int64_t max_connections;         /* in all; more are closed at accept */
        int64_t max_connections_per_address; /* unix sockets apart */
        int64_t max_body_bytes;          /* 1 MiB */
        int64_t request_timeout_ms;      /* first byte to last byte of a request; 0 here and below: none */
        int64_t idle_timeout_ms;         /* between requests */
        int64_t write_timeout_ms;        /* an answer that is not read */
        const char *server_name;         /* the Server header; NULL: none */
};

struct http_stats {
        uint64_t accepted, refused, requests, answers_2xx, answers_4xx, answers_5xx, parse_errors;
        unsigned connections, requests_active;
};

/* config is copied, its texts and routes are borrowed. NULL when out of memory. The process ignores SIGPIPE. */
struct http_server *http_server_new(struct event_base *base, const struct http_config *config);
/* Takes over a listening socket (closed by http_server_free). tls (borrowed): the SSL_CTX of http_tls.h that its
 * connections begin with; NULL: none. 0 or -errno. */
int http_server_listen(struct http_server *server, int take_fd, struct ssl_ctx_st *tls);
/* Stops accepting; connections end after the answer under way, streams now (on_gone); on_idle (may be NULL) from the
 * loop when none is left. */
void http_server_drain(struct http_server *server, void (*on_idle)(void *arg), void *arg);
/* Requests of routes with a role are not begun any more, but wait, to be given away or for HTTP_HOLD_NONE: those that only
 * this process can answer, or all. */
enum http_hold { HTTP_HOLD_NONE = 0, HTTP_HOLD_UNMOVABLE, HTTP_HOLD_ALL };
void http_server_hold(struct http_server *server, enum http_hold hold);
/* Of those that only this process can answer: how many were begun. */
unsigned http_server_unfinished(const struct http_server *server);
/* How many requests that were begun are not answered, or their answers not handed to the kernel; streams are not counted. */
unsigned http_server_unanswered(const struct http_server *server);
/* From now on no handler runs: what is there, and what still comes, is given away, packed, with a socket to the client
 * (give owns it). Only routes without a role are answered here. Afterwards what is left ends by itself, see drain. */
void http_server_give_away(struct http_server *server, void (*give)(void *arg, const char *data, size_t len, int take_fd),
        void (*on_idle)(void *arg), void *arg);
/* Stops accepting; idle connections go the same way. */
void http_server_close_doors(struct http_server *server);
/* A connection that another server gave away. 0; -EPROTO: packed by another version; -ENOMEM. */
int http_server_take_over(struct http_server *server, const char *data, size_t len, int take_fd);
/* Closes everything at once, on_gone for each stream; requests not yet answered are still to be answered. Not from a
 * handler. NULL is fine. */
struct http_server *http_server_free(struct http_server *server);
void http_server_stats(const struct http_server *server, struct http_stats *ret_stats);

const char *http_request_path(const struct http_request *request);    /* raw, without the query */
/* A decoded path segment in braces by its name; never NULL for a name of the matched route. */
const char *http_request_param(const struct http_request *request, const char *name);
/* A decoded query parameter, NULL when absent; the first of several. A malformed query was refused with 400. */
const char *http_request_query(const struct http_request *request, const char *name);
/* The i-th query parameter's name, NULL past the end: for refusing unknown ones. */
const char *http_request_query_name(const struct http_request *request, size_t i);
bool http_request_query_once(const struct http_request *request, size_t i); /* no other before that one has its name */
/* A header by its lower-case name, NULL when absent. Repeated headers are joined by ", ". */
const char *http_request_header(const struct http_request *request, const char *name);
/* The name that the client took for this server, with its port or without: the target's (RFC 9112 3.2.2: it goes before the
 * header's), else the Host header's; NULL: an HTTP/1.0 request has none. */
const char *http_request_host(const struct http_request *request);
const char *http_request_body(const struct http_request *request, size_t *ret_len); /* NUL-terminated */
const char *http_request_peer(const struct http_request *request); /* "127.0.0.1:5000", "unix:uid=0,pid=17" */
/* The peer's address: IPv4 mapped; of a unix socket 100::, its user id in bytes 4 to 7. For admit only. */
const struct in6_addr *http_request_address(const struct http_request *request);
/* Its connection came in by a TCP listener that only this machine reaches. For admit only. */
bool http_request_over_loopback(const struct http_request *request);
/* Made at random for each request that asks for one. */
const struct id *http_request_id(struct http_request *request);
/* Its body may be longer than max_body_bytes. For admit only. */
void http_request_raise_body_max(struct http_request *request, int64_t bytes);
/* Whose token it came with; "" until admit sets it. */
void http_request_set_user(struct http_request *request, const char *name);
const char *http_request_user(const struct http_request *request);
/* False once the client has gone: an answer is then only freed. */
bool http_request_alive(const struct http_request *request);
/* on_gone is called once, from the loop, when the client goes before the answer. The request is still to be answered. A
 * client that only ends its sending is still there. */
void http_request_on_gone(struct http_request *request, void (*on_gone)(struct http_request *request));
/* Should the request be given away: note is for its handler there, which goes on with what was begun here. Without one it
 * is begun again. */
void http_request_leave_note(struct http_request *request, const char *note);
const char *http_request_note(const struct http_request *request); /* NULL: nothing was begun before */
/* The handler's own, for answers that come later. */
void http_request_set_context(struct http_request *request, void *context);
void *http_request_context(const struct http_request *request);

/* Before the answer: one more header. Names and values with CR, LF or other controls are a bug (assert). */
void http_answer_header(struct http_request *request, const char *name, const char *value);
void http_answer_retry_after(struct http_request *request, unsigned seconds); /* likewise */
/* Answers and consumes the request. body is copied. content_type NULL: no body. */
void http_answer(struct http_request *request, int status, const char *content_type, const char *body, size_t len);
/* An RFC 9457 problem: type "about:blank", title from the status, detail printf-made. */
void http_answer_problem(struct http_request *request, int status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* Server-Sent Events: the request becomes a stream until it is closed, or the client goes or the server drains (on_gone
 * from the loop, then it is freed). NULL: the client has gone already, or out of memory; on_gone is not called. */
struct http_stream;
struct http_stream *http_answer_stream(struct http_request *request, void (*on_gone)(void *arg), void *arg);
/* event may be NULL. 0, or -EPIPE: the client does not read or the server drains; the stream ends (on_gone follows). */
int http_stream_event(struct http_stream *stream, const char *event, const char *data, size_t len);
size_t http_stream_unread(const struct http_stream *stream); /* bytes that wait for the client */
void http_stream_close(struct http_stream *stream); /* ends it in order; on_gone is not called */
#endif
