#include "registry/core/agent.h"

#include "registry/core/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES 64 /* a power of two, so that every name is equally likely */

static const char *const first_names[NAMES] = {
        "Ada", "Adele", "Alan", "Alonzo", "Amir", "Anita", "Annie", "Barbara", "Betty", "Brian", "Carol", "Charles",
        "Claude", "Cynthia", "Dana", "Dennis", "Donald", "Dorothy", "Edith", "Edsger", "Emmy", "Erna", "Evelyn",
        "Frances", "Gerda", "Grace", "Hedy", "Hugo", "Ida", "Ivan", "Jean", "Joan", "John", "Karen", "Kathleen", "Ken",
        "Konrad", "Leslie", "Lois", "Lynn", "Marlyn", "Margaret", "Mary", "Maurice", "Mavis", "Niklaus", "Noor", "Olga",
        "Peter", "Radia", "Ravi", "Robin", "Rosa", "Ruth", "Shafi", "Sophie", "Stella", "Thelma", "Tony", "Vera",
        "Vint", "Wanda", "Yuki", "Zoe",
};
static const char *const last_names[NAMES] = {
        "Abbott", "Aiken", "Allard", "Archer", "Babbage", "Baker", "Bartik", "Becker", "Bell", "Bennett", "Borg",
        "Carter", "Church", "Clarke", "Conway", "Curie", "Dahl", "Dijkstra", "Eckert", "Estrin", "Floyd", "Franklin",
        "Galois", "Goldberg", "Hamming", "Hart", "Hoare", "Holberton", "Hopper", "Ito", "Iverson", "Johnson", "Kahn",
        "Keller", "Kilburn", "Knight", "Lamarr", "Lamport", "Liskov", "Lovelace", "McCarthy", "Meyer", "Milner",
        "Moore", "Naur", "Neumann", "Noether", "Nygaard", "Okafor", "Perlis", "Perlman", "Quinn", "Ritchie", "Rivest",
        "Sammet", "Shannon", "Spark", "Tarjan", "Turing", "Ulam", "Wilkes", "Wirth", "Yao", "Zuse",
};

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

const char *agent_start_reason(const char *text)
{
        static const char *const reasons[] = { "spawn", "restart", "worker_exited", "restore", "rollout" };

        for (size_t i = 0; text && i < sizeof reasons / sizeof *reasons; i++)
                if (strcmp(text, reasons[i]) == 0)
                        return reasons[i];
        return NULL;
}

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

bool agent_runs(const struct agent *agent)
{
        return agent->state == AGENT_IDLE || agent->state == AGENT_BUSY;
}

bool agent_comes(const struct agent *agent)
{
        return agent->state == AGENT_STARTING && (agent->moving || agent->phase != PHASE_DELAYED);
}

char *agent_human_name(const struct id *agent_id, char *buffer, size_t size)
{
        snprintf(buffer, size, "%s %s", first_names[agent_id->b[0] % NAMES], last_names[agent_id->b[15] % NAMES]);
        return buffer;
}
