/* Agents end: because somebody asked, because nobody needs them, or by themselves; and what follows from that. */
#include "registry/core/pool_books.h" /* first: it says how uthash is to fail */
#include "registry/core/pool.h"
#include "registry/core/pool_agents.h"
#include "registry/core/pool_breaker.h"
#include "registry/core/pool_end.h"
#include "registry/core/pool_place.h"
#include "registry/core/pool_rollout.h"
#include "registry/core/restart_policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- asked for ---------------------------------------------------------------------------------------------------- */

/* How long a terminate waits for its answer. */
static int64_t ending_ms(const struct agent *agent)
{
        const struct pool_config *config = agent->pool->config;

        return pool_end_ms(agent->pool) - (agent->graceful ? 0 : config->drain_timeout_ms) + config->spawn_timeout_ms;
}

void pool_end_timed_out(struct agent *agent)
{
        long long waited = ending_ms(agent);
        char detail[192];

        snprintf(detail, sizeof detail, "not known to have ended within %lld ms; it is being ended all the same", waited);
        pool_answer_end(agent, POOL_E_TIMEOUT, detail);
}

static void fail_unanswered(struct agent *agent)
{
        struct pool *pool = agent->pool;

        agent->answered = true;
        agent->deadline = 0;
        pool->spawns_failed++;
        pool_push_answer(pool, agent, agent->waiter, POOL_E_ENDED, "it was terminated while it was starting");
}

/* One that may run keeps its place until it is certainly gone. */
void pool_begin_end(struct agent *agent, int64_t now)
{
        bool unknown = agent->phase == PHASE_RESERVING || agent->phase == PHASE_RESTORING;
        bool perhaps = agent->phase == PHASE_WAITING && agent->asked >= ASKED_UNCERTAIN;

        if (!unknown)
                pool_phase(agent, PHASE_EV_STOP);
        if (!agent->answered)
                fail_unanswered(agent);
        agent->command_id = pool_new_id(agent->pool);
        pool_set_state(agent, AGENT_EV_STOP);
        pool_store(agent);
        if (agent->worker) {
                pool_tell_end(agent, now);
        } else if (perhaps) {
                pool_reserve(agent, now); /* placed already: the same place again, and where to end it */
        } else if (!unknown) {
                pool_agent_gone(agent, now);
        }
}

int pool_take_terminate(struct agent *agent, bool graceful, void *waiter, int64_t now)
{
        bool hurry = !graceful && agent->graceful;
        struct pool *pool = agent->pool;

        if (agent->ending) {
                agent->graceful = graceful && agent->graceful;
                if (hurry && agent->worker && agent->state == AGENT_STOPPING) {
                        agent->command_id = pool_new_id(pool);
                        pool_tell_end(agent, now);
                }
                return -EALREADY;
        }
        agent->graceful = graceful;
        agent->ending = true;
        agent->ender = waiter;
        pool->ending++;
        if (agent_state_wanted(agent->state)) {
                pool_begin_end(agent, now);
        } else if (agent->state != AGENT_STOPPING) {
                pool_set_state(agent, AGENT_EV_GONE);
                pool_store(agent);
        }
        if (agent->ending) {
                agent->deadline = now + ending_ms(agent);
                pool_agent_time(agent);
        }
        return 0;
}

int pool_restart_agent(struct pool *pool, struct agent *agent, int64_t now)
{
        if (pool->closing || !agent->acked || agent->phase != PHASE_NONE || !agent_state_wanted(agent->state))
                return -EPROTO;
        agent->start_reason = "restart";
        agent->restarts++;
        pool_set_state(agent, AGENT_EV_PLACE);
        pool_withdraw(agent, true, now);
        return 0;
}

/* --- idle --------------------------------------------------------------------------------------------------------- */

static int64_t due_at(const struct agent *agent)
{
        return agent->idle_since + (int64_t)agent->max_idle_time * 1000;
}

void pool_idle_watch(struct agent *agent, int64_t now)
{
        agent->idle_since = now;
        agent->idle_at = agent->max_idle_time > 0 ? due_at(agent) : 0;
}

static void end_idle(struct agent *agent, int64_t now)
{
        struct agent_exit exit = { .code = 0 };

        snprintf(exit.reason, sizeof exit.reason, "idle for %d s", (int)agent->max_idle_time);
        pool_keep_exit(agent, &exit);
        agent->idled = agent->graceful = true;
        agent->pool->idle_ends++;
        pool_begin_end(agent, now);
}

/* A message only notes when it was, so that it costs no timer: what idle_at means is seen when it comes. */
void pool_idle_due(struct agent *agent, int64_t now)
{
        bool runs = agent->acked && agent->phase == PHASE_NONE && agent->state == AGENT_IDLE;

        agent->idle_at = 0;
        if (agent->pool->closing)
                return;
        if (runs && due_at(agent) <= now)
                end_idle(agent, now);
        else if (agent_state_wanted(agent->state))
                agent->idle_at = due_at(agent) > now ? due_at(agent) : now + POOL_LOOK_MS;
}

/* --- unasked ------------------------------------------------------------------------------------------------------ */

struct end {
        enum restart_cause cause;
        bool refused;                  /* it did not even try: no failure of the agent */
        bool exhausted;                /* it had not what it takes to start one: likewise */
        const struct agent_exit *exit; /* how, or why not */
};

static void stay_ended(struct agent *agent, enum restart_verdict verdict)
{
        const struct pool_restart_config *restart = &agent->pool->config->restart;
        const char *reason = agent->last_exit ? agent->last_exit->reason : "";
        bool stopped = verdict == RESTART_STOPPED;
        char detail[192];

        if (verdict == RESTART_TOO_OFTEN)
                snprintf(detail, sizeof detail, "more than %lld restarts in %lld s; last: %.120s",
                        (long long)restart->intensity, (long long)restart->period_seconds, reason);
        else
                snprintf(detail, sizeof detail, "%s", reason);
        if (verdict == RESTART_TOO_OFTEN && agent->last_exit)
                snprintf(agent->last_exit->reason, sizeof agent->last_exit->reason, "%.159s", detail);
        pool_set_state(agent, stopped ? AGENT_EV_ENDED : AGENT_EV_GAVE_UP);
        pool_store(agent);
        pool_push_event(agent->pool, stopped ? "agent_stopped" : "agent_failed", agent, NULL, detail);
}

static void start_again(struct agent *agent, const struct end *end, uint32_t delay_ms, int64_t now)
{
        agent->restarts++;
        agent->start_reason = end->cause == RESTART_WORKER_DIED ? "worker_exited" : "restart";
        if (delay_ms == 0) {
                pool_place_again(agent);
                return;
        }
        pool_set_state(agent, AGENT_EV_PLACE);
        pool_phase(agent, PHASE_EV_DELAY);
        agent->resend_at = now + delay_ms;
        pool_agent_time(agent);
}

/* Its worker's end says nothing about the pool's agents, nor does that of one that was healthy. */
static void judge_pool(const struct agent *agent, const struct end *end, int64_t running_since, int64_t now)
{
        struct pool *pool = agent->pool;

        if (end->cause == RESTART_START_FAILED)
                pool_rollout_failed(pool, end->exit->reason);
        if (end->cause != RESTART_WORKER_DIED
                && (!running_since || now - running_since < pool->config->restart.healthy_seconds * 1000))
                pool_agent_failed(pool, end->exit->reason, now);
}

/* The spawn is not answered yet: another worker only if it was no fault of the agent. */
static void unanswered_ended(struct agent *agent, const struct end *end, int64_t now)
{
        struct pool *pool = agent->pool;
        uint32_t delay_ms;

        judge_pool(agent, end, 0, now);
        /* Counted, so that an agent that kills its workers does not go on until its deadline. */
        if (end->cause == RESTART_WORKER_DIED
                && restart_decide(&pool->config->restart, agent, end->cause, end->exit, now, pool_random(pool), &delay_ms)
                        == RESTART_AGAIN)
                pool_place_again(agent);
        else
                pool_abandon(agent, POOL_E_START, end->exit->reason, now);
}

static void answered_ended(struct agent *agent, const struct end *end, int64_t running_since, int64_t now)
{
        struct pool *pool = agent->pool;
        enum restart_verdict verdict;
        uint32_t delay_ms = 0;

        pool_keep_exit(agent, end->exit);
        agent->running_since = running_since;
        verdict = restart_decide(&pool->config->restart, agent, end->cause, end->exit, now, pool_random(pool), &delay_ms);
        agent->running_since = 0;
        if (verdict != RESTART_STOPPED) {
                pool_push_event(pool, "agent_crashed", agent, NULL, end->exit->reason);
                judge_pool(agent, end, running_since, now);
        }
        if (verdict == RESTART_AGAIN)
                start_again(agent, end, delay_ms, now);
        else
                stay_ended(agent, verdict);
}

/* Later, and not counted as a restart: what exists goes on as soon as there is room. A new one is the client's to ask for
 * again. */
static void exhausted(struct agent *agent, const struct end *end, int64_t now)
{
        struct pool *pool = agent->pool;

        if (!agent->answered) {
                pool_abandon(agent, POOL_E_RESOURCES, end->exit->reason, now);
                return;
        }
        pool_keep_exit(agent, end->exit);
        pool_phase(agent, PHASE_EV_DELAY);
        agent->resend_at = now + POOL_EXHAUSTED_MS + pool_random(pool) % POOL_EXHAUSTED_MS;
        pool_agent_time(agent);
}

static void agent_ended(struct agent *agent, const struct end *end, int64_t now)
{
        bool withdrawn = agent->phase == PHASE_WITHDRAWN, restoring = agent->phase == PHASE_RESTORING;
        int64_t running_since = agent->running_since;

        if (agent->state == AGENT_STOPPING) {
                pool_agent_gone(agent, now);
                return;
        }
        pool_phase(agent, PHASE_EV_END);
        pool_detach(agent, now);
        agent->asked = ASKED_NOTHING;
        agent->in_flight = 0;
        pool_agent_time(agent);
        if (agent->pool->closing)
                return; /* it stays wanted */
        if (withdrawn)
                pool_place_again(agent);
        else if (end->refused)
                pool_place_later(agent, now);
        else if (end->exhausted)
                exhausted(agent, end, now);
        else if (!agent->answered)
                unanswered_ended(agent, end, now);
        else
                answered_ended(agent, end, restoring ? 0 : running_since, now);
}

void pool_worker_lost(struct agent *agent, const char *why, int64_t now)
{
        struct agent_exit exit = { .code = -1 };
        struct end end = { .cause = RESTART_WORKER_DIED, .exit = &exit };

        snprintf(exit.reason, sizeof exit.reason, "its worker ended: %.130s", why);
        agent_ended(agent, &end, now);
}

/* --- replies ------------------------------------------------------------------------------------------------------ */

static void spawned(struct agent *agent, int64_t now)
{
        if (agent->phase != PHASE_SENT || agent->state == AGENT_STOPPING)
                return;
        agent->acked = true;
        agent->moving = false;
        agent->resend_at = 0;
        if (!agent->running_since) {
                agent->running_since = now;
                pool_idle_watch(agent, now);
        }
        pool_phase(agent, PHASE_EV_STARTED);
        pool_set_state(agent, AGENT_EV_STARTED);
        pool_agent_time(agent);
        pool_worker_proved(agent->worker, now);
        if (agent->answered)
                pool_push_event(agent->pool, "agent_spawned", agent, agent->worker, agent->start_reason);
        else
                pool_answer_if_due(agent);
}

/* A master died before it could store an agent, and its client has asked again under its key: what ended had the same id
 * and epoch, but was not started by us. */
static bool is_of_another_life(const struct agent *agent, const struct reply *reply)
{
        if (agent->answered || agent->acked || agent->resumed)
                return false;
        return reply->type == REPLY_EXITED || !id_equal(&reply->command_id, &agent->command_id);
}

static void reply_for(struct agent *agent, const struct reply *reply, int64_t now)
{
        struct agent_exit why = { .code = -1 };
        struct end end = { .refused = reply->refused, .exhausted = reply->exhausted, .exit = &why };

        if (reply->type == REPLY_SPAWNED) {
                spawned(agent, now);
                return;
        }
        if (reply->type == REPLY_EXITED)
                why = reply->exit;
        else
                snprintf(why.reason, sizeof why.reason, "%s", reply->detail ? reply->detail : "it did not start");
        end.cause = reply->type == REPLY_EXITED ? RESTART_EXITED : RESTART_START_FAILED;
        if (is_of_another_life(agent, reply))
                end.refused = true;
        agent_ended(agent, &end, now);
}

void pool_take_reply(struct pool *pool, const struct reply *reply, int64_t now)
{
        struct agent *agent = pool_agent(pool, &reply->agent_id);
        struct pool_worker *worker = pool_worker(pool, &reply->process_id);
        bool active = agent && (agent_state_wanted(agent->state) || agent->state == AGENT_STOPPING);

        if (!worker || reply->type > REPLY_EXITED)
                return;
        if (!active || reply->epoch < agent->epoch || (agent->worker && agent->worker != worker)) {
                if (reply->type == REPLY_SPAWNED)
                        pool_push_evict(pool, worker, &reply->agent_id, reply->epoch);
                return;
        }
        if (reply->epoch > agent->epoch)
                return;
        if (!agent->worker && pool_found_early(agent))
                pool_reserved_at(agent, worker, now);
        if (agent->worker || (agent->phase == PHASE_RESTORING && reply->type != REPLY_SPAWNED))
                reply_for(agent, reply, now);
}
