/* Whether an agent that ended is started again, and when. Pure. */
#ifndef REGISTRY_CORE_RESTART_POLICY_H
#define REGISTRY_CORE_RESTART_POLICY_H
#include "registry/core/agent.h"
#include "registry/protocol/pool_config.h"

enum restart_cause {
        RESTART_EXITED = 1,   /* it ended: exit says how */
        RESTART_START_FAILED, /* it did not start */
        RESTART_WORKER_DIED,  /* its worker ended; the first time without delay, but counted like any other failure */
};
enum restart_verdict {
        RESTART_AGAIN = 1, /* after *ret_delay_ms */
        RESTART_STOPPED,   /* ended with success, and stays so */
        RESTART_FAILED,    /* ended with a failure, and stays so */
        RESTART_TOO_OFTEN, /* the intensity limit: stays failed */
};

/* Judges one end and counts it in the agent's restart_* fields. exit is read for RESTART_EXITED only. */
enum restart_verdict restart_decide(const struct pool_restart_config *config, struct agent *agent,
        enum restart_cause cause, const struct agent_exit *exit, int64_t now, uint32_t random, uint32_t *ret_delay_ms);
#endif
