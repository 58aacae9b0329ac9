#include "cli/agents.h"

#include "cli/client/memory.h"
#include "cli/client/text.h"
#include "common/id.h"
#include "common/json/json.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES_SHOWN 10

static void write_slots(const cJSON *row, char *buffer, size_t size)
{
        bool pool = cJSON_HasObjectItem(row, "used_capacity");
        int64_t used = 0, all = 0;

        json_integer(row, pool ? "used_capacity" : "agents", &used);
        json_integer(row, pool ? "total_capacity" : "capacity", &all);
        snprintf(buffer, size, "%lld/%lld", (long long)used, (long long)all);
}

static void write_pool_state(const cJSON *row, char *buffer, size_t size)
{
        bool draining = json_bool(row, "draining", false), degraded = json_bool(row, "degraded", false);
        const char *rollout = json_string(cJSON_GetObjectItemCaseSensitive(row, "rollout"), "state");
        bool rolling = rollout && strcmp(rollout, "finished") != 0;

        snprintf(buffer, size, "%s%s%s%s%s%s", draining ? "DRAINING" : "", draining && degraded ? "," : "",
                degraded ? "DEGRADED" : draining ? "" : "ok", rolling ? ",rollout " : "", rolling ? rollout : "", "");
}

const struct column agent_columns[] = {
        { .heading = "AGENT", .member = "agent_id", .kind = COLUMN_ID },
        { .heading = "NAME", .member = "human_name" },
        { .heading = "POOL", .member = "pool_name" },
        { .heading = "STATE", .member = "state", .kind = COLUMN_STATE },
        { .heading = "EPOCH", .member = "epoch" },
        { .heading = "RESTARTS", .member = "restarts" },
        { .heading = "MEMORY", .member = "rss_bytes", .kind = COLUMN_BYTES },
        { .heading = "AGE", .member = "created_at", .kind = COLUMN_AGE },
        { .heading = "ROLE", .member = "role_type", .wide = true },
        { .heading = "PROJECT", .member = "project_id", .kind = COLUMN_ID, .wide = true },
        { .heading = "WORKER", .member = "process_id", .kind = COLUMN_ID, .wide = true },
        { .heading = "CPU", .member = "cpu_ms", .kind = COLUMN_MS, .wide = true },
        { .heading = "LABELS", .member = "labels", .kind = COLUMN_MAP, .wide = true },
        { .heading = "CREATED", .member = "created_at", .wide = true },
        { .heading = "REASON", .member = "reason", .wide = true },
        { 0 },
};
const struct column pool_columns[] = {
        { .heading = "POOL", .member = "pool_name" },
        { .heading = "ROLE", .member = "role_type" },
        { .heading = "WORKERS", .member = "process_count" },
        { .heading = "AGENTS", .member = "agent_count" },
        { .heading = "SLOTS", .make = write_slots },
        { .heading = "WAITING", .member = "waiting_spawns" },
        { .heading = "STATE", .kind = COLUMN_STATE, .make = write_pool_state },
        { .heading = "REASON", .member = "degraded_reason", .wide = true },
        { .heading = "STARTING", .member = "starting_worker_processes", .wide = true },
        { 0 },
};
const struct column worker_columns[] = {
        { .heading = "WORKER", .member = "process_id", .kind = COLUMN_ID },
        { .heading = "POOL", .member = "pool_name" },
        { .heading = "PID", .member = "pid" },
        { .heading = "STATE", .member = "state", .kind = COLUMN_STATE },
        { .heading = "AGENTS", .make = write_slots },
        { .heading = "MEMORY", .member = "rss_bytes", .kind = COLUMN_BYTES },
        { .heading = "CPU", .member = "cpu_ms", .kind = COLUMN_MS },
        { .heading = "AGE", .member = "started_at", .kind = COLUMN_AGE },
        { .heading = "HOST", .member = "host", .wide = true },
        { .heading = "AGENTS' MEMORY", .member = "agents_rss_bytes", .kind = COLUMN_BYTES, .wide = true },
        { .heading = "AGENTS' CPU", .member = "agents_cpu_ms", .kind = COLUMN_MS, .wide = true },
        { .heading = "STARTED", .member = "started_at", .wide = true },
        { 0 },
};
const struct column execution_columns[] = {
        { .heading = "EXECUTION", .member = "execution_id", .kind = COLUMN_ID },
        { .heading = "POOL", .member = "pool_name" },
        { .heading = "METHOD", .member = "method" },
        { .heading = "STATUS", .member = "status", .kind = COLUMN_STATE },
        { .heading = "TOOK", .member = "duration_ms", .kind = COLUMN_MS },
        { .heading = "AGE", .member = "started_at", .kind = COLUMN_AGE },
        { .heading = "ERROR", .member = "error" },
        { .heading = "AGENT", .member = "agent_id", .kind = COLUMN_ID, .wide = true },
        { .heading = "PROJECT", .member = "project_id", .kind = COLUMN_ID, .wide = true },
        { .heading = "STARTED", .member = "started_at", .wide = true },
        { 0 },
};

int agents_list(struct cli *cli, const char *path, long limit, cJSON **ret_list)
{
        cJSON *all = cJSON_CreateArray(), *page, *item;
        char next[2048];
        long count = 0;

        snprintf(next, sizeof next, "%s", path);
        while (next[0] && (limit == 0 || count < limit)) {
                if (client_ask(cli->client, next, NULL, &page) < 0) {
                        cJSON_Delete(all);
                        return -1;
                }
                for (; (limit == 0 || count < limit) && (item = cJSON_DetachItemFromArray(page, 0)); count++)
                        cJSON_AddItemToArray(all, item);
                cJSON_Delete(page);
                snprintf(next, sizeof next, "%s", client_next(cli->client) ? client_next(cli->client) : "");
        }
        *ret_list = all;
        return 0;
}

static bool is_named(const cJSON *agent, const char *word)
{
        const char *id = json_string(agent, "agent_id"), *name = json_string(agent, "human_name");

        return (id && strncasecmp(id, word, strlen(word)) == 0) || (name && strcasecmp(name, word) == 0);
}

static void print_candidates(const cJSON *list, const char *word)
{
        int shown = 0, more = 0;
        const cJSON *agent;

        fprintf(stderr, "agentpool: ");
        text_print(stderr, word);
        fprintf(stderr, " is more than one agent; write more of the id:\n");
        cJSON_ArrayForEach(agent, list)
        {
                const char *name = json_string(agent, "human_name"), *pool = json_string(agent, "pool_name");

                if (!is_named(agent, word))
                        continue;
                if (shown == CANDIDATES_SHOWN) {
                        more++;
                        continue;
                }
                shown++;
                fprintf(stderr, "  %s  ", json_string(agent, "agent_id"));
                text_print(stderr, name ? name : "-");
                fprintf(stderr, "  ");
                text_print(stderr, pool ? pool : "-");
                fputc('\n', stderr);
        }
        if (more)
                fprintf(stderr, "  and %d more\n", more);
}

/* How many of the list's agents word names; *ret_id: the last of them. */
static int count_named(const cJSON *list, const char *word, const char **ret_id)
{
        const cJSON *agent;
        int count = 0;

        cJSON_ArrayForEach(agent, list)
        {
                const char *id = json_string(agent, "agent_id");

                if (id && is_named(agent, word)) {
                        *ret_id = id;
                        count++;
                }
        }
        return count;
}

/* lists[0]: those that are there, fetched at the first need; lists[1]: those that have ended. */
static int find(struct cli *cli, cJSON *lists[2], const char *word, bool ended, char ret_id[AGENT_ID_SIZE])
{
        static const char *const paths[] = { CLI_V1 "/agents?limit=1000", CLI_V1 "/agents?state=terminated&limit=1000" };
        const char *id = NULL;
        struct id whole;

        if (id_parse(word, &whole) == 0) {
                id_format(&whole, ret_id);
                return EXIT_SUCCESS;
        }
        for (int i = 0; i < 1 + ended && *word; i++) {
                int count;

                if (!lists[i] && agents_list(cli, paths[i], 0, &lists[i]) < 0)
                        return client_exit_status(cli->client);
                count = count_named(lists[i], word, &id);
                if (count > 1) {
                        print_candidates(lists[i], word);
                        return EXIT_FAILURE;
                }
                if (count == 1) {
                        snprintf(ret_id, AGENT_ID_SIZE, "%.36s", id);
                        return EXIT_SUCCESS;
                }
        }
        fprintf(stderr, "agentpool: no agent's id begins with \"");
        text_print(stderr, word);
        fprintf(stderr, "\", and none has that name; agentpool ls agents lists them\n");
        return EXIT_NOT_FOUND;
}

int agents_find(struct cli *cli, char *const *words, int count, bool ended, char (**ret_ids)[AGENT_ID_SIZE])
{
        char (*ids)[AGENT_ID_SIZE] = memory_need(calloc((size_t)count + 1, sizeof *ids));
        cJSON *lists[2] = { NULL, NULL };
        int status = EXIT_SUCCESS;

        for (int i = 0; i < count && status == EXIT_SUCCESS; i++)
                status = find(cli, lists, words[i], ended, ids[i]);
        cJSON_Delete(lists[0]);
        cJSON_Delete(lists[1]);
        if (status == EXIT_SUCCESS)
                *ret_ids = ids;
        else
                free(ids);
        return status;
}

int agents_find_one(struct cli *cli, const char *word, bool ended, char ret_id[AGENT_ID_SIZE])
{
        char *words[] = { (char *)(uintptr_t)word };
        char (*ids)[AGENT_ID_SIZE];
        int status = agents_find(cli, words, 1, ended, &ids);

        if (status == EXIT_SUCCESS) {
                memcpy(ret_id, ids[0], AGENT_ID_SIZE);
                free(ids);
        }
        return status;
}

int agents_is_pool(struct cli *cli, const char *name)
{
        const cJSON *pool;
        cJSON *pools;
        int found = 0;

        if (client_ask(cli->client, CLI_V1 "/agents/pools", NULL, &pools) < 0)
                return -1;
        cJSON_ArrayForEach(pool, pools)
        {
                const char *text = json_string(pool, "pool_name");

                if (text && strcmp(text, name) == 0)
                        found = 1;
        }
        cJSON_Delete(pools);
        return found;
}

char *agents_path(const char *id, const char *suffix)
{
        char *path;

        if (asprintf(&path, CLI_V1 "/agents/%s%s", id, suffix) < 0)
                memory_exhausted();
        return path;
}

char *agents_pool_path(struct cli *cli, const char *pool, const char *suffix)
{
        char *quoted = client_quote(cli->client, pool), *path;

        if (asprintf(&path, CLI_V1 "/agents/pools/%s%s", quoted, suffix) < 0)
                memory_exhausted();
        curl_free(quoted);
        return path;
}
