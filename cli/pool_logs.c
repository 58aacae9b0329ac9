#include "cli/pool_logs.h"

#include "cli/agents.h"
#include "cli/client/memory.h"
#include "cli/client/text.h"
#include "common/json/json.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_S 1

/* A line of one of many agents. */
struct said {
        char *line;
        const char *name;
        size_t number; /* keeps the order of one agent's */
};

/* They begin with their time. */
static int by_time(const void *a, const void *b)
{
        const struct said *left = a, *right = b;
        size_t n = strcspn(left->line, " "), m = strcspn(right->line, " ");
        int order = strncmp(left->line, right->line, n < m ? n : m);

        return order ? order : (left->number > right->number) - (left->number < right->number);
}

struct lines {
        struct said *list;
        size_t count;
};

static void add_lines(struct lines *lines, const char *name, const char *text, size_t len)
{
        const char *end = text + len;

        while (text < end) {
                size_t n = strcspn(text, "\n");
                struct said *grown = memory_need(reallocarray(lines->list, lines->count + 1, sizeof *grown));

                grown[lines->count].line = memory_need(strndup(text, n));
                grown[lines->count].name = name;
                grown[lines->count].number = lines->count;
                lines->count++;
                lines->list = grown;
                text += n + 1;
        }
}

static void print_last(struct lines *lines, size_t wanted)
{
        if (lines->count > 0)
                qsort(lines->list, lines->count, sizeof *lines->list, by_time);
        for (size_t i = lines->count > wanted ? lines->count - wanted : 0; i < lines->count; i++) {
                text_print(stdout, lines->list[i].name);
                fputs(" | ", stdout);
                follow_print_line(lines->list[i].line);
        }
        for (size_t i = 0; i < lines->count; i++)
                free(lines->list[i].line);
        free(lines->list);
}

static int list_agents(struct cli *cli, const char *pool, cJSON **ret_agents)
{
        char *quoted = client_quote(cli->client, pool), path[1024];

        snprintf(path, sizeof path, CLI_V1 "/agents?limit=1000&pool_name=%s", quoted);
        curl_free(quoted);
        return agents_list(cli, path, 0, ret_agents);
}

int pool_logs_print(struct cli *cli, const char *pool)
{
        struct lines lines = { NULL, 0 };
        const cJSON *agent;
        cJSON *agents;
        char suffix[64];
        int r = list_agents(cli, pool, &agents);

        if (r < 0)
                return client_exit_status(cli->client);
        snprintf(suffix, sizeof suffix, "/logs?lines=%.0f", cli_number(cli, "lines", LOG_LINES));
        cJSON_ArrayForEach(agent, agents)
        {
                const char *name = json_string(agent, "human_name"), *id = json_string(agent, "agent_id"), *text;
                char *one = agents_path(id ? id : "-", suffix);
                size_t len;

                r = client_text(cli->client, one, NULL, &text, &len);
                if (r == 0)
                        add_lines(&lines, name ? name : "-", text, len);
                free(one);
                if (r < 0 && client_exit_status(cli->client) != EXIT_NOT_FOUND)
                        break;
                r = 0;
        }
        print_last(&lines, (size_t)cli_number(cli, "lines", LOG_LINES));
        cJSON_Delete(agents);
        return r < 0 ? client_exit_status(cli->client) : EXIT_SUCCESS;
}

/* One agent whose lines come as it prints them. */
struct source {
        const char *name;
        char *last; /* the line last printed: the first of a stream taken up again is that one */
};

static void on_log(void *arg, const char *event, const char *data)
{
        struct source *source = arg;

        if (strcmp(event, "log") != 0 || (source->last && strcmp(source->last, data) == 0))
                return;
        text_print(stdout, source->name);
        fputs(" | ", stdout);
        follow_print_line(data);
        fflush(stdout);
        free(source->last);
        source->last = strdup(data);
}

static void set_paths(struct client_stream *streams, const cJSON *agents, double lines)
{
        const cJSON *agent;
        char suffix[64];

        snprintf(suffix, sizeof suffix, "/logs?lines=%.0f&follow=true", lines);
        cJSON_ArrayForEach(agent, agents)
        {
                const char *id = json_string(agent, "agent_id");

                free(streams->path);
                streams++->path = agents_path(id ? id : "-", suffix);
        }
}

int pool_logs_follow(struct cli *cli, const char *pool)
{
        struct client_options options = { .url = cli->url, .token = cli->token, .ca_file = cli->ca_file };
        struct client_stream *streams;
        struct source *sources;
        cJSON *agents, *agent;
        size_t count = 0;

        if (list_agents(cli, pool, &agents) < 0)
                return client_exit_status(cli->client);
        streams = calloc((size_t)cJSON_GetArraySize(agents) + 1, sizeof *streams);
        sources = calloc((size_t)cJSON_GetArraySize(agents) + 1, sizeof *sources);
        if (!streams || !sources)
                memory_exhausted();
        cJSON_ArrayForEach(agent, agents)
        {
                const char *name = json_string(agent, "human_name");

                sources[count].name = name ? name : "-";
                streams[count].client = client_new(&options);
                streams[count].arg = &sources[count];
                count++;
        }
        set_paths(streams, agents, cli_number(cli, "lines", LOG_LINES));
        while (count > 0 && !ferror(stdout)) {
                client_follow_all(streams, count, on_log);
                set_paths(streams, agents, 1);
                sleep(AGAIN_S);
        }
        for (size_t i = 0; i < count; i++) {
                client_free(streams[i].client);
                free(streams[i].path);
                free(sources[i].last);
        }
        free(streams);
        free(sources);
        cJSON_Delete(agents);
        return EXIT_SUCCESS;
}
