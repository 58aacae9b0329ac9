/* Lists, counters, timers and the queue of actions: whoever changes one of them does it here. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
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

void pool_wake_at(struct pool *pool, int64_t at)
{
        pool->wake_at = earlier(pool->wake_at, at);
}

int64_t pool_next_deadline(const struct pool *pool)
{
        struct agent_timers agent_timers = pool->agent_timers;
        struct worker_timers worker_timers = pool->worker_timers;
        struct agent *agent = RB_MIN(agent_timers, &agent_timers);
        struct pool_worker *worker = RB_MIN(worker_timers, &worker_timers);
        int64_t at = earlier(pool->wake_at, earlier(agent ? agent->timer_at : 0, worker ? worker->timer_at : 0));

        return at ? at : INT64_MAX;
}

struct agent *pool_due_agent(const struct pool *pool, int64_t now)
{
        struct agent_timers timers = pool->agent_timers;
        struct agent *agent = RB_MIN(agent_timers, &timers);

        return agent && agent->timer_at <= now ? agent : NULL;
}

struct pool_worker *pool_due_worker(const struct pool *pool, int64_t now)
{
        struct worker_timers timers = pool->worker_timers;
        struct pool_worker *worker = RB_MIN(worker_timers, &timers);

        return worker && worker->timer_at <= now ? worker : NULL;
}

/* --- actions ------------------------------------------------------------------------------------------------------ */

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

/* --- memory ------------------------------------------------------------------------------------------------------- */

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

const struct pool_config *pool_config(const struct pool *pool)
{
        return pool->config;
}

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

/* --- an agent in its lists ---------------------------------------------------------------------------------------- */

bool pool_add_agent(struct pool *pool, struct agent *agent)
{
        agent->pool = pool;
        HASH_ADD(hh, pool->agents, agent_id, sizeof agent->agent_id, agent);
        if (!agent->hh.tbl)
                return false;
        agent->phase = PHASE_NONE;
        pool->in_phase[PHASE_NONE]++;
        pool->by_state[agent->state]++;
        return true;
}

static struct pool_list *waiting_list(const struct agent *agent)
{
        struct pool *pool = agent->pool;

        if (agent->aside)
                return agent->answered ? &pool->again_aside : &pool->fresh_aside;
        return agent->answered ? &pool->again : &pool->fresh;
}

static void leave_list(struct agent *agent)
{
        struct pool *pool = agent->pool;

        if (agent->phase == PHASE_RESTORING)
                TAILQ_REMOVE(&pool->restoring, agent, pending);
        if (agent->phase != PHASE_WAITING)
                return;
        TAILQ_REMOVE(waiting_list(agent), agent, pending);
        pool->fresh_count -= !agent->answered;
        pool->fresh_aside_count -= agent->aside && !agent->answered;
        agent->aside = false;
}

/* Those that were refused a slot come back with asked set: to the front again. */
static void enter_list(struct agent *agent)
{
        struct pool *pool = agent->pool;
        struct pool_list *list = waiting_list(agent);

        if (agent->phase == PHASE_RESTORING)
                TAILQ_INSERT_TAIL(&pool->restoring, agent, pending);
        if (agent->phase != PHASE_WAITING)
                return;
        if (agent->placed_at)
                TAILQ_INSERT_HEAD(list, agent, pending);
        else
                TAILQ_INSERT_TAIL(list, agent, pending);
        pool->fresh_count += !agent->answered;
}

void pool_phase(struct agent *agent, enum agent_phase_event event)
{
        leave_list(agent);
        agent->pool->in_phase[agent->phase]--;
        if (agent_phase_apply(&agent->phase, event) < 0)
                abort(); /* a bug: the books are wrong, another master begins with those of the store */
        agent->pool->in_phase[agent->phase]++;
        enter_list(agent);
}

void pool_ask(struct agent *agent, enum agent_asked asked)
{
        if (agent->asked < asked)
                agent->asked = asked;
}

/* Answered ones wait in another list. */
void pool_set_answered(struct agent *agent, bool answered)
{
        leave_list(agent);
        agent->answered = answered;
        enter_list(agent);
}

void pool_set_state(struct agent *agent, enum agent_event event)
{
        enum agent_state before = agent->state;

        if (agent_state_apply(&agent->state, event) < 0)
                return;
        agent->pool->by_state[before]--;
        agent->pool->by_state[agent->state]++;
}

void pool_attach(struct agent *agent, struct pool_worker *worker, int64_t now)
{
        struct pool *pool = agent->pool;

        agent->worker = worker;
        agent->placed_at = now;
        TAILQ_INSERT_TAIL(&worker->agents, agent, on_worker);
        if (worker->state == WORKER_READY) {
                pool->used++;
                pool->empty -= worker->used == 0;
        }
        pool->placed++;
        worker->used++;
        worker->idle_since = worker->look_at = 0;
        pool_worker_time(worker);
}

void pool_detach(struct agent *agent, int64_t now)
{
        struct pool_worker *worker = agent->worker;
        struct pool *pool = agent->pool;

        agent->acked = false;
        agent->running_since = 0;
        if (pool->trial == agent)
                pool->trial = NULL;
        agent->resend_at = agent->idle_at = 0;
        if (!worker)
                return;
        agent->worker = NULL;
        TAILQ_REMOVE(&worker->agents, agent, on_worker);
        worker->used--;
        pool->placed--;
        pool->reserve_at = 0;
        if (worker->state == WORKER_READY) {
                pool->used--;
                pool->empty += worker->used == 0;
        }
        if (worker->used == 0) {
                worker->idle_since = now;
                worker->look_at = now + pool->config->worker_idle_timeout_ms;
        }
        pool_worker_time(worker);
}

void pool_forget_agent(struct agent *agent, int64_t now)
{
        struct pool *pool = agent->pool;

        pool_phase(agent, PHASE_EV_END);
        pool_detach(agent, now);
        agent->deadline = agent->store_retry_at = 0;
        pool_agent_time(agent);
        pool->in_phase[PHASE_NONE]--;
        pool->by_state[agent->state]--;
        HASH_DEL(pool->agents, agent);
        pool_push(pool, POOL_FORGET_AGENT, agent, NULL);
}

void pool_put_aside(struct agent *agent)
{
        TAILQ_REMOVE(waiting_list(agent), agent, pending);
        agent->aside = true;
        agent->pool->fresh_aside_count += !agent->answered;
        TAILQ_INSERT_TAIL(waiting_list(agent), agent, pending);
}

static void join_aside(struct pool_list *list, struct pool_list *aside)
{
        struct agent *agent;

        TAILQ_FOREACH(agent, aside, pending)
                agent->aside = false;
        TAILQ_CONCAT(aside, list, pending);
        TAILQ_CONCAT(list, aside, pending);
}

void pool_join_aside(struct pool *pool)
{
        join_aside(&pool->fresh, &pool->fresh_aside);
        join_aside(&pool->again, &pool->again_aside);
        pool->fresh_aside_count = 0;
}

unsigned pool_free_slots(const struct pool *pool)
{
        unsigned taken = pool->used + pool->in_phase[PHASE_RESERVING];

        return taken < pool->capacity ? pool->capacity - taken : 0;
}

unsigned pool_owed_slots(const struct pool *pool)
{
        return pool->placed - pool->used + pool->in_phase[PHASE_DELAYED] + pool->in_phase[PHASE_STORING]
                + (pool->unsettled ? 0 : pool->in_phase[PHASE_RESTORING]);
}
