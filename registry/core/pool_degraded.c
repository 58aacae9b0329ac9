/* The registry is away: the rules place agents by themselves, for all commands go through this master then. What the
 * registry was asked before is where a worker lists it; no epoch has two places. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_degraded.h"

void pool_take_registry(struct pool *pool, bool up)
{
        struct agent *agent;
        struct pool_worker *worker;

        pool->away = !up;
        if (pool->apart)
                return; /* nothing came from there, and nothing will */
        pool->degraded = !up;
        pool->reserve_at = 0;
        pool_join_aside(pool);
        for (agent = up ? NULL : pool->agents; agent; agent = agent->hh.next)
                if (!agent->worker && (agent->asked >= ASKED_UNCERTAIN
                        || (agent->phase == PHASE_DELAYED && agent->state == AGENT_STOPPING)))
                        agent->asked = ASKED_UNSURE;
        /* One that is not forked yet is told at its birth to do without. */
        for (worker = up ? NULL : pool->workers; worker; worker = worker->hh.next) {
                pool->unsettled -= !worker->settled;
                worker->settled = worker->pid == 0;
                pool->unsettled += !worker->settled;
        }
}

bool pool_degraded(const struct pool *pool)
{
        return pool->away;
}

void pool_set_apart(struct pool *pool)
{
        pool->apart = pool->degraded = true;
}
