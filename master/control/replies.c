#include "master/control/replies.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/control/messages.h"
#include "master/control/mirror.h"
#include "master/control/pools.h"
#include "master/control/streams.h"

#include <stdlib.h>

/* Remembers that the registry may drop this end; told with the next sweep. */
static void confirm_end(struct master_pool *pool, const struct reply *reply)
{
        if (pool->confirm_count == pool->confirm_size) {
                size_t size = pool->confirm_size ? pool->confirm_size * 2 : 64;
                struct registry_confirm *grown = realloc(pool->confirms, size * sizeof *grown);

                if (!grown)
                        return; /* it comes again with the next sweep */
                pool->confirms = grown;
                pool->confirm_size = size;
        }
        pool->confirms[pool->confirm_count++] = (struct registry_confirm){ .process_id = reply->process_id,
                .agent_id = reply->agent_id, .epoch = reply->epoch };
}

/* EVENT, ACTIVITY: it is at work. */
static void take_emitted(const struct master *master, const struct reply *reply)
{
        struct agent *agent = pools_agent(master->pools, &reply->agent_id);

        if (agent && agent->epoch == reply->epoch)
                pool_active(agent, false, clock_mono_ms());
        streams_emitted(master->streams, &reply->agent_id, reply->client, reply->message);
}

static void take_activity(const struct master *master, const struct reply *reply)
{
        struct master_pool *pool = pools_of_worker(master->pools, &reply->process_id);
        struct agent *agent = pools_agent(master->pools, &reply->agent_id);

        if (agent && agent->epoch == reply->epoch && (reply->unanswered || reply->dropped))
                pool_active(agent, reply->unanswered, clock_mono_ms());
        if (pool) {
                pool->metrics.noise_lines += (uint64_t)reply->noise;
                pool->metrics.events_dropped += (uint64_t)reply->dropped;
        }
        if (reply->dropped > 0)
                streams_dropped(master->streams, &reply->agent_id, reply->dropped);
}

/* SPAWNED, SPAWN_FAILED, EXITED. */
static void take_acknowledgement(struct master *master, const struct reply *reply)
{
        struct master_pool *pool = pools_of_worker(master->pools, &reply->process_id);
        const struct agent *agent = pool ? pool_agent(pool->rules, &reply->agent_id) : NULL;

        if (!pool)
                return;
        if (reply->type != REPLY_SPAWNED)
                confirm_end(pool, reply);
        if (reply->type == REPLY_EXITED && (!agent || agent->epoch == reply->epoch))
                messages_agent_gone(master->messages, &reply->agent_id, MESSAGES_GRACE_TOLD_MS, reply->exit.reason);
        mirror_reply(pool, reply);
        pool_reply(pool->rules, reply, clock_mono_ms());
        pools_wake(master->pools, pool);
}

void replies_take(struct master *master, const struct reply *reply)
{
        if (reply->type == REPLY_ANSWER || reply->type == REPLY_MESSAGE_FAILED)
                messages_reply(master->messages, reply);
        else if (reply->type == REPLY_EVENT)
                take_emitted(master, reply);
        else if (reply->type == REPLY_ACTIVITY)
                take_activity(master, reply);
        else
                take_acknowledgement(master, reply);
}

void replies_take_text(struct master *master, const char *text, size_t len)
{
        struct reply reply;
        int r = reply_decode(text, len, &reply);

        if (r < 0) {
                log_warn("reply.bad", "error=%s text=%s", strerrorname_np(-r), LOG_Q(text));
                return;
        }
        replies_take(master, &reply);
        reply_done(&reply);
}
