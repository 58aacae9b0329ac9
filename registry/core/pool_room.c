/* Whether a pool has room for one more agent, and what a spawn is answered when it is refused at once. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_breaker.h"
#include "registry/core/pool_room.h"

#include <stdio.h>

static void describe_full(const struct pool *pool, char detail[192])
{
        unsigned taken = pool->used + pool->in_phase[PHASE_RESERVING], ready = pool->workers_by_state[WORKER_READY];
        bool outgrown = pool->capacity < ready * pool->config->max_agents_per_worker;

        snprintf(detail, 192, "%s: %u of %u slots in %u of %lld workers; raise max_workers%s", pool->config->pool_name,
                taken < pool->capacity ? taken : pool->capacity, pool->capacity, ready, (long long)pool->config->max_workers,
                outgrown ? ", or roll out: some workers are from before max_agents_per_worker was raised" : "");
}

static unsigned live_workers(const struct pool *pool)
{
        return HASH_COUNT(pool->workers);
}

/* How many agents the pool may have: as configured, or what its workers were told when they were forked, if that is more.
 * A rollout has more workers for a while, and not for good: theirs do not count. */
static int64_t agents_limit(const struct pool *pool)
{
        const struct pool_config *config = pool->config;
        int64_t surplus = live_workers(pool) - config->max_workers;
        int64_t told = pool->capacity - (surplus > 0 ? surplus : 0) * config->max_agents_per_worker;
        int64_t limit = config->max_workers * config->max_agents_per_worker;

        return told > limit ? told : limit;
}

/* For one more agent beyond those that are there or on their way back, and fresh new ones. */
bool pool_is_room(const struct pool *pool, unsigned fresh)
{
        int64_t limit = agents_limit(pool);
        unsigned again = pool->in_phase[PHASE_WAITING] - pool->fresh_count, owed = pool_owed_slots(pool);

        return pool_free_slots(pool) > owed + again + fresh
                && pool->used + pool->in_phase[PHASE_RESERVING] + owed + again + fresh < limit;
}

/* No slot, and none comes by itself. */
static bool is_full(const struct pool *pool)
{
        return live_workers(pool) >= pool->config->max_workers
                && pool->workers_by_state[WORKER_READY] == live_workers(pool) && pool->by_state[AGENT_STOPPING] == 0
                && pool->in_phase[PHASE_WITHDRAWN] == 0 && !pool_is_room(pool, pool->fresh_count);
}

enum pool_error pool_refuse_spawn(const struct pool *pool, int64_t now, char detail[192])
{
        if (pool->closing) {
                snprintf(detail, 192, "%s: shutting down", pool->config->pool_name);
                return POOL_E_CLOSING;
        }
        if (pool->held) {
                snprintf(detail, 192, "%s: takes no new agents: it was told to drain; POST …/pools/%s/resume ends that",
                        pool->config->pool_name, pool->config->pool_name);
                return POOL_E_CLOSING;
        }
        if (pool->restored && is_full(pool)) {
                describe_full(pool, detail);
                return POOL_E_FULL;
        }
        if (pool->fresh_count >= pool->config->queue_max) {
                snprintf(detail, 192, "%s: %u spawns wait already; raise queue_max or retry later",
                        pool->config->pool_name, pool->fresh_count);
                return POOL_E_QUEUE;
        }
        return pool_breaker_refuses(pool, pool_is_room(pool, pool->fresh_count), now, detail);
}
