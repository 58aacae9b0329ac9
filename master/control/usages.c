/* Rounds of questions to workers, each with its deadline. */
#include "master/control/usages.h"

#include "common/clock.h"
#include "common/timer.h"
#include "master/control/pools.h"
#include "master/control/workers.h"

#include <stdlib.h>
#include <sys/queue.h>

#define WAIT_MS 500
#define REFRESH_MS 1000

/* Somebody waits. */
struct round {
        struct usages *usages;
        int64_t number;
        unsigned left; /* workers that have not answered */
        struct timer deadline;
        void (*done)(void *arg);
        void *arg;
        TAILQ_ENTRY(round) link;
};

struct usages {
        struct master *master;
        int64_t numbers, refreshed_at;
        TAILQ_HEAD(, round) rounds;
};

struct usages *usages_new(struct master *master)
{
        struct usages *usages = calloc(1, sizeof *usages);

        if (!usages)
                return NULL;
        usages->master = master;
        TAILQ_INIT(&usages->rounds);
        return usages;
}

static void finish(struct round *round)
{
        void (*done)(void *arg) = round->done;
        void *arg = round->arg;

        TAILQ_REMOVE(&round->usages->rounds, round, link);
        timer_stop(&round->deadline);
        free(round);
        done(arg);
}

struct usages *usages_free(struct usages *usages)
{
        struct round *round;

        while (usages && (round = TAILQ_FIRST(&usages->rounds)))
                finish(round);
        free(usages);
        return NULL;
}

static void on_deadline(void *arg)
{
        finish(arg);
}

/* Returns how many were asked. */
static unsigned ask_pool(struct usages *usages, const struct master_pool *pool, const struct id *only, int64_t number)
{
        struct control ask = { .type = CONTROL_USAGE, .number = number };
        unsigned asked = 0;

        if (pool->config->runtime.type != POOL_RUNTIME_COMMAND)
                return 0;
        for (const struct pool_worker *w = pool_first_worker(pool->rules); w; w = w->hh.next)
                if (w->used > 0 && (!only || id_equal(only, &w->process_id)))
                        asked += workers_send(usages->master->workers, &w->process_id, &ask) == 0;
        return asked;
}

/* Returns the number asked under, and *ret_asked workers. */
static int64_t ask(struct usages *usages, const struct master_pool *pool, const struct id *only, unsigned *ret_asked)
{
        int64_t number = ++usages->numbers;

        *ret_asked = 0;
        for (size_t i = 0; i < pools_count(usages->master->pools); i++)
                if (!pool || pool == pools_at(usages->master->pools, i))
                        *ret_asked += ask_pool(usages, pools_at(usages->master->pools, i), only, number);
        return number;
}

void usages_ask(struct usages *usages, const struct master_pool *pool, const struct id *only, void (*done)(void *arg), void *arg)
{
        struct round *round = malloc(sizeof *round);
        unsigned asked = 0;
        int64_t number = round ? ask(usages, pool, only, &asked) : 0;

        if (asked == 0) {
                free(round);
                done(arg);
                return;
        }
        *round = (struct round){ .usages = usages, .number = number, .left = asked, .done = done, .arg = arg };
        timer_init(&round->deadline, usages->master->base, on_deadline, round);
        timer_once(&round->deadline, WAIT_MS);
        TAILQ_INSERT_TAIL(&usages->rounds, round, link);
}

void usages_refresh(struct usages *usages)
{
        int64_t now = clock_mono_ms();
        unsigned asked;

        if (usages->refreshed_at && now - usages->refreshed_at < REFRESH_MS)
                return;
        usages->refreshed_at = now;
        ask(usages, NULL, NULL, &asked);
}

static struct pool_worker *find_worker(const struct usages *usages, const struct id *process_id)
{
        struct pool_worker *worker = NULL;

        for (size_t i = 0; i < pools_count(usages->master->pools) && !worker; i++)
                worker = pool_worker(pools_at(usages->master->pools, i)->rules, process_id);
        return worker;
}

/* Portions of one answer add up; the first of another begins anew. */
static void take_used(struct pool_worker *worker, const struct control *used, int64_t now)
{
        if (worker->usage_number != used->number)
                worker->agents_usage = (struct usage){ 0 };
        worker->usage_number = used->number;
        for (size_t i = 0; i < used->used_count; i++) {
                const struct usage *usage = &used->used[i].usage;
                struct agent *agent = pool_agent(worker->pool, &used->used[i].agent_id);

                worker->agents_usage.cpu_ms += usage->cpu_ms;
                worker->agents_usage.rss_bytes += usage->rss_bytes;
                worker->agents_usage.processes += usage->processes;
                if (!agent || agent->worker != worker || agent->epoch != used->used[i].epoch)
                        continue;
                agent->usage = *usage;
                agent->usage_epoch = agent->epoch;
                agent->usage_at = now;
        }
}

void usages_take(struct usages *usages, const struct id *process_id, const struct control *used)
{
        struct pool_worker *worker = find_worker(usages, process_id);
        struct round *round;

        if (worker)
                take_used(worker, used, clock_wall_ms());
        if (used->more)
                return;
        TAILQ_FOREACH(round, &usages->rounds, link)
                if (round->number == used->number && --round->left == 0) {
                        finish(round);
                        return;
                }
}
