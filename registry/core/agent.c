/* An agent: its memory, its commands, its name for people. */
#include "registry/core/agent.h"

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
