/* The two breakers of a pool: one for workers that do not start or end before an agent ran in them, one for agents that do
 * not start or end before they are healthy. While one is open its kind is not started; what runs is left alone. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_agents.h"
#include "registry/core/pool_breaker.h"
#include "registry/core/pool_rollout.h"

#include <stdio.h>

static const char *const kinds[POOL_BREAKERS] = { [POOL_WORKERS] = "workers", [POOL_AGENTS] = "agents" };

const struct breaker *pool_breaker(const struct pool *pool, enum pool_breaker which)
{
        return &pool->breakers[which];
}

static void tell(struct pool *pool, enum pool_breaker which, const char *event, const char *why)
{
        char detail[192];

        snprintf(detail, sizeof detail, "%s: %.170s", kinds[which], why);
        pool_push_event(pool, event, NULL, NULL, detail);
}

/* What can be said to clients of an open or half open breaker, with when to come again. */
static void describe(const struct pool *pool, enum pool_breaker which, int64_t now, char detail[192])
{
        const struct breaker *breaker = &pool->breakers[which];

        if (breaker->state == BREAKER_HALF_OPEN)
                snprintf(detail, 192, "the pool's breaker for %s is half open: one is being tried; last: %.115s", kinds[which],
                        breaker->reason);
        else if (pool->config->breaker.auto_reset)
                snprintf(detail, 192, "the pool's breaker for %s is open for %lld s more: %.115s", kinds[which],
                        (long long)pool_retry_seconds(pool, now), breaker->reason);
        else
                snprintf(detail, 192, "the pool's breaker for %s is open until it is reset: %.115s", kinds[which],
                        breaker->reason);
}

int64_t pool_retry_seconds(const struct pool *pool, int64_t now)
{
        int64_t longest = 1;

        for (int i = 0; i < POOL_BREAKERS; i++) {
                const struct breaker *breaker = &pool->breakers[i];
                int64_t at = breaker_cooled_at(breaker, &pool->config->breaker);
                int64_t left = at < INT64_MAX ? (at - now + 999) / 1000 : pool->config->breaker.cooldown_seconds;

                if (breaker->state == BREAKER_OPEN && left > longest)
                        longest = left;
        }
        return longest;
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

/* Spawns that wait are answered at once: they may come again when it is over. */
static void opened(struct pool *pool, enum pool_breaker which, int64_t now)
{
        char detail[192];
        struct agent *agent;

        tell(pool, which, "breaker_opened", pool->breakers[which].reason);
        describe(pool, which, now, detail);
        while ((agent = TAILQ_FIRST(&pool->fresh)))
                pool_abandon(agent, POOL_E_BREAKER, detail, now);
}

static void failed(struct pool *pool, enum pool_breaker which, const char *reason, unsigned at_least, int64_t now)
{
        if (breaker_failed(&pool->breakers[which], &pool->config->breaker, reason, at_least, now))
                opened(pool, which, now);
}

void pool_worker_failed(struct pool_worker *worker, const char *reason, int64_t now)
{
        struct pool *pool = worker->pool;

        if (!worker->outdated)
                pool_rollout_failed(pool, reason);
        failed(pool, POOL_WORKERS, reason, 0, now);
}

/* A pool in which more agents run than failed lately is not broken: their restart policy deals with those. */
void pool_agent_failed(struct pool *pool, const char *reason, int64_t now)
{
        failed(pool, POOL_AGENTS, reason, pool->by_state[AGENT_IDLE] + pool->by_state[AGENT_BUSY], now);
}

/* --- tries of half open ones -------------------------------------------------------------------------------------- */

static void succeeded(struct pool *pool, enum pool_breaker which, int64_t now)
{
        if (breaker_succeeded(&pool->breakers[which], now))
                tell(pool, which, "breaker_closed", "they start again");
}

void pool_worker_proved(struct pool_worker *worker, int64_t now)
{
        if (worker->proved)
                return;
        worker->proved = true;
        succeeded(worker->pool, POOL_WORKERS, now);
}

/* A ready one that is neither proved nor gone: whether it lives is not known yet. */
static struct pool_worker *worker_on_trial(const struct pool *pool)
{
        struct pool_worker *worker = pool->workers;

        while (worker && (worker->state != WORKER_READY || worker->proved || worker->ready_at < pool->breakers[POOL_WORKERS].since))
                worker = worker->hh.next;
        return worker;
}

bool pool_may_fork(const struct pool *pool)
{
        const struct breaker *breaker = &pool->breakers[POOL_WORKERS];

        return breaker->state == BREAKER_CLOSED || (breaker->state == BREAKER_HALF_OPEN &&
                pool->workers_by_state[WORKER_STARTING] == 0 && !worker_on_trial(pool));
}

static bool agent_on_trial(const struct pool *pool)
{
        const struct agent *trial = pool->trial;

        return trial && agent_state_wanted(trial->state) &&
               (trial->phase == PHASE_RESERVING || trial->phase == PHASE_SENT || trial->running_since);
}

bool pool_may_start(const struct pool *pool)
{
        const struct breaker *breaker = &pool->breakers[POOL_AGENTS];

        return breaker->state == BREAKER_CLOSED || (breaker->state == BREAKER_HALF_OPEN && !agent_on_trial(pool));
}

void pool_start_tried(struct agent *agent)
{
        if (agent->pool->breakers[POOL_AGENTS].state == BREAKER_HALF_OPEN)
                agent->pool->trial = agent;
}

enum pool_error pool_breaker_refuses(const struct pool *pool, bool room, int64_t now, char detail[192])
{
        bool agents = !pool_may_start(pool) || (pool->breakers[POOL_AGENTS].state == BREAKER_HALF_OPEN &&
                pool->in_phase[PHASE_WAITING] > 0);
        bool workers = pool->breakers[POOL_WORKERS].state == BREAKER_OPEN && !room;

        if (!agents && !workers)
                return POOL_OK;
        describe(pool, agents ? POOL_AGENTS : POOL_WORKERS, now, detail);
        return POOL_E_BREAKER;
}

/* --- time, and operators ------------------------------------------------------------------------------------------ */

static void cool(struct pool *pool, enum pool_breaker which, int64_t now)
{
        struct breaker *breaker = &pool->breakers[which];

        if (breaker_cooled(breaker, &pool->config->breaker, now))
                tell(pool, which, "breaker_half_open", "one is tried");
        else if (breaker_cooled_at(breaker, &pool->config->breaker) < INT64_MAX)
                pool_wake_at(pool, breaker_cooled_at(breaker, &pool->config->breaker));
}

void pool_pump_breakers(struct pool *pool, int64_t now)
{
        int64_t healthy_ms = pool->config->restart.healthy_seconds * 1000;
        struct pool_worker *worker;

        cool(pool, POOL_WORKERS, now);
        cool(pool, POOL_AGENTS, now);
        if (pool->breakers[POOL_WORKERS].state == BREAKER_HALF_OPEN && (worker = worker_on_trial(pool))) {
                if (now - worker->ready_at >= POOL_LOOK_MS)
                        pool_worker_proved(worker, now);
                else
                        pool_wake_at(pool, worker->ready_at + POOL_LOOK_MS);
        }
        if (pool->breakers[POOL_AGENTS].state == BREAKER_HALF_OPEN && agent_on_trial(pool) && pool->trial->running_since) {
                if (now - pool->trial->running_since >= healthy_ms)
                        succeeded(pool, POOL_AGENTS, now);
                else
                        pool_wake_at(pool, pool->trial->running_since + healthy_ms);
        }
}

void pool_reset_breakers(struct pool *pool, int64_t now)
{
        for (int i = 0; i < POOL_BREAKERS; i++)
                if (breaker_reset(&pool->breakers[i], now))
                        tell(pool, (enum pool_breaker)i, "breaker_closed", "reset by hand");
        backoff_reset(&pool->fork_backoff);
        pool->trial = NULL;
}
