#include "registry/core/restart_policy.h"

#include "common/backoff.h"

static uint32_t to_u32(int64_t value)
{
        return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* True when this end is one too many. */
static bool count_end(const struct pool_restart_config *config, struct agent *agent, int64_t now)
{
        if (agent->restarts_in_window == 0 || now - agent->restart_window > config->period_seconds * 1000) {
                agent->restart_window = now;
                agent->restarts_in_window = 0;
        }
        if (agent->restarts_in_window >= config->intensity)
                return true;
        agent->restarts_in_window++;
        return false;
}

static uint32_t next_delay(const struct pool_restart_config *config, struct agent *agent, enum restart_cause cause,
        uint32_t random)
{
        struct backoff backoff = { .base_ms = to_u32(config->delay_ms), .cap_ms = to_u32(config->delay_max_ms),
                .tries = agent->restart_delay_tries };
        uint32_t delay = backoff_next(&backoff, random);
        bool first = agent->restart_delay_tries == 0;

        agent->restart_delay_tries = backoff.tries;
        return cause == RESTART_WORKER_DIED && first ? 0 : delay;
}

enum restart_verdict restart_decide(const struct pool_restart_config *config, struct agent *agent,
        enum restart_cause cause, const struct agent_exit *exit, int64_t now, uint32_t random, uint32_t *ret_delay_ms)
{
        bool success = cause == RESTART_EXITED && exit->code == 0 && exit->signal == 0;

        if (config->policy == POOL_TEMPORARY || (config->policy == POOL_TRANSIENT && success))
                return success ? RESTART_STOPPED : RESTART_FAILED;
        if (agent->running_since && now - agent->running_since >= config->healthy_seconds * 1000)
                agent->restart_delay_tries = 0;
        if (count_end(config, agent, now))
                return RESTART_TOO_OFTEN;
        *ret_delay_ms = next_delay(config, agent, cause, random);
        return RESTART_AGAIN;
}
