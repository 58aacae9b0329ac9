/* An agent's row in the store, its answers, and its end. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_agents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the store ---------------------------------------------------------------------------------------------------- */

void pool_store(struct agent *agent)
{
        agent->stored = false;
        if (agent->write != WRITE_NONE) {
                agent->write = WRITE_AGAIN;
                return;
        }
        agent->write = WRITE_UNDER_WAY;
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

void pool_take_stored(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, int64_t now)
{
        struct agent *agent = pool_agent(pool, agent_id);
        bool again;

        if (!agent || agent->write == WRITE_NONE || epoch > agent->epoch)
                return;
        again = agent->write == WRITE_AGAIN;
        agent->write = WRITE_NONE;
        /* It should not exist, and it does not. */
        if (error && !agent_state_wanted(agent->state) && (error == -ENOENT || !agent->row)) {
                again = false;
        } else if (error) {
                store_failed(agent, error, now);
                return;
        } else {
                agent->row = true;
        }
        if (again) {
                pool_store(agent);
                return;
        }
        agent->stored = true;
        if (agent->phase == PHASE_STORING)
                pool_phase(agent, PHASE_EV_STORED);
        pool_answer_if_due(agent);
        pool_finish_if_stored(agent, now);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

void pool_answer_if_due(struct agent *agent)
{
        if (agent->answered || !agent->stored || !(agent->acked || agent->answer_stored))
                return;
        pool_set_answered(agent, true);
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
        if (agent->asked != ASKED_NOTHING)
                pool_push_release(pool, agent);
        if (agent->worker)
                pool_push_evict(pool, agent->worker, &agent->agent_id, agent->epoch);
        pool_push(pool, POOL_STORE_DELETE, agent, NULL);
        pool_push_answer(pool, agent, agent->waiter, error, detail);
        pool_push_event(pool, "agent_spawn_failed", agent, NULL, detail);
        pool_forget_agent(agent, now);
}

void pool_answer_end(struct agent *agent, enum pool_error error, const char *detail)
{
        agent->ending = false;
        agent->pool->ending--;
        agent->deadline = 0;
        pool_agent_time(agent);
        pool_push_answer(agent->pool, agent, agent->ender, error, detail);
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

int64_t pool_end_ms(const struct pool *pool)
{
        const struct pool_config *config = pool->config;

        return config->drain_timeout_ms + config->stop_grace_ms + config->kill_grace_ms;
}

void pool_tell_end(struct agent *agent, int64_t now)
{
        if (agent->phase != PHASE_WITHDRAWN)
                pool_phase(agent, PHASE_EV_STOP);
        pool_push(agent->pool, POOL_SEND, agent, agent->worker);
        agent->resend_at = now + POOL_RESEND_MS;
        pool_agent_time(agent);
}

void pool_withdraw(struct agent *agent, bool graceful, int64_t now)
{
        pool_phase(agent, PHASE_EV_WITHDRAW);
        agent->graceful = graceful;
        agent->moving |= graceful;
        agent->command_id = pool_new_id(agent->pool);
        pool_tell_end(agent, now);
}

void pool_finish_if_stored(struct agent *agent, int64_t now)
{
        if (agent->state != AGENT_TERMINATED || !agent->stored)
                return;
        if (agent->ending)
                pool_answer_end(agent, POOL_OK, "");
        pool_forget_agent(agent, now);
}

void pool_agent_gone(struct agent *agent, int64_t now)
{
        pool_phase(agent, PHASE_EV_END);
        pool_detach(agent, now);
        pool_agent_time(agent);
        pool_set_state(agent, AGENT_EV_GONE);
        pool_push_event(agent->pool, "agent_terminated", agent, NULL,
                agent->idled && agent->last_exit ? agent->last_exit->reason : "");
        pool_finish_if_stored(agent, now);
}

void pool_keep_exit(struct agent *agent, const struct agent_exit *exit)
{
        if (!agent->last_exit)
                agent->last_exit = malloc(sizeof *agent->last_exit);
        if (agent->last_exit)
                *agent->last_exit = *exit;
}

/* --- work --------------------------------------------------------------------------------------------------------- */

void pool_in_flight(struct pool *pool, struct agent *agent, unsigned count, int64_t now)
{
        (void)pool;
        agent->in_flight = count;
        agent->idle_since = now;
        pool_set_state(agent, count ? AGENT_EV_WORK : AGENT_EV_REST); /* refused unless it changes something */
}

void pool_active(struct agent *agent, bool unanswered, int64_t now)
{
        int64_t since = unanswered ? now + POOL_UNANSWERED_BEATS * pool_config(agent->pool)->heartbeat_interval_ms : now;

        if (since > agent->idle_since)
                agent->idle_since = since;
}
