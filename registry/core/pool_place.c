/* From the request to a worker: waiting, storing, reserving. */
#include "registry/core/pool_internal.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- one agent's place in the books ------------------------------------------------------------------------------ */

bool pool_add_agent(struct pool *pool, struct agent *agent)
{
        agent->pool = pool;
        HASH_ADD(hh, pool->agents, agent_id, sizeof agent->agent_id, agent);
        if (!agent->hh.tbl)
                return false;
        agent->phase = PHASE_NONE;
        pool->in_phase[PHASE_NONE]++;
        pool->by_state[agent->state]++;
        return true;
}

static struct pool_list *waiting_list(const struct agent *agent)
{
        struct pool *pool = agent->pool;

        if (agent->aside)
                return agent->answered ? &pool->again_aside : &pool->fresh_aside;
        return agent->answered ? &pool->again : &pool->fresh;
}

static void leave_list(struct agent *agent)
{
        struct pool *pool = agent->pool;

        if (agent->phase == PHASE_RESTORING)
                TAILQ_REMOVE(&pool->restoring, agent, pending);
        if (agent->phase != PHASE_WAITING)
                return;
        TAILQ_REMOVE(waiting_list(agent), agent, pending);
        pool->fresh_count -= !agent->answered;
        pool->fresh_aside_count -= agent->aside && !agent->answered;
        agent->aside = false;
}

/* Those that were refused a slot come back with asked set: to the front again. */
static void enter_list(struct agent *agent)
{
        struct pool *pool = agent->pool;
        struct pool_list *list = waiting_list(agent);

        if (agent->phase == PHASE_RESTORING)
                TAILQ_INSERT_TAIL(&pool->restoring, agent, pending);
        if (agent->phase != PHASE_WAITING)
                return;
        if (agent->placed_at)
                TAILQ_INSERT_HEAD(list, agent, pending);
        else
                TAILQ_INSERT_TAIL(list, agent, pending);
        pool->fresh_count += !agent->answered;
}

void pool_set_phase(struct agent *agent, enum agent_phase phase)
{
        leave_list(agent);
        agent->pool->in_phase[agent->phase]--;
        agent->phase = phase;
        agent->pool->in_phase[phase]++;
        enter_list(agent);
}

void pool_set_state(struct agent *agent, enum agent_event event)
{
        enum agent_state before = agent->state;

        if (agent_state_apply(&agent->state, event) < 0)
                return;
        agent->pool->by_state[before]--;
        agent->pool->by_state[agent->state]++;
}

void pool_attach(struct agent *agent, struct pool_worker *worker, int64_t now)
{
        struct pool *pool = agent->pool;

        agent->worker = worker;
        agent->placed_at = now;
        TAILQ_INSERT_TAIL(&worker->agents, agent, on_worker);
        if (worker->state == WORKER_READY) {
                pool->used++;
                pool->empty -= worker->used == 0;
        }
        pool->placed++;
        worker->used++;
        worker->idle_since = worker->look_at = 0;
        pool_worker_time(worker);
}

void pool_detach(struct agent *agent, int64_t now)
{
        struct pool_worker *worker = agent->worker;
        struct pool *pool = agent->pool;

        agent->acked = false;
        agent->running_since = 0;
        if (pool->trial == agent)
                pool->trial = NULL;
        agent->resend_at = agent->idle_at = 0;
        if (!worker)
                return;
        agent->worker = NULL;
        TAILQ_REMOVE(&worker->agents, agent, on_worker);
        worker->used--;
        pool->placed--;
        pool->reserve_at = 0;
        if (worker->state == WORKER_READY) {
                pool->used--;
                pool->empty += worker->used == 0;
        }
        if (worker->used == 0) {
                worker->idle_since = now;
                worker->look_at = now + pool->config->worker_idle_timeout_ms;
        }
        pool_worker_time(worker);
}

unsigned pool_free_slots(const struct pool *pool)
{
        unsigned taken = pool->used + pool->in_phase[PHASE_RESERVING];

        return taken < pool->capacity ? pool->capacity - taken : 0;
}

unsigned pool_owed_slots(const struct pool *pool)
{
        return pool->placed - pool->used + pool->in_phase[PHASE_DELAYED] + pool->in_phase[PHASE_STORING]
                + (pool->unsettled ? 0 : pool->in_phase[PHASE_RESTORING]);
}

void pool_forget_agent(struct agent *agent, int64_t now)
{
        struct pool *pool = agent->pool;

        pool_set_phase(agent, PHASE_NONE);
        pool_detach(agent, now);
        agent->deadline = agent->store_retry_at = 0;
        pool_agent_time(agent);
        pool->in_phase[PHASE_NONE]--;
        pool->by_state[agent->state]--;
        HASH_DEL(pool->agents, agent);
        pool_push(pool, POOL_FORGET_AGENT, agent, NULL);
}

/* --- the store ---------------------------------------------------------------------------------------------------- */

void pool_store(struct agent *agent)
{
        agent->stored = false;
        if (agent->storing) {
                agent->store_again = true;
                return;
        }
        agent->storing = true;
        agent->store_retry_at = 0;
        pool_agent_time(agent);
        pool_push(agent->pool, !agent->row ? POOL_STORE_INSERT
                : agent->phase == PHASE_STORING ? POOL_STORE_EPOCH : POOL_STORE_STATE, agent, NULL);
}

/* What should be there is written again until it is. */
static void store_failed(struct agent *agent, int error, int64_t now)
{
        char detail[160];

        snprintf(detail, sizeof detail, "the store did not take it: %s", strerror(-error));
        agent->store_again = false;
        if (!agent->answered) {
                pool_abandon(agent, POOL_E_STORE, detail, now);
                return;
        }
        if (agent->ending && agent->state == AGENT_TERMINATED)
                pool_answer_end(agent, POOL_E_STORE, detail);
        if (error == -ENOENT)
                agent->row = false;
        if (error == -ESTALE && !agent->worker && agent->phase != PHASE_RESERVING)
                agent->epoch++;
        agent->store_retry_at = now + POOL_STORE_RETRY_MS;
        pool_agent_time(agent);
}

void pool_stored(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, int64_t now)
{
        struct agent *agent = pool_agent(pool, agent_id);

        if (!agent || !agent->storing || epoch > agent->epoch)
                return;
        agent->storing = false;
        /* It should not exist, and it does not. */
        if (error && !agent_state_wanted(agent->state) && (error == -ENOENT || !agent->row)) {
                agent->store_again = false;
        } else if (error) {
                store_failed(agent, error, now);
                pool_pump(pool, now);
                return;
        } else {
                agent->row = true;
        }
        if (agent->store_again) {
                agent->store_again = false;
                pool_store(agent);
                return;
        }
        agent->stored = true;
        if (agent->phase == PHASE_STORING)
                pool_set_phase(agent, PHASE_WAITING);
        pool_answer_if_due(agent);
        pool_finish_if_stored(agent, now);
        pool_pump(pool, now);
}

/* --- spawn -------------------------------------------------------------------------------------------------------- */

void pool_answer_if_due(struct agent *agent)
{
        enum agent_phase phase = agent->phase;

        if (agent->answered || !agent->stored || !(agent->acked || agent->answer_stored))
                return;
        pool_set_phase(agent, PHASE_NONE); /* answered ones wait in another list */
        agent->answered = true;
        pool_set_phase(agent, phase);
        agent->deadline = 0;
        pool_agent_time(agent);
        agent->pool->spawns_ok++;
        pool_push_answer(agent->pool, agent, agent->waiter, POOL_OK, "");
        if (agent->acked)
                pool_push_event(agent->pool, "agent_spawned", agent, agent->worker, "");
}

void pool_abandon(struct agent *agent, enum pool_error error, const char *detail, int64_t now)
{
        struct pool *pool = agent->pool;

        pool->spawns_failed++;
        if (agent->asked)
                pool_push_release(pool, agent);
        if (agent->worker)
                pool_push_evict(pool, agent->worker, &agent->agent_id, agent->epoch);
        pool_push(pool, POOL_STORE_DELETE, agent, NULL);
        pool_push_answer(pool, agent, agent->waiter, error, detail);
        pool_push_event(pool, "agent_spawn_failed", agent, NULL, detail);
        pool_forget_agent(agent, now);
}

int pool_spawn(struct pool *pool, struct agent *take_agent, int64_t now, enum pool_error *ret_error, char detail[192])
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
        pool_set_phase(agent, PHASE_WAITING);
        pool_pump(pool, now);
        return 0;
}

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

/* --- placing ------------------------------------------------------------------------------------------------------ */

void pool_place_again(struct agent *agent)
{
        agent->epoch++;
        agent->asked = agent->uncertain = agent->unsure = false;
        agent->placed_at = 0;
        agent->command_id = pool_new_id(agent->pool);
        pool_set_state(agent, AGENT_EV_PLACE);
        pool_set_phase(agent, PHASE_STORING);
        agent->resend_at = 0;
        pool_store(agent);
        pool_agent_time(agent);
}

bool pool_reserve(struct agent *agent, int64_t now)
{
        if (agent->pool->degraded || agent->unsure)
                return pool_place_alone(agent, now);
        agent->asked = true;
        agent->resend_at = 0;
        pool_set_phase(agent, PHASE_RESERVING);
        pool_push(agent->pool, POOL_RESERVE, agent, NULL);
        return true;
}

void pool_place_later(struct agent *agent, int64_t now)
{
        pool_set_phase(agent, PHASE_DELAYED);
        agent->resend_at = now + POOL_RETRY_MS;
        pool_agent_time(agent);
}

static void reserve_failed(struct agent *agent, int error, int64_t now)
{
        struct pool *pool = agent->pool;

        if (agent->state == AGENT_STOPPING && (error == -ENOSPC || error == -ESTALE || pool->closing)) {
                pool_agent_gone(agent, now);
                return;
        }
        if (pool->degraded && error != -ENOSPC && error != -ESTALE)
                agent->unsure = true;
        if (agent->state == AGENT_STOPPING || error == -ESTALE) {
                pool_place_later(agent, now);
                return;
        }
        if (error != -ENOSPC)
                agent->uncertain = true;
        if (!agent->uncertain)
                agent->asked = false;
        agent->placed_at = now; /* to the front */
        pool_set_phase(agent, PHASE_WAITING);
        pool->reserve_at = now + POOL_RETRY_MS;
}

void pool_reserved_at(struct agent *agent, struct pool_worker *worker, int64_t now)
{
        agent->unsure = false;
        pool_attach(agent, worker, now);
        pool_set_phase(agent, PHASE_SENT);
        agent->resend_at = now + POOL_RESEND_MS;
        if (agent->state == AGENT_STOPPING)
                pool_tell_end(agent, now);
        pool_agent_time(agent);
}

/* A worker speaks of it before the registry's answer: faster than that, or the answer was lost. Not while it is asked again:
 * that may be of a place it has lost since. */
bool pool_found_early(const struct agent *agent)
{
        bool again = agent->uncertain && !agent->pool->degraded;

        return agent->unsure || agent->phase == (again ? PHASE_WAITING : PHASE_RESERVING);
}

void pool_reserved(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, const struct id *process_id,
        int64_t now)
{
        struct agent *agent = pool_agent(pool, agent_id);
        struct pool_worker *worker = error ? NULL : pool_worker(pool, process_id);

        if (!agent || agent->epoch != epoch || agent->phase != PHASE_RESERVING)
                return;
        if (error)
                reserve_failed(agent, error, now);
        else if (worker)
                pool_reserved_at(agent, worker, now);
        else if (agent->state == AGENT_STOPPING)
                pool_agent_gone(agent, now); /* its worker died meanwhile */
        else
                pool_place_again(agent);
        pool_pump(pool, now);
}

/* --- pump -------------------------------------------------------------------------------------------------------- */

static void put_aside(struct agent *agent)
{
        TAILQ_REMOVE(waiting_list(agent), agent, pending);
        agent->aside = true;
        agent->pool->fresh_aside_count += !agent->answered;
        TAILQ_INSERT_TAIL(waiting_list(agent), agent, pending);
}

/* The one that is next. Whoever cannot be placed is looked at once, not at every event. */
static struct agent *first_placeable(const struct pool_list *list)
{
        struct agent *agent;

        while ((agent = TAILQ_FIRST(list)) && !pool_may_place(agent))
                put_aside(agent);
        return agent;
}

static void join_aside(struct pool_list *list, struct pool_list *aside)
{
        struct agent *agent;

        TAILQ_FOREACH(agent, aside, pending)
                agent->aside = false;
        TAILQ_CONCAT(aside, list, pending);
        TAILQ_CONCAT(list, aside, pending);
}

void pool_join_aside(struct pool *pool)
{
        join_aside(&pool->fresh, &pool->fresh_aside);
        join_aside(&pool->again, &pool->again_aside);
        pool->fresh_aside_count = 0;
}

/* New ones that were put aside may have their slots already: those are not given away. */
static struct agent *next_waiting(struct pool *pool)
{
        struct agent *agent;

        if (!pool_may_start(pool))
                return NULL;
        agent = first_placeable(&pool->again);
        if (agent)
                return agent;
        agent = first_placeable(&pool->fresh);
        return pool_is_room(pool, pool->fresh_aside_count) ? agent : NULL;
}

static void pump_waiting(struct pool *pool, int64_t now)
{
        struct agent *agent;

        if (pool->unsettled == 0)
                pool_join_aside(pool);
        if (pool->in_phase[PHASE_WAITING] == 0 || pool_free_slots(pool) == 0)
                return;
        if (now < pool->reserve_at && !pool->degraded) {
                pool_wake_at(pool, pool->reserve_at);
                return;
        }
        do {
                agent = next_waiting(pool);
                if (agent)
                        pool_start_tried(agent);
        } while (agent && pool_reserve(agent, now) && pool_free_slots(pool) > 0);
}

void pool_pump(struct pool *pool, int64_t now)
{
        if (pool->closing || !pool->restored)
                return;
        pool->wake_at = 0;
        pool_pump_breakers(pool, now);
        pool_pump_restoring(pool, now);
        pump_waiting(pool, now);
        pool_rollout_pump(pool, now);
        pool_fork_workers(pool, now);
}

void pool_agent_due(struct agent *agent, int64_t now)
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
