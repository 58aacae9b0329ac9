/* What happens to a pool: each event changes what it is about, then the whole is pumped, once. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_agents.h"
#include "registry/core/pool_breaker.h"
#include "registry/core/pool_degraded.h"
#include "registry/core/pool_end.h"
#include "registry/core/pool_place.h"
#include "registry/core/pool_replace.h"
#include "registry/core/pool_restore.h"
#include "registry/core/pool_room.h"
#include "registry/core/pool_workers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Waiting agents into free slots, restored ones on their way, workers forked for the rest. */
static void pump(struct pool *pool, int64_t now)
{
        if (pool->closing || !pool->restored)
                return;
        pool->wake_at = 0;
        pool_pump_breakers(pool, now);
        pool_pump_restoring(pool, now);
        pool_pump_waiting(pool, now);
        pool_pump_rollout(pool, now);
        pool_fork_workers(pool, now);
}

/* --- requests and what comes back --------------------------------------------------------------------------------- */

static int begin_spawn(struct pool *pool, struct agent *take_agent, int64_t now, enum pool_error *ret_error,
        char detail[192])
{
        struct agent *agent = take_agent;
        enum pool_error error = pool_refuse_spawn(pool, now, detail);

        if (error == POOL_OK && !pool_add_agent(pool, agent)) {
                snprintf(detail, 192, "%s: out of memory", pool->config->pool_name);
                error = POOL_E_QUEUE;
        }
        if (error != POOL_OK) {
                *ret_error = error;
                return -EBUSY;
        }
        /* A master died before it could store an agent, its client asks again under its key, and what that master started is
         * being ended: it is no end of this one. */
        agent->epoch = pool_evicted_epoch(pool, &agent->agent_id) + 1;
        agent->start_reason = "spawn";
        agent->deadline = now + pool->config->spawn_timeout_ms;
        agent->command_id = pool_new_id(pool);
        pool_agent_time(agent);
        pool_store(agent);
        pool_phase(agent, PHASE_EV_SPAWN);
        return 0;
}

int pool_spawn(struct pool *pool, struct agent *take_agent, int64_t now, enum pool_error *ret_error, char detail[192])
{
        int r = begin_spawn(pool, take_agent, now, ret_error, detail);

        if (r == 0)
                pump(pool, now);
        return r;
}

void pool_stored(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, int64_t now)
{
        pool_take_stored(pool, agent_id, epoch, error, now);
        pump(pool, now);
}

void pool_reserved(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, const struct id *process_id,
        int64_t now)
{
        pool_take_reserved(pool, agent_id, epoch, error, process_id, now);
        pump(pool, now);
}

void pool_reply(struct pool *pool, const struct reply *reply, int64_t now)
{
        pool_take_reply(pool, reply, now);
        pump(pool, now);
}

int pool_terminate(struct pool *pool, struct agent *agent, bool graceful, void *waiter, int64_t now)
{
        int r = pool_take_terminate(agent, graceful, waiter, now);

        pump(pool, now);
        return r;
}

unsigned pool_restart_all(struct pool *pool, int64_t now)
{
        unsigned count = 0;

        for (struct agent *agent = pool->agents; agent; agent = agent->hh.next)
                count += pool_restart_agent(pool, agent, now) == 0;
        return count;
}

int pool_rollout(struct pool *pool, unsigned batch_size, int64_t min_healthy_ms, int64_t now)
{
        int r = pool_begin_rollout(pool, batch_size, min_healthy_ms, now);

        pump(pool, now);
        return r;
}

void pool_reset(struct pool *pool, int64_t now)
{
        pool_reset_breakers(pool, now);
        pump(pool, now);
}

void pool_registry(struct pool *pool, bool up, int64_t now)
{
        pool_take_registry(pool, up);
        pump(pool, now);
}

void pool_restored(struct pool *pool, int64_t now)
{
        pool->restored = true;
        pump(pool, now);
}

void pool_worker_fork_failed(struct pool *pool, const struct id *process_id, int error, int64_t now)
{
        pool_take_fork_failed(pool, process_id, error, now);
        pump(pool, now);
}

void pool_worker_ready(struct pool *pool, const struct id *process_id, const struct hosted_agent *hosted, size_t count,
        int64_t now)
{
        pool_take_ready(pool, process_id, hosted, count, now);
        pump(pool, now);
}

void pool_worker_suspect(struct pool *pool, const struct id *process_id, int64_t now)
{
        pool_take_suspect(pool, process_id, now);
        pump(pool, now);
}

void pool_worker_exited(struct pool *pool, const struct id *process_id, const char *why, int64_t now)
{
        pool_take_exit(pool, process_id, why, now);
        pump(pool, now);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void spawn_timed_out(struct agent *agent, int64_t now)
{
        struct pool *pool = agent->pool;
        long long waited = (long long)pool->config->spawn_timeout_ms;
        char detail[192];
        enum pool_error error = POOL_E_TIMEOUT;

        if (agent->acked) {
                error = POOL_E_STORE;
                snprintf(detail, sizeof detail, "it runs, but the store did not commit it within %lld ms", waited);
        } else if (agent->phase == PHASE_WAITING && pool->fork_backoff.tries > 0) {
                error = POOL_E_WORKERS;
                snprintf(detail, sizeof detail, "workers do not start: %s", pool->breakers[POOL_WORKERS].reason);
        } else if (agent->phase == PHASE_WAITING) {
                snprintf(detail, sizeof detail, "no slot within %lld ms: %u of %u slots taken in %u workers, %u more starting",
                        waited, pool->used, pool->capacity, pool->workers_by_state[WORKER_READY],
                        pool->workers_by_state[WORKER_STARTING]);
        } else {
                snprintf(detail, sizeof detail, "not started within %lld ms", waited);
        }
        pool_abandon(agent, error, detail, now);
}

static void agent_due(struct agent *agent, int64_t now)
{
        struct pool *pool = agent->pool;
        int64_t start_by = agent->placed_at + pool->config->start_timeout_ms + POOL_START_MARGIN_MS;

        if (agent->deadline && agent->deadline <= now) {
                if (agent->ending)
                        pool_end_timed_out(agent);
                else
                        spawn_timed_out(agent, now);
                return;
        }
        if (agent->store_retry_at && agent->store_retry_at <= now)
                pool_store(agent);
        if (agent->resend_at && agent->resend_at <= now) {
                agent->resend_at = now + POOL_RESEND_MS;
                if (agent->phase == PHASE_DELAYED && agent->state == AGENT_STOPPING)
                        pool_reserve(agent, now);
                else if (agent->phase == PHASE_DELAYED)
                        pool_place_again(agent);
                else if (agent->phase == PHASE_SENT && now >= start_by)
                        pool_withdraw(agent, false, now);
                else
                        pool_push(pool, POOL_SEND, agent, agent->worker);
        }
        if (agent->idle_at && agent->idle_at <= now)
                pool_idle_due(agent, now);
        pool_agent_time(agent);
}

void pool_tick(struct pool *pool, int64_t now)
{
        struct agent *agent;
        struct pool_worker *worker;

        while ((agent = pool_due_agent(pool, now)))
                agent_due(agent, now);
        while ((worker = pool_due_worker(pool, now)))
                pool_worker_due(worker, now);
        pump(pool, now);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void close_agent(struct agent *agent, int64_t now)
{
        bool unplaced = !agent->worker && agent->phase != PHASE_RESERVING;

        if (!agent->answered && agent_state_wanted(agent->state)) {
                pool_abandon(agent, POOL_E_CLOSING, "the pool is shutting down", now);
        } else if (unplaced && agent->state == AGENT_STOPPING) {
                pool_agent_gone(agent, now);
        } else if (unplaced && agent_state_wanted(agent->state)) {
                agent->resend_at = 0;
                pool_phase(agent, PHASE_EV_STOP);
                pool_agent_time(agent);
        }
}

void pool_close(struct pool *pool, int64_t now)
{
        struct agent *agent, *next_agent;
        struct pool_worker *worker, *next_worker;

        if (pool->closing)
                return;
        pool->closing = true;
        pool->wake_at = 0;
        HASH_ITER(hh, pool->agents, agent, next_agent)
                close_agent(agent, now);
        HASH_ITER(hh, pool->workers, worker, next_worker)
                pool_shut_down_worker(worker, now);
}

bool pool_closed(const struct pool *pool)
{
        return pool->closing && !pool->workers && pool->ending == 0;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

bool pool_known(const struct pool *pool)
{
        return pool->unsettled == 0;
}

bool pool_broken(const struct pool *pool)
{
        return pool->broken;
}

void pool_count_on(struct pool *pool, uint64_t spawned, uint64_t terminated)
{
        pool->workers_spawned += spawned;
        pool->workers_terminated += terminated;
}

struct agent *pool_first_agent(const struct pool *pool)
{
        return pool->agents;
}

struct pool_worker *pool_first_worker(const struct pool *pool)
{
        return pool->workers;
}

void pool_hold(struct pool *pool, bool held)
{
        pool->held = held;
}

void pool_stats(const struct pool *pool, struct pool_stats *ret_stats)
{
        const struct breaker *workers = &pool->breakers[POOL_WORKERS], *agents = &pool->breakers[POOL_AGENTS];

        *ret_stats = (struct pool_stats){
                .workers_starting = pool->workers_by_state[WORKER_STARTING],
                .workers_ready = pool->workers_by_state[WORKER_READY],
                .workers_draining = pool->workers_by_state[WORKER_DRAINING],
                .workers_stale = pool->workers_by_state[WORKER_STALE],
                .capacity = pool->capacity,
                .used = pool->used,
                .agents = pool->by_state[AGENT_STARTING] + pool->by_state[AGENT_IDLE] + pool->by_state[AGENT_BUSY]
                        + pool->by_state[AGENT_STOPPING],
                .waiting = pool->in_phase[PHASE_WAITING],
                .workers_spawned = pool->workers_spawned,
                .workers_terminated = pool->workers_terminated,
                .spawns_ok = pool->spawns_ok,
                .spawns_failed = pool->spawns_failed,
                .idle_ends = pool->idle_ends,
                .held = pool->held,
                .tripped = workers->state != BREAKER_CLOSED || agents->state != BREAKER_CLOSED,
                .rollout = pool->rollout,
        };
        memcpy(ret_stats->by_state, pool->by_state, sizeof pool->by_state);
        if (workers->state != BREAKER_CLOSED)
                snprintf(ret_stats->reason, sizeof ret_stats->reason, "workers do not start: %s", workers->reason);
        else if (agents->state != BREAKER_CLOSED)
                snprintf(ret_stats->reason, sizeof ret_stats->reason, "agents do not stay: %s", agents->reason);
}
