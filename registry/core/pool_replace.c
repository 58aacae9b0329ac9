/* Rollout: the workers of an older program or configuration are replaced, a batch at a time. New workers are ready before
 * a batch of old ones is emptied, so when new ones fail nothing has been given up: the rollout halts. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_agents.h"
#include "registry/core/pool_breaker.h"
#include "registry/core/pool_replace.h"
#include "registry/core/pool_rollout.h"
#include "registry/core/pool_workers.h"

#include <errno.h>

static bool is_old(const struct pool_worker *worker)
{
        return worker->outdated && worker->state != WORKER_EXITED;
}

int pool_begin_rollout(struct pool *pool, unsigned batch_size, int64_t min_healthy_ms, int64_t now)
{
        struct pool_worker *worker;

        if (pool->closing)
                return -EPROTO;
        if (pool->rollout.state == ROLLOUT_RUNNING)
                return -EALREADY;
        pool->rollout = (struct pool_rollout){ .state = ROLLOUT_RUNNING, .batch_size = batch_size,
                .min_healthy_ms = min_healthy_ms };
        for (worker = pool->workers; worker; worker = worker->hh.next) {
                worker->outdated = true;
                pool->rollout.remaining++;
        }
        pool_push_event(pool, "rollout_started", NULL, NULL, "");
        pool_reset_breakers(pool, now);
        return 0;
}

/* Agents of a worker that is being emptied go elsewhere as soon as they can be moved. */
static unsigned move_agents(struct pool_worker *worker, int64_t now)
{
        struct agent *agent;
        unsigned left = 0;

        TAILQ_FOREACH(agent, &worker->agents, on_worker) {
                left++;
                if (!agent->acked || agent->phase != PHASE_NONE || !agent_state_wanted(agent->state))
                        continue;
                agent->start_reason = "rollout";
                pool_set_state(agent, AGENT_EV_PLACE);
                pool_withdraw(agent, true, now);
        }
        return left;
}

/* Old workers left, and how many of them are on their way out. An emptied worker has its deadline; one that still hosts
 * agents is given its time again. */
static unsigned count_old(struct pool *pool, unsigned *ret_leaving, int64_t now)
{
        struct pool_worker *worker;
        unsigned remaining = 0;

        *ret_leaving = 0;
        for (worker = pool->workers; worker; worker = worker->hh.next) {
                if (!is_old(worker))
                        continue;
                remaining++;
                if (worker->state == WORKER_READY || worker->state == WORKER_STARTING)
                        continue;
                ++*ret_leaving;
                if (worker->state == WORKER_DRAINING && move_agents(worker, now) > 0) {
                        worker->deadline = now + pool_end_ms(pool) + POOL_KILL_MARGIN_MS;
                        pool_worker_time(worker);
                }
        }
        return remaining;
}

static void begin_batch(struct pool *pool, unsigned size, int64_t now)
{
        struct pool_worker *worker;

        for (worker = pool->workers; worker && size > 0; worker = worker->hh.next) {
                if (!worker->outdated || worker->state != WORKER_READY)
                        continue;
                pool_drain_worker(worker, "it is being replaced", now);
                move_agents(worker, now);
                size--;
        }
        pool->rollout.healthy_at = now + pool->rollout.min_healthy_ms;
}

void pool_pump_rollout(struct pool *pool, int64_t now)
{
        struct pool_rollout *rollout = &pool->rollout;
        unsigned leaving, remaining;

        if (rollout->state != ROLLOUT_RUNNING)
                return;
        remaining = count_old(pool, &leaving, now);
        rollout->replaced += rollout->remaining - remaining;
        rollout->remaining = remaining;
        rollout->leaving = leaving;
        if (leaving == 0 && now < rollout->healthy_at) {
                pool_wake_at(pool, rollout->healthy_at);
        } else if (remaining == 0) {
                pool_rollout_finish(pool, ROLLOUT_FINISHED, "rollout_finished");
        } else if (leaving == 0 && pool_rollout_empty(pool) >= pool_rollout_surge(pool)) {
                begin_batch(pool, rollout->batch_size, now);
        }
}
