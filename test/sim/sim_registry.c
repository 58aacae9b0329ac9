/* The registry goes away and comes back: dead (empty, with old contents, or as it was), hung (what it received meanwhile is
 * done late), or a connection cut. And what a master makes of it (master/control/degraded.c). */
#include "test/sim/sim.h"

#define START_GRACE_MS 300

static int64_t soon(struct sim *sim, int64_t least, int64_t most)
{
        return sim->now + least + (int64_t)sim_below(sim, (uint64_t)(most - least + 1));
}

bool sim_registry_away(const struct sim *sim)
{
        return sim->outage != OUTAGE_NONE;
}

/* --- the master's decision ------------------------------------------------------------------------------------------- */

static void flap(struct sim *sim, void *arg)
{
        (void)arg;
        if (sim_below(sim, 2))
                sim_registry_outage(sim);
        else
                sim_registry_cut(sim, NULL);
}

static void decide(struct sim *sim, bool up)
{
        bool first = !sim->decided, change = sim->degraded == up;

        sim->decided = true;
        sim->degraded = !up;
        sim_trace(sim, "the registry is %s", up ? "used" : "away");
        if (change) {
                sim->generation++;
                sim->since = up ? sim->since : sim->generation;
                for (struct sim_worker *w = sim->workers; w; w = w->next)
                        if (w->alive)
                                sim_worker_registry(sim, w);
        }
        for (unsigned i = 0; i < SIM_POOLS; i++) {
                if (change)
                        pool_registry(sim->pools[i], up, sim->now);
                if (first)
                        pool_restored(sim->pools[i], sim->now);
        }
        if (up && sim_chance(sim, sim->faults.registry_flaps))
                sim_at(sim, soon(sim, 0, 60), NULL, sim->master, flap, NULL);
        sim_master_wake(sim);
}

struct clear {
        unsigned pool;
        int result;
};

static void do_clear(struct sim *sim, void *arg)
{
        registry_memory_clear(sim->registry, sim->pool_names[((const struct clear *)arg)->pool]);
}

static void on_cleared(struct sim *sim, void *arg)
{
        const struct clear *clear = arg;

        if (clear->result == 0 && --sim->clearing == 0)
                decide(sim, true);
}

static void begin_return(struct sim *sim)
{
        sim->clearing = SIM_POOLS;
        for (unsigned i = 0; i < SIM_POOLS; i++) {
                struct clear *clear = sim_alloc(sim, sizeof *clear);

                clear->pool = i;
                sim_request_over(sim, &sim->registry_link, NULL, sim->master, do_clear, on_cleared, clear, &clear->result);
        }
}

static void try_connect(struct sim *sim, void *arg)
{
        (void)arg;
        if (sim->registry_link.up)
                return;
        if (sim_registry_away(sim)) {
                if (!sim->decided && sim->now - sim->master_started_at > START_GRACE_MS)
                        decide(sim, false);
                sim_at(sim, soon(sim, 20, 120), NULL, sim->master, try_connect, NULL);
                return;
        }
        sim->registry_link.up = true;
        if (sim->distrusted && !sim->degraded)
                decide(sim, false);
        if (sim->degraded)
                begin_return(sim);
        else
                decide(sim, true);
}

void sim_registry_distrust(struct sim *sim)
{
        sim->distrusted = true;
        if (!sim->decided || sim->degraded)
                return;
        decide(sim, false);
        if (sim->registry_link.up)
                begin_return(sim);
}

void sim_registry_connect(struct sim *sim)
{
        sim_at(sim, soon(sim, 1, 30), NULL, sim->master, try_connect, NULL);
}

static void master_link_lost(struct sim *sim, void *arg)
{
        (void)arg;
        if (!sim->registry_link.up)
                return;
        sim_link_lose(sim, &sim->registry_link);
        if (sim->decided && !sim->degraded)
                decide(sim, false);
        sim_registry_connect(sim);
        sim_master_wake(sim);
}

/* --- outages ---------------------------------------------------------------------------------------------------------- */

void sim_registry_cut(struct sim *sim, struct sim_worker *worker)
{
        if (worker)
                sim_at(sim, soon(sim, 1, 10), worker, 0, sim_worker_link_lost, worker);
        else
                sim_at(sim, soon(sim, 1, 10), NULL, sim->master, master_link_lost, NULL);
}

static void outage_ends(struct sim *sim, void *arg)
{
        (void)arg;
        sim_trace(sim, "the registry is back");
        sim->outage = OUTAGE_NONE;
}

/* Everybody notices for himself. */
static void lose_connections(struct sim *sim, int64_t least, int64_t most)
{
        sim_at(sim, soon(sim, least, most), NULL, sim->master, master_link_lost, NULL);
        for (struct sim_worker *w = sim->workers; w; w = w->next)
                if (w->alive)
                        sim_at(sim, soon(sim, least, most), w, 0, sim_worker_link_lost, w);
}

static void die(struct sim *sim)
{
        uint64_t contents = sim_below(sim, 4);

        if (contents == 0 && sim->saved) {
                registry_memory_free(sim->registry);
                sim->registry = registry_memory_copy(sim->saved);
        } else if (contents > 1) {
                registry_memory_flush(sim->registry);
        }
        lose_connections(sim, 1, 8);
}

void sim_registry_outage(struct sim *sim)
{
        int64_t lasts = 10 + (int64_t)sim_below(sim, sim_below(sim, 2) ? 200 : 3000);

        if (sim_below(sim, 3) == 0) {
                registry_memory_free(sim->saved);
                sim->saved = registry_memory_copy(sim->registry);
                return;
        }
        if (sim->outage)
                return;
        sim->outage = sim_below(sim, 2) ? OUTAGE_DEAD : OUTAGE_HUNG;
        sim->outage_until = sim->now + lasts;
        sim_trace(sim, "the registry %s", sim->outage == OUTAGE_DEAD ? "dies" : "hangs");
        if (sim->outage == OUTAGE_DEAD)
                die(sim);
        else if (lasts > 300)
                lose_connections(sim, 100, 300);
        sim_at(sim, sim->outage_until, NULL, 0, outage_ends, NULL);
}
