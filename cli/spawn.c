/* spawn: any number of agents, in requests of at most as many as one may ask for. */
#include "cli/agents.h"
#include "cli/client/memory.h"
#include "cli/client/text.h"
#include "cli/commands.h"
#include "cli/show.h"
#include "common/json/json.h"

#include <stdlib.h>
#include <string.h>

#define SPAWN_PORTION 1000 /* agents of one request */

/* "name=value" of each option into a map of the body. */
static void add_pairs(const struct cli *cli, cJSON *body, const char *member, const char *option)
{
        const char *pair;
        cJSON *map = NULL;

        for (size_t at = 0; (pair = cli_each(cli, option, &at));) {
                char *name = memory_need(strndup(pair, strcspn(pair, "=")));

                map = map ? map : cJSON_AddObjectToObject(body, member);
                cJSON_DeleteItemFromObjectCaseSensitive(map, name);
                json_add_string(map, name, strchr(pair, '=') + 1);
                free(name);
        }
}

static cJSON *make_body(const struct cli *cli)
{
        cJSON *body = cJSON_CreateObject();

        json_add_string(body, "pool_name", cli->words[0]);
        if (cli_value(cli, "project"))
                json_add_string(body, "project_id", cli_value(cli, "project"));
        if (cli_value(cli, "role"))
                json_add_string(body, "role_type", cli_value(cli, "role"));
        if (cli_flag(cli, "max-idle-time"))
                json_add_integer(body, "max_idle_time", (int64_t)cli_number(cli, "max-idle-time", 0));
        if (cli_flag(cli, "heartbeat-interval"))
                json_add_integer(body, "heartbeat_interval", (int64_t)cli_number(cli, "heartbeat-interval", 0));
        add_pairs(cli, body, "labels", "label");
        add_pairs(cli, body, "args", "arg");
        return body;
}

/* The agents that an answer brings go to the end of agents; says why others failed. */
static bool take_spawned(cJSON *agents, cJSON *take_answer)
{
        cJSON *many = cJSON_GetObjectItemCaseSensitive(take_answer, "agents"), *agent;
        const cJSON *failed = cJSON_GetObjectItemCaseSensitive(take_answer, "failed"), *failure;
        bool all;

        if (!many) {
                cJSON_AddItemToArray(agents, take_answer);
                return true;
        }
        while ((agent = cJSON_DetachItemFromArray(many, 0)))
                cJSON_AddItemToArray(agents, agent);
        cJSON_ArrayForEach(failure, failed)
        {
                const char *detail = json_string(failure, "detail");

                fprintf(stderr, "agentpool: ");
                text_print(stderr, detail ? detail : "not spawned");
                fputc('\n', stderr);
        }
        all = cJSON_GetArraySize(failed) == 0;
        cJSON_Delete(take_answer);
        return all;
}

static int spawn_all(struct cli *cli, cJSON *body, cJSON *agents)
{
        const char *path = cli_flag(cli, "no-wait") ? CLI_V1 "/agents/spawn?wait=false" : CLI_V1 "/agents/spawn";
        int64_t count = (int64_t)cli_number(cli, "count", 0), left = count ? count : 1;
        int status = EXIT_SUCCESS;

        while (left > 0) {
                int64_t portion = left < SPAWN_PORTION ? left : SPAWN_PORTION;
                cJSON *answer;

                cJSON_DeleteItemFromObjectCaseSensitive(body, "count");
                if (count)
                        json_add_integer(body, "count", portion);
                if (client_ask(cli->client, path, body, &answer) < 0)
                        return client_exit_status(cli->client);
                if (!take_spawned(agents, answer))
                        status = EXIT_FAILURE;
                left -= portion;
                if (count > SPAWN_PORTION)
                        show_progress("spawned", count - left, count);
        }
        return status;
}

int cli_spawn(struct cli *cli)
{
        cJSON *agents = cJSON_CreateArray(), *body = make_body(cli);
        int status = spawn_all(cli, body, agents);

        if (cJSON_GetArraySize(agents) > 0)
                show_rows(cli, cli_flag(cli, "count") ? agents : cJSON_GetArrayItem(agents, 0), agent_columns, "agent_id");
        cJSON_Delete(body);
        cJSON_Delete(agents);
        return status;
}
