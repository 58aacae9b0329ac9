#include "master/control/pools.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/identity.h"
#include "common/log.h"
#include "master/control/degraded.h"
#include "master/control/messages.h"
#include "master/control/mirror.h"
#include "master/control/pools_act.h"
#include "master/control/rollback.h"
#include "master/control/silence.h"
#include "master/control/stale_cgroups.h"
#include "master/control/sweep.h"
#include "master/control/workers.h"
#include "registry/core/agent_exit.h"
#include "registry/redis/registry_redis.h"
#include "sql/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pools {
        struct master *master;
        struct master_pool *list;
        size_t count;
        struct event *settle; /* end of this turn: carry out actions */
        struct event *tick;   /* the nearest deadline of any pool */
        struct event *sweep;  /* compare with the registry */
        struct event *snapshot; /* utilisation over time, into the store */
        int totals;           /* file of that; -errno: none */
        bool stale_cgroups;   /* some may be left of workers that are no more */
        bool synced;          /* every worker from before this master is known */
        void (*on_closed)(void *arg);
        void *on_closed_arg;
};

/* How often utilisation goes into the store, for the timeseries route. */
#define SNAPSHOT_INTERVAL_S 60

static int64_t earliest_deadline(const struct pools *pools)
{
        int64_t earliest = INT64_MAX;

        for (size_t i = 0; i < pools->count; i++) {
                int64_t deadline = pool_next_deadline(pools->list[i].rules);

                if (deadline < earliest)
                        earliest = deadline;
        }
        return earliest;
}

static void arm_tick(struct pools *pools)
{
        int64_t deadline = earliest_deadline(pools);
        int64_t wait = deadline - clock_mono_ms();
        struct timeval tv;

        if (deadline == INT64_MAX) {
                event_del(pools->tick);
                return;
        }
        if (wait < 0)
                wait = 0;
        tv = (struct timeval){ .tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000 };
        event_add(pools->tick, &tv);
}

static void report_closed(struct pools *pools)
{
        void (*on_closed)(void *arg) = pools->on_closed;

        for (size_t i = 0; i < pools->count; i++)
                if (!pool_closed(pools->list[i].rules))
                        return;
        pools->on_closed = NULL;
        if (on_closed)
                on_closed(pools->on_closed_arg);
}

static bool broken(const struct pools *pools)
{
        for (size_t i = 0; i < pools->count; i++)
                if (pool_broken(pools->list[i].rules))
                        return true;
        return false;
}

static void note_totals(const struct pools *pools, struct master_pool *pool)
{
        struct pool_stats stats;

        pool_stats(pool->rules, &stats);
        totals_note(pools->totals, pool->config->pool_name, &pool->totals, stats.workers_spawned, stats.workers_terminated);
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
        struct pools *pools = arg;

        (void)fd;
        (void)what;
        for (size_t i = 0; i < pools->count; i++) {
                struct master_pool *pool = &pools->list[i];

                if (!pool->dirty)
                        continue;
                pool->dirty = false;
                pools_act(pools->master, pool);
                note_totals(pools, pool);
                rollback_if_halted(pools->master, pool);
        }
        if (broken(pools)) {
                log_error("pools.out_of_memory", "detail=\"a new master takes over\"");
                _exit(EXIT_FAILURE); /* its rules are not to be trusted, not even to end it in order */
        }
        arm_tick(pools);
        if (pools->on_closed)
                report_closed(pools);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
        struct pools *pools = arg;
        int64_t now = clock_mono_ms();

        (void)fd;
        (void)what;
        for (size_t i = 0; i < pools->count; i++) {
                pool_tick(pools->list[i].rules, now);
                pools_wake(pools, &pools->list[i]);
        }
}

void pools_wake(struct pools *pools, struct master_pool *pool)
{
        pool->dirty = true;
        event_active(pools->settle, 0, 0);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
        struct pools *pools = arg;
        bool away = degraded_reason(pools->master->degraded);

        (void)fd;
        (void)what;
        if (pools->synced && pools->stale_cgroups)
                pools->stale_cgroups = stale_cgroups_remove(pools->master);
        silence_check(pools->master);
        for (size_t i = 0; pools->synced && i < pools->count; i++) {
                if (away)
                        sweep_without_registry(&pools->list[i]);
                else if (pools->master->registry_up)
                        sweep_pool(&pools->list[i]);
        }
}

static void on_snapshot(evutil_socket_t fd, short what, void *arg)
{
        struct pools *pools = arg;

        (void)fd;
        (void)what;
        for (size_t i = 0; i < pools->count; i++) {
                struct master_pool *pool = &pools->list[i];
                struct pool_stats stats;
                struct store_metric metric;

                pool_stats(pool->rules, &stats);
                metric = (struct store_metric){ .at = clock_wall_ms(), .pool_name = pool->config->pool_name,
                        .capacity = stats.capacity, .used = stats.used, .agents = stats.agents,
                        .workers = stats.workers_ready, .executions = (int64_t)pool->executions,
                        .executions_ok = (int64_t)pool->executions_ok };
                pool->executions = pool->executions_ok = 0;
                store_metric_add(pools->master->store, &metric);
        }
}

static int add_timer(struct event **ret_event, struct event_base *base, event_callback_fn fire, struct pools *pools,
        int64_t every_ms)
{
        struct timeval tv = { .tv_sec = every_ms / 1000, .tv_usec = every_ms % 1000 * 1000 };

        *ret_event = event_new(base, -1, every_ms ? EV_PERSIST : 0, fire, pools);
        if (!*ret_event)
                return -ENOMEM;
        return every_ms && event_add(*ret_event, &tv) < 0 ? -ENOMEM : 0;
}

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

int64_t pools_sweep_interval(const struct config *config)
{
        int64_t shortest = INT64_MAX;

        for (size_t i = 0; i < config->pool_count; i++)
                if (config->pools[i]->heartbeat_interval_ms < shortest)
                        shortest = config->pools[i]->heartbeat_interval_ms;
        return shortest;
}

struct pools *pools_new(struct master *master)
{
        const struct config *config = master->config;
        struct pools *pools = calloc(1, sizeof *pools);
        int r;

        if (!pools)
                return NULL;
        pools->master = master;
        pools->totals = totals_open(config->run_dir);
        pools->list = calloc(config->pool_count + 1, sizeof *pools->list);
        r = pools->list ? 0 : -ENOMEM;
        r = r ? r : add_timer(&pools->settle, master->base, on_settle, pools, 0);
        r = r ? r : add_timer(&pools->tick, master->base, on_tick, pools, 0);
        r = r ? r : add_timer(&pools->sweep, master->base, on_sweep, pools, pools_sweep_interval(config));
        r = r ? r : add_timer(&pools->snapshot, master->base, on_snapshot, pools, SNAPSHOT_INTERVAL_S * 1000);
        for (size_t i = 0; r == 0 && i < config->pool_count; i++)
                r = add_pool(pools, config->pools[i]);
        return r == 0 ? pools : pools_free(pools);
}

struct pools *pools_free(struct pools *pools)
{
        if (!pools)
                return NULL;
        for (size_t i = 0; i < pools->count; i++) {
                pool_free(pools->list[i].rules);
                free(pools->list[i].confirms);
        }
        free(pools->list);
        fd_close(pools->totals);
        if (pools->settle)
                event_free(pools->settle);
        if (pools->tick)
                event_free(pools->tick);
        if (pools->sweep)
                event_free(pools->sweep);
        if (pools->snapshot)
                event_free(pools->snapshot);
        free(pools);
        return NULL;
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

void pools_close(struct pools *pools, void (*on_closed)(void *arg), void *arg)
{
        pools->on_closed = on_closed;
        pools->on_closed_arg = arg;
        event_del(pools->sweep);
        for (size_t i = 0; i < pools->count; i++) {
                pool_close(pools->list[i].rules, clock_mono_ms());
                pools_wake(pools, &pools->list[i]);
        }
        event_active(pools->settle, 0, 0);
}

void pools_hurry(struct pools *pools)
{
        for (size_t i = 0; i < pools->count; i++)
                for (struct pool_worker *w = pool_first_worker(pools->list[i].rules); w; w = w->hh.next)
                        pools_stop_worker(pools->master, w, CONTROL_STOP_NOW);
}

/* A worker whose pool is not configured any more: ends with its agents. */
static void refuse_worker(struct pools *pools, const struct id *process_id, const char *pool_name, int take_socket)
{
        log_warn("worker.without_pool", "process=%s pool=%s", ID_TEXT(process_id), pool_name);
        registry_reap(pools->master->registry, pool_name, process_id, NULL, NULL);
        if (workers_dismiss(pools->master->workers, process_id, pool_name, take_socket) < 0)
                pools_kill(pools->master, process_id);
}

void pools_worker_forked(struct pools *pools, const struct id *process_id, const char *pool_name, int pid,
        int64_t started_at, bool adopted, int take_socket)
{
        struct master_pool *pool = pools_find(pools, pool_name);
        int64_t now = clock_mono_ms();
        struct pool_worker *worker;
        int r = 0;

        if (!pool) {
                refuse_worker(pools, process_id, pool_name, take_socket);
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
                r = workers_add(pools->master->workers, process_id, pool->config, take_socket);
        if (r < 0)
                pools_kill(pools->master, process_id); /* its exit follows, and a new one */
        pools_wake(pools, pool);
}

void pools_worker_fork_failed(struct pools *pools, const struct id *process_id, int error)
{
        struct master_pool *pool = pools_of_worker(pools, process_id);

        if (!pool)
                return;
        log_error("worker.fork_failed", "pool=%s error=%s", pool->config->pool_name, LOG_Q(strerror(error)));
        pool_worker_fork_failed(pool->rules, process_id, error, clock_mono_ms());
        pools_wake(pools, pool);
}

/* What waits for an answer from that worker's agents. */
static void fail_messages(struct pools *pools, const struct master_pool *pool, const struct id *process_id, const char *why)
{
        const struct pool_worker *worker = pool_worker(pool->rules, process_id);
        const struct agent *agent;
        char detail[256];

        snprintf(detail, sizeof detail, "the agent's worker process ended: %s", why);
        TAILQ_FOREACH(agent, &worker->agents, on_worker)
                messages_agent_gone(pools->master->messages, &agent->agent_id, MESSAGES_GRACE_READ_MS, detail);
}

void pools_worker_exited(struct pools *pools, const struct id *process_id, int status)
{
        struct master_pool *pool = pools_of_worker(pools, process_id);
        const char *dismissed_from = workers_dismissed_from(pools->master->workers, process_id);
        char why[192];

        if (dismissed_from) /* once more: the registry may not have been there when it was dismissed */
                registry_reap(pools->master->registry, dismissed_from, process_id, NULL, NULL);
        workers_explain(pools->master->workers, process_id, pool ? pool_worker(pool->rules, process_id) : NULL, status, why,
                sizeof why);
        workers_remove(pools->master->workers, process_id);
        pools->stale_cgroups = true;
        if (!pool)
                return;
        pool->metrics.worker_crashes += status != 0;
        fail_messages(pools, pool, process_id, why);
        pool_worker_exited(pool->rules, process_id, why, clock_mono_ms());
        pools_wake(pools, pool);
}

static void note_start(struct master_pool *pool, struct pool_worker *worker)
{
        if (worker->forked_us)
                histogram_add(&pool->metrics.worker_starts, clock_mono_us() - worker->forked_us);
        worker->forked_us = 0;
}

void pools_worker_ready(struct pools *pools, const struct id *process_id, unsigned max_agents,
        const struct hosted_agent *hosted, size_t count)
{
        struct master_pool *pool = pools_of_worker(pools, process_id);

        if (!pool)
                return;
        note_start(pool, pool_worker(pool->rules, process_id));
        pool_worker_capacity(pool->rules, process_id, max_agents);
        pool_worker_ready(pool->rules, process_id, hosted, count, clock_mono_ms());
        mirror_worker(pool, pool_worker(pool->rules, process_id));
        pools_wake(pools, pool);
}

void pools_use_registry(struct pools *pools, bool up)
{
        for (size_t i = 0; i < pools->count; i++) {
                struct master_pool *pool = &pools->list[i];

                if (up && pools->synced)
                        sweep_pool(pool);
                else if (pools->synced)
                        sweep_without_registry(pool);
                pool_registry(pool->rules, up, clock_mono_ms());
                pools_wake(pools, pool);
        }
}

void pools_synced(struct pools *pools)
{
        const struct degraded *degraded = pools->master->degraded;

        pools->synced = pools->stale_cgroups = true;
        if (degraded_decided(degraded))
                pools_use_registry(pools, !degraded_reason(degraded));
}

bool pools_are_synced(const struct pools *pools)
{
        return pools->synced;
}

bool pools_known(const struct pools *pools)
{
        if (!pools->synced || !degraded_decided(pools->master->degraded))
                return false;
        for (size_t i = 0; i < pools->count; i++)
                if (!pool_known(pools->list[i].rules))
                        return false;
        return true;
}

bool pools_empty(const struct pools *pools)
{
        for (size_t i = 0; i < pools->count; i++)
                if (pool_first_worker(pools->list[i].rules))
                        return false;
        return pools->synced;
}
