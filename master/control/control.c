/* What happens when: each event goes into the rules of its pool, and is carried out when the loop's turn ends. */
#include "master/control/control.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/timer.h"
#include "master/control/degraded.h"
#include "master/control/lease.h"
#include "master/control/messages.h"
#include "master/control/mirror.h"
#include "master/control/pools.h"
#include "master/control/pools_act.h"
#include "master/control/replies.h"
#include "master/control/rollback.h"
#include "master/control/stale_cgroups.h"
#include "master/control/sweep.h"
#include "master/control/usages.h"
#include "master/control/workers.h"
#include "registry/redis/registry_redis.h"
#include "sql/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct control_loop {
        struct master *master;
        struct timer tick;     /* the nearest deadline of any pool */
        struct timer sweep;    /* compare with the registry */
        struct timer snapshot; /* utilisation over time, into the store */
        bool stale_cgroups;    /* some may be left of workers that are no more */
        void (*on_closed)(void *arg);
        void *on_closed_arg;
};

/* How often utilisation goes into the store, for the timeseries route. */
#define SNAPSHOT_INTERVAL_MS 60000

#define FOR_EACH_POOL(pool, master) \
        for (size_t i_ = 0; i_ < pools_count((master)->pools) && ((pool) = pools_at((master)->pools, i_)); i_++)

/* --- the clock ---------------------------------------------------------------------------------------------------- */

static void report_closed(struct control_loop *loop)
{
        void (*on_closed)(void *arg) = loop->on_closed;
        const struct master_pool *pool;

        if (!on_closed)
                return;
        FOR_EACH_POOL(pool, loop->master)
                if (!pool_closed(pool->rules))
                        return;
        loop->on_closed = NULL;
        on_closed(loop->on_closed_arg);
}

static void on_settle(void *arg)
{
        struct control_loop *loop = arg;
        struct master *master = loop->master;
        int64_t earliest = INT64_MAX;
        struct master_pool *pool;

        FOR_EACH_POOL(pool, master) {
                if (!pool->dirty)
                        continue;
                pool->dirty = false;
                pools_act(master, pool);
                pools_note_totals(master->pools, pool);
                rollback_if_halted(master, pool);
        }
        FOR_EACH_POOL(pool, master) {
                int64_t deadline = pool_next_deadline(pool->rules);

                if (pool_broken(pool->rules)) {
                        log_error("pools.out_of_memory", "detail=\"a new master takes over\"");
                        _exit(EXIT_FAILURE); /* its rules are not to be trusted, not even to end it in order */
                }
                earliest = deadline < earliest ? deadline : earliest;
        }
        timer_at(&loop->tick, earliest);
        report_closed(loop);
}

static void on_tick(void *arg)
{
        struct control_loop *loop = arg;
        int64_t now = clock_mono_ms();
        struct master_pool *pool;

        FOR_EACH_POOL(pool, loop->master) {
                pool_tick(pool->rules, now);
                pools_wake(loop->master->pools, pool);
        }
}

static void on_sweep(void *arg)
{
        struct control_loop *loop = arg;
        struct master *master = loop->master;
        struct master_pool *pool;

        if (master->synced && loop->stale_cgroups)
                loop->stale_cgroups = stale_cgroups_remove(master);
        lease_check(master);
        if (!master->synced)
                return;
        FOR_EACH_POOL(pool, master) {
                if (master->mode.degraded)
                        sweep_without_registry(pool);
                else if (master->registry_up)
                        sweep_pool(pool);
        }
}

static void on_snapshot(void *arg)
{
        struct control_loop *loop = arg;
        struct master_pool *pool;

        FOR_EACH_POOL(pool, loop->master) {
                struct pool_stats stats;
                struct store_metric metric;

                pool_stats(pool->rules, &stats);
                metric = (struct store_metric){ .at = clock_wall_ms(), .pool_name = pool->config->pool_name,
                        .capacity = stats.capacity, .used = stats.used, .agents = stats.agents,
                        .workers = stats.workers_ready, .executions = (int64_t)pool->executions,
                        .executions_ok = (int64_t)pool->executions_ok };
                pool->executions = pool->executions_ok = 0;
                store_metric_add(loop->master->store, &metric);
        }
}

/* --- the registry's mode ------------------------------------------------------------------------------------------- */

static void use_registry(struct master *master)
{
        bool up = !master->mode.degraded;
        struct master_pool *pool;

        FOR_EACH_POOL(pool, master) {
                if (up && master->synced)
                        sweep_pool(pool);
                else if (master->synced)
                        sweep_without_registry(pool);
                pool_registry(pool->rules, up, clock_mono_ms());
                pools_wake(master->pools, pool);
        }
}

/* The workers first: what the rules send them from now on comes after it. */
static void on_decided(void *arg, bool changed)
{
        struct control_loop *loop = arg;

        if (changed)
                workers_tell_registry(loop->master->workers);
        use_registry(loop->master);
}

/* --- the workers --------------------------------------------------------------------------------------------------- */

static void on_ready(void *arg, const struct id *process_id, unsigned max_agents, const struct hosted_agent *hosted,
        size_t count)
{
        struct master *master = ((struct control_loop *)arg)->master;
        struct master_pool *pool = pools_of_worker(master->pools, process_id);
        struct pool_worker *worker = pool ? pool_worker(pool->rules, process_id) : NULL;

        if (!worker)
                return;
        if (worker->forked_us)
                histogram_add(&pool->metrics.worker_starts, clock_mono_us() - worker->forked_us);
        worker->forked_us = 0;
        pool_worker_capacity(pool->rules, process_id, max_agents);
        pool_worker_ready(pool->rules, process_id, hosted, count, clock_mono_ms());
        mirror_worker(pool, pool_worker(pool->rules, process_id));
        pools_wake(master->pools, pool);
}

static void on_reply(void *arg, const struct reply *reply)
{
        replies_take(((struct control_loop *)arg)->master, reply);
}

static void on_used(void *arg, const struct id *process_id, const struct control *used)
{
        usages_take(((struct control_loop *)arg)->master->usages, process_id, used);
}

static void on_alive(void *arg, struct master_pool *pool, struct pool_worker *worker)
{
        (void)arg;
        mirror_alive(pool, worker);
}

static void on_refused(void *arg, uint64_t generation, const char *why)
{
        degraded_refused(((struct control_loop *)arg)->master->degraded, generation, why);
}

static void on_distrust(void *arg)
{
        degraded_distrust(((struct control_loop *)arg)->master->degraded);
}

/* --- the forker ---------------------------------------------------------------------------------------------------- */

/* A worker whose pool is not configured any more: ends with its agents. */
static void refuse_worker(struct master *master, const struct id *process_id, const char *pool_name, int take_socket)
{
        log_warn("worker.without_pool", "process=%s pool=%s", ID_TEXT(process_id), pool_name);
        registry_reap(master->registry, pool_name, process_id, NULL, NULL);
        if (workers_dismiss(master->workers, process_id, pool_name, take_socket) < 0)
                pools_kill(master, process_id);
}

void control_worker_forked(struct control_loop *loop, const struct id *process_id, const char *pool_name, int pid,
        int64_t started_at, bool adopted, int take_socket)
{
        struct master *master = loop->master;
        struct master_pool *pool = pools_find(master->pools, pool_name);
        int64_t now = clock_mono_ms();
        struct pool_worker *worker;
        int r = 0;

        if (!pool) {
                refuse_worker(master, process_id, pool_name, take_socket);
                return;
        }
        if (adopted)
                pool_worker_adopt(pool->rules, process_id, pid, now);
        else
                pool_worker_forked(pool->rules, process_id, pid, now);
        worker = pool_worker(pool->rules, process_id);
        if (worker)
                worker->created_at = started_at;
        if (adopted)
                r = FAULT_POINT("worker.adopt");
        if (r < 0)
                fd_close(take_socket);
        else
                r = workers_add(master->workers, process_id, pool->config, take_socket);
        if (r < 0)
                pools_kill(master, process_id); /* its exit follows, and a new one */
        pools_wake(master->pools, pool);
}

void control_worker_fork_failed(struct control_loop *loop, const struct id *process_id, int error)
{
        struct master_pool *pool = pools_of_worker(loop->master->pools, process_id);

        if (!pool)
                return;
        log_error("worker.fork_failed", "pool=%s error=%s", pool->config->pool_name, LOG_Q(strerror(error)));
        pool_worker_fork_failed(pool->rules, process_id, error, clock_mono_ms());
        pools_wake(loop->master->pools, pool);
}

/* What waits for an answer from that worker's agents. */
static void fail_messages(struct master *master, const struct pool_worker *worker, const char *why)
{
        const struct agent *agent;
        char detail[256];

        snprintf(detail, sizeof detail, "the agent's worker process ended: %s", why);
        TAILQ_FOREACH(agent, &worker->agents, on_worker)
                messages_agent_gone(master->messages, &agent->agent_id, MESSAGES_GRACE_READ_MS, detail);
}

void control_worker_exited(struct control_loop *loop, const struct id *process_id, int status)
{
        struct master *master = loop->master;
        struct master_pool *pool = pools_of_worker(master->pools, process_id);
        const struct pool_worker *worker = pool ? pool_worker(pool->rules, process_id) : NULL;
        const char *dismissed_from = workers_dismissed_from(master->workers, process_id);
        char why[192];

        if (dismissed_from) /* once more: the registry may not have been there when it was dismissed */
                registry_reap(master->registry, dismissed_from, process_id, NULL, NULL);
        workers_explain(master->workers, process_id, worker, status, why, sizeof why);
        workers_remove(master->workers, process_id);
        loop->stale_cgroups = true;
        if (!worker)
                return;
        pool->metrics.worker_crashes += status != 0;
        fail_messages(master, worker, why);
        pool_worker_exited(pool->rules, process_id, why, clock_mono_ms());
        pools_wake(master->pools, pool);
}

void control_synced(struct control_loop *loop)
{
        loop->master->synced = loop->stale_cgroups = true;
        if (loop->master->mode.decided)
                use_registry(loop->master);
}

/* --- begin and end ------------------------------------------------------------------------------------------------- */

struct control_loop *control_new(struct master *master)
{
        static const struct workers_events events = { on_ready, on_reply, on_used, on_alive, on_refused, on_distrust };
        struct control_loop *loop = calloc(1, sizeof *loop);

        if (!loop)
                return NULL;
        loop->master = master;
        timer_init(&loop->tick, master->base, on_tick, loop);
        timer_init(&loop->sweep, master->base, on_sweep, loop);
        timer_init(&loop->snapshot, master->base, on_snapshot, loop);
        master->pools = pools_new(master, on_settle, loop);
        master->workers = workers_new(master, &events, loop);
        master->degraded = degraded_new(master, on_decided, loop);
        if (master->pools && master->workers && master->degraded &&
                timer_every(&loop->sweep, config_sweep_interval_ms(master->config)) == 0 &&
                timer_every(&loop->snapshot, SNAPSHOT_INTERVAL_MS) == 0)
                return loop;
        return control_free(loop);
}

struct control_loop *control_free(struct control_loop *loop)
{
        if (!loop)
                return NULL;
        timer_stop(&loop->tick);
        timer_stop(&loop->sweep);
        timer_stop(&loop->snapshot);
        free(loop);
        return NULL;
}

void control_close(struct control_loop *loop, void (*on_closed)(void *arg), void *arg)
{
        struct master *master = loop->master;
        struct master_pool *pool;

        loop->on_closed = on_closed;
        loop->on_closed_arg = arg;
        timer_stop(&loop->sweep);
        FOR_EACH_POOL(pool, master) {
                pool_close(pool->rules, clock_mono_ms());
                pools_wake(master->pools, pool);
        }
        pools_wake(master->pools, NULL); /* there may be none */
}

void control_hurry(struct control_loop *loop)
{
        struct master *master = loop->master;
        const struct master_pool *pool;

        FOR_EACH_POOL(pool, master)
                for (struct pool_worker *w = pool_first_worker(pool->rules); w; w = w->hh.next)
                        pools_stop_worker(master, w, CONTROL_STOP_NOW);
}
