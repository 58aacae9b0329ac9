/* The commands about an agent that its worker gets. */
#ifndef REGISTRY_CORE_AGENT_COMMAND_H
#define REGISTRY_CORE_AGENT_COMMAND_H
#include "registry/core/agent.h"

/* The spawn or terminate command that agent->phase and state call for, as an envelope; free(); NULL when out of memory. */
char *agent_spawn_command(const struct agent *agent, const struct id *master_id);
char *agent_terminate_command(const struct agent *agent, const struct id *master_id);
#endif
