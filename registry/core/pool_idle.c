/* Agents that nobody needs any more: one that had to do with no message for its max_idle_time is ended on purpose. */
#include "registry/core/pool_internal.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"

#include <stdio.h>

static int64_t due_at(const struct agent *agent)
{
        return agent->idle_since + (int64_t)agent->max_idle_time * 1000;
}

void pool_idle_watch(struct agent *agent, int64_t now)
{
        agent->idle_since = now;
        agent->idle_at = agent->max_idle_time > 0 ? due_at(agent) : 0;
}

static void end_idle(struct agent *agent, int64_t now)
{
        struct agent_exit exit = { .code = 0 };

        snprintf(exit.reason, sizeof exit.reason, "idle for %d s", (int)agent->max_idle_time);
        pool_keep_exit(agent, &exit);
        agent->idled = agent->graceful = true;
        agent->pool->idle_ends++;
        pool_begin_end(agent, now);
}

/* A message only notes when it was, so that it costs no timer: what idle_at means is seen when it comes. */
void pool_idle_due(struct agent *agent, int64_t now)
{
        bool runs = agent->acked && agent->phase == PHASE_NONE && agent->state == AGENT_IDLE;

        agent->idle_at = 0;
        if (agent->pool->closing)
                return;
        if (runs && due_at(agent) <= now)
                end_idle(agent, now);
        else if (agent_state_wanted(agent->state))
                agent->idle_at = due_at(agent) > now ? due_at(agent) : now + POOL_LOOK_MS;
}
