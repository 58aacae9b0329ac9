/* A worker of the simulation: the shell that worker/worker.c is, around a real roster. */
#include "test/sim/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Agents of one part of a registration: few, so that most have several. */
#define PART_AGENTS 2

static void act(struct sim *sim, struct sim_worker *worker);

/* --- the control socket: in order, nothing lost while both ends live ---------------------------------------------- */

static int64_t in_order(struct sim *sim, int64_t *at)
{
        int64_t next = sim->now + 1 + (int64_t)sim_below(sim, SIM_LATENCY);

        if (next > *at)
                *at = next;
        return *at;
}

void sim_worker_control(struct sim *sim, struct sim_worker *worker, void (*run)(struct sim *, void *), void *arg)
{
        sim_at(sim, in_order(sim, &worker->to_worker_at), worker, 0, run, arg);
}

struct packet { /* from a worker: a reply, or READY */
        struct sim_worker *worker;
        const char *reply;
        uint64_t generation;
        bool away; /* it did without the registry under the master before */
        struct hosted_agent *hosted;
        size_t count;
};

/* What a dead master did not read is for the next one. */
static void packet_arrives(struct sim *sim, void *arg)
{
        const struct packet *packet = arg;
        const struct sim_worker *worker = packet->worker;

        if (!sim->master_alive) {
                sim_at(sim, sim->now + 10, NULL, 0, packet_arrives, arg);
                return;
        }
        if (packet->reply) {
                sim_master_reply(sim, packet->reply);
                return;
        }
        sim_trace(sim, "ready process=%.8s hosts %zu%s", ID_TEXT(&worker->process_id), packet->count,
                packet->generation < sim->since ? " (void)" : "");
        if (packet->generation >= sim->since && packet->generation <= sim->generation) {
                pool_worker_ready(sim->pools[worker->pool], &worker->process_id, packet->hosted, packet->count, sim->now);
                for (size_t i = 0; i < packet->count && !sim->closing; i++)
                        sim_duty_runs(sim, worker, &packet->hosted[i].agent_id, packet->hosted[i].epoch);
        }
        if (packet->away)
                sim_registry_distrust(sim);
        sim_master_wake(sim);
}

static struct packet *send_packet(struct sim *sim, struct sim_worker *worker)
{
        struct packet *packet = sim_alloc(sim, sizeof *packet);

        packet->worker = worker;
        sim_at(sim, in_order(sim, &worker->to_master_at), NULL, 0, packet_arrives, packet);
        return packet;
}

/* What runs here, and what starts as soon as its predecessor has ended. */
static void send_ready(struct sim *sim, struct sim_worker *worker)
{
        struct packet *packet = send_packet(sim, worker);

        packet->generation = worker->generation;
        packet->away = worker->was_away;
        roster_obey(worker->roster, &worker->master_id);
        worker->was_away = false;
        packet->hosted = sim_alloc(sim, (roster_count(worker->roster) + 1) * sizeof *packet->hosted);
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next)
                if (h->next || h->state != HOSTED_ENDED)
                        packet->hosted[packet->count++] = (struct hosted_agent){ .agent_id = h->agent_id,
                                .epoch = h->next ? h->next->epoch : h->epoch,
                                .starting = h->next || h->fenced || h->state == HOSTED_STARTING };
}

/* --- agents --------------------------------------------------------------------------------------------------------- */

struct end {
        struct sim_instance *instance;
        int code, signal;
        bool exhausted;
        const char *reason;
};

static void instance_ends(struct sim *sim, void *arg)
{
        const struct end *end = arg;
        struct sim_instance *instance = end->instance;
        struct agent_exit exit = { .code = end->code, .signal = end->signal, .exhausted = end->exhausted };
        struct hosted *hosted = instance->hosted;

        if (!instance->alive)
                return;
        snprintf(exit.reason, sizeof exit.reason, "%s", end->reason);
        instance->alive = false;
        instance->hosted = NULL;
        instance->worker->live--;
        hosted->runtime = NULL;
        sim_trace(sim, "agent=%.8s epoch=%llu ended (%s) in process=%.8s", ID_TEXT(&instance->agent_id),
                (unsigned long long)instance->epoch, end->reason, ID_TEXT(&instance->worker->process_id));
        roster_ended(instance->worker->roster, hosted, &exit);
        act(sim, instance->worker);
}

static struct end *end_later(struct sim *sim, struct sim_instance *instance, uint64_t within, int code, int signal,
        const char *reason)
{
        struct end *end = sim_alloc(sim, sizeof *end);

        *end = (struct end){ .instance = instance, .code = code, .signal = signal, .reason = reason };
        sim_at(sim, sim->now + 1 + (int64_t)sim_below(sim, within), instance->worker, 0, instance_ends, end);
        return end;
}

static void instance_answered(struct sim *sim, void *arg)
{
        struct sim_instance *instance = arg;

        if (instance->alive && instance->answers_until)
                end_later(sim, instance, 200, 0, 15, "told to end");
        instance->answers_until = 0;
}

static void instance_started(struct sim *sim, void *arg)
{
        struct sim_instance *instance = arg;

        if (!instance->alive)
                return;
        roster_started(instance->worker->roster, instance->hosted);
        sim_promise(sim, &instance->agent_id)->worked_at = sim->now;
        if (sim_chance(sim, sim->faults.agent_exits)) {
                static const int codes[] = { 0, 1, 3 };

                end_later(sim, instance, 3000, codes[sim_below(sim, 3)], 0, "exit status");
        }
        act(sim, instance->worker);
}

static void start(struct sim *sim, struct sim_worker *worker, struct hosted *hosted)
{
        struct sim_promise *promise = sim_promise(sim, &hosted->agent_id);
        struct sim_instance *instance = sim_alloc(sim, sizeof *instance);
        int64_t timeout = sim->configs[worker->pool].start_timeout_ms;

        *instance = (struct sim_instance){ .agent_id = hosted->agent_id, .epoch = hosted->epoch, .worker = worker,
                .hosted = hosted, .alive = true };
        sim_trace(sim, "agent=%.8s epoch=%llu starts in process=%.8s", ID_TEXT(&hosted->agent_id),
                (unsigned long long)hosted->epoch, ID_TEXT(&worker->process_id));
        worker->live++;
        sim_check_start(sim, promise, instance);
        instance->next = promise->instances;
        promise->instances = instance;
        promise->started = instance->epoch;
        hosted->runtime = instance;
        if (sim_chance(sim, sim->faults.start_fails))
                end_later(sim, instance, 50, 1, 0, "it did not start");
        else if (sim_chance(sim, sim->faults.exhausted))
                end_later(sim, instance, 2, -1, 0, "no process for it")->exhausted = true;
        else if (sim_chance(sim, sim->faults.start_hangs))
                end_later(sim, instance, (uint64_t)timeout, -1, 9, "not ready in time");
        else
                sim_at(sim, sim->now + 1 + (int64_t)sim_below(sim, 50), worker, 0, instance_started, instance);
}

/* --- requests to the registry --------------------------------------------------------------------------------------- */

struct told { /* one report, registration or heartbeat */
        struct sim_worker *worker;
        struct registry_report report;
        struct registry_process process;
        struct registry_agent *agents;
        size_t count;
        int *results, result;
        uint64_t revision;
        bool changed, draining;
        struct registry_listed_agent *listed;
};

static void do_report(struct sim *sim, void *arg)
{
        struct told *told = arg;

        told->result = registry_memory_report(sim->registry, &told->worker->process_id, &told->report);
        if (sim_chance(sim, sim->faults.registry_lies))
                told->result = -EAGAIN;
}

static void on_reported(struct sim *sim, void *arg)
{
        struct told *told = arg;
        struct sim_worker *worker = told->worker;

        if (told->result == -ENOENT)
                worker->registered = false;
        sim_trace(sim, "report type=%d agent=%.8s epoch=%llu process=%.8s: %d", told->report.type,
                ID_TEXT(&told->report.agent_id), (unsigned long long)told->report.epoch, ID_TEXT(&worker->process_id),
                told->result);
        roster_reported(worker->roster, &told->report.agent_id, told->report.epoch, told->result);
        act(sim, worker);
}

static void report(struct sim *sim, struct sim_worker *worker, const struct reply *reply)
{
        struct told *told = sim_alloc(sim, sizeof *told);
        char *text = reply_encode(reply);

        if (!worker->uses_registry || !worker->registered) {
                if (!worker->uses_registry)
                        send_packet(sim, worker)->reply = sim_text(sim, text);
                roster_reported(worker->roster, &reply->agent_id, reply->epoch, worker->uses_registry ? -EAGAIN : 0);
                free(text);
                return;
        }
        told->worker = worker;
        told->report = (struct registry_report){ .agent_id = reply->agent_id, .master_id = worker->master_id,
                .epoch = reply->epoch, .type = reply->type, .reply = sim_text(sim, text) };
        free(text);
        sim_request_over(sim, &worker->registry, worker, 0, do_report, on_reported, told, &told->result);
}

static void report_hosted(struct sim *sim, struct sim_worker *worker, const struct hosted *hosted)
{
        struct reply reply = { .type = REPLY_SPAWNED, .agent_id = hosted->agent_id, .command_id = hosted->command_id,
                .process_id = worker->process_id, .epoch = hosted->epoch };
        char detail[sizeof hosted->exit.reason];

        if (hosted->state == HOSTED_ENDED) {
                reply.type = hosted->started ? REPLY_EXITED : REPLY_SPAWN_FAILED;
                reply.exit = hosted->exit;
                reply.exhausted = hosted->exit.exhausted;
                reply.detail = strcpy(detail, hosted->exit.reason);
        }
        report(sim, worker, &reply);
}

static void deny(struct sim *sim, struct sim_worker *worker, const struct roster_action *action)
{
        char detail[160];
        struct reply reply = { .type = REPLY_SPAWN_FAILED, .agent_id = action->agent_id, .command_id = action->command_id,
                .process_id = worker->process_id, .epoch = action->epoch, .detail = detail, .refused = true };

        snprintf(detail, sizeof detail, "%s", action->detail);
        sim_trace(sim, "denied agent=%.8s epoch=%llu process=%.8s: %s", ID_TEXT(&action->agent_id),
                (unsigned long long)action->epoch, ID_TEXT(&worker->process_id), detail);
        report(sim, worker, &reply);
}

static void do_register(struct sim *sim, void *arg)
{
        struct told *told = arg;

        told->result = registry_memory_register(sim->registry, &told->process, told->agents, told->count, sim->now,
                told->results);
        if (told->result == 0 && !told->process.more)
                registry_memory_drain(sim->registry, &told->worker->process_id, told->draining);
}

static void do_draining(struct sim *sim, void *arg)
{
        const struct told *told = arg;

        registry_memory_drain(sim->registry, &told->worker->process_id, told->draining);
}

/* Whether it takes agents; said with every registration, too. */
static void tell_draining(struct sim *sim, struct sim_worker *worker)
{
        struct told *told = sim_alloc(sim, sizeof *told);

        told->worker = worker;
        told->draining = roster_draining(worker->roster);
        sim_request_over(sim, &worker->registry, worker, 0, do_draining, NULL, told, &told->result);
}

static void on_registered(struct sim *sim, void *arg);

/* What runs here and was in no part yet, as many as one takes. */
static void list_part(struct sim *sim, const struct sim_worker *worker, struct told *told)
{
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next) {
                char *text;

                if (h->shown || (!h->next && (h->state == HOSTED_ENDED || h->fenced)))
                        continue;
                told->process.more = told->count == PART_AGENTS;
                if (told->process.more)
                        return;
                h->shown = true;
                text = command_encode(h->next ? h->next : h->spawn);
                told->agents[told->count++] = (struct registry_agent){ .agent_id = h->agent_id,
                        .epoch = h->next ? h->next->epoch : h->epoch, .command = sim_text(sim, text),
                        .state = h->next || h->state == HOSTED_STARTING ? AGENT_STARTING
                                : h->state == HOSTED_RUNNING ? AGENT_IDLE : AGENT_STOPPING };
                free(text);
        }
}

static void register_part(struct sim *sim, struct sim_worker *worker, bool continues)
{
        struct told *told = sim_alloc(sim, sizeof *told);

        worker->registering = true;
        told->worker = worker;
        told->draining = roster_draining(worker->roster);
        told->process = (struct registry_process){ .process_id = worker->process_id, .master_id = worker->master_id,
                .pool_name = sim->pool_names[worker->pool], .host = "sim", .pid = worker->pid,
                .max_agents = (unsigned)sim->configs[worker->pool].max_agents_per_worker, .continues = continues };
        told->agents = sim_alloc(sim, PART_AGENTS * sizeof *told->agents);
        told->results = sim_alloc(sim, PART_AGENTS * sizeof *told->results);
        list_part(sim, worker, told);
        sim_request_over(sim, &worker->registry, worker, 0, do_register, on_registered, told, &told->result);
}

static void register_self(struct sim *sim, struct sim_worker *worker)
{
        worker->registered = false;
        if (worker->registering)
                return;
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next)
                h->shown = false;
        register_part(sim, worker, false);
}

static void registered(struct sim *sim, struct sim_worker *worker)
{
        worker->registered = true;
        worker->revision = 0;
        roster_retry(worker->roster);
        send_ready(sim, worker);
}

static void on_registered(struct sim *sim, void *arg)
{
        struct told *told = arg;
        struct sim_worker *worker = told->worker;

        worker->registering = false;
        if (told->result == -ESTALE)
                roster_fence(worker->roster);
        if (told->result == -ENOENT)
                register_self(sim, worker);
        for (size_t i = 0; told->result == 0 && i < told->count; i++)
                if (told->results[i] == -ESTALE)
                        roster_reported(worker->roster, &told->agents[i].agent_id, told->agents[i].epoch, -ESTALE);
        if (told->result == 0 && told->process.more)
                register_part(sim, worker, true);
        else if (told->result == 0)
                registered(sim, worker);
        act(sim, worker);
}

static void do_heartbeat(struct sim *sim, void *arg)
{
        struct told *told = arg;
        struct registry_beat beat = { .revision = told->revision };
        struct registry_listing listing;

        registry_memory_heartbeat(sim->registry, &told->worker->process_id, &beat, sim->now, &listing);
        told->result = listing.result;
        told->revision = listing.revision;
        told->changed = listing.changed;
        told->count = listing.count;
        told->listed = sim_alloc(sim, (listing.count + 1) * sizeof *told->listed);
        for (size_t i = 0; i < listing.count; i++) {
                told->listed[i] = listing.agents[i];
                told->listed[i].command = listing.agents[i].command ? sim_text(sim, listing.agents[i].command) : NULL;
        }
}

static void take_listing(struct sim *sim, struct sim_worker *worker, const struct told *told)
{
        struct id *ids = sim_alloc(sim, (told->count + 1) * sizeof *ids);
        uint64_t *epochs = sim_alloc(sim, (told->count + 1) * sizeof *epochs);

        for (size_t i = 0; i < told->count; i++) {
                ids[i] = told->listed[i].agent_id;
                epochs[i] = told->listed[i].epoch;
                if (told->listed[i].command)
                        sim_worker_command(worker, told->listed[i].command);
        }
        roster_listed(worker->roster, ids, epochs, told->count);
        worker->revision = told->revision;
}

static void on_listing(struct sim *sim, void *arg)
{
        struct told *told = arg;
        struct sim_worker *worker = told->worker;

        if (told->result == -ENOENT) {
                register_self(sim, worker);
        } else if (told->result == -ESTALE) {
                roster_fence(worker->roster);
        } else if (told->result == 0) {
                if (told->changed)
                        take_listing(sim, worker, told);
                roster_retry(worker->roster);
        }
        act(sim, worker);
        /* After the list, so that a new master hears of what its predecessor has placed here, too. */
        if (worker->ready_wanted && worker->alive && told->result == 0) {
                worker->ready_wanted = false;
                send_ready(sim, worker);
        }
}

static void send_heartbeat(struct sim *sim, struct sim_worker *worker)
{
        struct told *told = sim_alloc(sim, sizeof *told);

        told->worker = worker;
        told->revision = worker->ready_wanted ? 0 : worker->revision;
        sim_request_over(sim, &worker->registry, worker, 0, do_heartbeat, on_listing, told, &told->result);
}

static void heartbeat(struct sim *sim, void *arg)
{
        struct sim_worker *worker = arg;

        if (worker->registry.up && worker->registered)
                send_heartbeat(sim, worker);
        else if (worker->registry.up)
                register_self(sim, worker);
        sim_at(sim, sim->now + sim->configs[worker->pool].heartbeat_interval_ms, worker, 0, heartbeat, worker);
}

/* --- its connection to the registry --------------------------------------------------------------------------------- */

static void connect_registry(struct sim *sim, void *arg)
{
        struct sim_worker *worker = arg;

        if (!worker->uses_registry || worker->registry.up)
                return;
        if (sim_registry_away(sim)) {
                sim_at(sim, sim->now + 20 + (int64_t)sim_below(sim, 100), worker, 0, connect_registry, worker);
                return;
        }
        worker->registry.up = true;
        worker->registered = false;
        register_self(sim, worker);
}

void sim_worker_link_lost(struct sim *sim, void *arg)
{
        struct sim_worker *worker = arg;

        if (!worker->registry.up)
                return;
        sim_link_lose(sim, &worker->registry);
        sim_at(sim, sim->now + 5 + (int64_t)sim_below(sim, 50), worker, 0, connect_registry, worker);
}

static void use_registry(struct sim *sim, struct sim_worker *worker, bool use)
{
        if (use == worker->uses_registry)
                return;
        sim_trace(sim, "process=%.8s %s the registry", ID_TEXT(&worker->process_id), use ? "uses" : "lets go of");
        worker->uses_registry = use;
        if (use) {
                connect_registry(sim, worker);
                return;
        }
        sim_link_lose(sim, &worker->registry);
        worker->registered = worker->registering = worker->ready_wanted = false;
        roster_retry(worker->roster);
        act(sim, worker);
        if (worker->alive)
                send_ready(sim, worker);
}

/* Some work on messages, which they may answer first. */
static void told_to_end(struct sim *sim, struct sim_instance *instance, bool graceful)
{
        int64_t drain = graceful && sim_below(sim, 3) == 0 ? sim->configs[instance->worker->pool].drain_timeout_ms : 0;

        instance->answers_until = drain ? sim->now + (int64_t)sim_below(sim, (uint64_t)drain) : 0;
        if (sim->now < instance->answers_until)
                sim_at(sim, instance->answers_until, instance->worker, 0, instance_answered, instance);
        else
                end_later(sim, instance, graceful ? 200 : 20, 0, graceful ? 15 : 9, "told to end");
}

/* --- what the roster asks for --------------------------------------------------------------------------------------- */

static void act(struct sim *sim, struct sim_worker *worker)
{
        struct roster_action action;
        struct sim_instance *instance;

        while (worker->alive && roster_next_action(worker->roster, &action)) {
                switch (action.type) {
                case ROSTER_START:
                        start(sim, worker, action.hosted);
                        break;
                case ROSTER_STOP:
                        instance = action.hosted->runtime;
                        if (instance)
                                told_to_end(sim, instance, action.graceful);
                        break;
                case ROSTER_REPORT:
                        report_hosted(sim, worker, action.hosted);
                        break;
                case ROSTER_DENY:
                        deny(sim, worker, &action);
                        break;
                case ROSTER_EXIT:
                        sim_worker_die(sim, worker, "exit status 0");
                        break;
                case ROSTER_FORGET:
                case ROSTER_ACTION_COUNT:
                        break;
                }
        }
}

void sim_worker_command(struct sim_worker *worker, const char *text)
{
        struct sim *sim = worker->sim;
        struct command command;

        if (!worker->roster)
                return;
        if (command_decode(text, strlen(text), &command) < 0) {
                sim_fail(sim, "no command: %s", text);
                return;
        }
        roster_command(worker->roster, &command);
        command_done(&command);
        act(sim, worker);
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

struct welcome {
        struct sim_worker *worker;
        struct id master_id;
        uint64_t generation;
        bool use;
};

static void take_welcome(struct sim *sim, void *arg)
{
        struct welcome *welcome = arg;
        struct sim_worker *worker = welcome->worker;

        worker->master_id = welcome->master_id;
        worker->generation = welcome->generation;
        if (worker->roster && !worker->ending) {
                roster_undrain(worker->roster);
                tell_draining(sim, worker);
        }
        if (worker->roster && worker->uses_registry && !welcome->use) {
                use_registry(sim, worker, false);
                return;
        }
        if (worker->roster) {
                worker->was_away = !worker->uses_registry;
                worker->ready_wanted = worker->registry.up && worker->registered;
                if (worker->ready_wanted)
                        send_heartbeat(sim, worker);
                else if (!worker->registry.up)
                        send_ready(sim, worker);
                use_registry(sim, worker, welcome->use);
                return;
        }
        worker->roster = roster_new((unsigned)sim->configs[worker->pool].max_agents_per_worker);
        if (worker->doomed) {
                sim_worker_die(sim, worker, "exit status 1");
                return;
        }
        use_registry(sim, worker, welcome->use);
        if (!welcome->use)
                send_ready(sim, worker);
        heartbeat(sim, worker);
}

void sim_worker_welcome(struct sim *sim, struct sim_worker *worker)
{
        struct welcome *welcome = sim_alloc(sim, sizeof *welcome);

        *welcome = (struct welcome){ .worker = worker, .master_id = sim->master_id, .generation = sim->generation,
                .use = !sim->degraded };
        sim_worker_control(sim, worker, take_welcome, welcome);
}

static void take_registry(struct sim *sim, void *arg)
{
        const struct welcome *told = arg;
        struct sim_worker *worker = told->worker;

        if (!worker->roster)
                return;
        worker->generation = told->generation;
        if (!told->use && !worker->uses_registry)
                send_ready(sim, worker);
        use_registry(sim, worker, told->use);
}

void sim_worker_registry(struct sim *sim, struct sim_worker *worker)
{
        struct welcome *told = sim_alloc(sim, sizeof *told);

        *told = (struct welcome){ .worker = worker, .generation = sim->generation, .use = !sim->degraded };
        sim_worker_control(sim, worker, take_registry, told);
}

static void take_drain(struct sim *sim, void *arg)
{
        struct sim_worker *worker = arg;

        if (worker->roster) {
                roster_drain(worker->roster, false);
                tell_draining(sim, worker);
                act(sim, worker);
        } else {
                sim_worker_die(sim, worker, "exit status 0");
        }
}

static void take_shutdown(struct sim *sim, void *arg)
{
        struct sim_worker *worker = arg;

        worker->ending = true;
        if (worker->roster) {
                roster_drain(worker->roster, true);
                act(sim, worker);
        } else {
                sim_worker_die(sim, worker, "exit status 0");
        }
}

void sim_worker_stop(struct sim *sim, struct sim_worker *worker, bool end_agents)
{
        sim_worker_control(sim, worker, end_agents ? take_shutdown : take_drain, worker);
}

struct sim_worker *sim_worker_fork(struct sim *sim, unsigned pool, const struct id *process_id)
{
        struct sim_worker *worker = sim_alloc(sim, sizeof *worker);

        worker->sim = sim;
        worker->process_id = *process_id;
        worker->pool = pool;
        worker->pid = ++sim->pids;
        worker->alive = true;
        worker->doomed = sim_chance(sim, sim->faults.worker_fails);
        worker->to_worker_at = sim->now + 5 + (int64_t)sim_below(sim, 50); /* its start takes that long */
        worker->next = sim->workers;
        sim->workers = worker;
        return worker;
}

/* All its agents die with it; nobody hears of them but by the forker. */
void sim_worker_die(struct sim *sim, struct sim_worker *worker, const char *why)
{
        if (!worker->alive)
                return;
        sim_trace(sim, "process=%.8s dies: %s", ID_TEXT(&worker->process_id), why);
        worker->alive = false;
        for (struct hosted *h = worker->roster ? roster_first(worker->roster) : NULL; h; h = h->hh.next) {
                struct sim_instance *instance = h->runtime;

                if (instance)
                        instance->alive = false;
                if (instance)
                        instance->hosted = NULL;
        }
        worker->live = 0;
        sim_master_exited(sim, worker, why);
}
