/* What a rollout asks of the rest of the rules, and that it may fail. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_rollout.h"

#include <stdio.h>

unsigned pool_rollout_surge(const struct pool *pool)
{
        const struct pool_rollout *rollout = &pool->rollout;

        if (rollout->state != ROLLOUT_RUNNING)
                return 0;
        return rollout->batch_size < rollout->remaining ? rollout->batch_size : rollout->remaining;
}

unsigned pool_rollout_empty(const struct pool *pool)
{
        const struct pool_worker *worker;
        unsigned count = 0;

        if (pool->rollout.state != ROLLOUT_RUNNING)
                return pool->empty;
        for (worker = pool->workers; worker; worker = worker->hh.next)
                count += !worker->outdated && worker->state == WORKER_READY && worker->used == 0;
        return count;
}

enum pool_placement pool_placement(const struct pool *pool)
{
        return pool->rollout.state == ROLLOUT_RUNNING ? POOL_SPREAD : (enum pool_placement)pool->config->placement;
}

void pool_rollout_finish(struct pool *pool, enum rollout_state state, const char *event)
{
        pool->rollout.state = state;
        pool_push_event(pool, event, NULL, NULL, pool->rollout.reason);
}

void pool_rollout_failed(struct pool *pool, const char *reason)
{
        if (pool->rollout.state != ROLLOUT_RUNNING)
                return;
        snprintf(pool->rollout.reason, sizeof pool->rollout.reason, "%s", reason);
        pool_rollout_finish(pool, ROLLOUT_HALTED, "rollout_halted");
}
