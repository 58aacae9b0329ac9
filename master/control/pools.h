/* All pools of this master, each with its rules (registry/core/pool.h). control.c feeds events into them, pools_act.c carries out
 * the actions that follow. */
#ifndef MASTER_CONTROL_POOLS_H
#define MASTER_CONTROL_POOLS_H
#include "common/timer.h"
#include "master/control/context.h"
#include "master/control/pool_metrics.h"
#include "master/control/totals.h"
#include "registry/core/pool.h"
#include "registry/redis/registry_redis.h"

#include <sys/types.h>

/* Whoever waits for a spawn or terminate: embedded in the caller's struct, agent->waiter points to it. */
struct waiter {
        /* Called once. agent may be freed on return; detail is for people, "" when error is POOL_OK. */
        void (*done)(struct waiter *waiter, const struct agent *agent, enum pool_error error, const char *detail);
        int64_t spawn_us;    /* mono µs when a spawn came; 0: no spawn */
        struct waiter *next; /* who waits for the same end; told after this one */
};

struct master_pool {
        struct pool *rules;
        const struct pool_config *config;
        struct pools *pools;
        struct master *master;
        int64_t created_at; /* wall ms */
        bool dirty;         /* actions may wait */
        bool apart;         /* its workers run as another user: without Redis, which master/control/mirror.h writes for them */
        bool rolling_out;   /* a rollout runs; looked at by rollback_if_halted */
        bool placing;       /* what earlier lives left in the registry is gone: agents may be placed */
        int64_t ended;      /* terminated agents that only the store knows any more */
        struct pool_metrics metrics;
        struct totals totals;
        uint64_t executions, executions_ok;  /* messages answered since the last snapshot */
        struct registry_confirm *confirms;   /* owned: ends handled, which the registry may drop */
        size_t confirm_count, confirm_size;
};

/* One per configured pool. on_settle(arg) carries out what waits in those that are dirty, at the end of the loop's turn. NULL
 * when out of memory. */
struct pools *pools_new(struct master *master, timer_fn *on_settle, void *arg);
struct pools *pools_free(struct pools *pools);
/* Actions may wait: they are carried out at the end of this turn of the loop, so neighbouring spawns share one registry
 * call. NULL: of none, but on_settle follows. */
void pools_wake(struct pools *pools, struct master_pool *pool);

struct master_pool *pools_find(const struct pools *pools, const char *pool_name); /* NULL: unknown */
size_t pools_count(const struct pools *pools);
struct master_pool *pools_at(const struct pools *pools, size_t i); /* in the configuration's order */
/* In any pool; NULL: unknown. */
struct agent *pools_agent(const struct pools *pools, const struct id *agent_id);
struct master_pool *pools_of(const struct pools *pools, const struct agent *agent);
struct master_pool *pools_of_worker(const struct pools *pools, const struct id *process_id); /* NULL: unknown */

/* What it has spawned and terminated outlives this master. */
void pools_note_totals(const struct pools *pools, struct master_pool *pool);
/* What runs here is known, and whether the registry is used. */
bool pools_known(const struct pools *pools);
/* No worker from before this master is left, and it has none of its own. */
bool pools_empty(const struct pools *pools);
#endif
