/* message: a JSON-RPC request or notification to an agent; parameters and answer are passed on as they are spelt. */
#include "cli/agents.h"
#include "cli/client/memory.h"
#include "cli/commands.h"
#include "cli/show.h"
#include "common/json/json_raw.h"
#include "common/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PARAMS_MAX ((size_t)1 << 30) /* no daemon takes more */

/* NULL, or what is wrong. */
static const char *read_all(FILE *file, struct json_text *text)
{
        char part[65536];
        size_t n;

        while (text->len <= PARAMS_MAX && (n = fread(part, 1, sizeof part, file)) > 0)
                json_text_put(text, part, n);
        return ferror(file) ? "cannot be read" : text->len > PARAMS_MAX ? "has more than 1 GiB" : NULL;
}

/* What is wrong with the JSON is said by its own lines; how deep it may be is the pool's to say. False: said why. */
static bool check_params(const struct cli *cli, const char *word, const char *params, size_t len)
{
        const char *from = *word == '@' || strcmp(word, "-") == 0 ? word : "PARAMS";
        struct json_error error;

        if (!params[strspn(params, " \t\r\n")])
                cli_wrong(cli, "%s: there are no parameters in it", from);
        else if (json_raw_check(params, len, JSON_RAW_DEPTH_MAX, &error) < 0)
                cli_wrong(cli, "%s: line %zu, column %zu: %s", from, error.line, error.column, error.detail);
        else
                return true;
        return false;
}

/* PARAMS: JSON itself, @FILE or - for standard input; free(). NULL: said why. */
static char *read_params(const struct cli *cli, const char *word)
{
        struct json_text text = { 0 };
        bool input = strcmp(word, "-") == 0;
        FILE *file = input ? stdin : *word == '@' ? fopen(word + 1, "re") : NULL;
        const char *why = NULL;
        size_t len, mark;
        char *params;

        if (*word == '@' && !file) {
                cli_wrong(cli, "%s: %s", word + 1, strerror(errno));
                return NULL;
        }
        if (file)
                why = read_all(file, &text);
        else
                json_text_put(&text, word, strlen(word));
        if (file && !input)
                fclose(file);
        len = text.len;
        params = memory_need(json_text_take(&text));
        mark = utf8_mark(params, len);
        memmove(params, params + mark, len - mark + 1);
        if (why)
                cli_wrong(cli, "%s: %s", word, why);
        else if (check_params(cli, word, params, len - mark))
                return params;
        free(params);
        return NULL;
}

/* The envelope; params NULL: without any. */
static char *make_body(const struct cli *cli, const char *params)
{
        struct json_text text = { 0 };
        static const char head[] = "{\"jsonrpc\":\"2.0\",", id[] = "\"id\":1,", name[] = "\"method\":", value[] = ",\"params\":";

        json_text_put(&text, head, strlen(head));
        if (!cli_flag(cli, "notify"))
                json_text_put(&text, id, strlen(id));
        json_text_put(&text, name, strlen(name));
        json_text_string(&text, cli->words[1]);
        if (params) {
                json_text_put(&text, value, strlen(value));
                json_text_put(&text, params, strlen(params));
        }
        json_text_put(&text, "}", 1);
        return memory_need(json_text_take(&text));
}

static int send_message(struct cli *cli, const char *path, const char *body)
{
        const char *answer;
        size_t len;

        if (client_text(cli->client, path, body, &answer, &len) < 0)
                return client_exit_status(cli->client);
        if (len == 0)
                return EXIT_SUCCESS;
        show_json(cli, answer, len);
        return show_has(answer, len, "error") ? EXIT_FAILURE : EXIT_SUCCESS;
}

int cli_message(struct cli *cli)
{
        char id[AGENT_ID_SIZE], suffix[64] = "/messages", *params = NULL, *body, *path;
        int status;

        if (!utf8_valid(cli->words[1], strlen(cli->words[1])))
                return cli_wrong(cli, "METHOD is not UTF-8");
        if (cli->count == 3 && !(params = read_params(cli, cli->words[2])))
                return EXIT_USAGE;
        status = agents_find_one(cli, cli->words[0], false, id);
        if (status == EXIT_SUCCESS) {
                if (cli_flag(cli, "timeout"))
                        snprintf(suffix, sizeof suffix, "/messages?timeout_ms=%.0f", cli_number(cli, "timeout", 0) * 1000);
                path = agents_path(id, suffix);
                body = make_body(cli, params);
                status = send_message(cli, path, body);
                free(body);
                free(path);
        }
        free(params);
        return status;
}
