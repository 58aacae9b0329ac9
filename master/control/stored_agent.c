/* Reads an agent out of its row. */
#include "master/control/stored_agent.h"

#include "registry/protocol/agent_exit.h"

#include <stdlib.h>
#include <string.h>

static char *copy(const char *text)
{
        return text ? strdup(text) : NULL;
}

static struct agent_exit *read_exit(const char *text)
{
        struct agent_exit *exit = text ? malloc(sizeof *exit) : NULL;

        if (exit && agent_exit_decode(text, strlen(text), exit) < 0) {
                free(exit);
                exit = NULL;
        }
        return exit;
}

struct agent *stored_agent(const struct store_agent *row)
{
        struct agent *agent = agent_new();

        if (!agent)
                return NULL;
        agent->agent_id = row->agent_id;
        agent->project_id = row->project_id;
        agent->role_type = copy(row->role_type);
        agent->labels = copy(row->labels);
        agent->args = copy(row->args);
        agent->last_exit = read_exit(row->last_exit);
        agent->epoch = row->epoch;
        agent->created_at = row->created_at;
        agent->updated_at = row->updated_at;
        agent->restarts = (uint32_t)row->restarts;
        agent->heartbeat_interval = (int32_t)row->heartbeat_interval;
        agent->max_idle_time = (int32_t)row->max_idle_time;
        if (agent_state_parse(row->state, &agent->state) == 0 && agent->role_type)
                return agent;
        return agent_free(agent);
}
