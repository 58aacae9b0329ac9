/* The master of the simulation: the shell that master/control/pools.c, pools_act.c and restore.c are, around real pools; and
 * the forker. */
#include "registry/core/agent_command.h"
#include "test/sim/sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- requests to the registry --------------------------------------------------------------------------------------- */

struct ask {
        unsigned pool;
        struct registry_reservation reservation;
        enum pool_placement placement;
        enum agent_state state;
        struct id process_id;
        char *command;
        int result;
        bool swept;
        int64_t age;
        const char **ended;
        size_t ended_count;
};

static void do_reserve(struct sim *sim, void *arg)
{
        struct ask *ask = arg;
        const struct sim_row *row = sim_row(sim, &ask->reservation.agent_id);

        if (ask->reservation.epoch > 1 && row && row->epoch < ask->reservation.epoch)
                sim_fail(sim, "agent %s is placed under epoch %llu, which is not stored", ID_TEXT(&ask->reservation.agent_id),
                        (unsigned long long)ask->reservation.epoch);
        ask->result = registry_memory_reserve(sim->registry, sim->pool_names[ask->pool],
                ask->placement, &ask->reservation, &ask->process_id);
        sim_trace(sim, "reserve agent=%.8s epoch=%llu: %d process=%.8s", ID_TEXT(&ask->reservation.agent_id),
                (unsigned long long)ask->reservation.epoch, ask->result, ID_TEXT(&ask->process_id));
        if (!sim_chance(sim, sim->faults.registry_lies))
                return;
        ask->result = -EAGAIN; /* nothing is waited for longer than a request may take: then the connection is given up */
        sim_registry_cut(sim, NULL);
}

static void on_reserved(struct sim *sim, void *arg)
{
        const struct ask *ask = arg;

        pool_reserved(sim->pools[ask->pool], &ask->reservation.agent_id, ask->reservation.epoch, ask->result,
                &ask->process_id, sim->now);
        sim_master_wake(sim);
}

static void do_send(struct sim *sim, void *arg)
{
        struct ask *ask = arg;

        ask->result = registry_memory_send(sim->registry, &ask->reservation.agent_id, ask->reservation.epoch, ask->state,
                ask->command);
}

struct control_command {
        struct sim_worker *worker;
        const char *text;
};

static void take_control(struct sim *sim, void *arg)
{
        const struct control_command *control = arg;

        (void)sim;
        sim_worker_command(control->worker, control->text);
}

void sim_master_command(struct sim *sim, const struct id *process_id, const char *text)
{
        struct sim_worker *worker = sim_worker(sim, process_id);
        struct control_command *control = sim_alloc(sim, sizeof *control);

        *control = (struct control_command){ .worker = worker, .text = text };
        if (worker && worker->alive)
                sim_worker_control(sim, worker, take_control, control);
}

/* The registry does not know of it (FLUSHALL) or is away: the control socket carries the command. */
static void on_sent(struct sim *sim, void *arg)
{
        const struct ask *ask = arg;

        if (ask->result == -ENOENT || ask->result == -EAGAIN)
                sim_master_command(sim, &ask->process_id, ask->command);
}

static void do_release(struct sim *sim, void *arg)
{
        static const struct id anywhere;
        struct ask *ask = arg;

        ask->result = registry_memory_release(sim->registry, &ask->reservation.agent_id, ask->reservation.epoch, &anywhere);
}

static void do_drain(struct sim *sim, void *arg)
{
        struct ask *ask = arg;

        registry_memory_drain(sim->registry, &ask->process_id, true);
}

static void do_reap(struct sim *sim, void *arg)
{
        struct ask *ask = arg;

        registry_memory_reap(sim->registry, &ask->process_id);
}

static void ask_registry(struct sim *sim, struct ask *ask, void (*do_it)(struct sim *, void *),
        void (*answer)(struct sim *, void *))
{
        sim_request_over(sim, &sim->registry_link, NULL, sim->master, do_it, answer, ask, &ask->result);
}

static struct ask *ask_new(struct sim *sim, unsigned pool)
{
        struct ask *ask = sim_alloc(sim, sizeof *ask);

        ask->pool = pool;
        return ask;
}

/* --- sweep: ends not heard of, hung workers, workers nobody knows --------------------------------------------------- */

static void do_sweep(struct sim *sim, void *arg)
{
        struct ask *ask = arg;
        struct registry_swept swept;

        if (registry_memory_sweep(sim->registry, &ask->process_id, sim->now, &swept) < 0)
                return;
        ask->swept = true;
        ask->age = swept.heartbeat_age_ms;
        ask->ended = sim_alloc(sim, (swept.ended_count + 1) * sizeof *ask->ended);
        for (size_t i = 0; i < swept.ended_count; i++)
                ask->ended[ask->ended_count++] = sim_text(sim, swept.ended[i]);
}

static void do_confirm(struct sim *sim, void *arg)
{
        const struct ask *ask = arg;

        registry_memory_confirm(sim->registry, &ask->process_id, &ask->reservation.agent_id, ask->reservation.epoch);
}

static void on_swept(struct sim *sim, void *arg)
{
        const struct ask *ask = arg;
        const struct pool_worker *worker = pool_worker(sim->pools[ask->pool], &ask->process_id);

        for (size_t i = 0; i < ask->ended_count; i++)
                sim_master_reply(sim, ask->ended[i]);
        if (!worker && ask->swept) {
                struct ask *reap = ask_new(sim, ask->pool);

                reap->process_id = ask->process_id;
                ask_registry(sim, reap, do_reap, NULL);
        }
        sim_master_wake(sim);
}

static bool silent_since(const struct sim *sim, int64_t at, int64_t ms)
{
        return sim->now - (at > sim->silence_from ? at : sim->silence_from) > ms;
}

/* The control socket says whether it hangs; a heartbeat in the registry, that it does not. */
static bool is_silent(const struct sim *sim, const struct sim_worker *w, int64_t ms)
{
        const struct memory_process *process = registry_memory_process(sim->registry, &w->process_id);

        return w->alive && w->frozen_until > sim->now && silent_since(sim, w->frozen_at, ms)
                && (sim->degraded || !process || silent_since(sim, process->beat_at, ms));
}

static bool is_expected(const struct sim *sim, const struct sim_worker *w)
{
        const struct pool_worker *worker = pool_worker(sim->pools[w->pool], &w->process_id);

        return worker && (worker->state == WORKER_READY || (worker->state == WORKER_STARTING && worker->adopted));
}

static void suspect_hung(struct sim *sim)
{
        int64_t lease = sim->configs[0].worker_lease_ms;
        unsigned workers = 0, late = 0, silent = 0;

        for (const struct sim_worker *w = sim->workers; w; w = w->next) {
                workers += is_expected(sim, w);
                late += is_expected(sim, w) && is_silent(sim, w, lease / 2);
                silent += is_expected(sim, w) && is_silent(sim, w, lease);
        }
        if (silent && suspicion_of_self(&sim->suspicion, late, workers, lease, sim->now)) {
                sim_trace(sim, "the master suspects itself: %u of %u are late", late, workers);
                sim->silence_from = sim->now;
                return;
        }
        for (const struct sim_worker *w = sim->workers; w && silent; w = w->next)
                if (is_expected(sim, w) && is_silent(sim, w, lease))
                        pool_worker_suspect(sim->pools[w->pool], &w->process_id, sim->now);
        sim_master_wake(sim);
}

static void sweep(struct sim *sim, void *arg)
{
        struct memory_process *p = sim->registry_link.up ? registry_memory_first_process(sim->registry) : NULL;

        (void)arg;
        suspect_hung(sim);
        for (; p && !sim->degraded; p = p->hh.next) {
                struct ask *ask;

                if (p->state == WORKER_EXITED)
                        continue;
                ask = ask_new(sim, sim_worker(sim, &p->process_id)->pool);
                ask->process_id = p->process_id;
                ask_registry(sim, ask, do_sweep, on_swept);
        }
        sim_at(sim, sim->now + 500, NULL, sim->master, sweep, NULL);
}

/* --- actions -------------------------------------------------------------------------------------------------------- */

struct forked {
        struct sim_worker *worker;
        struct id process_id;
        unsigned pool;
};

static void on_forked(struct sim *sim, void *arg)
{
        const struct forked *forked = arg;

        if (forked->worker) {
                pool_worker_forked(sim->pools[forked->pool], &forked->process_id, forked->worker->pid, sim->now);
                sim_worker_welcome(sim, forked->worker);
        } else {
                pool_worker_fork_failed(sim->pools[forked->pool], &forked->process_id, EAGAIN, sim->now);
        }
        sim_master_wake(sim);
}

static void fork_worker(struct sim *sim, unsigned pool, const struct id *process_id)
{
        struct forked *forked = sim_alloc(sim, sizeof *forked);

        forked->process_id = *process_id;
        forked->pool = pool;
        if (!sim_chance(sim, sim->faults.fork_fails))
                forked->worker = sim_worker_fork(sim, pool, process_id);
        sim_trace(sim, "fork process=%.8s: %s", ID_TEXT(process_id), forked->worker ? "ok" : "EAGAIN");
        sim_at(sim, sim->now + 1, NULL, sim->master, on_forked, forked);
}

static void killed(struct sim *sim, void *arg)
{
        sim_worker_die(sim, arg, "killed by signal 9 (KILL)");
}

static void kill_worker(struct sim *sim, const struct pool_worker *known)
{
        struct sim_worker *worker = sim_worker(sim, &known->process_id);

        if (!worker)
                return;
        sim_check_kill(sim, known, worker);
        worker->frozen_until = 0; /* SIGKILL takes a stopped process, too */
        sim_at(sim, sim->now + 1, worker, 0, killed, worker);
}

static void answer(struct sim *sim, const struct pool_action *action)
{
        struct sim_request *request = action->waiter;

        if (!request)
                return;
        sim_trace(sim, "answer %s agent=%.8s error=%d %s", request->terminate ? "terminate" : "spawn",
                ID_TEXT(&request->agent_id), action->error, action->detail);
        request->answers++;
        request->error = action->error;
        sim_check_answer(sim, request);
}

static struct ask *ask_for(struct sim *sim, unsigned pool, const struct agent *agent, bool spawn)
{
        struct ask *ask = ask_new(sim, pool);
        char *text = spawn ? agent_spawn_command(agent, &sim->master_id) : agent_terminate_command(agent, &sim->master_id);

        ask->command = sim_text(sim, text);
        free(text);
        ask->state = agent->state == AGENT_STOPPING || !spawn ? AGENT_STOPPING : AGENT_STARTING;
        ask->placement = pool_placement(sim->pools[pool]);
        ask->reservation = (struct registry_reservation){ .agent_id = agent->agent_id, .project_id = agent->project_id,
                .epoch = agent->epoch, .command = ask->command, .role_type = agent->role_type };
        if (agent->worker)
                ask->process_id = agent->worker->process_id;
        return ask;
}

static void evict(struct sim *sim, const struct pool_action *action)
{
        struct command command = { .type = COMMAND_TERMINATE, .command_id = sim_new_id(sim), .agent_id = action->agent_id,
                .master_id = sim->master_id, .epoch = action->epoch, .pool_name = sim->command_text };
        char *text = command_encode(&command);

        sim_trace(sim, "evict agent=%.8s epoch=%llu process=%.8s", ID_TEXT(&action->agent_id),
                (unsigned long long)action->epoch, ID_TEXT(&action->worker->process_id));
        sim_master_command(sim, &action->worker->process_id, sim_text(sim, text));
        free(text);
}

static void send_command(struct sim *sim, unsigned pool, const struct agent *agent)
{
        bool spawn = agent->phase == PHASE_SENT;
        struct ask *ask = ask_for(sim, pool, agent, spawn);

        if (!spawn && agent->phase != PHASE_WITHDRAWN && agent->state != AGENT_STOPPING)
                sim_fail(sim, "agent %s runs, should, and is told to end", ID_TEXT(&agent->agent_id));
        if (sim->degraded)
                sim_master_command(sim, &ask->process_id, ask->command);
        else
                ask_registry(sim, ask, do_send, on_sent);
}

static void act_on_agent(struct sim *sim, unsigned pool, const struct pool_action *action)
{
        struct ask *ask;

        if (action->type == POOL_RESERVE) {
                ask_registry(sim, ask_for(sim, pool, action->agent, true), do_reserve, on_reserved);
        } else if (action->type == POOL_SEND && action->agent->worker) {
                send_command(sim, pool, action->agent);
        } else if (action->type == POOL_RELEASE) {
                ask = ask_new(sim, pool);
                ask->reservation = (struct registry_reservation){ .agent_id = action->agent_id, .epoch = action->epoch };
                ask_registry(sim, ask, do_release, NULL);
        } else if (action->type == POOL_EVICT) {
                evict(sim, action);
        } else if (action->type == POOL_ANSWER) {
                answer(sim, action);
        }
}

static void act_on_worker(struct sim *sim, unsigned pool, const struct pool_action *action)
{
        struct sim_worker *worker = sim_worker(sim, &action->worker->process_id);
        struct ask *ask = ask_new(sim, pool);

        ask->process_id = action->worker->process_id;
        if (action->type == POOL_FORK)
                fork_worker(sim, pool, &action->worker->process_id);
        else if (action->type == POOL_KILL)
                kill_worker(sim, action->worker);
        else if (action->type == POOL_REAP)
                ask_registry(sim, ask, do_reap, NULL);
        else if (action->type == POOL_DRAIN)
                ask_registry(sim, ask, do_drain, NULL);
        if ((action->type == POOL_DRAIN || action->type == POOL_SHUTDOWN) && worker)
                sim_worker_stop(sim, worker, action->type == POOL_SHUTDOWN);
}

static void tick(struct sim *sim, void *arg)
{
        (void)arg;
        sim->tick_at = 0;
        for (unsigned i = 0; i < SIM_POOLS; i++)
                pool_tick(sim->pools[i], sim->now);
        sim_master_wake(sim);
}

static void arm_tick(struct sim *sim)
{
        int64_t at = INT64_MAX;

        for (unsigned i = 0; i < SIM_POOLS; i++) {
                int64_t deadline = pool_next_deadline(sim->pools[i]);

                at = deadline < at ? deadline : at;
        }
        if (at == INT64_MAX || (sim->tick_at && sim->tick_at <= at))
                return;
        sim->tick_at = at < sim->now ? sim->now : at;
        sim_at(sim, sim->tick_at, NULL, sim->master, tick, NULL);
}

static void act(struct sim *sim, void *arg)
{
        struct pool_action action;

        (void)arg;
        sim->act_pending = false;
        for (unsigned i = 0; i < SIM_POOLS; i++) {
                while (pool_next_action(sim->pools[i], &action)) {
                        sim_check_action(sim, i, &action);
                        sim_duty_done(sim, &action);
                        if (action.type <= POOL_STORE_DELETE)
                                sim_store(sim, i, action.agent, action.type, action.state);
                        else if (action.type == POOL_EVENT)
                                sim_trace(sim, "event %s agent=%.8s process=%.8s %s", action.event,
                                        action.agent ? ID_TEXT(&action.agent->agent_id) : "",
                                        action.worker ? ID_TEXT(&action.worker->process_id) : "", action.detail);
                        else if (action.type >= POOL_FORK && action.type <= POOL_REAP)
                                act_on_worker(sim, i, &action);
                        else
                                act_on_agent(sim, i, &action);
                }
        }
        sim_duty_check(sim);
        sim_check_now(sim);
        arm_tick(sim);
}

/* Actions are carried out at the end of the turn: mostly at once, sometimes after other events. */
void sim_master_wake(struct sim *sim)
{
        arm_tick(sim);
        if (sim->act_pending)
                return;
        sim->act_pending = true;
        sim_at(sim, sim->now + (sim_chance(sim, 200) ? 1 + (int64_t)sim_below(sim, 5) : 0), NULL, sim->master, act, NULL);
}

/* --- what comes back ------------------------------------------------------------------------------------------------ */

void sim_master_reply(struct sim *sim, const char *text)
{
        struct reply reply;
        struct ask *ask;
        struct sim_worker *worker;

        if (reply_decode(text, strlen(text), &reply) < 0) {
                sim_fail(sim, "no reply: %s", text);
                return;
        }
        worker = sim_worker(sim, &reply.process_id);
        sim_trace(sim, "reply type=%d agent=%.8s epoch=%llu process=%.8s", reply.type, ID_TEXT(&reply.agent_id),
                (unsigned long long)reply.epoch, ID_TEXT(&reply.process_id));
        pool_reply(sim->pools[worker->pool], &reply, sim->now);
        if (reply.type == REPLY_SPAWNED)
                sim_duty_runs(sim, worker, &reply.agent_id, reply.epoch);
        if (reply.type != REPLY_SPAWNED) {
                ask = ask_new(sim, worker->pool);
                ask->process_id = reply.process_id;
                ask->reservation = (struct registry_reservation){ .agent_id = reply.agent_id, .epoch = reply.epoch };
                ask_registry(sim, ask, do_confirm, NULL);
        }
        reply_done(&reply);
        sim_master_wake(sim);
}

struct exited {
        struct sim_worker *worker;
        const char *why;
};

static void on_exited(struct sim *sim, void *arg)
{
        const struct exited *exited = arg;

        sim_duty_exited(sim, exited->worker);
        pool_worker_exited(sim->pools[exited->worker->pool], &exited->worker->process_id, exited->why, sim->now);
        sim_master_wake(sim);
}

void sim_master_exited(struct sim *sim, struct sim_worker *worker, const char *why)
{
        struct exited *exited = sim_alloc(sim, sizeof *exited);

        *exited = (struct exited){ .worker = worker, .why = why };
        sim_at(sim, sim->now + 1 + (int64_t)sim_below(sim, SIM_LATENCY), NULL, sim->master, on_exited, exited);
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

static void restore(struct sim *sim, unsigned pool)
{
        for (struct sim_row *row = sim->rows; row; row = row->hh.next) {
                struct agent *agent = row->present && row->pool == pool ? agent_new() : NULL;

                if (!agent)
                        continue;
                agent->agent_id = row->agent_id;
                agent->role_type = strdup("sim");
                agent->epoch = row->epoch;
                agent->state = row->state;
                agent->restarts = row->restarts;
                agent->max_idle_time = row->max_idle_time;
                pool_restore(sim->pools[pool], agent, sim->now);
        }
}

void sim_master_start(struct sim *sim)
{
        sim->master++;
        sim->master_alive = true;
        sim->master_id = sim_new_id(sim);
        sim->act_pending = sim->degraded = sim->decided = sim->distrusted = false;
        sim->tick_at = 0;
        sim->generation = sim->since = sim->generation + 1;
        sim->master_started_at = sim->now;
        sim_trace(sim, "master %u starts", sim->master);
        for (unsigned i = 0; i < SIM_POOLS; i++)
                sim->pools[i] = pool_new(&sim->configs[i], sim_random(sim), sim->now);
        memset(sim->breakers, 0, sizeof sim->breakers);
        sim->suspicion = (struct suspicion){ 0 };
        sim->silence_from = sim->now;
        for (struct sim_worker *w = sim->workers; w; w = w->next) {
                if (!w->alive)
                        continue;
                pool_worker_adopt(sim->pools[w->pool], &w->process_id, w->pid, sim->now);
                sim_worker_welcome(sim, w);
        }
        for (unsigned i = 0; i < SIM_POOLS; i++)
                restore(sim, i);
        sim_at(sim, sim->now, NULL, sim->master, sweep, NULL);
        sim_registry_connect(sim);
        sim_master_wake(sim);
}

static void start_next(struct sim *sim, void *arg)
{
        (void)arg;
        sim_master_start(sim);
}

void sim_master_die(struct sim *sim)
{
        if (!sim->master_alive)
                return;
        sim_trace(sim, "master %u dies", sim->master);
        sim->master_alive = false;
        sim->duties = NULL;
        sim_link_lose(sim, &sim->registry_link);
        sim_link_lose(sim, &sim->store_link);
        sim->store_link.up = true;
        for (unsigned i = 0; i < SIM_POOLS; i++)
                sim->pools[i] = pool_free(sim->pools[i]);
        sim_at(sim, sim->now + 20 + (int64_t)sim_below(sim, 300), NULL, 0, start_next, NULL);
}
