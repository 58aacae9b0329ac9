#include "master/control/sweep.h"

#include "common/clock.h"
#include "master/control/degraded.h"
#include "master/control/replies.h"
#include "master/control/lease.h"
#include "registry/redis/registry_redis.h"

#include <string.h>

/* What the registry's sweep says of one worker. */
static void take_swept(struct master_pool *pool, const struct registry_swept *swept)
{
        struct master *master = pool->master;
        struct pool_worker *worker = pool_worker(pool->rules, &swept->process_id);
        int64_t lease = pool->config->worker_lease_ms;

        for (size_t i = 0; i < swept->ended_count; i++)
                replies_take_text(master, swept->ended[i], strlen(swept->ended[i]));
        if (!worker) {
                /* Left behind by an earlier life of this daemon: nobody else ends it. Or by a daemon that is no more: one
                 * that lives and finds itself reaped ends its agents. */
                if (swept->result == 0 && (id_equal(&swept->master_id, &master->master_id) ||
                                           swept->heartbeat_age_ms > lease))
                        registry_reap(master->registry, pool->config->pool_name, &swept->process_id, NULL, NULL);
                return;
        }
        worker->rss_bytes = swept->rss_bytes;
        worker->cpu_ms = swept->cpu_ms;
        histogram_add(&pool->metrics.heartbeat_ages, swept->heartbeat_age_ms * 1000);
        lease_heard(worker, swept->heartbeat_at);
}

/* What earlier lives left in the registry is gone, or counts for nothing. */
static void begin_placing(struct master_pool *pool)
{
        if (!pool->placing)
                pool_restored(pool->rules, clock_mono_ms());
        pool->placing = true;
        pools_wake(pool->pools, pool);
}

static void on_swept(void *arg, int error, const struct registry_swept *swept, size_t count)
{
        struct master_pool *pool = arg;

        if (error < 0) {
                degraded_failed(pool->master->degraded, error);
                return;
        }
        for (size_t i = 0; i < count; i++)
                take_swept(pool, &swept[i]);
        begin_placing(pool); /* not before: slots of workers that are no more would be taken */
}

static void on_pool_added(void *arg, int error)
{
        struct master_pool *pool = arg;

        if (error < 0)
                degraded_failed(pool->master->degraded, error);
}

/* A full Redis sweeps; it is the name that it does not take. */
void sweep_pool(struct master_pool *pool)
{
        registry_pool_add(pool->master->registry, pool->config->pool_name, on_pool_added, pool);
        if (registry_sweep(pool->master->registry, pool->config->pool_name, pool->confirms, pool->confirm_count,
                    on_swept, pool) == 0)
                pool->confirm_count = 0;
}

void sweep_without_registry(struct master_pool *pool)
{
        begin_placing(pool);
}
