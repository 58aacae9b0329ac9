#include "cli/commands.h"

#include "cli/table.h"
#include "common/json.h"

#include <curl/curl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define V1 "/api/v1"

static const char *const pool_columns[] = { "pool_name", "role_type", "process_count", "agent_count", "used_capacity",
        "total_capacity", "waiting_spawns", "degraded", NULL };
static const char *const agent_columns[] = { "agent_id", "human_name", "pool_name", "state", "epoch", "restarts",
        "process_id", "created_at", NULL };
static const char *const worker_columns[] = { "process_id", "pool_name", "pid", "state", "agents", "capacity", "rss_bytes",
        "cpu_ms", "started_at", NULL };

static void print_json(const cJSON *tree)
{
        char *text = cJSON_Print(tree);

        puts(text ? text : "");
        cJSON_free(text);
}

/* Every page of the list at path. */
static int print_list(struct cli *cli, const char *path, const char *const *columns)
{
        cJSON *all = cJSON_CreateArray(), *page, *item;
        char next[2048];

        snprintf(next, sizeof next, "%s", path);
        while (next[0]) {
                if (client_ask(cli->client, next, NULL, &page) < 0) {
                        cJSON_Delete(all);
                        return EXIT_FAILURE;
                }
                while ((item = cJSON_DetachItemFromArray(page, 0)))
                        cJSON_AddItemToArray(all, item);
                cJSON_Delete(page);
                snprintf(next, sizeof next, "%s", client_next(cli->client) ? client_next(cli->client) : "");
        }
        if (cli->json)
                print_json(all);
        else
                table_print(all, columns);
        cJSON_Delete(all);
        return EXIT_SUCCESS;
}

static int run_status(struct cli *cli, int argc, char **argv)
{
        cJSON *health;

        if (argc > 1)
                return cli_usage(cli_find(argv[0]));
        if (client_ask(cli->client, "/health", NULL, &health) < 0)
                return EXIT_FAILURE;
        if (cli->json) {
                print_json(health);
                cJSON_Delete(health);
                return EXIT_SUCCESS;
        }
        printf("agentpool %s: %s\n\n", json_string(health, "version"), json_string(health, "status"));
        cJSON_Delete(health);
        return print_list(cli, V1 "/agents/pools", pool_columns);
}

static int run_ls(struct cli *cli, int argc, char **argv)
{
        const char *what = argc > 1 ? argv[1] : "agents";

        if (argc > 2)
                return cli_usage(cli_find(argv[0]));
        if (strcmp(what, "agents") == 0)
                return print_list(cli, V1 "/agents?limit=1000", agent_columns);
        if (strcmp(what, "pools") == 0)
                return print_list(cli, V1 "/agents/pools", pool_columns);
        if (strcmp(what, "workers") == 0)
                return print_list(cli, V1 "/agents/metrics/processes", worker_columns);
        return cli_usage(cli_find(argv[0]));
}

/* "name=value" into map. */
static int add_pair(cJSON *map, const char *pair)
{
        const char *equals = strchr(pair, '=');
        char *name;
        int r;

        if (!equals || equals == pair)
                return -1;
        name = strndup(pair, (size_t)(equals - pair));
        r = name ? json_add_string(map, name, equals + 1) : -1;
        free(name);
        return r;
}

/* The request of "spawn POOL …". NULL: wrong usage. */
static cJSON *spawn_body(int argc, char **argv)
{
        static const struct option options[] = { { "project", required_argument, NULL, 'p' },
                { "role", required_argument, NULL, 'r' }, { "count", required_argument, NULL, 'n' },
                { "label", required_argument, NULL, 'l' }, { "arg", required_argument, NULL, 'a' }, { 0 } };
        cJSON *body = cJSON_CreateObject(), *labels = cJSON_AddObjectToObject(body, "labels");
        cJSON *args = cJSON_AddObjectToObject(body, "args");
        const char *project = NULL, *role = NULL;
        int option, r = 0;

        optind = 0;
        while (r == 0 && (option = getopt_long(argc, argv, "p:r:n:l:a:", options, NULL)) != -1) {
                if (option == 'p')
                        project = optarg;
                else if (option == 'r')
                        role = optarg;
                else if (option == 'n')
                        r = json_add_integer(body, "count", atoll(optarg));
                else
                        r = option == 'l' ? add_pair(labels, optarg) : option == 'a' ? add_pair(args, optarg) : -1;
        }
        if (r < 0 || !project || optind != argc - 1) {
                cJSON_Delete(body);
                return NULL;
        }
        json_add_string(body, "project_id", project);
        json_add_string(body, "role_type", role ? role : "agent");
        json_add_string(body, "pool_name", argv[optind]);
        return body;
}

static int run_spawn(struct cli *cli, int argc, char **argv)
{
        cJSON *body = spawn_body(argc, argv), *answer, *list;
        int r;

        if (!body)
                return cli_usage(cli_find("spawn"));
        r = client_ask(cli->client, V1 "/agents/spawn", body, &answer);
        cJSON_Delete(body);
        if (r < 0)
                return EXIT_FAILURE;
        if (cli->json) {
                print_json(answer);
        } else if (cJSON_HasObjectItem(answer, "agents")) {
                table_print(cJSON_GetObjectItem(answer, "agents"), agent_columns);
                r = cJSON_GetArraySize(cJSON_GetObjectItem(answer, "failed"));
        } else {
                list = cJSON_CreateArray();
                cJSON_AddItemReferenceToArray(list, answer);
                table_print(list, agent_columns);
                cJSON_Delete(list);
        }
        cJSON_Delete(answer);
        return r ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The agent's record by its id. NULL: said already. */
static cJSON *ask_agent(struct cli *cli, const char *agent_id, const char *suffix)
{
        char *quoted = client_quote(cli->client, agent_id), path[1024];
        cJSON *agent = NULL;

        snprintf(path, sizeof path, V1 "/agents/%s%s", quoted ? quoted : "", suffix);
        curl_free(quoted);
        return client_ask(cli->client, path, NULL, &agent) < 0 ? NULL : agent;
}

static int run_terminate(struct cli *cli, int argc, char **argv)
{
        cJSON *agent, *body, *answer;
        int r;

        if (argc != 2)
                return cli_usage(cli_find(argv[0]));
        agent = ask_agent(cli, argv[1], "");
        if (!agent)
                return EXIT_FAILURE;
        body = cJSON_CreateObject();
        json_add_string(body, "agent_id", argv[1]);
        json_add_string(body, "pool_name", json_string(agent, "pool_name"));
        r = client_ask(cli->client, V1 "/agents/terminate", body, &answer);
        if (r == 0)
                puts(json_string(answer, "message"));
        cJSON_Delete(r == 0 ? answer : NULL);
        cJSON_Delete(body);
        cJSON_Delete(agent);
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_why(struct cli *cli, int argc, char **argv)
{
        cJSON *why;

        if (argc != 2)
                return cli_usage(cli_find(argv[0]));
        why = ask_agent(cli, argv[1], "/why");
        if (!why)
                return EXIT_FAILURE;
        print_json(why);
        cJSON_Delete(why);
        return EXIT_SUCCESS;
}

static int run_message(struct cli *cli, int argc, char **argv)
{
        cJSON *body, *answer, *params = NULL;
        struct json_error why;
        char *quoted, path[1024];
        bool failed;

        if (argc < 3 || argc > 4)
                return cli_usage(cli_find(argv[0]));
        if (argc == 4 && json_parse(argv[3], strlen(argv[3]), JSON_STRICT, &params, &why) < 0) {
                fprintf(stderr, "agentpool: the parameters are no JSON: column %zu: %s\n", why.column, why.detail);
                return EXIT_USAGE;
        }
        body = cJSON_CreateObject();
        json_add_string(body, "jsonrpc", "2.0");
        json_add_integer(body, "id", 1);
        json_add_string(body, "method", argv[2]);
        if (params)
                json_add_item(body, "params", params);
        quoted = client_quote(cli->client, argv[1]);
        snprintf(path, sizeof path, V1 "/agents/%s/messages", quoted ? quoted : "");
        curl_free(quoted);
        failed = client_ask(cli->client, path, body, &answer) < 0;
        cJSON_Delete(body);
        if (failed)
                return EXIT_FAILURE;
        print_json(answer);
        failed = cJSON_HasObjectItem(answer, "error");
        cJSON_Delete(answer);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

const struct cli_command cli_commands[] = {
        { "status", "", "health and pools", run_status },
        { "ls", "[agents|pools|workers]", "what there is", run_ls },
        { "spawn", "-p PROJECT [-r ROLE] [-n COUNT] [-l K=V] [-a K=V] POOL", "new agents", run_spawn },
        { "terminate", "AGENT", "end an agent for good", run_terminate },
        { "message", "AGENT METHOD [PARAMS]", "a JSON-RPC request to an agent", run_message },
        { "why", "AGENT", "why it is where it is", run_why },
        { "export", "", "pools and agents as JSON lines on standard output", cli_export },
        { "import", "", "what export wrote, from standard input", cli_import },
        { 0 },
};
