#include "registry/redis/redis_session.h"

#include "common/fault.h"
#include "registry/redis/registry_reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHA_SIZE 41 /* of a script, as SCRIPT LOAD names it */

struct redis_session {
        bool refuse_eviction;
        char *channel;
        struct registry_events events;
        void *arg;
        struct redis_link *commands, *subscription;
        char shas[SCRIPT_COUNT][SHA_SIZE];
        unsigned loaded;  /* scripts that this connection's server has: all, or no call is possible */
        bool subscribed;
        bool up;          /* on_up was the last event */
        unsigned hearing; /* answers until all was heard */
        registry_cb heard; /* NULL: nobody waits for that */
        void *heard_arg;
};

static void session_check_up(struct redis_session *session)
{
        if (session->up || session->loaded < SCRIPT_COUNT || !session->subscribed)
                return;
        session->up = true;
        session->events.on_up(session->arg);
}

static void session_down(struct redis_session *session, int error, const char *why)
{
        session->up = false;
        session->events.on_down(session->arg, error, why);
}

static int session_say(struct redis_link *link, redis_link_cb cb, void *arg, const char *const *words)
{
        struct redis_command command = { 0 };
        int r = redis_command_words(&command, words);

        r = r ? r : redis_link_send(link, &command, cb, arg);
        redis_command_done(&command);
        return r;
}
#define SESSION_SAY(link, cb, arg, ...) session_say((link), (cb), (arg), (const char *const[]){ __VA_ARGS__, NULL })

/* Answers come in the order of the requests: the next one is that of script number loaded. Without an answer the
 * session may be gone already. */
static void on_loaded(void *arg, int error, const redisReply *reply)
{
        struct redis_session *session = arg;
        char why[256];

        if (!reply)
                return;
        if (error || reply->type != REDIS_REPLY_STRING || reply->len != SHA_SIZE - 1) {
                snprintf(why, sizeof why, "refuses the script %s (%s); Redis 7.0 or newer is needed",
                        script_name((enum script)session->loaded), error ? reply->str : "no SHA1");
                redis_link_fail(session->commands, error == -EAGAIN || error == -EACCES ? error : -EPROTO, why);
                return;
        }
        memcpy(session->shas[session->loaded++], reply->str, SHA_SIZE);
        session_check_up(session);
}

static int session_load(struct redis_session *session, enum script script, redis_link_cb cb)
{
        char *text = script_text(script);
        int r = text ? SESSION_SAY(session->commands, cb, session, "SCRIPT", "LOAD", text) : -ENOMEM;

        free(text);
        return r;
}

static void session_load_all(struct redis_session *session)
{
        int r = 0;

        for (int i = 0; r == 0 && i < SCRIPT_COUNT; i++)
                r = session_load(session, (enum script)i, on_loaded);
        if (r < 0)
                redis_link_fail(session->commands, r, "cannot send the scripts: out of memory");
}

static void on_policy(void *arg, int error, const redisReply *reply)
{
        struct redis_session *session = arg;
        char policy[64] = "", why[256];

        if (!reply)
                return;
        if (error == 0)
                error = registry_reply_policy(reply, policy, sizeof policy);
        if (error == -EPERM)
                snprintf(why, sizeof why, "may evict keys (maxmemory-policy %s): set maxmemory-policy noeviction", policy);
        else if (error)
                snprintf(why, sizeof why, "does not tell its maxmemory-policy: allow it to answer INFO memory");
        if (error)
                redis_link_fail(session->commands, error, why);
        else
                session_load_all(session);
}

static void on_commands_up(void *arg)
{
        struct redis_session *session = arg;

        if (!session->refuse_eviction)
                session_load_all(session);
        else if (SESSION_SAY(session->commands, on_policy, session, "INFO", "memory") < 0)
                redis_link_fail(session->commands, -ENOMEM, "out of memory");
}

/* When Redis goes away both connections tell; one on_down is enough. */
static void on_commands_down(void *arg, int error, const char *why)
{
        struct redis_session *session = arg;
        bool told = !session->up && session->loaded == SCRIPT_COUNT && !session->subscribed;

        session->loaded = 0;
        if (!told)
                session_down(session, error, why);
}

static void on_subscribed(void *arg, int error, const redisReply *reply)
{
        struct redis_session *session = arg;

        if (!reply)
                return;
        if (error || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3
                || reply->element[0]->type != REDIS_REPLY_STRING || strcmp(reply->element[0]->str, "subscribe") != 0) {
                redis_link_fail(session->subscription, error ? error : -EPROTO,
                        error ? reply->str : "answers SUBSCRIBE with something else");
                return;
        }
        session->subscribed = true;
        session_check_up(session);
}

static void on_subscription_up(void *arg)
{
        struct redis_session *session = arg;

        if (FAULT_POINT("redis.subscribe") < 0 || SESSION_SAY(session->subscription, on_subscribed, session, "SUBSCRIBE", session->channel) < 0)
                redis_link_fail(session->subscription, -ENOMEM, "out of memory");
}

static void on_subscription_down(void *arg, int error, const char *why)
{
        struct redis_session *session = arg;

        session->subscribed = false;
        if (session->up || redis_link_up(session->commands))
                session_down(session, error, why);
}

static void on_message(void *arg, const char *data, size_t len)
{
        struct redis_session *session = arg;

        session->events.on_message(session->arg, data, len);
}

struct redis_session *redis_session_new(struct event_base *base, const struct redis_url *url, const struct registry_config *config,
        const struct registry_events *events, void *arg)
{
        const struct redis_link_config link_config = {
                .connect_timeout_ms = config->connect_timeout_ms ? config->connect_timeout_ms : 2000,
                .request_timeout_ms = config->request_timeout_ms ? config->request_timeout_ms : 1500,
                .ping_interval_ms = config->ping_interval_ms ? config->ping_interval_ms : 1000,
                .output_max = config->output_max ? config->output_max : 16U << 20,
        };
        const struct redis_link_events commands = { on_commands_up, on_commands_down, NULL };
        const struct redis_link_events subscription = { on_subscription_up, on_subscription_down, on_message };
        struct redis_session *session = calloc(1, sizeof *session);

        if (!session)
                return NULL;
        session->refuse_eviction = config->refuse_eviction;
        session->events = *events;
        session->arg = arg;
        session->channel = strdup(config->channel);
        session->commands = redis_link_new(base, url, &link_config, &commands, session);
        session->subscription = redis_link_new(base, url, &link_config, &subscription, session);
        if (!session->channel || !session->commands || !session->subscription)
                return redis_session_free(session);
        return session;
}

struct redis_session *redis_session_free(struct redis_session *session)
{
        if (!session)
                return NULL;
        redis_link_free(session->commands);
        redis_link_free(session->subscription);
        free(session->channel);
        free(session);
        return NULL;
}

static void on_heard(void *arg, int error, const redisReply *reply)
{
        struct redis_session *session = arg;
        registry_cb cb = session->heard;

        (void)reply;
        if (--session->hearing > 0 || !cb)
                return;
        session->heard = NULL;
        cb(session->heard_arg, error);
}

int redis_session_hear_out(struct redis_session *session, registry_cb cb, void *arg)
{
        int r;

        if (!session->up)
                return -EAGAIN;
        session->heard = cb;
        session->heard_arg = arg;
        session->hearing = 1;
        r = SESSION_SAY(session->commands, on_heard, session, "PING");
        session->hearing += r == 0;
        r = r ? r : SESSION_SAY(session->subscription, on_heard, session, "UNSUBSCRIBE", session->channel);
        session->hearing -= r < 0;
        if (r < 0)
                session->heard = NULL;
        return r;
}

bool redis_session_up(const struct redis_session *session)
{
        return session->up;
}

bool redis_session_ready(const struct redis_session *session)
{
        return session->loaded == SCRIPT_COUNT;
}

void redis_session_call(const struct redis_session *session, enum script script, int keys, struct redis_command *command)
{
        redis_command_add_text(command, "EVALSHA");
        redis_command_add(command, session->shas[script], SHA_SIZE - 1);
        redis_command_add_integer(command, keys);
}

int redis_session_send(struct redis_session *session, const struct redis_command *command, redis_link_cb cb, void *arg)
{
        return redis_session_ready(session) ? redis_link_send(session->commands, command, cb, arg) : -EAGAIN;
}

int redis_session_reload(struct redis_session *session, enum script script)
{
        return session_load(session, script, NULL);
}
