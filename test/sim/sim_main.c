/* sim [--first S] [--seeds N] [--stop] | [--seed S] [--verbose]: runs N schedules, --stop: until one fails; or the one of
 * seed S. A failed one is run again with its trace:
 * the same seed always takes the same turns. */
#include "test/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTY_MS 12000  /* faults happen for so long … */
#define SETTLE_MS 45000  /* … and everything has settled after so much more */
#define CLOSE_MS 15000
#define LEASE_MS 2500

static int64_t between(struct sim *sim, int64_t least, int64_t most)
{
        return least + (int64_t)sim_below(sim, (uint64_t)(most - least + 1));
}

static void configure(struct sim *sim, unsigned i)
{
        struct pool_config *config = &sim->configs[i];
        int64_t max_workers = between(sim, 1, 6);

        snprintf(sim->pool_names[i], sizeof sim->pool_names[i], "pool%u", i);
        *config = (struct pool_config){ .pool_name = sim->pool_names[i], .role_type = sim->command_text,
                .placement = sim_below(sim, 2) ? POOL_PACK : POOL_SPREAD,
                .max_agents_per_worker = between(sim, 1, 5), .max_workers = max_workers,
                .min_workers = between(sim, 0, max_workers < 2 ? max_workers : 2), .spare_workers = between(sim, 0, 1),
                .queue_max = between(sim, 1, 12), .start_timeout_ms = 800,
                .spawn_timeout_ms = between(sim, 100, sim_below(sim, 2) ? 800 : 6000),
                .worker_start_timeout_ms = 2000,
                .drain_timeout_ms = sim_below(sim, 3) ? between(sim, 0, 500) : 8000, .stop_grace_ms = 300, .kill_grace_ms = 300,
                .worker_idle_timeout_ms = between(sim, 500, 5000), .heartbeat_interval_ms = 500, .worker_lease_ms = LEASE_MS };
        config->restart = (struct pool_restart_config){ .policy = (int)between(sim, POOL_PERMANENT, POOL_TEMPORARY),
                .intensity = between(sim, 0, 8), .period_seconds = between(sim, 1, 20), .delay_ms = between(sim, 0, 300),
                .delay_max_ms = 2000, .healthy_seconds = 2 };
        config->breaker = (struct breaker_config){ .threshold = between(sim, 0, 5), .window_seconds = between(sim, 2, 20),
                .cooldown_seconds = between(sim, 1, 3), .auto_reset = sim_below(sim, 4) > 0 };
}

/* Each run has its own mixture of faults; many runs have none of most. */
static unsigned some(struct sim *sim, unsigned most)
{
        return sim_below(sim, 2) ? (unsigned)sim_below(sim, most + 1) : 0;
}

static void choose_faults(struct sim *sim)
{
        sim->faults = (struct sim_faults){ .lose = some(sim, 300), .twice = some(sim, 300), .late = some(sim, 300),
                .start_fails = some(sim, 150), .exhausted = some(sim, 150), .start_hangs = some(sim, 60), .agent_exits = some(sim, 400),
                .worker_dies = some(sim, 30), .worker_freezes = some(sim, 20), .pause = some(sim, 6), .worker_fails = some(sim, 300),
                .fork_fails = some(sim, 200), .master_dies = some(sim, 8), .flush = some(sim, 10),
                .registry_down = some(sim, 30), .registry_cut = some(sim, 20), .registry_flaps = some(sim, 900),
                .registry_lies = some(sim, 60),
                .store_down = some(sim, 8), .store_slow = some(sim, 60) };
}

/* --- the network that lies ------------------------------------------------------------------------------------------ */

struct published {
        struct sim_worker *worker;
        struct sim_link *to;
        unsigned connection; /* of the subscriber */
        const char *text;
};

static void message_arrives(struct sim *sim, void *arg)
{
        const struct published *published = arg;

        if (published->to->connection != published->connection)
                return; /* that connection is no more */
        if (published->worker)
                sim_worker_command(published->worker, published->text);
        else
                sim_master_reply(sim, published->text);
}

static void publish(void *arg, enum registry_channel channel, const struct id *to, const char *text)
{
        struct sim *sim = arg;
        struct published *published = sim_alloc(sim, sizeof *published);
        bool command = channel == REGISTRY_COMMANDS;

        if (sim_chance(sim, sim->faults.lose) || (!command && !id_equal(to, &sim->master_id)))
                return;
        published->worker = command ? sim_worker(sim, to) : NULL;
        published->to = command ? &published->worker->registry : &sim->registry_link;
        published->connection = published->to->connection;
        published->text = sim_text(sim, text);
        if (!published->to->up)
                return;
        for (unsigned copies = sim_chance(sim, sim->faults.twice) ? 2 : 1; copies > 0; copies--) {
                int64_t at = sim->now + 1 + (int64_t)sim_below(sim, SIM_LATENCY);

                if (sim_chance(sim, sim->faults.late))
                        at += (int64_t)sim_below(sim, 900);
                sim_at(sim, at, published->worker, command ? 0 : sim->master, message_arrives, published);
        }
}

/* --- the schedule ----------------------------------------------------------------------------------------------------- */

static struct sim_worker *any_worker(struct sim *sim)
{
        struct sim_worker *found = NULL;
        uint64_t seen = 0;

        for (struct sim_worker *w = sim->workers; w; w = w->next)
                if (w->alive && sim_below(sim, ++seen) == 0)
                        found = w;
        return found;
}

static void flush(struct sim *sim)
{
        sim_trace(sim, "FLUSHALL");
        registry_memory_flush(sim->registry);
}

/* Nobody but the master runs. */
static void pause_all(struct sim *sim)
{
        int64_t until = sim->now + between(sim, 100, 3 * LEASE_MS);

        sim_trace(sim, "all workers are paused");
        for (struct sim_worker *w = sim->workers; w; w = w->next) {
                if (!w->alive || w->frozen_until > sim->now)
                        continue;
                w->frozen_at = sim->now;
                w->frozen_until = until;
        }
}

static void disturb(struct sim *sim)
{
        struct sim_worker *worker = any_worker(sim);

        if (worker && sim_chance(sim, sim->faults.worker_dies))
                sim_worker_die(sim, worker, "killed by signal 11 (SEGV)");
        if (worker && worker->alive && worker->frozen_until <= sim->now && sim_chance(sim, sim->faults.worker_freezes)) {
                worker->frozen_at = sim->now;
                worker->frozen_until = sim->now + between(sim, 100, 6000);
        }
        if (sim_chance(sim, sim->faults.pause))
                pause_all(sim);
        if (sim_chance(sim, sim->faults.master_dies))
                sim_master_die(sim);
        if (sim_chance(sim, sim->faults.flush))
                flush(sim);
        if (sim_chance(sim, sim->faults.registry_down))
                sim_registry_outage(sim);
        if (sim_chance(sim, sim->faults.registry_cut))
                sim_registry_cut(sim, sim_below(sim, 3) ? worker : NULL);
        if (sim_chance(sim, sim->faults.store_down))
                sim->store_down_until = sim->now + between(sim, 50, 2000);
        if (sim_chance(sim, sim->faults.store_slow))
                sim->store_slow_until = sim->now + between(sim, 20, 800);
}

static void turn(struct sim *sim, void *arg)
{
        uint64_t what = sim_below(sim, 100);

        if (what < 45)
                sim_client_spawn(sim);
        else if (what < 65)
                sim_client_terminate(sim);
        else if (what < 70)
                sim_client_restart(sim);
        else if (what < 72)
                sim_client_rollout(sim);
        else if (what < 73)
                sim_client_reset(sim);
        disturb(sim);
        if (sim->now - sim->started_at < FAULTY_MS)
                sim_at(sim, sim->now + between(sim, 0, what < 3 ? 1500 : 180), NULL, 0, turn, arg);
}

static void run_until(struct sim *sim, int64_t until)
{
        while (!sim->failed && sim->event_count && sim->events[0].at <= until)
                sim_step(sim);
        if (sim->now < until)
                sim->now = until;
}

static void shut_down(struct sim *sim)
{
        sim->closing = true;
        for (unsigned i = 0; i < SIM_POOLS; i++)
                pool_close(sim->pools[i], sim->now);
        sim_master_wake(sim);
        run_until(sim, sim->now + CLOSE_MS);
        if (!sim->failed)
                sim_check_closed(sim);
}

static void run_schedule(struct sim *sim)
{
        sim_at(sim, sim->now, NULL, 0, turn, NULL);
        sim_master_start(sim);
        run_until(sim, sim->started_at + FAULTY_MS);
        sim->quiet = true;
        sim->store_down_until = 0;
        run_until(sim, sim->now + SETTLE_MS / 4); /* what was under way may still fail */
        sim_client_reset(sim);
        run_until(sim, sim->now + SETTLE_MS);
        if (!sim->failed)
                sim_check_quiet(sim);
        if (!sim->failed)
                shut_down(sim);
}

static void begin(struct sim *sim, uint64_t seed, bool verbose)
{
        *sim = (struct sim){ .seed = seed, .random = seed, .verbose = verbose, .command_text = "sim", .now = 1000000,
                .started_at = 1000000 };
        for (unsigned i = 0; i < SIM_POOLS; i++)
                configure(sim, i);
        choose_faults(sim);
        sim->registry = registry_memory_new(publish, sim);
        sim->store_link.up = true;
}

static void end(struct sim *sim)
{
        for (unsigned i = 0; i < SIM_POOLS; i++)
                pool_free(sim->pools[i]);
        for (struct sim_worker *w = sim->workers; w; w = w->next)
                roster_free(w->roster);
        registry_memory_free(sim->registry);
        registry_memory_free(sim->saved);
        HASH_CLEAR(hh, sim->rows);
        HASH_CLEAR(hh, sim->promises);
        free(sim->events);
        sim_free_all(sim);
}

static bool run_seed(uint64_t seed, bool verbose, uint64_t *events)
{
        static struct sim sim;
        bool failed;

        begin(&sim, seed, verbose);
        run_schedule(&sim);
        *events += sim.events_run;
        failed = sim.failed;
        if (failed)
                printf("seed %llu failed: %s\n", (unsigned long long)seed, sim.why);
        end(&sim);
        return !failed;
}

int main(int argc, char **argv)
{
        uint64_t first = 1, count = 1000, events = 0, failures = 0, seed;
        bool verbose = false, stop = false;

        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--verbose") == 0) {
                        verbose = true;
                } else if (strcmp(argv[i], "--stop") == 0) {
                        stop = true;
                } else if (strcmp(argv[i], "--first") == 0 && i + 1 < argc) {
                        first = strtoull(argv[++i], NULL, 10);
                } else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
                        count = strtoull(argv[++i], NULL, 10);
                } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
                        first = strtoull(argv[++i], NULL, 10);
                        count = 1;
                } else {
                        fprintf(stderr, "usage: sim [--first S] [--seeds N] [--stop] [--seed S] [--verbose]\n");
                        return 2;
                }
        }
        for (seed = first; seed < first + count && !(stop && failures); seed++) {
                if (run_seed(seed, verbose, &events))
                        continue;
                printf("replay with: sim --seed %llu --verbose\n", (unsigned long long)seed);
                if (failures++ == 0 && !verbose && !stop) /* the first failure with its trace at once */
                        run_seed(seed, true, &events);
        }
        printf("%llu seeds, %llu events, %llu failures\n", (unsigned long long)(seed - first), (unsigned long long)events,
                (unsigned long long)failures);
        return failures ? 1 : 0;
}
