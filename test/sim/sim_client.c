/* Clients of the simulation: they ask the master for agents, their end, their restart. */
#include "test/sim/sim.h"

#include <string.h>

static struct sim_request *request_new(struct sim *sim, const struct id *agent_id, unsigned pool, bool terminate)
{
        struct sim_request *request = sim_alloc(sim, sizeof *request);

        *request = (struct sim_request){ .agent_id = *agent_id, .pool = pool, .master = sim->master, .terminate = terminate,
                .next = sim->requests };
        sim->requests = request;
        return request;
}

void sim_client_spawn(struct sim *sim)
{
        unsigned pool = (unsigned)sim_below(sim, SIM_POOLS);
        struct agent *agent = sim->master_alive ? agent_new() : NULL;
        struct sim_request *request;
        enum pool_error error;
        char detail[192];

        if (!agent)
                return;
        agent->agent_id = sim_new_id(sim);
        agent->role_type = strdup("sim");
        agent->max_idle_time = sim_below(sim, 3) ? 0 : 1 + (int32_t)sim_below(sim, 4);
        request = request_new(sim, &agent->agent_id, pool, false);
        agent->waiter = request;
        sim_promise(sim, &agent->agent_id)->pool = pool;
        if (pool_spawn(sim->pools[pool], agent, sim->now, &error, detail) < 0) {
                request->answers++;
                request->error = error;
                sim_trace(sim, "refused agent=%.8s: %s", ID_TEXT(&agent->agent_id), detail);
                agent_free(agent);
        } else {
                sim_trace(sim, "spawn agent=%.8s", ID_TEXT(&request->agent_id));
        }
        sim_master_wake(sim);
}

static struct agent *any_agent(struct sim *sim, unsigned *ret_pool)
{
        unsigned pool = *ret_pool = (unsigned)sim_below(sim, SIM_POOLS);
        struct agent *agent = sim->master_alive ? pool_first_agent(sim->pools[pool]) : NULL;

        for (uint64_t i = agent ? sim_below(sim, HASH_COUNT(agent)) : 0; i > 0 && agent && agent->hh.next; i--)
                agent = agent->hh.next;
        return agent;
}

void sim_client_terminate(struct sim *sim)
{
        unsigned pool;
        struct agent *agent = any_agent(sim, &pool);
        struct sim_request *request;

        if (!agent)
                return;
        request = request_new(sim, &agent->agent_id, pool, true);
        sim_promise(sim, &agent->agent_id)->end_asked = true;
        sim_trace(sim, "terminate agent=%.8s phase=%d", ID_TEXT(&agent->agent_id), agent->phase);
        if (pool_terminate(sim->pools[pool], agent, sim_chance(sim, 500), request, sim->now) < 0)
                request->answers++; /* -EALREADY */
        sim_master_wake(sim);
}

void sim_client_restart(struct sim *sim)
{
        unsigned pool;
        struct agent *agent = any_agent(sim, &pool);

        if (!agent)
                return;
        pool_restart_agent(sim->pools[pool], agent, sim->now);
        pool_in_flight(sim->pools[pool], agent, (unsigned)sim_below(sim, 2), sim->now);
        if (!agent->idled)
                sim_promise(sim, &agent->agent_id)->worked_at = sim->now;
        sim_master_wake(sim);
}

void sim_client_reset(struct sim *sim)
{
        if (!sim->master_alive)
                return;
        for (unsigned i = 0; i < SIM_POOLS; i++)
                pool_reset(sim->pools[i], sim->now);
        sim_master_wake(sim);
}

void sim_client_rollout(struct sim *sim)
{
        unsigned pool = (unsigned)sim_below(sim, SIM_POOLS);

        if (!sim->master_alive)
                return;
        sim_trace(sim, "rollout of %s: %d", sim->pool_names[pool],
                pool_rollout(sim->pools[pool], 1 + (unsigned)sim_below(sim, 2), (int64_t)sim_below(sim, 1000), sim->now));
        sim_master_wake(sim);
}
