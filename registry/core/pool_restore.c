/* What the store wants and what workers say they run, brought together: at a start, and when a worker registers again. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_agents.h"
#include "registry/core/pool_breaker.h"
#include "registry/core/pool_end.h"
#include "registry/core/pool_place.h"
#include "registry/core/pool_restore.h"

void pool_restore(struct pool *pool, struct agent *take_agent, int64_t now)
{
        struct agent *agent = take_agent;

        (void)now;
        if (agent->state == AGENT_TERMINATED || pool_agent(pool, &agent->agent_id)) {
                agent_free(agent);
                return;
        }
        if (agent_state_wanted(agent->state))
                agent->state = AGENT_STARTING;
        if (!pool_add_agent(pool, agent)) {
                pool->broken = true;
                agent_free(agent);
                return;
        }
        agent->row = agent->stored = agent->answered = true;
        agent->start_reason = "restore";
        if (agent_state_wanted(agent->state) || agent->state == AGENT_STOPPING)
                pool_phase(agent, PHASE_EV_RESTORE);
        if (agent->state == AGENT_STOPPING)
                pool_store(agent);
}

void pool_resume_spawn(struct agent *agent, void *waiter, int64_t deadline)
{
        pool_set_answered(agent, false);
        agent->resumed = true;
        agent->waiter = waiter;
        agent->deadline = deadline;
        pool_agent_time(agent);
}

void pool_pump_restoring(struct pool *pool, int64_t now)
{
        struct agent *agent;

        while (pool->unsettled == 0 && pool->in_phase[PHASE_STORING] < POOL_STORING_MAX
                && (agent = TAILQ_FIRST(&pool->restoring))) {
                if (agent->state == AGENT_STOPPING)
                        pool_agent_gone(agent, now);
                else
                        pool_place_again(agent);
        }
}

/* An agent that the store wants runs here already: it keeps running. */
static void adopt_agent(struct agent *agent, struct pool_worker *worker, const struct hosted_agent *hosted, int64_t now)
{
        if (hosted->epoch > agent->epoch) {
                agent->epoch = hosted->epoch;
                pool_store(agent);
        }
        if (hosted->start_reason)
                agent->start_reason = hosted->start_reason;
        agent->command_id = pool_new_id(agent->pool);
        pool_ask(agent, ASKED);
        pool_reserved_at(agent, worker, now);
        if (hosted->starting || agent->state == AGENT_STOPPING)
                return;
        agent->acked = true;
        agent->running_since = now;
        agent->resend_at = 0;
        pool_idle_watch(agent, now);
        pool_worker_proved(worker, now);
        pool_phase(agent, PHASE_EV_STARTED);
        pool_set_state(agent, AGENT_EV_STARTED);
        pool_agent_time(agent);
        pool_answer_if_due(agent);
}

void pool_take_hosted(struct pool_worker *worker, const struct hosted_agent *hosted, int64_t now)
{
        struct pool *pool = worker->pool;
        struct agent *agent = pool_agent(pool, &hosted->agent_id);

        if (agent && ((agent->phase == PHASE_RESTORING && hosted->epoch >= agent->epoch)
                || (pool_found_early(agent) && hosted->epoch == agent->epoch)))
                adopt_agent(agent, worker, hosted, now);
        if (agent && agent->worker == worker && agent->epoch == hosted->epoch)
                agent->listed = true;
        else if (!agent || agent->epoch != hosted->epoch || agent->phase != PHASE_RESERVING)
                pool_push_evict(pool, worker, &hosted->agent_id, hosted->epoch);
}

/* It should run here and was not listed (lost in a FLUSHALL, or started meanwhile): its spawn command again, whose answer
 * says which. Likewise one whose acknowledgement, or the command itself, may have gone with the registry. */
void pool_doubt_unlisted(struct pool_worker *worker, int64_t now)
{
        struct agent *agent;

        TAILQ_FOREACH(agent, &worker->agents, on_worker) {
                bool lost = !agent->listed && agent->phase == PHASE_NONE && agent_state_wanted(agent->state);

                if (lost) {
                        agent->acked = false;
                        agent->placed_at = now;
                        pool_phase(agent, PHASE_EV_DOUBT);
                }
                if (lost || (worker->pool->degraded && agent->phase == PHASE_SENT)) {
                        agent->resend_at = now + POOL_RESEND_MS;
                        pool_push(worker->pool, POOL_SEND, agent, worker);
                        pool_agent_time(agent);
                }
                agent->listed = false;
        }
}
