#include "cli/commands.h"

#include "cli/table.h"
#include "common/id.h"
#include "common/json.h"

#include <curl/curl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const pool_columns[] = { "pool_name", "role_type", "process_count", "agent_count", "used_capacity",
        "total_capacity", "waiting_spawns", "degraded", NULL };
static const char *const agent_columns[] = { "agent_id", "human_name", "pool_name", "state", "epoch", "restarts",
        "process_id", "created_at", NULL };
static const char *const worker_columns[] = { "process_id", "pool_name", "pid", "state", "agents", "capacity", "rss_bytes",
        "cpu_ms", "started_at", NULL };

void cli_print_json(const cJSON *tree)
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
                        return client_exit_status(cli->client);
                }
                while ((item = cJSON_DetachItemFromArray(page, 0)))
                        cJSON_AddItemToArray(all, item);
                cJSON_Delete(page);
                snprintf(next, sizeof next, "%s", client_next(cli->client) ? client_next(cli->client) : "");
        }
        if (cli->json)
                cli_print_json(all);
        else
                table_print(all, columns);
        cJSON_Delete(all);
        return EXIT_SUCCESS;
}

void cli_progress(const char *what, int64_t done, int64_t total)
{
        if (!isatty(STDERR_FILENO))
                return;
        if (total > 0)
                fprintf(stderr, "\r%s %lld of %lld", what, (long long)done, (long long)total);
        else
                fprintf(stderr, "\r%s %lld", what, (long long)done);
        if (done == total)
                fputc('\n', stderr);
        fflush(stderr);
}

/* What client_ask and its like said, as an exit status. */
static int outcome(const struct cli *cli, int r)
{
        return r < 0 ? client_exit_status(cli->client) : EXIT_SUCCESS;
}

static int run_status(struct cli *cli, int argc, char **argv)
{
        cJSON *health;

        if (argc > 1)
                return cli_usage(cli_find(argv[0]));
        if (client_ask(cli->client, "/health", NULL, &health) < 0)
                return client_exit_status(cli->client);
        if (cli->json) {
                cli_print_json(health);
                cJSON_Delete(health);
                return EXIT_SUCCESS;
        }
        printf("agentpool %s: %s\n\n", json_string(health, "version"), json_string(health, "status"));
        cJSON_Delete(health);
        return print_list(cli, CLI_V1 "/agents/pools", pool_columns);
}

static int run_ls(struct cli *cli, int argc, char **argv)
{
        const char *what = argc > 1 ? argv[1] : "agents";

        if (argc > 2)
                return cli_usage(cli_find(argv[0]));
        if (strcmp(what, "agents") == 0)
                return print_list(cli, CLI_V1 "/agents?limit=1000", agent_columns);
        if (strcmp(what, "pools") == 0)
                return print_list(cli, CLI_V1 "/agents/pools", pool_columns);
        if (strcmp(what, "workers") == 0)
                return print_list(cli, CLI_V1 "/agents/metrics/processes", worker_columns);
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

/* What "spawn" asks for. */
struct spawn {
        cJSON *body;    /* without count */
        int64_t count;  /* 0: not given */
};

#define SPAWN_PORTION 1000 /* agents of one request */

/* False: wrong usage. */
static bool read_spawn(int argc, char **argv, struct spawn *spawn)
{
        static const struct option options[] = { { "project", required_argument, NULL, 'p' },
                { "role", required_argument, NULL, 'r' }, { "count", required_argument, NULL, 'n' },
                { "label", required_argument, NULL, 'l' }, { "arg", required_argument, NULL, 'a' }, { 0 } };
        cJSON *body = cJSON_CreateObject(), *labels = cJSON_AddObjectToObject(body, "labels");
        cJSON *args = cJSON_AddObjectToObject(body, "args");
        const char *project = NULL, *role = NULL;
        int option, r = 0;

        spawn->body = body;
        optind = 0;
        while (r == 0 && (option = getopt_long(argc, argv, "p:r:n:l:a:", options, NULL)) != -1) {
                if (option == 'p')
                        project = optarg;
                else if (option == 'r')
                        role = optarg;
                else if (option == 'n')
                        r = (spawn->count = atoll(optarg)) < 1 ? -1 : 0;
                else
                        r = option == 'l' ? add_pair(labels, optarg) : option == 'a' ? add_pair(args, optarg) : -1;
        }
        if (r < 0 || !project || optind != argc - 1)
                return false;
        json_add_string(body, "project_id", project);
        json_add_string(body, "role_type", role ? role : "agent");
        json_add_string(body, "pool_name", argv[optind]);
        return true;
}

/* The agents that an answer brings go to the end of agents; says why others failed. */
static bool take_spawned(cJSON *agents, cJSON *take_answer)
{
        cJSON *many = cJSON_GetObjectItemCaseSensitive(take_answer, "agents"), *agent;
        const cJSON *failed = cJSON_GetObjectItemCaseSensitive(take_answer, "failed"), *failure;

        if (!many) {
                cJSON_AddItemToArray(agents, take_answer);
                return true;
        }
        while ((agent = cJSON_DetachItemFromArray(many, 0)))
                cJSON_AddItemToArray(agents, agent);
        cJSON_ArrayForEach(failure, failed)
                fprintf(stderr, "agentpool: %s\n", json_string(failure, "detail"));
        cJSON_Delete(take_answer);
        return cJSON_GetArraySize(failed) == 0;
}

static int spawn_all(struct cli *cli, const struct spawn *spawn, cJSON *agents)
{
        int64_t left = spawn->count ? spawn->count : 1;
        int status = EXIT_SUCCESS;

        while (left > 0) {
                int64_t portion = left < SPAWN_PORTION ? left : SPAWN_PORTION;
                cJSON *answer;

                cJSON_DeleteItemFromObjectCaseSensitive(spawn->body, "count");
                if (spawn->count)
                        json_add_integer(spawn->body, "count", portion);
                if (client_ask(cli->client, CLI_V1 "/agents/spawn", spawn->body, &answer) < 0)
                        return client_exit_status(cli->client);
                if (!take_spawned(agents, answer))
                        status = EXIT_FAILURE;
                left -= portion;
                if (spawn->count > SPAWN_PORTION)
                        cli_progress("spawned", spawn->count - left, spawn->count);
        }
        return status;
}

static int run_spawn(struct cli *cli, int argc, char **argv)
{
        cJSON *agents = cJSON_CreateArray();
        struct spawn spawn = { 0 };
        int status;

        if (!read_spawn(argc, argv, &spawn)) {
                status = cli_usage(cli_find("spawn"));
        } else {
                status = spawn_all(cli, &spawn, agents);
                if (cJSON_GetArraySize(agents) > 0 && cli->json)
                        cli_print_json(spawn.count ? agents : cJSON_GetArrayItem(agents, 0));
                else if (cJSON_GetArraySize(agents) > 0)
                        table_print(agents, agent_columns);
        }
        cJSON_Delete(spawn.body);
        cJSON_Delete(agents);
        return status;
}

/* The agent's record by its id. NULL: said already. */
static cJSON *ask_agent(struct cli *cli, const char *agent_id, const char *suffix)
{
        char *quoted = client_quote(cli->client, agent_id), path[1024];
        cJSON *agent = NULL;

        snprintf(path, sizeof path, CLI_V1 "/agents/%s%s", quoted, suffix);
        curl_free(quoted);
        return client_ask(cli->client, path, NULL, &agent) < 0 ? NULL : agent;
}

static int run_terminate(struct cli *cli, int argc, char **argv)
{
        cJSON *agent, *body, *answer = NULL;
        const char *message;
        int r;

        if (argc != 2)
                return cli_usage(cli_find(argv[0]));
        agent = ask_agent(cli, argv[1], "");
        if (!agent)
                return client_exit_status(cli->client);
        body = cJSON_CreateObject();
        json_add_string(body, "agent_id", argv[1]);
        json_add_string(body, "pool_name", json_string(agent, "pool_name"));
        r = client_ask(cli->client, CLI_V1 "/agents/terminate", body, &answer);
        message = json_string(answer, "message"); /* whoever answers there need not be ours */
        if (r == 0)
                puts(message ? message : "done");
        cJSON_Delete(answer);
        cJSON_Delete(body);
        cJSON_Delete(agent);
        return outcome(cli, r);
}

static int run_why(struct cli *cli, int argc, char **argv)
{
        cJSON *why;

        if (argc != 2)
                return cli_usage(cli_find(argv[0]));
        why = ask_agent(cli, argv[1], "/why");
        if (!why)
                return client_exit_status(cli->client);
        cli_print_json(why);
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
        snprintf(path, sizeof path, CLI_V1 "/agents/%s/messages", quoted);
        curl_free(quoted);
        failed = client_ask(cli->client, path, body, &answer) < 0;
        cJSON_Delete(body);
        if (failed)
                return client_exit_status(cli->client);
        cli_print_json(answer);
        failed = cJSON_HasObjectItem(answer, "error");
        cJSON_Delete(answer);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* POST to an agent's or a pool's own path; prints the state that its record then has. */
static int act(struct cli *cli, const char *kind, const char *name, const char *action, const char *const *columns)
{
        cJSON *answer = NULL, *list = cJSON_CreateArray();
        char *quoted = client_quote(cli->client, name), path[1024];
        int r;

        snprintf(path, sizeof path, CLI_V1 "/agents/%s%s/%s", kind, quoted, action);
        curl_free(quoted);
        r = client_post(cli->client, path, &answer);
        if (r == 0 && cli->json)
                cli_print_json(answer);
        cJSON_AddItemToArray(list, answer);
        if (r == 0 && !cli->json)
                table_print(list, columns);
        cJSON_Delete(list);
        return outcome(cli, r);
}

/* An agent's id has the form of a UUID, a pool's name has not. */
static bool is_agent(const char *text)
{
        struct id id;

        return id_parse(text, &id) == 0;
}

static int run_restart(struct cli *cli, int argc, char **argv)
{
        if (argc != 2)
                return cli_usage(cli_find(argv[0]));
        return is_agent(argv[1]) ? act(cli, "", argv[1], "restart", agent_columns)
                                 : act(cli, "pools/", argv[1], "restart", pool_columns);
}

static int run_pool_action(struct cli *cli, int argc, char **argv)
{
        if (argc != 2)
                return cli_usage(cli_find(argv[0]));
        return act(cli, "pools/", argv[1], argv[0], pool_columns);
}

/* The checker is a program of its own; it stands beside this one, installed or in the source tree. */
static int run_check(struct cli *cli, int argc, char **argv)
{
        static const char *const places[] = { "../lib/agentpool/check", "../scripts/check", "../../scripts/check" };
        char self[3072], path[4096], *words[64] = { path, (char[]){ "--url" }, NULL };
        ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
        size_t count = 3;

        words[2] = strdup(cli->url);
        for (int i = 1; i < argc && count < sizeof words / sizeof *words - 1; i++)
                words[count++] = argv[i];
        if (cli->token)
                setenv("AGENTPOOL_TOKEN", cli->token, 1);
        self[len > 0 ? len : 0] = '\0';
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
                snprintf(path, sizeof path, "%.*s/%s", (int)(strrchr(self, '/') - self), self, places[i]);
                execv(path, words);
        }
        free(words[2]);
        fprintf(stderr, "agentpool: the checker is not installed: no %s\n", path);
        return EXIT_FAILURE;
}

const struct cli_command cli_commands[] = {
        { "status", "", "health and pools", run_status },
        { "ls", "[agents|pools|workers]", "what there is", run_ls },
        { "top", "[-d SECONDS] [-n FRAMES]", "pools, workers, rates and latencies, again and again; q ends it", cli_top },
        { "spawn", "-p PROJECT [-r ROLE] [-n COUNT] [-l K=V] [-a K=V] POOL", "new agents", run_spawn },
        { "terminate", "AGENT", "end an agent for good", run_terminate },
        { "restart", "AGENT|POOL", "end it and start it again; of a pool: all its agents", run_restart },
        { "message", "AGENT METHOD [PARAMS]", "a JSON-RPC request to an agent", run_message },
        { "logs", "[-f] [-n LINES] AGENT", "what it printed to standard error; -f: and goes on to print", cli_logs },
        { "events", "[AGENT]", "what happens, as it happens", cli_events },
        { "why", "AGENT", "why it is where it is", run_why },
        { "drain", "POOL", "the pool takes no new agents", run_pool_action },
        { "resume", "POOL", "it takes new agents again", run_pool_action },
        { "plan", "-t TASKS_PER_HOUR -d SECONDS [-c CONCURRENCY] [-e EFFICIENCY]", "how many workers that load needs", cli_plan },
        { "check", "[--run-dir DIR] [OPTION…]", "the seven checks of a running daemon (on its machine)", run_check },
        { "export", "", "pools and agents as JSON lines on standard output", cli_export },
        { "import", "", "what export wrote, from standard input", cli_import },
        { 0 },
};
