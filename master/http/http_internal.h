/* What the files of master/http share; nobody else includes it (but its tests). One connection, top to bottom:
 *
 *   READING_HEAD --> READING_BODY --> WORKING --> WRITING --> READING_HEAD | CLOSING
 *         |               |              `------> STREAMING -> WRITING
 *         `---------------`-- refused ----------> WRITING --> CLOSING --> freed
 * Given away it is freed at once; over TLS it goes from WORKING to RELAYING, then WRITING.                           */
#ifndef MASTER_HTTP_HTTP_INTERNAL_H
#define MASTER_HTTP_HTTP_INTERNAL_H
#include "common/id.h"
#include "master/http/http.h"
#include "master/http/http_parser.h"

#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <sys/queue.h>
#include <uthash.h>

#define HTTP_QUERIES_MAX 32
#define HTTP_STREAM_MAX (16 * 1024 * 1024) /* where nothing is unread, one event may be longer; output that a stream's client may leave unread */
#define HTTP_PING_MS 15000
#define HTTP_LINGER_MS 2000
#define HTTP_PEER_SIZE 56 /* "[", an IPv6 address, "]:65535" and the NUL */

enum http_state {
        HTTP_READING_HEAD = 1, /* idle until its first byte; over TLS it begins with the handshake */
        HTTP_READING_BODY,
        HTTP_WORKING,   /* the handler has the request */
        HTTP_STREAMING, /* Server-Sent Events */
        HTTP_RELAYING,  /* another process has the request, and we its TLS */
        HTTP_WRITING,   /* the whole answer is queued */
        HTTP_CLOSING,   /* our side is shut down; the peer's last bytes are discarded */
};

/* How many connections one address has. */
struct http_address {
        struct in6_addr address; /* IPv4 mapped */
        int64_t connections;
        UT_hash_handle hh;
};

struct http_connection {
        struct http_server *server;
        struct bufferevent *bev;
        struct event *timer;         /* the only one; fires at armed or before, looks at deadline */
        struct http_parser *parser;
        struct http_request *request; /* from its whole head to its answer */
        struct http_stream *stream;   /* when STREAMING */
        struct bufferevent *inner;    /* when RELAYING: the other process' end */
        struct http_address *address; /* where it is counted; NULL: nowhere */
        int64_t deadline, armed;      /* mono ms; 0: none */
        int64_t look_ms;              /* until it is looked again whether a client that sends no more is there; 0: not begun */
        int64_t began;                /* mono ms of the request's first byte; 0: none yet */
        size_t searched;              /* of the head, see http_head_length */
        enum http_state state;
        bool keep_alive; /* after the answer being written */
        bool peer_done;  /* sent FIN */
        bool last;       /* the answer under way is: what is at the other end relays it for a client over TLS */
        bool line_skipped; /* the one empty line that may precede a request */
        bool handshaking; /* TLS is not agreed on yet */
        bool broken;     /* out of memory for its answer: freed by the timer's callback */
        bool loopback;   /* see http_request_over_loopback */
        char peer[HTTP_PEER_SIZE];
        struct in6_addr from; /* see http_request_address */
        TAILQ_ENTRY(http_connection) link;
};

struct http_param {
        const char *name, *value;
        size_t name_len;
};

struct http_request {
        struct http_connection *connection; /* NULL once the client has gone */
        enum http_method method;            /* 0: one that no route can have */
        const struct http_route *route;     /* NULL: answered by us */
        unsigned allowed;                   /* 1u << method, of the path's routes */
        bool expects_continue;
        const char *path; /* raw, without the query */
        const char *host; /* of the target, else of the header; NULL: none */
        char *query;      /* raw until http_query_read; NULL: none */
        struct http_param params[HTTP_SEGMENTS_MAX];
        struct http_param queries[HTTP_QUERIES_MAX];
        size_t param_count, query_count;
        struct http_body body;
        char *extra; /* owned header lines of the answer */
        size_t extra_len;
        bool broken; /* out of memory for one of them */
        bool held;   /* complete, and not begun */
        bool begun;  /* in another process: it was let in there */
        char *note;  /* owned; NULL: nobody can go on with it elsewhere */
        char *before; /* owned: the note that it came with; NULL: none */
        void *context;
        void (*on_gone)(struct http_request *request);
        char peer[HTTP_PEER_SIZE];
        char user[65];
        struct id id; /* zero until it is asked for */
        struct http_head head;
        char *raw;   /* the head as it came */
        size_t raw_len;
        char *spare; /* unused rest of text: decoded and joined values, never longer than their sources */
        char text[]; /* the head */
};

struct http_stream {
        struct http_connection *connection;
        void (*on_gone)(void *arg);
        void *arg;
        int64_t ping_at;      /* mono ms */
        int64_t unread_since; /* mono ms since output waits; 0: none does */
        bool chunked;
        bool dropped; /* the client does not read: on_gone follows from the loop */
        bool ending;  /* HEAD, or the server drains: on_gone and the last chunk follow from the loop */
};

struct http_listener;
struct http_router;
struct http_server {
        struct event_base *base;
        struct http_config config;
        struct http_router *router;
        TAILQ_HEAD(http_connections, http_connection) connections;
        SLIST_HEAD(, http_listener) listeners;
        struct http_address *addresses;
        struct event *resume;  /* accepting, after a pause */
        struct event *drained; /* calls on_idle */
        void (*give)(void *arg, const char *data, size_t len, int take_fd); /* see http_server_give_away */
        struct evbuffer *scratch;
        void (*on_idle)(void *arg);
        void *on_idle_arg;
        bool draining;
        enum http_hold hold;
        int64_t pause_logged; /* mono ms; 0: never */
        int64_t ping_ms, linger_ms; /* HTTP_PING_MS, HTTP_LINGER_MS; tests shorten them */
        int64_t dated;              /* the second that date is of */
        char date[32];              /* RFC 9110 5.6.7 */
        struct http_stats stats;
};

/* http_server.c: its connections. */
void http_server_remember(struct http_server *server, struct http_connection *connection);
void http_server_forget(struct http_server *server, struct http_connection *connection);

/* The entry of an address, also beyond its share. NULL: out of memory. */
struct http_address *http_server_address(struct http_server *server, const struct in6_addr *from);

/* http_connection.c */
/* Who is at the other end. */
struct http_peer {
        struct in6_addr from; /* see http_request_address */
        bool loopback;        /* see http_request_over_loopback */
        char text[HTTP_PEER_SIZE];
};
/* Takes over bev (freed on failure), whose TLS handshake is still to come when it has an SSL. 0 or -ENOMEM. */
int http_connection_open(struct http_server *server, struct bufferevent *take_bev, struct http_address *address,
        const struct http_peer *peer);
/* At once: a request under way loses its connection, a stream's on_gone is called. */
void http_connection_free(struct http_connection *connection);
/* Ends it after the answer under way, at once when idle; a stream ends from the loop. */
void http_connection_drain(struct http_connection *connection);
/* The answer to its request is queued (or, when not, cannot be: closes). The request is then the caller's to free. */
void http_connection_answered(struct http_connection *connection, bool queued, bool keep_alive);
/* The request is complete. */
void http_connection_dispatch(struct http_connection *connection);
/* An answer of ours, after which it closes. */
void http_connection_refuse(struct http_connection *connection, int status, const char *detail);
/* Goes on with what there is to read. May free the connection. */
void http_connection_step(struct http_connection *connection);
/* All that is to be said is queued, or said: closes. */
void http_connection_finish(struct http_connection *connection);
/* http_give.c: away it goes, freed, or relayed. */
void http_give_connection(struct http_connection *connection);
void http_give_relayed(struct http_connection *connection); /* what was relayed was written */
/* Its request became a stream. */
void http_connection_streams(struct http_connection *connection, struct http_stream *stream);
/* Calls back from the loop as if its deadline had passed. */
void http_connection_wake(struct http_connection *connection);
void http_connection_set_deadline(struct http_connection *connection, int64_t mono_ms);
/* The client sends no more: finds out whether it has gone, and tells the request so. */
void http_connection_look(struct http_connection *connection);

/* http_request.c */
/* With room for a head of head_len bytes and its decoded values. NULL when out of memory. */
struct http_request *http_request_new(struct http_connection *connection, const char *head, size_t head_len);
void http_request_free(struct http_request *request);
/* Whether another process can begin it as well, or go on with it. */
bool http_request_may_move(const struct http_request *request);

/* http_head.c: parses and judges the request's head, finds its route. 0, or the status to refuse with. */
int http_head_read(struct http_parser *parser, struct http_request *request, size_t head_len, const char **ret_detail);

/* http_route.c */
struct http_router *http_router_new(const struct http_route *routes);
struct http_router *http_router_free(struct http_router *router);
/* 0, 400, 404 or 405. Fills route, allowed and params. */
int http_router_match(const struct http_router *router, struct http_request *request, const char **ret_detail);
/* 0 or 400. Fills queries. */
/* Decodes what means the same decoded. */
void http_path_normalize(char *path);
int http_query_read(struct http_request *request, const char **ret_detail);
enum http_method http_method_parse(const char *name);
/* "GET, HEAD, OPTIONS" */
const char *http_allow_text(unsigned allowed, char text[64]);

/* http_answer.c */
const char *http_status_title(int status);
/* Head of an answer into the connection's output; body_len < 0: no Content-Length. 0 or -ENOMEM. */
int http_answer_write(struct http_request *request, int status, const char *content_type, const char *body,
        int64_t body_len, bool keep_alive);

/* http_stream.c: what the connection tells its stream. */
bool http_stream_tick(struct http_stream *stream, int64_t now); /* false: drop the client, free the connection */
void http_stream_drained(struct http_stream *stream);
void http_stream_gone(struct http_stream *stream); /* calls on_gone, frees */
#endif
