/* An agent: its memory, and what its state means. */
#include "registry/core/agent.h"

#include <stdlib.h>

struct agent *agent_new(void)
{
        struct agent *agent = calloc(1, sizeof *agent);

        if (!agent)
                return NULL;
        agent->agent_id = id_new();
        agent->state = AGENT_STARTING;
        agent->phase = PHASE_NONE;
        return agent;
}

struct agent *agent_free(struct agent *agent)
{
        if (!agent)
                return NULL;
        free(agent->role_type);
        free(agent->labels);
        free(agent->args);
        free(agent->last_exit);
        free(agent);
        return NULL;
}

bool agent_runs(const struct agent *agent)
{
        return agent->state == AGENT_IDLE || agent->state == AGENT_BUSY;
}

bool agent_comes(const struct agent *agent)
{
        return agent->state == AGENT_STARTING && (agent->moving || agent->phase != PHASE_DELAYED);
}
