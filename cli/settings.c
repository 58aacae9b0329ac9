#include "cli/settings.h"

#include "cli/contexts.h"
#include "common/json/json.h"
#include "common/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_URL "http://127.0.0.1:8000"

static cJSON *contexts; /* what the strings of a context lie in */
static char token[4096];

static const char *environment(const char *name)
{
        const char *text = getenv(name);

        return text && *text ? text : NULL;
}

/* The first line of the file. NULL with a message on stderr when there is none. */
static const char *read_token(const char *path)
{
        FILE *file = fopen(path, "re");
        const char *why = NULL;
        size_t mark;

        if (!file)
                why = strerror(errno);
        else if (!fgets(token, sizeof token, file))
                why = ferror(file) ? strerror(errno) : "it is empty";
        if (file)
                fclose(file);
        token[strcspn(token, "\r\n")] = '\0';
        mark = utf8_mark(token, strlen(token));
        if (!why && !token[mark])
                why = "its first line is empty";
        if (!why)
                return token + mark;
        fprintf(stderr, "agentpool: no token in %s: %s\n", path, why);
        return NULL;
}

/* A context that is meant: by option, by name in the environment, or the current one when nothing else says where to go.
 * *ret_wrong: it was named and is not there. */
static const cJSON *choose_context(const struct cli *cli, bool *ret_named, bool *ret_wrong)
{
        const char *name = cli_value(cli, "context");
        const cJSON *context;

        name = name || cli_flag(cli, "url") ? name : environment("AGENTPOOL_CONTEXT");
        *ret_named = name;
        *ret_wrong = false;
        if (!name && (cli_flag(cli, "url") || environment("AGENTPOOL_URL")))
                return NULL;
        contexts = contexts_load();
        context = contexts ? contexts_find(contexts, name) : NULL;
        *ret_wrong = !contexts || (!context && (name || json_string(contexts, "current")));
        return context;
}

static const char *first(const char *a, const char *b, const char *c)
{
        return a ? a : b ? b : c;
}

/* A token goes where the same source says: that of a named context nowhere else, that of the environment not to one. */
static int choose_token(struct cli *cli, const cJSON *context, bool named)
{
        const char *file = cli_value(cli, "token-file");

        if (!file && !named && (cli->token = environment("AGENTPOOL_TOKEN")))
                return 0;
        file = first(file, named ? NULL : environment("AGENTPOOL_TOKEN_FILE"), json_string(context, "token_file"));
        return file && !(cli->token = read_token(file)) ? -1 : 0;
}

void settings_format(struct cli *cli)
{
        static const char *const names[] = { [CLI_TABLE] = "table", [CLI_WIDE] = "wide", [CLI_JSON] = "json", [CLI_YAML] = "yaml",
                [CLI_NAME] = "name" };
        const char *output = cli_value(cli, "output"), *color = cli_value(cli, "color"), *term = getenv("TERM");

        cli->format = cli_flag(cli, "quiet") ? CLI_NAME : CLI_TABLE;
        for (size_t i = CLI_TABLE; output && i < sizeof names / sizeof *names; i++)
                if (strcmp(output, names[i]) == 0)
                        cli->format = (enum cli_format)i;
        cli->color = isatty(STDOUT_FILENO) && !environment("NO_COLOR") && !(term && strcmp(term, "dumb") == 0);
        if (color && strcmp(color, "auto") != 0)
                cli->color = strcmp(color, "always") == 0;
}

int settings_apply(struct cli *cli, bool quiet)
{
        bool named, wrong;
        const cJSON *context = choose_context(cli, &named, &wrong);
        struct client_options options = { .quiet = quiet };

        settings_format(cli);
        if (wrong || choose_token(cli, context, named) < 0)
                return EXIT_USAGE;
        cli->url = first(cli_value(cli, "url"), json_string(context, "url"), environment("AGENTPOOL_URL"));
        cli->chosen = cli->url;
        cli->url = cli->url ? cli->url : DEFAULT_URL;
        cli->ca_file = first(cli_value(cli, "ca-file"), json_string(context, "ca_file"), environment("AGENTPOOL_CA_FILE"));
        options.url = cli->url;
        options.token = cli->token;
        options.ca_file = cli->ca_file;
        cli->client = client_new(&options);
        return cli->client ? EXIT_SUCCESS : EXIT_USAGE;
}

void settings_done(struct cli *cli)
{
        cli->client = client_free(cli->client);
        cJSON_Delete(contexts);
        contexts = NULL;
}
