/* export and import: JSON lines, a header first, then one agent a line; read and written page by page. */
#include "cli/commands.h"
#include "cli/show.h"
#include "common/json/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "agentpool-export"
#define FORMAT_VERSION 1
#define IMPORT_BATCH 500
#define IMPORT_BYTES (512 * 1024) /* of a batch: half of what the daemon takes unless configured otherwise */

static int print_line(cJSON *take_tree)
{
        char *text = take_tree ? json_print(take_tree) : NULL;
        int r = text && puts(text) >= 0 ? 0 : -1;

        free(text);
        cJSON_Delete(take_tree);
        return r;
}

static int export_header(struct cli *cli)
{
        cJSON *header = cJSON_CreateObject(), *pools;

        if (client_ask(cli->client, "/api/v1/agents/pools", NULL, &pools) < 0) {
                cJSON_Delete(header);
                return -1;
        }
        json_add_string(header, "format", FORMAT);
        json_add_integer(header, "version", FORMAT_VERSION);
        json_add_item(header, "pools", pools);
        return print_line(header);
}

int cli_export(struct cli *cli)
{
        char next[2048] = "/api/v1/agents?limit=1000";
        cJSON *page, *agent;
        int r;

        r = export_header(cli);
        while (r == 0 && next[0] && (r = client_ask(cli->client, next, NULL, &page)) == 0) {
                snprintf(next, sizeof next, "%s", client_next(cli->client) ? client_next(cli->client) : "");
                while (r == 0 && (agent = cJSON_DetachItemFromArray(page, 0)))
                        r = print_line(agent);
                cJSON_Delete(page);
        }
        if (r == 0 && fflush(stdout) == 0)
                return EXIT_SUCCESS;
        fprintf(stderr, "agentpool: the export is not complete\n");
        return EXIT_FAILURE;
}

/* One line of standard input as a tree; NULL at the end. *ret_error is set when it is no JSON. */
static cJSON *read_line(size_t number, size_t *ret_len, int *ret_error)
{
        struct json_error why;
        char *line = NULL;
        cJSON *tree = NULL;
        size_t size = 0;
        ssize_t n = getline(&line, &size, stdin);

        if (n > 0 && json_parse(line, (size_t)n, JSON_STRICT, &tree, &why) < 0) {
                fprintf(stderr, "agentpool: line %zu, column %zu: %s\n", number, why.column, why.detail);
                *ret_error = -1;
        }
        free(line);
        *ret_len = n > 0 ? (size_t)n : 0;
        return tree;
}

static int check_header(const cJSON *header)
{
        const char *format = json_string(header, "format");
        int64_t version;

        if (format && strcmp(format, FORMAT) == 0 && json_integer(header, "version", &version) == 0 &&
                version == FORMAT_VERSION)
                return 0;
        fprintf(stderr, "agentpool: line 1 must be the header of an export, {\"format\":\"" FORMAT "\",\"version\":%d,…}\n",
                FORMAT_VERSION);
        return -1;
}

static const char *text_of(const cJSON *object, const char *name)
{
        const char *text = json_string(object, name);

        return text ? text : "?";
}

/* Sends what is in agents (emptied; the lines before number), adds up what was imported, says what was not. */
static int import_batch(struct cli *cli, cJSON *agents, size_t number, int64_t *total, bool *failed)
{
        int64_t first = (int64_t)number - cJSON_GetArraySize(agents), index;
        cJSON *body = cJSON_CreateObject(), *answer, *agent, *batch = cJSON_AddArrayToObject(body, "agents");
        const cJSON *failure;
        int64_t imported;
        int r;

        while ((agent = cJSON_DetachItemFromArray(agents, 0)))
                cJSON_AddItemToArray(batch, agent);
        r = client_ask(cli->client, "/api/v1/agents/import", body, &answer);
        cJSON_Delete(body);
        if (r < 0)
                return r;
        if (json_integer(answer, "imported", &imported) == 0)
                *total += imported;
        show_progress("imported", *total, 0);
        cJSON_ArrayForEach(failure, cJSON_GetObjectItemCaseSensitive(answer, "failed"))
        {
                if (json_integer(failure, "index", &index) == 0)
                        fprintf(stderr, "agentpool: line %" PRId64 ": agent %s: %s\n", first + index,
                                text_of(failure, "agent_id"), text_of(failure, "detail"));
                *failed = true;
        }
        cJSON_Delete(answer);
        return 0;
}

int cli_import(struct cli *cli)
{
        cJSON *header, *agent, *agents;
        size_t number = 1, len, bytes = 0;
        bool failed = false;
        int64_t total = 0;
        int r = 0;

        agents = cJSON_CreateArray();
        header = read_line(number, &len, &r);
        if (r == 0)
                r = check_header(header);
        cJSON_Delete(header);
        while (r == 0 && (agent = read_line(++number, &len, &r))) {
                if (bytes > 0 && (bytes + len > IMPORT_BYTES || cJSON_GetArraySize(agents) == IMPORT_BATCH)) {
                        r = import_batch(cli, agents, number, &total, &failed);
                        bytes = 0;
                }
                cJSON_AddItemToArray(agents, agent);
                bytes += len;
        }
        if (r == 0 && bytes > 0)
                r = import_batch(cli, agents, number, &total, &failed);
        cJSON_Delete(agents);
        printf("%lld agents imported\n", (long long)total);
        return r == 0 && !failed ? EXIT_SUCCESS : EXIT_FAILURE;
}
