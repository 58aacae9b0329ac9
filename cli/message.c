/* message: a JSON-RPC request or notification to an agent; parameters and answer are passed on as they are spelt. */
#include "cli/agents.h"
#include "cli/commands.h"
#include "cli/show.h"
#include "common/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int read_all(FILE *file, struct json_text *text)
{
        char part[65536];
        size_t n;

        while ((n = fread(part, 1, sizeof part, file)) > 0)
                json_text_put(text, part, n);
        return ferror(file) ? -EIO : 0;
}

/* PARAMS: JSON itself, @FILE or - for standard input; free(). NULL: said why. */
static char *read_params(const struct cli *cli, const char *word)
{
        struct json_text text = { 0 };
        bool input = strcmp(word, "-") == 0;
        FILE *file = input ? stdin : *word == '@' ? fopen(word + 1, "re") : NULL;
        char *params;
        int r = 0;

        if (*word == '@' && !file) {
                cli_wrong(cli, "%s: %s", word + 1, strerror(errno));
                return NULL;
        }
        if (file)
                r = read_all(file, &text);
        else
                json_text_put(&text, word, strlen(word));
        if (file && !input)
                fclose(file);
        params = json_text_take(&text);
        if (!params)
                client_out_of_memory();
        /* Whether it is JSON is the daemon's to say: it takes what no tree here could hold. */
        if (r == 0 && params[strspn(params, " \t\r\n")])
                return params;
        cli_wrong(cli, "%s: %s", word, r < 0 ? "cannot be read" : "there are no parameters in it");
        free(params);
        return NULL;
}

/* The envelope; params NULL: without any. */
static char *make_body(const struct cli *cli, const char *params)
{
        struct json_text text = { 0 };
        static const char head[] = "{\"jsonrpc\":\"2.0\",", id[] = "\"id\":1,", name[] = "\"method\":", value[] = ",\"params\":";
        char *body;

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
        body = json_text_take(&text);
        if (!body)
                client_out_of_memory();
        return body;
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
