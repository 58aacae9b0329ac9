/* What changes agents and pools that are there: terminate, restart, drain, resume, rollout, rollback, reset. */
#include "cli/agents.h"
#include "cli/client/text.h"
#include "cli/commands.h"
#include "cli/show.h"
#include "common/json/json.h"

#include <stdlib.h>
#include <string.h>

#define BULK_MAX 1000 /* agents of one request */

static int terminate_one(struct cli *cli, const char *id)
{
        cJSON *agent = NULL, *body, *answer = NULL;
        char *path = agents_path(id, "");
        int r = client_ask(cli->client, path, NULL, &agent);
        const char *pool = json_string(agent, "pool_name"), *message;

        free(path);
        if (r < 0)
                return client_exit_status(cli->client);
        body = cJSON_CreateObject();
        json_add_string(body, "agent_id", id);
        if (pool)
                json_add_string(body, "pool_name", pool);
        if (cli_flag(cli, "now"))
                json_add_bool(body, "graceful", false);
        r = client_ask(cli->client, CLI_V1 "/agents/terminate", body, &answer);
        message = json_string(answer, "message"); /* whoever answers there need not be ours */
        if (r == 0)
                show_done(cli, answer, message ? message : "done", "agent_id");
        cJSON_Delete(answer);
        cJSON_Delete(body);
        cJSON_Delete(agent);
        return r < 0 ? client_exit_status(cli->client) : EXIT_SUCCESS;
}

/* A line for each, in the order of the ids; those that failed on standard error. */
static int print_results(const struct cli *cli, const cJSON *results, char (*ids)[AGENT_ID_SIZE], const char *done)
{
        int status = EXIT_SUCCESS, at = 0;
        const cJSON *result;

        if (cli->format == CLI_JSON || cli->format == CLI_YAML)
                show_object(cli, results, NULL);
        cJSON_ArrayForEach(result, results)
        {
                const char *detail = json_string(result, "detail"), *id = ids[at++];
                int64_t code = 0;

                json_integer(result, "status", &code);
                if (code >= 300) {
                        fprintf(stderr, "agentpool: %s: %lld: ", id, (long long)code);
                        text_print(stderr, detail ? detail : "failed");
                        fputc('\n', stderr);
                        status = EXIT_FAILURE;
                } else if (cli->format != CLI_JSON && cli->format != CLI_YAML) {
                        printf(cli->format == CLI_NAME ? "%s\n" : "%s %s\n", id, done);
                }
        }
        return status;
}

static int ask_bulk(struct cli *cli, const char *path, char (*ids)[AGENT_ID_SIZE], int count, const char *done)
{
        int status = EXIT_SUCCESS, one;

        for (int from = 0; from < count; from += BULK_MAX) {
                cJSON *body = cJSON_CreateArray(), *answer = NULL;
                int r;

                for (int i = from; i < count && i < from + BULK_MAX; i++) {
                        cJSON *item = cJSON_CreateObject();

                        if (cli_flag(cli, "now")) {
                                json_add_string(item, "agent_id", ids[i]);
                                json_add_bool(item, "graceful", false);
                                cJSON_AddItemToArray(body, item);
                                continue;
                        }
                        cJSON_Delete(item);
                        cJSON_AddItemToArray(body, cJSON_CreateString(ids[i]));
                }
                r = client_ask(cli->client, path, body, &answer);
                cJSON_Delete(body);
                if (r < 0)
                        return client_exit_status(cli->client);
                one = print_results(cli, answer, ids + from, done);
                status = one ? one : status;
                cJSON_Delete(answer);
        }
        return status;
}

int cli_terminate(struct cli *cli)
{
        char (*ids)[AGENT_ID_SIZE];
        int status = agents_find(cli, cli->words, cli->count, false, &ids);

        if (status)
                return status;
        status = cli->count == 1 ? terminate_one(cli, ids[0])
                                 : ask_bulk(cli, CLI_V1 "/agents/bulk/terminate", ids, cli->count, "terminated");
        free(ids);
        return status;
}

/* POST to an agent's or a pool's own path; shows the record that it then has. body NULL: none. */
static int act(struct cli *cli, char *take_path, const cJSON *body, const struct column *columns, const char *name)
{
        cJSON *answer = NULL;
        int r = body ? client_ask(cli->client, take_path, body, &answer) : client_post(cli->client, take_path, &answer);

        if (r == 0)
                show_rows(cli, answer, columns, name);
        cJSON_Delete(answer);
        free(take_path);
        return r < 0 ? client_exit_status(cli->client) : EXIT_SUCCESS;
}

static int act_on_pools(struct cli *cli, const char *suffix, const cJSON *body)
{
        int status = EXIT_SUCCESS;

        for (int i = 0; i < cli->count; i++) {
                int one = act(cli, agents_pool_path(cli, cli->words[i], suffix), body, pool_columns, "pool_name");

                status = one ? one : status;
        }
        return status;
}

int cli_restart(struct cli *cli)
{
        char (*ids)[AGENT_ID_SIZE];
        int pools = 0, status;

        for (int i = 0; i < cli->count; i++) {
                int is_pool = agents_is_pool(cli, cli->words[i]);

                if (is_pool < 0)
                        return client_exit_status(cli->client);
                pools += is_pool;
        }
        if (pools == cli->count)
                return act_on_pools(cli, "/restart", NULL);
        if (pools > 0)
                return cli_wrong(cli, "agents and pools are restarted one kind at a time");
        status = agents_find(cli, cli->words, cli->count, false, &ids);
        if (status)
                return status;
        status = cli->count == 1 ? act(cli, agents_path(ids[0], "/restart"), NULL, agent_columns, "agent_id")
                                 : ask_bulk(cli, CLI_V1 "/agents/bulk/restart", ids, cli->count, "is restarted");
        free(ids);
        return status;
}

int cli_pool_action(struct cli *cli)
{
        char suffix[32];

        snprintf(suffix, sizeof suffix, "/%s", cli->command->name);
        return act_on_pools(cli, suffix, NULL);
}

int cli_rollout(struct cli *cli)
{
        cJSON *body = cJSON_CreateObject();
        int status;

        if (cli_flag(cli, "batch-size"))
                json_add_integer(body, "batch_size", (int64_t)cli_number(cli, "batch-size", 1));
        if (cli_flag(cli, "min-healthy"))
                cJSON_AddNumberToObject(body, "min_healthy_seconds", cli_number(cli, "min-healthy", 10));
        status = act_on_pools(cli, "/rollout", body);
        cJSON_Delete(body);
        return status;
}
