/* Sends the registry's script calls and hands their answers back. */
#include "registry/redis/registry_call.h"

#include "registry/redis/registry_reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void call_free(struct registry_call *call)
{
        redis_command_done(&call->command);
        free(call);
}

static void on_answer(void *arg, int error, const redisReply *reply);

/* Without an answer the registry may be gone. */
void registry_keep_reason(struct registry *registry, int error, const redisReply *reply)
{
        if (error && reply)
                snprintf(registry->reason, sizeof registry->reason, "%s", reply->str);
}

/* The server has lost its scripts (SCRIPT FLUSH) and did nothing: load this one and call it again, once. */
static bool call_reload(struct registry_call *call)
{
        struct redis_session *session = call->registry->session;

        if (call->repeated)
                return false;
        call->repeated = true;
        return redis_session_reload(session, call->script) == 0
                && redis_session_send(session, &call->command, on_answer, call) == 0;
}

static void on_answer(void *arg, int error, const redisReply *reply)
{
        struct registry_call *call = arg;

        if (error == -ENOEXEC && call_reload(call))
                return;
        registry_keep_reason(call->registry, error, reply);
        call->finish(call, error == -ENOEXEC ? -EAGAIN : error, reply);
        call_free(call);
}

struct registry_call *registry_call_new(struct registry *registry, enum script script, int keys, size_t count)
{
        struct registry_call *call = calloc(1, sizeof *call + count * sizeof(struct registry_placed));

        _Static_assert(sizeof(struct registry_placed) >= sizeof(struct registry_reported), "the larger one");
        if (!call || !redis_session_ready(registry->session)) {
                registry->refused = (struct registry_call){ .error = call ? -EAGAIN : -ENOMEM, .command.failed = true };
                free(call);
                return &registry->refused;
        }
        call->registry = registry;
        call->script = script;
        call->count = count;
        call->results = call + 1;
        redis_session_call(registry->session, script, keys, &call->command);
        return call;
}

void registry_call_add_agent(struct registry_call *call, const struct id *agent_id, uint64_t epoch)
{
        redis_command_add_id(&call->command, agent_id);
        redis_command_add_integer(&call->command, (int64_t)epoch);
}

void registry_call_add_reported(struct registry_call *call, size_t i, const struct id *agent_id, uint64_t epoch)
{
        struct registry_reported *reported = call->results;

        if (reported)
                reported[i] = (struct registry_reported){ .agent_id = *agent_id, .epoch = epoch };
        registry_call_add_agent(call, agent_id, epoch);
}

int registry_call_send(struct registry *registry, struct registry_call *call, void (*finish)(struct registry_call *, int, const redisReply *),
        void *arg)
{
        int r = call->error;

        call->finish = finish;
        call->arg = arg;
        if (r == 0)
                r = redis_command_finish(&call->command);
        if (r == 0)
                r = redis_session_send(registry->session, &call->command, on_answer, call);
        if (r < 0 && call != &registry->refused)
                call_free(call);
        return r;
}

void registry_finish_done(struct registry_call *call, int error, const redisReply *reply)
{
        if (call->cb.done)
                call->cb.done(call->arg, error ? error : registry_reply_code(reply));
}

void registry_finish_owner(struct registry_call *call, int error, const redisReply *reply)
{
        struct registry_owner owner = { 0 };
        bool other = error == 0 && registry_reply_owner(reply, &owner) == 0;

        if (error == 0 && !other)
                error = registry_reply_code(reply);
        if (call->cb.owner)
                call->cb.owner(call->arg, error, other ? &owner : NULL);
}

void registry_finish_placed(struct registry_call *call, int error, const redisReply *reply)
{
        struct registry_placed *placed = call->results;

        if (error == 0)
                error = registry_reply_placed(reply, placed, call->count);
        for (size_t i = 0; error && i < call->count; i++)
                placed[i].result = error;
        if (call->cb.placed)
                call->cb.placed(call->arg, error, placed, call->count);
}

void registry_finish_reported(struct registry_call *call, int error, const redisReply *reply)
{
        struct registry_reported *reported = call->results;

        if (error == 0)
                error = registry_reply_reported(reply, reported, call->count);
        for (size_t i = 0; error && i < call->count; i++)
                reported[i].result = error;
        if (call->cb.reported)
                call->cb.reported(call->arg, error, reported, call->count);
}

void registry_finish_listing(struct registry_call *call, int error, const redisReply *reply)
{
        struct registry_listed_agent *agents = NULL;
        struct registry_listing listing = { 0 };

        if (error == 0)
                error = registry_reply_listing(reply, &listing, &agents);
        listing.result = error;
        if (call->cb.listing)
                call->cb.listing(call->arg, &listing);
        free(agents);
}

void registry_finish_swept(struct registry_call *call, int error, const redisReply *reply)
{
        struct registry_swept *swept = NULL;
        size_t count = 0;

        if (error == 0)
                error = registry_reply_swept(reply, &swept, &count);
        if (call->cb.swept)
                call->cb.swept(call->arg, error, swept, count);
        free(swept);
}
