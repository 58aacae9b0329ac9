/* From waiting to a worker: by the registry, or by the rules alone while that is away. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_agents.h"
#include "registry/core/pool_breaker.h"
#include "registry/core/pool_place.h"
#include "registry/core/pool_room.h"
#include "registry/core/pool_rollout.h"

#include <errno.h>
#include <string.h>

void pool_place_again(struct agent *agent)
{
        agent->epoch++;
        agent->asked = ASKED_NOTHING;
        agent->placed_at = 0;
        agent->command_id = pool_new_id(agent->pool);
        pool_set_state(agent, AGENT_EV_PLACE);
        pool_phase(agent, PHASE_EV_PLACE);
        agent->resend_at = 0;
        pool_store(agent);
        pool_agent_time(agent);
}

void pool_place_later(struct agent *agent, int64_t now)
{
        pool_phase(agent, PHASE_EV_DELAY);
        agent->resend_at = now + POOL_RETRY_MS;
        pool_agent_time(agent);
}

void pool_reserved_at(struct agent *agent, struct pool_worker *worker, int64_t now)
{
        if (agent->asked == ASKED_UNSURE)
                agent->asked = ASKED_UNCERTAIN;
        pool_attach(agent, worker, now);
        pool_phase(agent, PHASE_EV_PLACED);
        agent->resend_at = now + POOL_RESEND_MS;
        if (agent->state == AGENT_STOPPING)
                pool_tell_end(agent, now);
        pool_agent_time(agent);
}

/* A worker speaks of it before the registry's answer: faster than that, or the answer was lost. Not while it is asked again:
 * that may be of a place it has lost since. */
bool pool_found_early(const struct agent *agent)
{
        bool again = agent->asked == ASKED_UNCERTAIN && !agent->pool->degraded;

        return agent->asked == ASKED_UNSURE || agent->phase == (again ? PHASE_WAITING : PHASE_RESERVING);
}

/* --- by the rules alone ------------------------------------------------------------------------------------------- */

/* As reserve.lua does: the fullest with room, the lowest id of equals; or the emptiest, the highest id. */
static bool is_better(const struct pool_worker *a, const struct pool_worker *b, bool spread)
{
        unsigned free_a = a->max_agents - a->used, free_b = b->max_agents - b->used;

        if (free_a != free_b)
                return (free_a > free_b) == spread;
        return (memcmp(a->process_id.b, b->process_id.b, sizeof a->process_id.b) > 0) == spread;
}

static struct pool_worker *choose_worker(const struct pool *pool)
{
        bool spread = pool_placement(pool) == POOL_SPREAD;
        struct pool_worker *worker, *best = NULL;

        for (worker = pool->workers; worker; worker = worker->hh.next) {
                if (worker->state != WORKER_READY || !worker->settled || worker->used >= worker->max_agents)
                        continue;
                if (!best || is_better(worker, best, spread))
                        best = worker;
        }
        return best;
}

static bool place_here(struct agent *agent, struct pool_worker *worker, int64_t now)
{
        if (!worker)
                return false;
        pool_ask(agent, ASKED);
        pool_reserved_at(agent, worker, now);
        pool_push(agent->pool, POOL_SEND, agent, worker);
        return true;
}

static bool place_alone(struct agent *agent, int64_t now)
{
        struct pool *pool = agent->pool;

        if (agent->state != AGENT_STOPPING && agent->asked == ASKED_UNSURE)
                pool_place_again(agent);
        else if (agent->state != AGENT_STOPPING)
                return place_here(agent, choose_worker(pool), now);
        else if (pool->unsettled > 0)
                pool_place_later(agent, now);
        else
                pool_agent_gone(agent, now);
        return true;
}

/* --- by the registry ---------------------------------------------------------------------------------------------- */

bool pool_reserve(struct agent *agent, int64_t now)
{
        if (agent->pool->degraded || agent->asked == ASKED_UNSURE)
                return place_alone(agent, now);
        pool_ask(agent, ASKED);
        agent->resend_at = 0;
        pool_phase(agent, PHASE_EV_RESERVE);
        pool_push(agent->pool, POOL_RESERVE, agent, NULL);
        return true;
}

static void reserve_failed(struct agent *agent, int error, int64_t now)
{
        struct pool *pool = agent->pool;

        if (agent->state == AGENT_STOPPING && (error == -ENOSPC || error == -ESTALE || pool->closing)) {
                pool_agent_gone(agent, now);
                return;
        }
        if (pool->degraded && error != -ENOSPC && error != -ESTALE)
                pool_ask(agent, ASKED_UNSURE);
        if (agent->state == AGENT_STOPPING || error == -ESTALE) {
                pool_place_later(agent, now);
                return;
        }
        if (error != -ENOSPC)
                pool_ask(agent, ASKED_UNCERTAIN);
        if (agent->asked == ASKED)
                agent->asked = ASKED_NOTHING;
        agent->placed_at = now; /* to the front */
        pool_phase(agent, PHASE_EV_REFUSED);
        pool->reserve_at = now + POOL_RETRY_MS;
}

void pool_take_reserved(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, const struct id *process_id,
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
}

/* --- whose turn it is --------------------------------------------------------------------------------------------- */

static bool may_place(const struct agent *agent)
{
        const struct pool *pool = agent->pool;

        return pool->unsettled == 0 || !(agent->asked == ASKED_UNSURE || (pool->degraded && agent->epoch > 1));
}

/* The one that is next. Whoever cannot be placed is looked at once, not at every event. */
static struct agent *first_placeable(const struct pool_list *list)
{
        struct agent *agent;

        while ((agent = TAILQ_FIRST(list)) && !may_place(agent))
                pool_put_aside(agent);
        return agent;
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

void pool_pump_waiting(struct pool *pool, int64_t now)
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
