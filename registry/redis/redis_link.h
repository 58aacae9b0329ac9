/* One connection to Redis that comes back by itself: connect timeout, request timeout, PING when idle, jittered back-off,
 * AUTH and SELECT. libevent carries the bytes and hiredis' reader parses them; hiredis' own asynchronous connection has
 * no timeouts and ends the process (assert) when a server says what it does not expect. The process must ignore SIGPIPE. */
#ifndef REGISTRY_REDIS_REDIS_LINK_H
#define REGISTRY_REDIS_REDIS_LINK_H
#include "registry/redis/redis_protocol.h"
#include "registry/redis/redis_url.h"

#include <event2/event.h>

struct redis_link;

struct redis_link_config {
        uint32_t connect_timeout_ms;
        uint32_t request_timeout_ms; /* of the oldest request, since it was sent or the one before it was answered */
        uint32_t ping_interval_ms;   /* silence after which PING is sent */
        uint32_t output_max;         /* bytes of unanswered requests */
};

struct redis_link_events {
        void (*on_up)(void *arg); /* connected, authenticated, database selected */
        /* After on_up, or instead of it. All requests have had their callbacks. The next attempt follows by itself.
         * error: -EACCES, -EPROTO, -EAGAIN, or what redis_link_fail gave; why names the server, never the password. */
        void (*on_down)(void *arg, int error, const char *why);
        void (*on_message)(void *arg, const char *data, size_t len); /* of subscriptions; NULL: never subscribes */
};

/* error: 0; redis_reply_error of the answer (reply is it); -EAGAIN the connection went away; -ECANCELED redis_link_free. */
typedef void (*redis_link_cb)(void *arg, int error, const redisReply *reply);

/* Copies url and config; the first attempt begins in the event loop. NULL when out of memory. */
struct redis_link *redis_link_new(struct event_base *base, const struct redis_url *url,
        const struct redis_link_config *config, const struct redis_link_events *events, void *arg);
/* Allowed from any of its callbacks. NULL is fine; returns NULL. */
struct redis_link *redis_link_free(struct redis_link *link);
/* Sends a finished command. 0: cb (NULL is fine) follows exactly once, never from inside this call; -EAGAIN: not up, or
 * output_max reached; -ENOMEM. */
int redis_link_send(struct redis_link *link, const struct redis_command *command, redis_link_cb cb, void *arg);
/* Gives the connection up as if it had failed. */
void redis_link_fail(struct redis_link *link, int error, const char *why);
bool redis_link_up(const struct redis_link *link);
#endif
