/* Workers: forked as many as the waiting agents need, watched until ready, drained when idle, mourned. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_agents.h"
#include "registry/core/pool_breaker.h"
#include "registry/core/pool_end.h"
#include "registry/core/pool_restore.h"
#include "registry/core/pool_rollout.h"
#include "registry/core/pool_workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void count_ready(struct pool_worker *worker, bool ready)
{
        struct pool *pool = worker->pool;

        pool->capacity = ready ? pool->capacity + worker->max_agents : pool->capacity - worker->max_agents;
        pool->used = ready ? pool->used + worker->used : pool->used - worker->used;
        if (worker->used == 0)
                pool->empty = ready ? pool->empty + 1 : pool->empty - 1;
}

static bool set_state(struct pool_worker *worker, enum worker_event event)
{
        enum worker_state before = worker->state;

        if (worker_state_apply(&worker->state, event) < 0)
                return false;
        worker->pool->workers_by_state[before]--;
        worker->pool->workers_by_state[worker->state]++;
        if (before == WORKER_READY || worker->state == WORKER_READY)
                count_ready(worker, worker->state == WORKER_READY);
        return true;
}

static struct pool_worker *worker_add(struct pool *pool, const struct id *process_id, int64_t now)
{
        struct pool_worker *worker = calloc(1, sizeof *worker);

        if (worker) {
                worker->process_id = *process_id;
                HASH_ADD(hh, pool->workers, process_id, sizeof worker->process_id, worker);
        }
        if (!worker || !worker->hh.tbl) {
                free(worker);
                pool->broken = true;
                return NULL;
        }
        worker->pool = pool;
        worker->state = WORKER_STARTING;
        worker->max_agents = (unsigned)pool->config->max_agents_per_worker;
        worker->deadline = now + pool->config->worker_start_timeout_ms;
        worker->idle_since = now;
        worker->settled = true;
        TAILQ_INIT(&worker->agents);
        pool->workers_by_state[WORKER_STARTING]++;
        pool_worker_time(worker);
        return worker;
}

static void worker_remove(struct pool_worker *worker)
{
        struct pool *pool = worker->pool;

        set_state(worker, WORKER_EV_EXITED);
        pool->workers_by_state[WORKER_EXITED]--;
        pool->unsettled -= !worker->settled;
        worker->deadline = 0;
        pool_worker_time(worker);
        HASH_DEL(pool->workers, worker);
        pool->workers_terminated++;
}

/* --- how many ----------------------------------------------------------------------------------------------------- */

static int64_t wanted_forks(const struct pool *pool)
{
        const struct pool_config *config = pool->config;
        int64_t per_worker = config->max_agents_per_worker, want, ready = pool->workers_by_state[WORKER_READY];
        int64_t surge = pool_rollout_surge(pool), empty = pool_rollout_empty(pool);
        /* The next batch's workers are made once this batch is gone: until then its agents may still take empty ones. */
        int64_t spare = config->spare_workers + (pool->rollout.leaving ? 0 : surge);
        int64_t beyond = (int64_t)pool->in_phase[PHASE_WAITING] + pool_owed_slots(pool) - pool_free_slots(pool);

        want = beyond > 0 ? (beyond + per_worker - 1) / per_worker : 0;
        if (empty < spare)
                want += spare - empty;
        if (want < config->min_workers - ready)
                want = config->min_workers - ready;
        want -= pool->workers_by_state[WORKER_STARTING];
        if (want > config->max_workers + surge - HASH_COUNT(pool->workers))
                want = config->max_workers + surge - HASH_COUNT(pool->workers);
        return want;
}

/* While workers fail at their start: one at a time, after its delay. */
static int64_t allowed_forks(struct pool *pool, int64_t want, int64_t now)
{
        if (want <= 0 || !pool_may_fork(pool))
                return 0;
        if (pool->breakers[POOL_WORKERS].state == BREAKER_HALF_OPEN)
                return 1;
        if (pool->fork_backoff.tries == 0)
                return want;
        if (pool->workers_by_state[WORKER_STARTING] > 0)
                return 0;
        if (now >= pool->fork_at)
                return 1;
        pool_wake_at(pool, pool->fork_at);
        return 0;
}

void pool_fork_workers(struct pool *pool, int64_t now)
{
        struct pool_worker *worker;
        int64_t forks = allowed_forks(pool, wanted_forks(pool), now);

        while (forks-- > 0) {
                struct id process_id = pool_new_id(pool);

                worker = worker_add(pool, &process_id, now);
                if (!worker)
                        return;
                pool->workers_spawned++;
                pool_push(pool, POOL_FORK, NULL, worker);
        }
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* Once, as soon as it is known: before the next one is forked. */
static void start_failed(struct pool_worker *worker, const char *reason, int64_t now)
{
        struct pool *pool = worker->pool;

        if (worker->start_failed || worker->reported || worker->adopted || pool->closing)
                return;
        worker->start_failed = true;
        pool->fork_at = now + backoff_next(&pool->fork_backoff, pool_random(pool));
        pool_worker_failed(worker, reason, now);
}

/* Its end says something about the next one's start. When many end at once, that is one thing, said once. */
static bool ended_early(const struct pool_worker *worker)
{
        return worker->reported && !worker->adopted && !worker->proved && worker->state == WORKER_READY
                && worker->ready_at >= worker->pool->breakers[POOL_WORKERS].failed_at;
}

void pool_shut_down_worker(struct pool_worker *worker, int64_t now)
{
        set_state(worker, WORKER_EV_DRAIN);
        pool_push(worker->pool, POOL_SHUTDOWN, NULL, worker);
        worker->deadline = now + pool_end_ms(worker->pool) + POOL_KILL_MARGIN_MS;
        pool_worker_time(worker);
}

void pool_worker_forked(struct pool *pool, const struct id *process_id, int pid, int64_t now)
{
        struct pool_worker *worker = pool_worker(pool, process_id);

        if (!worker)
                return;
        worker->pid = pid;
        if (pool->closing)
                pool_shut_down_worker(worker, now);
}

void pool_take_fork_failed(struct pool *pool, const struct id *process_id, int error, int64_t now)
{
        struct pool_worker *worker = pool_worker(pool, process_id);
        char reason[160];

        if (!worker)
                return;
        snprintf(reason, sizeof reason, "fork: %s", strerror(abs(error)));
        start_failed(worker, reason, now);
        worker_remove(worker);
        pool_push_event(pool, "worker_exited", NULL, worker, reason);
        pool_push(pool, POOL_FORGET_WORKER, NULL, worker);
}

void pool_worker_adopt(struct pool *pool, const struct id *process_id, int pid, int64_t now)
{
        struct pool_worker *worker = pool_worker(pool, process_id) ? NULL : worker_add(pool, process_id, now);

        if (!worker)
                return;
        worker->adopted = true;
        worker->heard_at = now;
        worker->pid = pid;
        worker->settled = false;
        pool->unsettled++;
        if (pool->closing)
                pool_shut_down_worker(worker, now);
}

void pool_worker_capacity(struct pool *pool, const struct id *process_id, unsigned max_agents)
{
        struct pool_worker *worker = pool_worker(pool, process_id);

        if (worker && worker->state == WORKER_STARTING && max_agents > 0)
                worker->max_agents = max_agents;
}

void pool_take_suspect(struct pool *pool, const struct id *process_id, int64_t now)
{
        struct pool_worker *worker = pool_worker(pool, process_id);

        if (!worker || !set_state(worker, WORKER_EV_SUSPECT))
                return;
        pool_push_event(pool, "worker_stale", NULL, worker, "it does not answer");
        pool_push(pool, POOL_KILL, NULL, worker);
        worker->deadline = now + POOL_KILL_MARGIN_MS;
        pool_worker_time(worker);
}

void pool_take_exit(struct pool *pool, const struct id *process_id, const char *why, int64_t now)
{
        struct pool_worker *worker = pool_worker(pool, process_id);
        struct agent *agent;

        if (!worker)
                return;
        start_failed(worker, why, now);
        if (!pool->closing && ended_early(worker))
                pool_worker_failed(worker, why, now);
        worker_remove(worker);
        pool->reserve_at = 0;
        pool_push(pool, POOL_REAP, NULL, worker);
        pool_push_event(pool, "worker_exited", NULL, worker, why);
        while ((agent = TAILQ_FIRST(&worker->agents)))
                pool_worker_lost(agent, why, now);
        pool_push(pool, POOL_FORGET_WORKER, NULL, worker);
}

static void became_ready(struct pool_worker *worker, int64_t now)
{
        struct pool *pool = worker->pool;

        worker->deadline = 0;
        worker->ready_at = now;
        if (worker->used == 0)
                worker->look_at = now + pool->config->worker_idle_timeout_ms;
        set_state(worker, WORKER_EV_READY);
        pool_worker_time(worker);
        pool_push_event(pool, "worker_started", NULL, worker, "");
        backoff_reset(&pool->fork_backoff);
}

void pool_take_ready(struct pool *pool, const struct id *process_id, const struct hosted_agent *hosted, size_t count,
        int64_t now)
{
        struct pool_worker *worker = pool_worker(pool, process_id);

        if (!worker || pool->closing)
                return;
        pool->reserve_at = 0;
        if (worker->state == WORKER_STARTING)
                became_ready(worker, now);
        for (size_t i = 0; i < count; i++)
                pool_take_hosted(worker, &hosted[i], now);
        pool_doubt_unlisted(worker, now);
        worker->reported = true;
        pool->unsettled -= !worker->settled;
        worker->settled = true;
}

/* --- time --------------------------------------------------------------------------------------------------------- */

void pool_drain_worker(struct pool_worker *worker, const char *why, int64_t now)
{
        set_state(worker, WORKER_EV_DRAIN);
        pool_push_event(worker->pool, "worker_draining", NULL, worker, why);
        pool_push(worker->pool, POOL_DRAIN, NULL, worker);
        worker->deadline = now + pool_end_ms(worker->pool) + POOL_KILL_MARGIN_MS;
        pool_worker_time(worker);
}

static void drain_if_spare(struct pool_worker *worker, int64_t now)
{
        struct pool *pool = worker->pool;
        const struct pool_config *config = pool->config;

        if (pool->workers_by_state[WORKER_READY] <= config->min_workers
                || pool->empty <= config->spare_workers + pool_rollout_surge(pool)
                || pool->in_phase[PHASE_RESERVING] > 0 || pool->in_phase[PHASE_WAITING] > 0) {
                worker->look_at = now + POOL_LOOK_MS; /* the reason may pass without an event of this worker */
                pool_worker_time(worker);
                return;
        }
        pool_drain_worker(worker, "it is idle", now);
}

void pool_worker_due(struct pool_worker *worker, int64_t now)
{
        static const char late[] = "it is not ready within worker_start_timeout_ms";
        struct pool *pool = worker->pool;

        if (!worker->deadline || worker->deadline > now) {
                drain_if_spare(worker, now);
                return;
        }
        if (worker->state == WORKER_STARTING) {
                pool_push_event(pool, "worker_stale", NULL, worker, late);
                start_failed(worker, late, now);
        }
        set_state(worker, WORKER_EV_SUSPECT);
        pool_push(pool, POOL_KILL, NULL, worker);
        worker->deadline = now + POOL_KILL_MARGIN_MS;
        pool_worker_time(worker);
}
