/* The events of a pool, and the queue of actions that follow from them. */
#include "registry/core/pool_internal.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Equal times: by id, so that every run of the same events takes the same turns. */
static int compare_agents(const struct agent *a, const struct agent *b)
{
        if (a->timer_at != b->timer_at)
                return a->timer_at < b->timer_at ? -1 : 1;
        return memcmp(a->agent_id.b, b->agent_id.b, sizeof a->agent_id.b);
}

static int compare_workers(const struct pool_worker *a, const struct pool_worker *b)
{
        if (a->timer_at != b->timer_at)
                return a->timer_at < b->timer_at ? -1 : 1;
        return memcmp(a->process_id.b, b->process_id.b, sizeof a->process_id.b);
}

RB_PROTOTYPE(agent_timers, agent, timer, compare_agents)
RB_PROTOTYPE(worker_timers, pool_worker, timer, compare_workers)
RB_GENERATE(agent_timers, agent, timer, compare_agents)
RB_GENERATE(worker_timers, pool_worker, timer, compare_workers)

static int64_t earlier(int64_t a, int64_t b)
{
        return a == 0 || (b != 0 && b < a) ? b : a;
}

void pool_agent_time(struct agent *agent)
{
        struct pool *pool = agent->pool;
        int64_t at = earlier(earlier(agent->deadline, agent->idle_at), earlier(agent->resend_at, agent->store_retry_at));

        if (at == agent->timer_at)
                return;
        if (agent->timer_at)
                RB_REMOVE(agent_timers, &pool->agent_timers, agent);
        agent->timer_at = at;
        if (at)
                RB_INSERT(agent_timers, &pool->agent_timers, agent);
}

void pool_worker_time(struct pool_worker *worker)
{
        struct pool *pool = worker->pool;
        int64_t at = earlier(worker->deadline, worker->state == WORKER_READY ? worker->look_at : 0);

        if (at == worker->timer_at)
                return;
        if (worker->timer_at)
                RB_REMOVE(worker_timers, &pool->worker_timers, worker);
        worker->timer_at = at;
        if (at)
                RB_INSERT(worker_timers, &pool->worker_timers, worker);
}

/* --- actions ----------------------------------------------------------------------------------------------------- */

static struct pool_action *push(struct pool *pool, enum pool_action_type type)
{
        static struct pool_action lost; /* written, never read */
        struct pool_node *node = malloc(sizeof *node);

        if (!node) {
                pool->broken = true;
                return &lost;
        }
        memset(&node->action, 0, offsetof(struct pool_action, detail) + 1);
        node->action.type = type;
        STAILQ_INSERT_TAIL(&pool->actions, node, link);
        return &node->action;
}

void pool_push(struct pool *pool, enum pool_action_type type, struct agent *agent, struct pool_worker *worker)
{
        struct pool_action *action = push(pool, type);

        action->agent = agent;
        action->worker = worker;
}

void pool_push_release(struct pool *pool, const struct agent *agent)
{
        struct pool_action *action = push(pool, POOL_RELEASE);

        action->agent_id = agent->agent_id;
        action->epoch = agent->epoch;
}

void pool_push_evict(struct pool *pool, struct pool_worker *worker, const struct id *agent_id, uint64_t epoch)
{
        struct pool_action *action = push(pool, POOL_EVICT);

        action->worker = worker;
        action->agent_id = *agent_id;
        action->epoch = epoch;
        pool->evicted[pool->next_evicted++ % POOL_EVICTED] = (struct pool_evicted){ *agent_id, epoch };
}

uint64_t pool_evicted_epoch(const struct pool *pool, const struct id *agent_id)
{
        uint64_t epoch = 0;

        for (unsigned i = 0; i < POOL_EVICTED; i++)
                if (id_equal(&pool->evicted[i].agent_id, agent_id) && pool->evicted[i].epoch > epoch)
                        epoch = pool->evicted[i].epoch;
        return epoch;
}

void pool_push_answer(struct pool *pool, struct agent *agent, void *waiter, enum pool_error error, const char *detail)
{
        struct pool_action *action = push(pool, POOL_ANSWER);

        action->agent = agent;
        action->waiter = waiter;
        action->error = error;
        snprintf(action->detail, sizeof action->detail, "%s", detail);
}

void pool_push_event(struct pool *pool, const char *event, struct agent *agent, struct pool_worker *worker,
        const char *detail)
{
        struct pool_action *action = push(pool, POOL_EVENT);

        action->event = event;
        action->agent = agent;
        action->worker = worker;
        snprintf(action->detail, sizeof action->detail, "%s", detail);
}

static void free_shown(struct pool *pool)
{
        if (!pool->shown)
                return;
        if (pool->shown->action.type == POOL_FORGET_AGENT)
                agent_free(pool->shown->action.agent);
        if (pool->shown->action.type == POOL_FORGET_WORKER)
                free(pool->shown->action.worker);
        free(pool->shown);
        pool->shown = NULL;
}

/* Its reply came between the action and its turn. */
static bool is_done(const struct pool_action *action)
{
        const struct agent *agent = action->agent;

        return action->type == POOL_SEND && agent->phase != PHASE_SENT && agent->phase != PHASE_WITHDRAWN
                && agent->state != AGENT_STOPPING;
}

bool pool_next_action(struct pool *pool, struct pool_action *ret_action)
{
        struct pool_action *action;

        do {
                free_shown(pool);
                pool->shown = STAILQ_FIRST(&pool->actions);
                if (!pool->shown)
                        return false;
                STAILQ_REMOVE_HEAD(&pool->actions, link);
                action = &pool->shown->action;
        } while (is_done(action));
        if (action->type == POOL_ANSWER)
                action->agent->waiter = action->waiter;
        if (action->type <= POOL_STORE_STATE) /* a row never says "stopping": a restore must not bring it back */
                action->state = action->agent->state == AGENT_STOPPING ? AGENT_TERMINATED : action->agent->state;
        *ret_action = *action;
        return true;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct pool *pool_new(const struct pool_config *config, uint64_t random, int64_t now)
{
        struct pool *pool = calloc(1, sizeof *pool);

        if (!pool)
                return NULL;
        pool->config = config;
        breaker_init(&pool->breakers[POOL_WORKERS], now);
        breaker_init(&pool->breakers[POOL_AGENTS], now);
        pool->random = random;
        pool->fork_backoff = (struct backoff){ .base_ms = 100, .cap_ms = 30000 };
        STAILQ_INIT(&pool->actions);
        TAILQ_INIT(&pool->fresh);
        TAILQ_INIT(&pool->again);
        TAILQ_INIT(&pool->fresh_aside);
        TAILQ_INIT(&pool->again_aside);
        TAILQ_INIT(&pool->restoring);
        RB_INIT(&pool->agent_timers);
        RB_INIT(&pool->worker_timers);
        return pool;
}

/* What queued actions still forget is in no table any more. */
static void drop_actions(struct pool *pool)
{
        do {
                free_shown(pool);
                pool->shown = STAILQ_FIRST(&pool->actions);
                if (pool->shown)
                        STAILQ_REMOVE_HEAD(&pool->actions, link);
        } while (pool->shown);
}

struct pool *pool_free(struct pool *pool)
{
        struct agent *agent, *next_agent;
        struct pool_worker *worker, *next_worker;

        if (!pool)
                return NULL;
        drop_actions(pool);
        HASH_ITER(hh, pool->agents, agent, next_agent) {
                HASH_DEL(pool->agents, agent);
                agent_free(agent);
        }
        HASH_ITER(hh, pool->workers, worker, next_worker) {
                HASH_DEL(pool->workers, worker);
                free(worker);
        }
        free(pool);
        return NULL;
}

const struct pool_config *pool_config(const struct pool *pool)
{
        return pool->config;
}

void pool_count_on(struct pool *pool, uint64_t spawned, uint64_t terminated)
{
        pool->workers_spawned += spawned;
        pool->workers_terminated += terminated;
}

bool pool_broken(const struct pool *pool)
{
        return pool->broken;
}

static void close_agent(struct agent *agent, int64_t now)
{
        bool unplaced = !agent->worker && agent->phase != PHASE_RESERVING;

        if (!agent->answered && agent_state_wanted(agent->state)) {
                pool_abandon(agent, POOL_E_CLOSING, "the pool is shutting down", now);
        } else if (unplaced && agent->state == AGENT_STOPPING) {
                pool_agent_gone(agent, now);
        } else if (unplaced && agent_state_wanted(agent->state)) {
                agent->resend_at = 0;
                pool_set_phase(agent, PHASE_NONE);
                pool_agent_time(agent);
        }
}

void pool_close(struct pool *pool, int64_t now)
{
        struct agent *agent, *next_agent;
        struct pool_worker *worker, *next_worker;

        if (pool->closing)
                return;
        pool->closing = true;
        pool->wake_at = 0;
        HASH_ITER(hh, pool->agents, agent, next_agent)
                close_agent(agent, now);
        HASH_ITER(hh, pool->workers, worker, next_worker)
                pool_close_worker(worker, now);
}

bool pool_closed(const struct pool *pool)
{
        return pool->closing && !pool->workers && pool->ending == 0;
}

/* --- time --------------------------------------------------------------------------------------------------------- */

int64_t pool_next_deadline(const struct pool *pool)
{
        struct agent_timers agent_timers = pool->agent_timers;
        struct worker_timers worker_timers = pool->worker_timers;
        struct agent *agent = RB_MIN(agent_timers, &agent_timers);
        struct pool_worker *worker = RB_MIN(worker_timers, &worker_timers);
        int64_t at = earlier(pool->wake_at, earlier(agent ? agent->timer_at : 0, worker ? worker->timer_at : 0));

        return at ? at : INT64_MAX;
}

void pool_tick(struct pool *pool, int64_t now)
{
        struct agent *agent;
        struct pool_worker *worker;

        while ((agent = RB_MIN(agent_timers, &pool->agent_timers)) && agent->timer_at <= now)
                pool_agent_due(agent, now);
        while ((worker = RB_MIN(worker_timers, &pool->worker_timers)) && worker->timer_at <= now)
                pool_worker_due(worker, now);
        pool_pump(pool, now);
}

void pool_wake_at(struct pool *pool, int64_t at)
{
        pool->wake_at = earlier(pool->wake_at, at);
}

/* splitmix64 (Vigna): any state is a good one. */
static uint64_t random_next(struct pool *pool)
{
        uint64_t z = pool->random += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

uint32_t pool_random(struct pool *pool)
{
        return (uint32_t)(random_next(pool) >> 32);
}

struct id pool_new_id(struct pool *pool)
{
        uint64_t words[2] = { random_next(pool), random_next(pool) };
        struct id id;

        memcpy(id.b, words, sizeof id.b);
        id.b[6] = (uint8_t)((id.b[6] & 0x0f) | 0x40); /* version 4, RFC 9562 */
        id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
        return id;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

struct agent *pool_agent(const struct pool *pool, const struct id *agent_id)
{
        struct agent *agent;

        HASH_FIND(hh, pool->agents, agent_id, sizeof *agent_id, agent);
        return agent;
}

struct pool_worker *pool_worker(const struct pool *pool, const struct id *process_id)
{
        struct pool_worker *worker;

        HASH_FIND(hh, pool->workers, process_id, sizeof *process_id, worker);
        return worker;
}

struct agent *pool_first_agent(const struct pool *pool)
{
        return pool->agents;
}

struct pool_worker *pool_first_worker(const struct pool *pool)
{
        return pool->workers;
}

void pool_hold(struct pool *pool, bool held)
{
        pool->held = held;
}

void pool_stats(const struct pool *pool, struct pool_stats *ret_stats)
{
        const struct breaker *workers = &pool->breakers[POOL_WORKERS], *agents = &pool->breakers[POOL_AGENTS];

        *ret_stats = (struct pool_stats){
                .workers_starting = pool->workers_by_state[WORKER_STARTING],
                .workers_ready = pool->workers_by_state[WORKER_READY],
                .workers_draining = pool->workers_by_state[WORKER_DRAINING],
                .workers_stale = pool->workers_by_state[WORKER_STALE],
                .capacity = pool->capacity,
                .used = pool->used,
                .agents = pool->by_state[AGENT_STARTING] + pool->by_state[AGENT_IDLE] + pool->by_state[AGENT_BUSY]
                        + pool->by_state[AGENT_STOPPING],
                .waiting = pool->in_phase[PHASE_WAITING],
                .workers_spawned = pool->workers_spawned,
                .workers_terminated = pool->workers_terminated,
                .spawns_ok = pool->spawns_ok,
                .spawns_failed = pool->spawns_failed,
                .idle_ends = pool->idle_ends,
                .held = pool->held,
                .degraded = workers->state != BREAKER_CLOSED || agents->state != BREAKER_CLOSED,
                .rollout = pool->rollout,
        };
        memcpy(ret_stats->by_state, pool->by_state, sizeof pool->by_state);
        if (workers->state != BREAKER_CLOSED)
                snprintf(ret_stats->reason, sizeof ret_stats->reason, "workers do not start: %s", workers->reason);
        else if (agents->state != BREAKER_CLOSED)
                snprintf(ret_stats->reason, sizeof ret_stats->reason, "agents do not stay: %s", agents->reason);
}
