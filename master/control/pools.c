/* The pools of the configuration: found by name, by agent, by worker. */
#include "master/control/pools.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pools {
        struct master *master;
        struct master_pool *list;
        size_t count;
        struct timer settle; /* end of this turn of the loop: carry out actions */
        int totals;          /* file of that; -errno: none */
};

static bool is_apart(const struct pool_config *config)
{
        struct identity identity;
        char reason[200];

        return config->user && (identity_find(config->user, config->group, &identity, reason, sizeof reason) < 0 ||
                                       identity.uid != geteuid() || identity.gid != getegid());
}

static int add_pool(struct pools *pools, const struct pool_config *config)
{
        struct master_pool *pool = &pools->list[pools->count];
        struct id seed = id_new();
        uint64_t random;

        memcpy(&random, seed.b, sizeof random);
        *pool = (struct master_pool){ .config = config, .pools = pools, .master = pools->master,
                .created_at = clock_wall_ms() };
        pool->rules = pool_new(config, random, clock_mono_ms());
        if (!pool->rules)
                return -ENOMEM;
        pool->apart = is_apart(config);
        if (pool->apart)
                pool_set_apart(pool->rules);
        pool->totals = totals_read(pools->totals, config->pool_name);
        pool_count_on(pool->rules, pool->totals.spawned, pool->totals.terminated);
        pools->count++;
        pools_wake(pools, pool);
        return 0;
}

struct pools *pools_new(struct master *master, timer_fn *on_settle, void *arg)
{
        const struct config *config = master->config;
        struct pools *pools = calloc(1, sizeof *pools);
        int r;

        if (!pools)
                return NULL;
        pools->master = master;
        pools->totals = totals_open(config->run_dir);
        timer_init(&pools->settle, master->base, on_settle, arg);
        pools->list = calloc(config->pool_count + 1, sizeof *pools->list);
        r = pools->list ? 0 : -ENOMEM;
        for (size_t i = 0; r == 0 && i < config->pool_count; i++)
                r = add_pool(pools, config->pools[i]);
        return r == 0 ? pools : pools_free(pools);
}

struct pools *pools_free(struct pools *pools)
{
        if (!pools)
                return NULL;
        for (size_t i = 0; pools->list && i < pools->count; i++) {
                pool_free(pools->list[i].rules);
                free(pools->list[i].confirms);
        }
        free(pools->list);
        fd_close(pools->totals);
        timer_stop(&pools->settle);
        free(pools);
        return NULL;
}

void pools_wake(struct pools *pools, struct master_pool *pool)
{
        if (pool)
                pool->dirty = true;
        timer_now(&pools->settle);
}

void pools_note_totals(const struct pools *pools, struct master_pool *pool)
{
        struct pool_stats stats;

        pool_stats(pool->rules, &stats);
        totals_note(pools->totals, pool->config->pool_name, &pool->totals, stats.workers_spawned, stats.workers_terminated);
}

bool pools_known(const struct pools *pools)
{
        if (!pools->master->synced || !pools->master->mode.decided)
                return false;
        for (size_t i = 0; i < pools->count; i++)
                if (!pool_known(pools->list[i].rules))
                        return false;
        return true;
}

struct master_pool *pools_find(const struct pools *pools, const char *pool_name)
{
        for (size_t i = 0; i < pools->count; i++)
                if (strcmp(pools->list[i].config->pool_name, pool_name) == 0)
                        return &pools->list[i];
        return NULL;
}

size_t pools_count(const struct pools *pools)
{
        return pools->count;
}

struct master_pool *pools_at(const struct pools *pools, size_t i)
{
        return &pools->list[i];
}

struct agent *pools_agent(const struct pools *pools, const struct id *agent_id)
{
        for (size_t i = 0; i < pools->count; i++) {
                struct agent *agent = pool_agent(pools->list[i].rules, agent_id);

                if (agent)
                        return agent;
        }
        return NULL;
}

struct master_pool *pools_of(const struct pools *pools, const struct agent *agent)
{
        for (size_t i = 0; i < pools->count; i++)
                if (pools->list[i].rules == agent->pool)
                        return &pools->list[i];
        return NULL;
}

struct master_pool *pools_of_worker(const struct pools *pools, const struct id *process_id)
{
        for (size_t i = 0; i < pools->count; i++)
                if (pool_worker(pools->list[i].rules, process_id))
                        return &pools->list[i];
        return NULL;
}

bool pools_empty(const struct pools *pools)
{
        for (size_t i = 0; i < pools->count; i++)
                if (pool_first_worker(pools->list[i].rules))
                        return false;
        return pools->master->synced;
}
