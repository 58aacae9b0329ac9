/* What must hold: at every moment, and once the faults are over. The numbers are those of FAULTS.md's list of checks. */
#include "test/sim/sim.h"

#include <stdio.h>
#include <string.h>

static void check_pool_now(struct sim *sim, unsigned i)
{
        unsigned by_state[AGENT_STATE_COUNT] = { 0 }, fresh = 0, used = 0, capacity = 0;
        struct pool_stats stats;

        pool_stats(sim->pools[i], &stats);
        for (struct agent *a = pool_first_agent(sim->pools[i]); a; a = a->hh.next) {
                by_state[a->state]++;
                fresh += a->phase == PHASE_WAITING && !a->answered;
        }
        for (struct pool_worker *w = pool_first_worker(sim->pools[i]); w; w = w->hh.next) {
                used += w->state == WORKER_READY ? w->used : 0;
                capacity += w->state == WORKER_READY ? w->max_agents : 0;
        }
        for (unsigned s = 1; s < AGENT_STATE_COUNT; s++)
                if (by_state[s] != stats.by_state[s])
                        sim_fail(sim, "pool %u counts %u agents %s, there are %u", i, stats.by_state[s],
                                agent_state_name((enum agent_state)s), by_state[s]);
        /* Those for which the registry had no slot after all come back to the queue. */
        if (fresh > sim->configs[i].queue_max + sim->configs[i].max_workers * sim->configs[i].max_agents_per_worker)
                sim_fail(sim, "pool %u lets %u spawns wait", i, fresh);
        if (stats.used != used || stats.capacity != capacity)
                sim_fail(sim, "pool %u counts %u of %u slots, there are %u of %u", i, stats.used, stats.capacity, used,
                        capacity);
        if (pool_broken(sim->pools[i]))
                sim_fail(sim, "pool %u is broken", i);
}

static void note_breaker(struct sim *sim, unsigned i, const struct pool_action *action)
{
        static const char *const events[BREAKER_STATE_COUNT] = { [BREAKER_CLOSED] = "breaker_closed",
                [BREAKER_OPEN] = "breaker_opened", [BREAKER_HALF_OPEN] = "breaker_half_open" };
        enum pool_breaker which = strncmp(action->detail, "workers", 7) == 0 ? POOL_WORKERS : POOL_AGENTS;

        if (strcmp(action->event, "worker_exited") == 0 || strcmp(action->event, "worker_draining") == 0)
                sim->tries[i] = 0;
        for (unsigned s = BREAKER_CLOSED; s < BREAKER_STATE_COUNT; s++) {
                if (strcmp(action->event, events[s]) != 0)
                        continue;
                sim->breakers[i][which] = (enum breaker_state)s;
                if (which == POOL_WORKERS)
                        sim->tries[i] = 0;
        }
}

void sim_check_action(struct sim *sim, unsigned i, const struct pool_action *action)
{
        const enum breaker_state *breakers = sim->breakers[i];

        if (action->type == POOL_EVENT)
                note_breaker(sim, i, action);
        if (action->type == POOL_FORK && (breakers[POOL_WORKERS] == BREAKER_OPEN
                || (breakers[POOL_WORKERS] == BREAKER_HALF_OPEN && sim->tries[i]++ > 0)))
                sim_fail(sim, "pool %u forks although its breaker is %s", i, breaker_state_name(breakers[POOL_WORKERS]));
        if (action->type == POOL_RESERVE && breakers[POOL_AGENTS] == BREAKER_OPEN && agent_state_wanted(action->agent->state))
                sim_fail(sim, "pool %u starts agent %s although its breaker is open", i, ID_TEXT(&action->agent->agent_id));
}

void sim_check_now(struct sim *sim)
{
        for (unsigned i = 0; i < SIM_POOLS; i++)
                check_pool_now(sim, i);
}

/* No agent twice at the same moment, and none under an epoch below one that ran already. */
void sim_check_start(struct sim *sim, const struct sim_promise *promise, const struct sim_instance *instance)
{
        for (const struct sim_instance *other = promise->instances; other; other = other->next)
                if (other->alive)
                        sim_fail(sim, "agent %s runs twice: epoch %llu in %s and epoch %llu in %.8s",
                                ID_TEXT(&instance->agent_id), (unsigned long long)instance->epoch,
                                ID_TEXT(&instance->worker->process_id), (unsigned long long)other->epoch,
                                ID_TEXT(&other->worker->process_id));
        for (const struct sim_instance *other = promise->instances; other; other = other->next)
                if (other->epoch == instance->epoch && other->worker != instance->worker)
                        sim_fail(sim, "agent %s has two places under epoch %llu", ID_TEXT(&instance->agent_id),
                                (unsigned long long)instance->epoch);
        if (instance->epoch < promise->started)
                sim_fail(sim, "agent %s starts under epoch %llu after epoch %llu", ID_TEXT(&instance->agent_id),
                        (unsigned long long)instance->epoch, (unsigned long long)promise->started);
        if (instance->worker->live > (unsigned)sim->configs[instance->worker->pool].max_agents_per_worker)
                sim_fail(sim, "process %s runs %u agents", ID_TEXT(&instance->worker->process_id), instance->worker->live);
}

static void check_ended(struct sim *sim, const struct sim_promise *promise, const struct sim_row *row)
{
        if (row && row->state != AGENT_TERMINATED)
                sim_fail(sim, "the end of agent %s was answered but is not stored", ID_TEXT(&promise->agent_id));
        for (const struct sim_instance *i = promise->instances; i; i = i->next)
                if (i->alive)
                        sim_fail(sim, "the end of agent %s was answered but it runs", ID_TEXT(&promise->agent_id));
}

/* An answer comes once, and only when what it says is true and durable. */
void sim_check_answer(struct sim *sim, const struct sim_request *request)
{
        struct sim_promise *promise = sim_promise(sim, &request->agent_id);
        const struct sim_row *row = sim_row(sim, &request->agent_id);

        if (request->answers > 1)
                sim_fail(sim, "a request for agent %s was answered twice", ID_TEXT(&request->agent_id));
        if (request->error != POOL_OK)
                return;
        if (request->terminate) {
                promise->end_answered = true;
                check_ended(sim, promise, row);
                return;
        }
        promise->answered = true;
        if (!row)
                sim_fail(sim, "the spawn of agent %s was answered but is not stored", ID_TEXT(&request->agent_id));
        if (promise->started == 0)
                sim_fail(sim, "the spawn of agent %s was answered but it never started", ID_TEXT(&request->agent_id));
}

/* One that serves and never stood still is not killed while its agents answer. */
void sim_check_kill(struct sim *sim, const struct pool_worker *known, const struct sim_worker *worker)
{
        if (!known->ready_at || worker->frozen_at || !worker->alive)
                return;
        for (const struct sim_promise *p = sim->promises; p; p = p->hh.next)
                for (const struct sim_instance *i = p->instances; i; i = i->next)
                        if (i->alive && i->worker == worker && i->answers_until > sim->now)
                                sim_fail(sim, "process %s is killed while agent %s answers what it was asked",
                                        ID_TEXT(&worker->process_id), ID_TEXT(&p->agent_id));
}

/* Ended because it was idle, and not before its time. */
void sim_check_idle(struct sim *sim, const struct agent *agent)
{
        struct sim_promise *promise = sim_promise(sim, &agent->agent_id);

        if (promise->end_asked)
                return;
        promise->end_asked = true;
        if (agent->max_idle_time == 0 || sim->now - promise->worked_at < (int64_t)agent->max_idle_time * 1000)
                sim_fail(sim, "agent %s is ended after %lld ms, its max_idle_time is %d s", ID_TEXT(&agent->agent_id),
                        (long long)(sim->now - promise->worked_at), agent->max_idle_time);
}

static const struct sim_instance *live_instance(const struct sim_promise *promise, unsigned *ret_count)
{
        const struct sim_instance *found = NULL;

        *ret_count = 0;
        for (const struct sim_instance *i = promise->instances; i; i = i->next) {
                if (!i->alive)
                        continue;
                found = i;
                (*ret_count)++;
        }
        return found;
}

/* Spawns that were stored when the master died come back although nobody was answered: more agents than slots then, in the
 * workers of a rollout that died with it also more than the configuration allows. */
static bool is_full(const struct sim *sim, unsigned pool)
{
        struct pool_stats stats;

        pool_stats(sim->pools[pool], &stats);
        return sim->master > 1 && stats.used >= sim->configs[pool].max_workers * sim->configs[pool].max_agents_per_worker;
}

/* 1: every answered spawn exists exactly once, or has a recorded end. And nothing runs that should not. */
static void check_promise(struct sim *sim, const struct sim_promise *promise)
{
        const struct agent *agent = pool_agent(sim->pools[promise->pool], &promise->agent_id);
        const char *id = ID_TEXT(&promise->agent_id);
        const struct sim_instance *live;
        const struct sim_row *row = sim_row(sim, &promise->agent_id);
        unsigned count;

        live = live_instance(promise, &count);
        if (count > 1)
                sim_fail(sim, "agent %s runs %u times", id, count);
        if (live && (!agent || !agent_state_wanted(agent->state)))
                sim_fail(sim, "agent %s runs and should not (state %s)", id,
                        agent ? agent_state_name(agent->state) : "unknown");
        if (promise->answered && !promise->end_asked && !agent)
                sim_fail(sim, "agent %s was answered and is lost", id);
        if (promise->end_answered && (agent || (row && row->state != AGENT_TERMINATED)))
                sim_fail(sim, "agent %s was terminated and exists", id);
        if (agent && agent_state_wanted(agent->state) && !live && !is_full(sim, promise->pool))
                sim_fail(sim, "agent %s should run (phase %d, epoch %llu)", id, agent->phase,
                        (unsigned long long)agent->epoch);
        if (agent && agent->state == AGENT_IDLE && agent->max_idle_time && sim->now - agent->idle_since > 10000)
                sim_fail(sim, "agent %s is idle for %lld ms", id, (long long)(sim->now - agent->idle_since));
        if (agent && live && (live->epoch != agent->epoch || !agent->worker
                || !id_equal(&live->worker->process_id, &agent->worker->process_id)))
                sim_fail(sim, "agent %s runs elsewhere or under epoch %llu instead of %llu", id,
                        (unsigned long long)live->epoch, (unsigned long long)agent->epoch);
        if (agent && (!row || row->epoch != agent->epoch
                || agent_state_wanted(row->state) != agent_state_wanted(agent->state)))
                sim_fail(sim, "agent %s is not as the store has it", id);
        if (!agent && row && agent_state_wanted(row->state))
                sim_fail(sim, "the store wants agent %s, the master does not know it", id);
}

/* 2, 3, 5: the registry says what really runs, in each worker, under the same epochs. */
static void check_worker(struct sim *sim, const struct sim_worker *worker)
{
        const struct memory_process *process = registry_memory_process(sim->registry, &worker->process_id);
        const struct pool_worker *known = pool_worker(sim->pools[worker->pool], &worker->process_id);
        const char *id = ID_TEXT(&worker->process_id);

        if (!worker->alive) {
                if (known || (process && process->state != WORKER_EXITED))
                        sim_fail(sim, "process %s is dead and known", id);
                return;
        }
        if (!known || !process) {
                sim_fail(sim, "process %s lives and is unknown to the %s", id, known ? "registry" : "master");
                return;
        }
        if (process->agent_count != worker->live || known->used != worker->live
                || roster_count(worker->roster) != worker->live)
                sim_fail(sim, "process %s runs %u agents: registry %u, master %u, roster %u", id, worker->live,
                        process->agent_count, known->used, roster_count(worker->roster));
        if (!TAILQ_EMPTY(&process->ended))
                sim_fail(sim, "process %s has ends that nobody confirmed", id);
}

static void check_registry_agents(struct sim *sim)
{
        for (struct memory_agent *a = registry_memory_first_agent(sim->registry); a; a = a->hh.next) {
                const struct sim_promise *promise = sim_promise(sim, &a->agent_id);
                unsigned count;
                const struct sim_instance *live = live_instance(promise, &count);

                if (!live || live->epoch != a->epoch || !id_equal(&live->worker->process_id, &a->process->process_id))
                        sim_fail(sim, "the registry has agent %s under epoch %llu where it does not run",
                                ID_TEXT(&a->agent_id), (unsigned long long)a->epoch);
        }
}

/* 7: one answer for every request that the living master got. */
static void check_requests(struct sim *sim)
{
        for (const struct sim_request *r = sim->requests; r; r = r->next)
                if (r->master == sim->master && r->answers != 1)
                        sim_fail(sim, "a %s of agent %s was answered %u times", r->terminate ? "terminate" : "spawn",
                                ID_TEXT(&r->agent_id), r->answers);
}

void sim_check_quiet(struct sim *sim)
{
        for (struct sim_promise *p = sim->promises; p; p = p->hh.next)
                check_promise(sim, p);
        for (const struct sim_worker *w = sim->workers; w; w = w->next)
                check_worker(sim, w);
        check_registry_agents(sim);
        check_requests(sim);
}

/* After pool_close: nothing is left, and the store still wants what it wanted. */
void sim_check_closed(struct sim *sim)
{
        unsigned count;

        for (unsigned i = 0; i < SIM_POOLS; i++)
                if (!pool_closed(sim->pools[i]))
                        sim_fail(sim, "pool %u does not close", i);
        for (const struct sim_worker *w = sim->workers; w; w = w->next)
                if (w->alive)
                        sim_fail(sim, "process %s outlives the shutdown", ID_TEXT(&w->process_id));
        for (const struct sim_promise *p = sim->promises; p; p = p->hh.next) {
                live_instance(p, &count);
                if (count)
                        sim_fail(sim, "agent %s outlives the shutdown", ID_TEXT(&p->agent_id));
                if (p->answered && !p->end_asked && !sim_row(sim, &p->agent_id))
                        sim_fail(sim, "agent %s left the store at the shutdown", ID_TEXT(&p->agent_id));
        }
        check_requests(sim);
}
