#include "registry/redis/redis_link.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/timer.h"
#include "registry/redis/link_state.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define RETRY_BASE_MS 50
#define RETRY_CAP_MS 2000
#define LOOKS 4 /* at a request's time, while it waits */

struct request {
        redis_link_cb cb; /* NULL: nobody waits */
        void *arg;
        size_t len;
        TAILQ_ENTRY(request) link;
};
TAILQ_HEAD(request_list, request);

struct redis_link {
        struct event_base *base;
        struct redis_link_config config;
        struct redis_link_events events;
        void *arg;
        struct redis_url url;
        char *name;                 /* the URL without its password */
        struct bufferevent *bev;    /* NULL while down */
        struct evdns_base *dns;     /* NULL until a name must be resolved */
        redisReader *reader;        /* lives and dies with bev */
        struct timer timer;         /* one for all deadlines */
        struct request_list requests; /* unanswered, oldest first: Redis answers in order */
        struct backoff backoff;
        enum link_state state;
        unsigned connection;        /* counts connections: a callback may have ended the one at work */
        bool entered;               /* within a callback of the loop: not the moment to free it */
        bool freed;
        size_t pending;             /* bytes of unanswered requests */
        size_t partial;             /* bytes read since the last whole answer */
        int64_t timer_at;           /* mono ms */
        int64_t last_sent;          /* mono ms */
        int64_t waits_since;        /* mono ms: for the oldest request's answer; the time before is that of others */
        int64_t up_since;           /* mono ms; 0: was not up */
};

static void link_destroy(struct redis_link *link)
{
        if (link->dns)
                evdns_base_free(link->dns, 0);
        redis_url_done(&link->url);
        free(link->name);
        free(link);
}

/* Around whatever may call back: the link is freed only when the outermost one leaves. */
static bool link_enter(struct redis_link *link)
{
        bool outermost = !link->entered;

        link->entered = true;
        return outermost;
}

static void link_leave(struct redis_link *link, bool outermost)
{
        if (!outermost)
                return;
        link->entered = false;
        if (link->freed)
                link_destroy(link);
}

static void link_arm(struct redis_link *link, int64_t at)
{
        link->timer_at = at;
        timer_at(&link->timer, at);
}

/* The one place where the state changes; what cannot happen is a bug. */
static void change_state(struct redis_link *link, enum link_event event)
{
        if (link_state_apply(&link->state, event) < 0)
                abort();
}

/* What nobody waits for any more must not be done later, after what the next connection asks for: the kernel drops it. */
static void drop_unsent(const struct redis_link *link)
{
        struct linger now = { .l_onoff = 1, .l_linger = 0 };
        evutil_socket_t fd = bufferevent_getfd(link->bev);

        if (!link->url.path && fd >= 0 && !TAILQ_EMPTY(&link->requests))
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void link_close(struct redis_link *link)
{
        if (link->bev) {
                drop_unsent(link);
                bufferevent_free(link->bev);
        }
        if (link->reader)
                redisReaderFree(link->reader);
        link->bev = NULL;
        link->reader = NULL;
        if (link->state != LINK_DOWN)
                change_state(link, LINK_EV_LOST);
        link->connection++;
}

/* Every request gets its error. A callback may send (refused: down) or free the link. */
static void link_drop_requests(struct redis_link *link, int error)
{
        struct request_list dropped = TAILQ_HEAD_INITIALIZER(dropped);
        struct request *request;

        TAILQ_CONCAT(&dropped, &link->requests, link);
        link->pending = 0;
        while ((request = TAILQ_FIRST(&dropped))) {
                TAILQ_REMOVE(&dropped, request, link);
                if (request->cb)
                        request->cb(request->arg, error, NULL);
                free(request);
        }
}

static void link_lose(struct redis_link *link, int error, const char *why)
{
        int64_t now = clock_mono_ms();
        char text[512];

        if (link->state == LINK_DOWN)
                return;
        snprintf(text, sizeof text, "Redis at %s: %s", link->name, why); /* why may lie in what is freed now */
        link_close(link);
        /* Only a connection that lasted counts as a success: one that is cut at once must not be hammered. */
        if (link->up_since && now - link->up_since > RETRY_CAP_MS)
                backoff_reset(&link->backoff);
        link->up_since = 0;
        link_arm(link, now + backoff_next(&link->backoff, arc4random()));
        link_drop_requests(link, -EAGAIN);
        if (!link->freed)
                link->events.on_down(link->arg, error, text);
}

void redis_link_fail(struct redis_link *link, int error, const char *why)
{
        bool outermost = link_enter(link);

        link_lose(link, error, why);
        link_leave(link, outermost);
}

__attribute__((format(printf, 3, 4))) static void link_failf(struct redis_link *link, int error, const char *format, ...)
{
        char why[256];
        va_list args;

        va_start(args, format);
        vsnprintf(why, sizeof why, format, args);
        va_end(args);
        link_lose(link, error, why);
}

/* However long the queue is: what Redis works off in time is no fault of its. */
static int64_t link_deadline(const struct redis_link *link)
{
        return link->waits_since + link->config.request_timeout_ms;
}

/* When to look whether it has passed: often enough to see that this process itself stood still meanwhile. */
static int64_t link_look_at(const struct redis_link *link, int64_t now)
{
        int64_t soon = now + link->config.request_timeout_ms / LOOKS + 1;

        return soon < link_deadline(link) ? soon : link_deadline(link);
}

static int link_enqueue(struct redis_link *link, const struct redis_command *command, redis_link_cb cb, void *arg)
{
        size_t len = command->end - command->start;
        struct request *request = malloc(sizeof *request);
        int64_t now = clock_mono_ms();

        if (!request)
                return -ENOMEM;
        if (bufferevent_write(link->bev, command->buffer + command->start, len) < 0) {
                free(request);
                return -ENOMEM;
        }
        *request = (struct request){ .cb = cb, .arg = arg, .len = len };
        if (TAILQ_EMPTY(&link->requests))
                link->waits_since = now;
        TAILQ_INSERT_TAIL(&link->requests, request, link);
        link->pending += len;
        link->last_sent = now;
        if (link->state != LINK_CONNECTING && link_look_at(link, now) < link->timer_at)
                link_arm(link, link_look_at(link, now));
        return 0;
}

int redis_link_send(struct redis_link *link, const struct redis_command *command, redis_link_cb cb, void *arg)
{
        if (link->state != LINK_UP || link->freed || link->pending + command->end > link->config.output_max)
                return -EAGAIN;
        return link_enqueue(link, command, cb, arg);
}

/* Takes the words, not the link's queue limits: what keeps the connection itself going. */
static int link_say(struct redis_link *link, redis_link_cb cb, const char *const *words)
{
        struct redis_command command = { 0 };
        int r = redis_command_words(&command, words);

        r = r ? r : link_enqueue(link, &command, cb, link);
        redis_command_done(&command);
        return r;
}
#define LINK_SAY(link, cb, ...) link_say((link), (cb), (const char *const[]){ __VA_ARGS__, NULL })

static void on_greeted(void *arg, int error, const redisReply *reply)
{
        struct redis_link *link = arg;

        if (link->state != LINK_GREETING || link->freed)
                return;
        if (error == -EACCES)
                link_failf(link, error, "%s (check the user and password in redis.url)", reply->str);
        else if (error)
                link_lose(link, error, reply->str);
}

static void on_greeting_done(void *arg, int error, const redisReply *reply)
{
        struct redis_link *link = arg;

        on_greeted(link, error, reply);
        if (error || link->state != LINK_GREETING)
                return;
        if (reply->type != REDIS_REPLY_STATUS || strcmp(reply->str, "PONG") != 0) {
                link_lose(link, -EPROTO, "answers PING with something else; is it a Redis server?");
                return;
        }
        change_state(link, LINK_EV_GREETED);
        link->up_since = clock_mono_ms();
        link->events.on_up(link->arg);
}

static int link_greet(struct redis_link *link)
{
        const struct redis_url *url = &link->url;
        char db[12];
        int r = 0;

        change_state(link, LINK_EV_CONNECTED);
        link_arm(link, clock_mono_ms() + link->config.request_timeout_ms);
        if (url->password && url->user)
                r = LINK_SAY(link, on_greeted, "AUTH", url->user, url->password);
        else if (url->password)
                r = LINK_SAY(link, on_greeted, "AUTH", url->password);
        snprintf(db, sizeof db, "%u", url->db);
        if (r == 0 && url->db)
                r = LINK_SAY(link, on_greeted, "SELECT", db);
        return r ? r : LINK_SAY(link, on_greeting_done, "PING");
}

static void link_dispatch(struct redis_link *link, const redisReply *reply)
{
        struct request *request = TAILQ_FIRST(&link->requests);
        unsigned connection = link->connection;

        if (link->events.on_message && redis_reply_is_message(reply)) {
                link->events.on_message(link->arg, reply->element[2]->str, (size_t)reply->element[2]->len);
                return;
        }
        if (!request) {
                link_lose(link, -EPROTO, "sent an answer that nothing asked for");
                return;
        }
        TAILQ_REMOVE(&link->requests, request, link);
        link->waits_since = clock_mono_ms();
        link->pending -= request->len;
        if (request->cb)
                request->cb(request->arg, redis_reply_error(reply), reply);
        free(request);
        if (connection == link->connection && redis_reply_fatal(reply))
                link_lose(link, redis_reply_error(reply), reply->str);
}

/* Handles the whole answers that were read. */
static void link_parse(struct redis_link *link)
{
        unsigned connection = link->connection;
        void *reply;

        while (connection == link->connection) {
                if (redisReaderGetReply(link->reader, &reply) != REDIS_OK) {
                        link_failf(link, -EPROTO, "sent what is no answer (%s); is it a Redis server?",
                                link->reader->errstr);
                        return;
                }
                if (!reply)
                        return;
                link->partial = 0;
                link_dispatch(link, reply);
                freeReplyObject(reply);
        }
}

static void on_read(struct bufferevent *bev, void *arg)
{
        struct evbuffer *input = bufferevent_get_input(bev);
        struct redis_link *link = arg;
        bool outermost = link_enter(link);
        struct evbuffer_iovec chunk;
        unsigned connection = link->connection;

        while (connection == link->connection && evbuffer_get_length(input) > 0) {
                evbuffer_peek(input, -1, NULL, &chunk, 1);
                link->partial += chunk.iov_len;
                if (redisReaderFeed(link->reader, chunk.iov_base, chunk.iov_len) != REDIS_OK)
                        link_lose(link, -ENOMEM, "out of memory");
                else if (link->partial > REDIS_REPLY_MAX)
                        link_failf(link, -EPROTO, "sent an answer over %lu MiB", REDIS_REPLY_MAX >> 20);
                else {
                        evbuffer_drain(input, chunk.iov_len);
                        link_parse(link);
                }
        }
        link_leave(link, outermost);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
        struct redis_link *link = arg;
        int on = 1, dns_error = bufferevent_socket_get_dns_error(bev), error = EVUTIL_SOCKET_ERROR();
        bool outermost = link_enter(link);

        if (what & BEV_EVENT_CONNECTED) {
                fcntl(bufferevent_getfd(bev), F_SETFD, FD_CLOEXEC);
                if (!link->url.path)
                        setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                if (link_greet(link) < 0)
                        link_lose(link, -ENOMEM, "out of memory");
        } else if (dns_error) {
                link_failf(link, -EAGAIN, "cannot resolve the host: %s", evutil_gai_strerror(dns_error));
        } else if (link->state == LINK_CONNECTING) {
                link_failf(link, -EAGAIN, "cannot connect: %s", evutil_socket_error_to_string(error));
        } else if (what & BEV_EVENT_EOF) {
                link_lose(link, -EAGAIN, "closed the connection");
        } else {
                link_failf(link, -EAGAIN, "connection lost: %s", evutil_socket_error_to_string(error));
        }
        link_leave(link, outermost);
}

static int connect_unix(struct redis_link *link)
{
        struct sockaddr_un address;

        errno = -redis_url_unix(&link->url, &address);
        if (errno)
                return -1;
        return bufferevent_socket_connect(link->bev, (struct sockaddr *)&address, sizeof address);
}

/* A name is resolved without blocking the loop; without a resolver configuration libevent asks the C library. */
static int connect_tcp(struct redis_link *link)
{
        const char *host = link->url.host;
        struct in6_addr address;

        if (!link->dns && evutil_inet_pton(AF_INET, host, &address) != 1
                && evutil_inet_pton(AF_INET6, host, &address) != 1)
                link->dns = evdns_base_new(link->base,
                        EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
        return bufferevent_socket_connect_hostname(link->bev, link->dns, AF_UNSPEC, host, link->url.port);
}

static void link_connect(struct redis_link *link)
{
        unsigned connection = link->connection;
        int r;

        change_state(link, LINK_EV_RETRY);
        link->partial = 0;
        link->bev = bufferevent_socket_new(link->base, -1, BEV_OPT_CLOSE_ON_FREE);
        link->reader = redis_reader_new();
        if (!link->bev || !link->reader) {
                link_lose(link, -ENOMEM, "out of memory");
                return;
        }
        bufferevent_setcb(link->bev, on_read, NULL, on_event, link);
        bufferevent_enable(link->bev, EV_READ | EV_WRITE);
        link_arm(link, clock_mono_ms() + link->config.connect_timeout_ms);
        r = FAULT_POINT("redis.connect");
        if (r < 0)
                errno = -r;
        else
                r = link->url.path ? connect_unix(link) : connect_tcp(link);
        if (connection != link->connection)
                return; /* failed within the call, and said so */
        if (r < 0)
                link_failf(link, -EAGAIN, "cannot connect: %s", strerror(errno));
        else if (bufferevent_getfd(link->bev) >= 0)
                fcntl(bufferevent_getfd(link->bev), F_SETFD, FD_CLOEXEC);
}

/* What is due while connected: the oldest request's deadline, or a PING after silence. */
static void link_watch(struct redis_link *link, int64_t now)
{
        bool waits = !TAILQ_EMPTY(&link->requests);
        int64_t ping_at = link->last_sent + link->config.ping_interval_ms, late = now - link->timer_at;

        if (late > link->config.request_timeout_ms / LOOKS)
                link->waits_since += late; /* nothing was sent, nothing read */
        if (waits && link_deadline(link) <= now) {
                link_failf(link, -EAGAIN, "no answer for %u ms", link->config.request_timeout_ms);
                return;
        }
        if (!waits && ping_at <= now) {
                if (LINK_SAY(link, NULL, "PING") < 0) {
                        link_lose(link, -ENOMEM, "out of memory");
                        return;
                }
                waits = true;
        }
        link_arm(link, waits ? link_look_at(link, now) : ping_at);
}

static void on_timer(void *arg)
{
        struct redis_link *link = arg;
        bool outermost = link_enter(link);

        if (link->state == LINK_DOWN)
                link_connect(link);
        else if (link->state == LINK_CONNECTING)
                link_failf(link, -EAGAIN, "cannot connect within %u ms", link->config.connect_timeout_ms);
        else
                link_watch(link, clock_mono_ms());
        link_leave(link, outermost);
}

struct redis_link *redis_link_new(struct event_base *base, const struct redis_url *url,
        const struct redis_link_config *config, const struct redis_link_events *events, void *arg)
{
        struct redis_link *link = calloc(1, sizeof *link);

        assert(url->path || url->host);
        if (!link)
                return NULL;
        *link = (struct redis_link){ .base = base, .config = *config, .events = *events, .arg = arg, .state = LINK_DOWN };
        link->backoff = (struct backoff){ .base_ms = RETRY_BASE_MS, .cap_ms = RETRY_CAP_MS };
        TAILQ_INIT(&link->requests);
        timer_init(&link->timer, base, on_timer, link);
        link->name = redis_url_format(url, true);
        if (redis_url_copy(&link->url, url) < 0 || !link->name) {
                link_destroy(link);
                return NULL;
        }
        link_arm(link, clock_mono_ms());
        return link;
}

struct redis_link *redis_link_free(struct redis_link *link)
{
        bool outermost;

        if (!link || link->freed)
                return NULL;
        outermost = link_enter(link);
        link->freed = true;
        link_close(link);
        timer_stop(&link->timer);
        link_drop_requests(link, -ECANCELED);
        link_leave(link, outermost);
        return NULL;
}

bool redis_link_up(const struct redis_link *link)
{
        return link->state == LINK_UP;
}
