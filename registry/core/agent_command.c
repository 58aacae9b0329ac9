/* Writes what an agent's worker is told. */
#include "registry/core/agent_command.h"

#include "registry/core/pool.h"

#include <stdlib.h>
#include <string.h>

/* What both commands say. Strings are the agent's and its pool's: nothing to free. */
static struct command begin_command(enum command_type type, const struct agent *agent, const struct id *master_id)
{
        return (struct command){
                .type = type,
                .command_id = agent->command_id,
                .agent_id = agent->agent_id,
                .master_id = *master_id,
                .epoch = agent->epoch,
                .pool_name = pool_config(agent->pool)->pool_name,
        };
}

char *agent_spawn_command(const struct agent *agent, const struct id *master_id)
{
        struct command command = begin_command(COMMAND_SPAWN, agent, master_id);
        char *text = NULL, *start_reason;

        start_reason = strdup(agent->start_reason);
        command.start_reason = start_reason;
        command.role_type = agent->role_type;
        command.project_id = agent->project_id;
        command.heartbeat_interval = agent->heartbeat_interval;
        command.max_idle_time = agent->max_idle_time;
        command.created_at = agent->created_at;
        command.restarts = agent->restarts;
        if (strcmp(agent->start_reason, "spawn") == 0)
                memcpy(command.trace, agent->trace, sizeof command.trace);
        /* Already compact JSON: printed as they are, not parsed again. */
        command.labels = agent->labels ? cJSON_CreateRaw(agent->labels) : NULL;
        command.args = agent->args ? cJSON_CreateRaw(agent->args) : NULL;
        if (start_reason && !command.labels == !agent->labels && !command.args == !agent->args)
                text = command_encode(&command);
        cJSON_Delete(command.labels);
        cJSON_Delete(command.args);
        free(start_reason);
        return text;
}

char *agent_terminate_command(const struct agent *agent, const struct id *master_id)
{
        struct command command = begin_command(COMMAND_TERMINATE, agent, master_id);

        command.graceful = agent->graceful;
        return command_encode(&command);
}
