/* What only asks: status, ls, show, why, executions, stats, openapi. */
#include "cli/agents.h"
#include "cli/client/text.h"
#include "cli/commands.h"
#include "cli/show.h"
#include "common/json/json.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 2048
#define WATCH_SECONDS 2
#define EXECUTIONS_SHOWN 100

static int outcome(const struct cli *cli, int r)
{
        return r < 0 ? client_exit_status(cli->client) : EXIT_SUCCESS;
}

/* Once, or with --watch again and again until it is interrupted. What fails for a while is tried again. */
static int watch(struct cli *cli, int (*once)(struct cli *cli))
{
        int status;

        do {
                if (cli_flag(cli, "watch") && !show_frame())
                        return EXIT_FAILURE;
                status = once(cli);
                if (!cli_flag(cli, "watch") || fflush(stdout) != 0)
                        return status;
                usleep((useconds_t)(cli_number(cli, "interval", WATCH_SECONDS) * 1e6));
        } while (status == EXIT_SUCCESS || status == EXIT_UNREACHABLE || status == EXIT_TRY_AGAIN);
        return status;
}

/* Every page, or as many as --limit says. */
static int print_list(struct cli *cli, const char *path, const struct column *columns, const char *name)
{
        long limit = (long)cli_number(cli, "limit", columns == execution_columns ? EXECUTIONS_SHOWN : 0);
        cJSON *list;
        int r = agents_list(cli, path, limit, &list);

        if (r == 0) {
                show_rows(cli, list, columns, name);
                cJSON_Delete(list);
        }
        return outcome(cli, r);
}

/* &NAME=VALUE, when there is a value. */
static void add_query(struct cli *cli, char path[PATH_SIZE], const char *name, const char *value)
{
        size_t len = strlen(path);
        char *quoted;

        if (!value)
                return;
        quoted = client_quote(cli->client, value);
        snprintf(path + len, PATH_SIZE - len, "%c%s=%s", strchr(path, '?') ? '&' : '?', name, quoted);
        curl_free(quoted);
}

static int status_once(struct cli *cli)
{
        const char *version, *state, *reason;
        cJSON *health;

        if (client_ask(cli->client, "/health", NULL, &health) < 0)
                return client_exit_status(cli->client);
        if (cli->format == CLI_JSON || cli->format == CLI_YAML) {
                show_object(cli, health, NULL);
                cJSON_Delete(health);
                return EXIT_SUCCESS;
        }
        version = json_string(health, "version");
        state = json_string(health, "status");
        reason = json_string(health, "reason");
        if (cli->format != CLI_NAME) {
                printf("agentpool %s: ", version ? version : "?");
                text_print(stdout, state ? state : "?");
                fputs(reason ? ": " : "", stdout);
                text_print(stdout, reason ? reason : "");
                fputs("\n\n", stdout);
        }
        cJSON_Delete(health);
        return print_list(cli, CLI_V1 "/agents/pools", pool_columns, "pool_name");
}

int cli_status(struct cli *cli)
{
        cJSON *answer = NULL;

        if (!cli_flag(cli, "ready"))
                return watch(cli, status_once);
        if (client_ask(cli->client, "/readyz", NULL, &answer) < 0)
                return client_exit_status(cli->client);
        show_done(cli, answer, "ready", NULL);
        cJSON_Delete(answer);
        return EXIT_SUCCESS;
}

/* Whether the agent has every label asked for: NAME or NAME=VALUE. */
static bool has_labels(const struct cli *cli, const cJSON *agent)
{
        const cJSON *labels = cJSON_GetObjectItemCaseSensitive(agent, "labels");
        const char *label;

        for (size_t at = 0; (label = cli_each(cli, "label", &at));) {
                size_t len = strcspn(label, "=");
                char *name = strndup(label, len);
                const char *value = name ? json_string(labels, name) : NULL;

                free(name);
                if (!value || (label[len] && strcmp(value, label + len + 1) != 0))
                        return false;
        }
        return true;
}

static int ls_agents(struct cli *cli)
{
        char path[PATH_SIZE] = CLI_V1 "/agents?limit=1000";
        cJSON *list, *agent, *next;
        long limit, kept = 0;
        size_t labels = 0;
        int r;

        add_query(cli, path, "pool_name", cli_value(cli, "pool"));
        add_query(cli, path, "state", cli_flag(cli, "ended") ? "terminated" : cli_value(cli, "state"));
        add_query(cli, path, "project_id", cli_value(cli, "project"));
        add_query(cli, path, "label", cli_value(cli, "label")); /* it takes one: the others are looked for here */
        cli_each(cli, "label", &labels);
        limit = (long)cli_number(cli, "limit", 0);
        r = agents_list(cli, path, cli_each(cli, "label", &labels) ? 0 : limit, &list);
        if (r < 0)
                return client_exit_status(cli->client);
        for (agent = list->child; agent; agent = next) {
                next = agent->next;
                if (!has_labels(cli, agent) || (limit && kept++ >= limit))
                        cJSON_Delete(cJSON_DetachItemViaPointer(list, agent));
        }
        show_rows(cli, list, agent_columns, "agent_id");
        cJSON_Delete(list);
        return EXIT_SUCCESS;
}

static int ls_workers(struct cli *cli)
{
        char *path = cli_value(cli, "pool") ? agents_pool_path(cli, cli_value(cli, "pool"), "/processes")
                                            : agents_path("metrics/processes", "");
        int status;

        status = print_list(cli, path, worker_columns, "process_id");
        free(path);
        return status;
}

static int ls_pools(struct cli *cli)
{
        return print_list(cli, CLI_V1 "/agents/pools", pool_columns, "pool_name");
}

int cli_ls(struct cli *cli)
{
        static const char *const of_agents[] = { "state", "label", "project", "ended" };
        const char *what = cli->count > 0 ? cli->words[0] : "agents";

        if (strcmp(what, "agents") == 0)
                return cli_flag(cli, "ended") && cli_flag(cli, "state") ? cli_wrong(cli, "--ended is a --state of its own")
                                                                         : watch(cli, ls_agents);
        for (size_t i = 0; i < sizeof of_agents / sizeof *of_agents; i++)
                if (cli_flag(cli, of_agents[i]))
                        return cli_wrong(cli, "--%s is for agents, not for %s", of_agents[i], what);
        if (strcmp(what, "workers") == 0)
                return watch(cli, ls_workers);
        return cli_flag(cli, "pool") ? cli_wrong(cli, "--pool is for agents and workers") : watch(cli, ls_pools);
}

static int show_path(struct cli *cli, const char *path, const char *name)
{
        cJSON *tree = NULL;
        int r = client_ask(cli->client, path, NULL, &tree);

        if (r == 0)
                show_object(cli, tree, name);
        cJSON_Delete(tree);
        return outcome(cli, r);
}

static int show_made_path(struct cli *cli, char *take_path, const char *name)
{
        int status = show_path(cli, take_path, name);

        free(take_path);
        return status;
}

int cli_show(struct cli *cli)
{
        char id[AGENT_ID_SIZE];
        int pool = agents_is_pool(cli, cli->words[0]), status;

        if (pool < 0)
                return client_exit_status(cli->client);
        if (pool)
                return show_made_path(cli, agents_pool_path(cli, cli->words[0], ""), "pool_name");
        status = agents_find_one(cli, cli->words[0], true, id);
        return status ? status : show_made_path(cli, agents_path(id, ""), "agent_id");
}

int cli_why(struct cli *cli)
{
        char id[AGENT_ID_SIZE];
        int status = agents_find_one(cli, cli->words[0], true, id);

        return status ? status : show_made_path(cli, agents_path(id, "/why"), "agent_id");
}

int cli_executions(struct cli *cli)
{
        char path[PATH_SIZE] = CLI_V1 "/agents/executions";
        char *quoted;

        if (cli->count == 1) {
                quoted = client_quote(cli->client, cli->words[0]);
                snprintf(path, sizeof path, CLI_V1 "/executions/%s", quoted);
                curl_free(quoted);
                return show_path(cli, path, "execution_id");
        }
        if (cli_flag(cli, "summary"))
                snprintf(path, sizeof path, CLI_V1 "/executions/stats/summary");
        add_query(cli, path, "status", cli_value(cli, "status"));
        add_query(cli, path, "pool_name", cli_value(cli, "pool"));
        add_query(cli, path, "project_id", cli_value(cli, "project"));
        if (cli_flag(cli, "summary"))
                return show_path(cli, path, NULL);
        return print_list(cli, path, execution_columns, "execution_id");
}

int cli_stats(struct cli *cli)
{
        static const struct column columns[] = { { .heading = "AT", .member = "at" }, { .heading = "VALUE", .member = "value" }, { 0 } };
        char path[PATH_SIZE] = CLI_V1 "/agents/metrics/timeseries";
        cJSON *answer = NULL;
        int r;

        if (!cli_flag(cli, "metric")) {
                if (cli_flag(cli, "range") || cli_flag(cli, "pool"))
                        return cli_wrong(cli, "--range and --pool go with a --metric");
                return show_path(cli, CLI_V1 "/stats", NULL);
        }
        add_query(cli, path, "metric_type", cli_value(cli, "metric"));
        add_query(cli, path, "time_range", cli_value(cli, "range"));
        add_query(cli, path, "pool_name", cli_value(cli, "pool"));
        r = client_ask(cli->client, path, NULL, &answer);
        if (r == 0 && (cli->format == CLI_JSON || cli->format == CLI_YAML))
                show_object(cli, answer, NULL);
        else if (r == 0)
                show_rows(cli, cJSON_GetObjectItemCaseSensitive(answer, "points"), columns, "at");
        cJSON_Delete(answer);
        return outcome(cli, r);
}

int cli_openapi(struct cli *cli)
{
        const char *text;
        size_t len;

        if (client_text(cli->client, "/openapi.json", NULL, &text, &len) < 0)
                return client_exit_status(cli->client);
        show_json(cli, text, len);
        return EXIT_SUCCESS;
}
