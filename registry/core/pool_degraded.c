/* The registry is away: the rules place agents by themselves, for all commands go through this master then. What the
 * registry was asked before is where a worker lists it; no epoch has two places. */
#include "registry/core/pool_internal.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"

#include <string.h>

void pool_registry(struct pool *pool, bool up, int64_t now)
{
        struct agent *agent;
        struct pool_worker *worker;

        pool->away = !up;
        if (pool->apart) { /* nothing came from there, and nothing will */
                pool_pump(pool, now);
                return;
        }
        pool->degraded = !up;
        pool->reserve_at = 0;
        pool_join_aside(pool);
        for (agent = up ? NULL : pool->agents; agent; agent = agent->hh.next)
                agent->unsure = !agent->worker && (agent->unsure || agent->uncertain
                        || (agent->phase == PHASE_DELAYED && agent->state == AGENT_STOPPING));
        /* One that is not forked yet is told at its birth to do without. */
        for (worker = up ? NULL : pool->workers; worker; worker = worker->hh.next) {
                pool->unsettled -= !worker->settled;
                worker->settled = worker->pid == 0;
                pool->unsettled += !worker->settled;
        }
        pool_pump(pool, now);
}

bool pool_degraded(const struct pool *pool)
{
        return pool->away;
}

void pool_set_apart(struct pool *pool)
{
        pool->apart = pool->degraded = true;
}

bool pool_may_place(const struct agent *agent)
{
        const struct pool *pool = agent->pool;

        return pool->unsettled == 0 || !(agent->unsure || (pool->degraded && agent->epoch > 1));
}

/* As reserve.lua does: the fullest with room, the lowest id of equals; or the emptiest, the highest id. */
static bool is_better(const struct pool_worker *a, const struct pool_worker *b, bool spread)
{
        unsigned free_a = a->max_agents - a->used, free_b = b->max_agents - b->used;

        if (free_a != free_b)
                return (free_a > free_b) == spread;
        return (memcmp(a->process_id.b, b->process_id.b, sizeof a->process_id.b) > 0) == spread;
}

static struct pool_worker *choose_worker(const struct pool *pool)
{
        bool spread = pool_placement(pool) == POOL_SPREAD;
        struct pool_worker *worker, *best = NULL;

        for (worker = pool->workers; worker; worker = worker->hh.next) {
                if (worker->state != WORKER_READY || !worker->settled || worker->used >= worker->max_agents)
                        continue;
                if (!best || is_better(worker, best, spread))
                        best = worker;
        }
        return best;
}

static bool place_here(struct agent *agent, struct pool_worker *worker, int64_t now)
{
        if (!worker)
                return false;
        agent->asked = true;
        pool_reserved_at(agent, worker, now);
        pool_push(agent->pool, POOL_SEND, agent, worker);
        return true;
}

bool pool_place_alone(struct agent *agent, int64_t now)
{
        struct pool *pool = agent->pool;

        if (agent->state != AGENT_STOPPING && agent->unsure)
                pool_place_again(agent);
        else if (agent->state != AGENT_STOPPING)
                return place_here(agent, choose_worker(pool), now);
        else if (pool->unsettled > 0)
                pool_place_later(agent, now);
        else
                pool_agent_gone(agent, now);
        return true;
}
