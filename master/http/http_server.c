/* The server: listeners, connections, addresses and how many of each there may be. */
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/http/http_internal.h"
#include "master/http/http_tls.h"
#include "master/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define PAUSE_MS 100
#define PAUSE_LOG_MS 60000

struct http_listener {
        struct http_server *server;
        struct evconnlistener *listener;
        SSL_CTX *tls; /* borrowed; NULL: plain */
        bool local;   /* only this machine reaches it */
        SLIST_ENTRY(http_listener) link;
};

void http_server_remember(struct http_server *server, struct http_connection *connection)
{
        TAILQ_INSERT_TAIL(&server->connections, connection, link);
        server->stats.connections++;
        if (connection->address)
                connection->address->connections++;
}

static void address_release(struct http_server *server, struct http_address *address)
{
        if (!address || address->connections > 0)
                return;
        HASH_DEL(server->addresses, address);
        free(address);
}

void http_server_forget(struct http_server *server, struct http_connection *connection)
{
        TAILQ_REMOVE(&server->connections, connection, link);
        server->stats.connections--;
        if (connection->address)
                connection->address->connections--;
        address_release(server, connection->address);
        if (server->draining && TAILQ_EMPTY(&server->connections))
                event_active(server->drained, EV_TIMEOUT, 1);
}

struct http_address *http_server_address(struct http_server *server, const struct in6_addr *from)
{
        struct http_address *address;

        HASH_FIND(hh, server->addresses, from, sizeof *from, address);
        if (address)
                return address;
        address = calloc(1, sizeof *address);
        if (!address)
                return NULL;
        address->address = *from;
        HASH_ADD(hh, server->addresses, address, sizeof *from, address);
        return address;
}

/* The entry of the peer's address. 0, -EUSERS: it has its share, -ENOMEM. */
static int address_admit(struct http_server *server, const struct in6_addr *from, struct http_address **ret_address)
{
        struct http_address *address = http_server_address(server, from);

        *ret_address = address;
        if (!address)
                return -ENOMEM;
        return address->connections == 0 || address->connections < server->config.max_connections_per_address ? 0 : -EUSERS;
}

/* What the system says of a unix socket's other end when it connected. */
static void unix_peer(int fd, struct http_peer *peer)
{
        struct ucred cred = { .uid = (uid_t)-1 };
        socklen_t size = sizeof cred;

        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size);
        snprintf(peer->text, sizeof peer->text, "unix:uid=%u,pid=%d", cred.uid, cred.pid);
        peer->from.s6_addr[0] = 1; /* 100::/64 is nobody's (RFC 6666) */
        memcpy(&peer->from.s6_addr[4], &cred.uid, sizeof cred.uid);
}

static void peer_of(int fd, const struct sockaddr *sa, struct http_peer *peer)
{
        const struct sockaddr_in6 *in6 = (const void *)sa;
        const struct sockaddr_in *in = (const void *)sa;
        char host[INET6_ADDRSTRLEN] = "";

        if (sa->sa_family == AF_INET6) {
                peer->from = in6->sin6_addr;
                inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
                snprintf(peer->text, sizeof peer->text, "[%s]:%u", host, ntohs(in6->sin6_port));
        } else if (sa->sa_family == AF_INET) {
                peer->from.s6_addr[10] = peer->from.s6_addr[11] = 0xff;
                memcpy(&peer->from.s6_addr[12], &in->sin_addr, 4);
                inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
                snprintf(peer->text, sizeof peer->text, "%s:%u", host, ntohs(in->sin_port));
        } else {
                unix_peer(fd, peer);
        }
}

/* The one place that makes a connection's transport. */
static struct bufferevent *transport_new(struct http_server *server, evutil_socket_t fd, const struct sockaddr *sa,
        SSL_CTX *tls)
{
        if (sa->sa_family != AF_UNIX)
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        return tls ? http_tls_transport(server->base, fd, tls)
                   : bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
}

/* Takes over fd only on success. */
static int admit(const struct http_listener *by, evutil_socket_t fd, const struct sockaddr *sa)
{
        struct http_server *server = by->server;
        struct http_address *address = NULL;
        struct http_peer peer = { .loopback = by->local && sa->sa_family != AF_UNIX };

        if (server->stats.connections >= server->config.max_connections)
                return -EUSERS;
        peer_of(fd, sa, &peer);
        int error = sa->sa_family == AF_UNIX ? 0 : address_admit(server, &peer.from, &address);
        if (error)
                return error;
        struct bufferevent *bev = transport_new(server, fd, sa, by->tls);
        if (!bev) {
                address_release(server, address);
                return -ENOMEM;
        }
        if (http_connection_open(server, bev, address, &peer) < 0)
                address_release(server, address); /* fd went with bev */
        return 0;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
        const struct http_listener *by = arg;
        struct http_server *server = by->server;

        (void)listener;
        (void)len;
        server->stats.accepted++;
        if (admit(by, fd, sa) < 0) {
                server->stats.refused++;
                fd_close(fd);
        }
}

static void listeners_enable(struct http_server *server, bool enable)
{
        struct http_listener *at;

        SLIST_FOREACH(at, &server->listeners, link) {
                if (enable)
                        evconnlistener_enable(at->listener);
                else
                        evconnlistener_disable(at->listener);
        }
}

/* Out of descriptors or memory: waiting connections keep the listener readable, so look again only after a while. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
        const struct http_listener *by = arg;
        struct http_server *server = by->server;
        int error = errno;
        int64_t now = clock_mono_ms();

        (void)listener;
        listeners_enable(server, false);
        event_add(server->resume, &(struct timeval){ .tv_usec = PAUSE_MS * 1000 });
        if (server->pause_logged && now - server->pause_logged < PAUSE_LOG_MS)
                return;
        server->pause_logged = now;
        log_error("http.accept_paused", "error=\"%s\" connections=%u remedy=\"raise the open files limit (LimitNOFILE) "
                "or lower server.max_connections\"", strerror(error), server->stats.connections);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        listeners_enable(arg, true);
}

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
        struct http_server *server = arg;

        (void)fd;
        (void)what;
        if (server->on_idle)
                server->on_idle(server->on_idle_arg);
}

struct http_server *http_server_new(struct event_base *base, const struct http_config *config)
{
        struct http_server *server = calloc(1, sizeof *server);

        if (!server)
                return NULL;
        server->base = base;
        server->config = *config;
        server->ping_ms = HTTP_PING_MS;
        server->linger_ms = HTTP_LINGER_MS;
        TAILQ_INIT(&server->connections);
        SLIST_INIT(&server->listeners);
        server->router = http_router_new(config->routes);
        server->resume = event_new(base, -1, 0, on_resume, server);
        server->drained = event_new(base, -1, 0, on_drained, server);
        server->scratch = evbuffer_new();
        if (!server->router || !server->resume || !server->drained || !server->scratch)
                return http_server_free(server);
        return server;
}

int http_server_listen(struct http_server *server, int take_fd, SSL_CTX *tls)
{
        int error = fd_nonblock(take_fd);
        struct http_listener *listener = error ? NULL : calloc(1, sizeof *listener);

        if (listener) {
                listener->server = server;
                listener->tls = tls;
                listener->local = listen_is_local(take_fd);
                listener->listener = evconnlistener_new(server->base, on_accept, listener,
                        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, take_fd);
        }
        if (!listener || !listener->listener) {
                free(listener);
                fd_close(take_fd);
                return error ? error : -ENOMEM;
        }
        evconnlistener_set_error_cb(listener->listener, on_accept_error);
        SLIST_INSERT_HEAD(&server->listeners, listener, link);
        return 0;
}

static void listeners_close(struct http_server *server)
{
        struct http_listener *at;

        event_del(server->resume);
        while ((at = SLIST_FIRST(&server->listeners))) {
                SLIST_REMOVE_HEAD(&server->listeners, link);
                evconnlistener_free(at->listener);
                free(at);
        }
}

void http_server_drain(struct http_server *server, void (*on_idle)(void *arg), void *arg)
{
        struct http_connection *at, *next;

        listeners_close(server);
        server->draining = true;
        server->on_idle = on_idle;
        server->on_idle_arg = arg;
        if (TAILQ_EMPTY(&server->connections))
                event_active(server->drained, EV_TIMEOUT, 1);
        for (at = TAILQ_FIRST(&server->connections); at; at = next) {
                next = TAILQ_NEXT(at, link);
                http_connection_drain(at);
        }
}

void http_server_hold(struct http_server *server, enum http_hold hold)
{
        struct http_connection *at, *next;

        server->hold = hold;
        for (at = TAILQ_FIRST(&server->connections); at && hold == HTTP_HOLD_NONE; at = next) {
                next = TAILQ_NEXT(at, link);
                if (at->state != HTTP_WORKING || !at->request->held)
                        continue;
                server->stats.requests_active--;
                http_connection_dispatch(at);
        }
}

unsigned http_server_unfinished(const struct http_server *server)
{
        const struct http_connection *at;
        unsigned count = 0;

        TAILQ_FOREACH(at, &server->connections, link)
                count += at->state == HTTP_WORKING && !at->request->held && !http_request_may_move(at->request);
        return count;
}

unsigned http_server_unanswered(const struct http_server *server)
{
        const struct http_connection *at;
        unsigned count = 0;

        TAILQ_FOREACH(at, &server->connections, link)
                count += at->state == HTTP_WRITING || (at->state == HTTP_WORKING && !at->request->held);
        return count;
}

static void give_all(struct http_server *server)
{
        struct http_connection *at, *next;

        for (at = TAILQ_FIRST(&server->connections); at; at = next) {
                next = TAILQ_NEXT(at, link);
                http_give_connection(at);
        }
        if (TAILQ_EMPTY(&server->connections))
                event_active(server->drained, EV_TIMEOUT, 1);
}

void http_server_give_away(struct http_server *server, void (*give)(void *arg, const char *data, size_t len, int take_fd),
        void (*on_idle)(void *arg), void *arg)
{
        server->give = give;
        server->draining = true;
        server->config.admit = NULL; /* whoever takes them over judges */
        server->on_idle = on_idle;
        server->on_idle_arg = arg;
        give_all(server);
}

void http_server_close_doors(struct http_server *server)
{
        listeners_close(server);
        give_all(server);
}

struct http_server *http_server_free(struct http_server *server)
{
        struct http_connection *connection;

        if (!server)
                return NULL;
        if (server->resume)
                listeners_close(server);
        while ((connection = TAILQ_FIRST(&server->connections)))
                http_connection_free(connection);
        if (server->resume)
                event_free(server->resume);
        if (server->drained)
                event_free(server->drained);
        if (server->scratch)
                evbuffer_free(server->scratch);
        http_router_free(server->router);
        free(server);
        return NULL;
}

void http_server_stats(const struct http_server *server, struct http_stats *ret_stats)
{
        *ret_stats = server->stats;
}
