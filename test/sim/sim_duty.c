/* What the rules owe at once, although a sweep or a heartbeat would heal it later: a fault that heals is one all the same. Each
 * duty is due by the end of the turn in which it arose. */
#include "test/sim/sim.h"

struct sim_duty {
        enum pool_action_type type; /* POOL_REAP or POOL_EVICT */
        struct id process_id, agent_id;
        uint64_t epoch;
        struct sim_duty *next;
};

static void owe(struct sim *sim, struct sim_duty duty)
{
        struct sim_duty *owed = sim_alloc(sim, sizeof *owed);

        *owed = duty;
        owed->next = sim->duties;
        sim->duties = owed;
}

void sim_duty_exited(struct sim *sim, const struct sim_worker *worker)
{
        if (pool_worker(sim->pools[worker->pool], &worker->process_id))
                owe(sim, (struct sim_duty){ .type = POOL_REAP, .process_id = worker->process_id });
}

/* It is said to run in worker: there it belongs, or it is told to go. After the rules have heard of it. */
void sim_duty_runs(struct sim *sim, const struct sim_worker *worker, const struct id *agent_id, uint64_t epoch)
{
        struct pool *pool = sim->pools[worker->pool];
        const struct pool_worker *known = pool_worker(pool, &worker->process_id);
        const struct agent *agent = pool_agent(pool, agent_id);

        if (!known || (agent && agent->epoch == epoch && (agent->worker == known || !agent->worker)))
                return;
        if (!agent || agent->epoch > epoch || agent->worker != known)
                owe(sim, (struct sim_duty){ .type = POOL_EVICT, .process_id = worker->process_id, .agent_id = *agent_id,
                        .epoch = epoch });
}

void sim_duty_done(struct sim *sim, const struct pool_action *action)
{
        struct sim_duty **at = &sim->duties;

        /* A spawn that is given up leaves no slot taken behind. */
        if (action->type == POOL_RELEASE)
                sim_promise(sim, &action->agent_id)->released = true;
        if (action->type == POOL_STORE_DELETE && action->agent->asked && !sim_promise(sim, &action->agent->agent_id)->released)
                sim_fail(sim, "agent %s is given up and not released", ID_TEXT(&action->agent->agent_id));
        while (*at) {
                const struct sim_duty *duty = *at;

                if (duty->type == action->type && id_equal(&duty->process_id, &action->worker->process_id)
                        && (duty->type == POOL_REAP
                                || (id_equal(&duty->agent_id, &action->agent_id) && duty->epoch == action->epoch)))
                        *at = duty->next;
                else
                        at = &(*at)->next;
        }
}

void sim_duty_check(struct sim *sim)
{
        const struct sim_duty *duty = sim->duties;

        sim->duties = NULL;
        if (duty && duty->type == POOL_REAP)
                sim_fail(sim, "process %s has exited and is not reaped", ID_TEXT(&duty->process_id));
        else if (duty)
                sim_fail(sim, "agent %s runs under epoch %llu in %.8s, does not belong there, and is not evicted",
                        ID_TEXT(&duty->agent_id), (unsigned long long)duty->epoch, ID_TEXT(&duty->process_id));
}
