#include "cli/contexts.h"

#include "cli/client/memory.h"
#include "cli/commands.h"
#include "cli/show.h"
#include "common/json/json.h"
#include "common/utf8.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (1 << 20)

char *contexts_path(void)
{
        const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        bool own = config && *config == '/';
        char *path;

        if (!own && (!home || !*home))
                return NULL;
        if (asprintf(&path, "%s%s/agentpool/config.json", own ? config : home, own ? "" : "/.config") < 0)
                memory_exhausted();
        return path;
}

static cJSON *parse(const char *path, FILE *file)
{
        char *text = memory_need(calloc(1, FILE_SIZE_MAX));
        struct json_error why;
        cJSON *tree = NULL;
        size_t len, mark;

        len = fread(text, 1, FILE_SIZE_MAX - 1, file);
        mark = utf8_mark(text, len);
        if (json_parse(text + mark, len - mark, JSON_COMMENTS, &tree, &why) < 0)
                fprintf(stderr, "agentpool: %s:%zu:%zu: %s\n", path, why.line, why.column, why.detail);
        else if (!cJSON_IsObject(tree))
                fprintf(stderr, "agentpool: %s: no object\n", path);
        free(text);
        if (cJSON_IsObject(tree))
                return tree;
        cJSON_Delete(tree);
        return NULL;
}

cJSON *contexts_load(void)
{
        char *path = contexts_path();
        FILE *file = path ? fopen(path, "re") : NULL;
        cJSON *tree = NULL;

        if (file)
                tree = parse(path, file);
        else if (!path || errno == ENOENT || errno == ENOTDIR)
                tree = cJSON_CreateObject();
        else
                fprintf(stderr, "agentpool: %s: %s\n", path, strerror(errno));
        if (file)
                fclose(file);
        free(path);
        return tree;
}

const cJSON *contexts_find(const cJSON *file, const char *name)
{
        const char *wanted = name ? name : json_string(file, "current");
        const cJSON *context = NULL;

        if (wanted)
                context = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(file, "contexts"), wanted);
        if (wanted && !json_string(context, "url")) {
                fprintf(stderr, "agentpool: no context \"%s\" with a url; agentpool context lists them\n", wanted);
                return NULL;
        }
        return context;
}

/* The directories that lead to path, 0700 where they are new. */
static void make_directories(char *path)
{
        for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                mkdir(path, 0700);
                *slash = '/';
        }
}

/* Whole or not at all. */
static int save(const cJSON *file)
{
        char *path = contexts_path(), *text = cJSON_Print(file), *temporary = NULL;
        FILE *to = NULL;
        int fd = -1, r = -1;

        if (path && asprintf(&temporary, "%s.XXXXXX", path) < 0)
                memory_exhausted();
        if (path) {
                make_directories(path);
                fd = mkstemp(temporary);
                to = fd < 0 ? NULL : fdopen(fd, "w");
        }
        if (to) {
                r = fprintf(to, "%s\n", text) < 0 ? -1 : 0;
                r = fclose(to) == 0 ? r : -1;
                r = r ? r : rename(temporary, path);
        }
        if (r < 0)
                fprintf(stderr, "agentpool: %s: %s\n", path ? path : "no $HOME to keep contexts in", strerror(errno));
        free(path);
        free(temporary);
        cJSON_free(text);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void write_current(const cJSON *row, char *buffer, size_t size)
{
        snprintf(buffer, size, "%s", cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "current")) ? "*" : "");
}

static int list(const struct cli *cli, const cJSON *file)
{
        static const struct column columns[] = { { .heading = "CURRENT", .make = write_current }, { .heading = "NAME", .member = "name" },
                { .heading = "URL", .member = "url" }, { .heading = "TOKEN FILE", .member = "token_file" },
                { .heading = "CA FILE", .member = "ca_file", .wide = true }, { 0 } };
        const char *current = json_string(file, "current");
        cJSON *rows = cJSON_CreateArray();
        const cJSON *context;

        cJSON_ArrayForEach(context, cJSON_GetObjectItemCaseSensitive(file, "contexts"))
        {
                cJSON *row = cJSON_Duplicate(context, true);

                json_add_string(row, "name", context->string);
                json_add_bool(row, "current", current && strcmp(current, context->string) == 0);
                cJSON_AddItemToArray(rows, row);
        }
        show_rows(cli, rows, columns, "name");
        cJSON_Delete(rows);
        return EXIT_SUCCESS;
}

static void add_file(cJSON *context, const char *member, const char *path)
{
        char whole[PATH_MAX];

        if (path)
                json_add_string(context, member, realpath(path, whole) ? whole : path);
}

static int set(const struct cli *cli, cJSON *file, cJSON *contexts, const char *name)
{
        cJSON *context;

        if (!cli_value(cli, "url"))
                return cli_wrong(cli, "set wants the daemon's -u URL");
        if (cJSON_HasObjectItem(contexts, name) && !cli_flag(cli, "force"))
                return cli_wrong(cli, "there is a context \"%s\"; --force replaces it", name);
        cJSON_DeleteItemFromObjectCaseSensitive(contexts, name);
        context = cJSON_AddObjectToObject(contexts, name);
        json_add_string(context, "url", cli_value(cli, "url"));
        add_file(context, "token_file", cli_value(cli, "token-file"));
        add_file(context, "ca_file", cli_value(cli, "ca-file"));
        if (!json_string(file, "current"))
                json_add_string(file, "current", name);
        return save(file);
}

static int change(const struct cli *cli, cJSON *file, const char *verb, const char *name)
{
        cJSON *contexts = cJSON_GetObjectItemCaseSensitive(file, "contexts");
        const char *current = json_string(file, "current");

        contexts = contexts ? contexts : cJSON_AddObjectToObject(file, "contexts");
        if (strcmp(verb, "set") == 0)
                return set(cli, file, contexts, name);
        if (!contexts_find(file, name))
                return EXIT_FAILURE;
        if (strcmp(verb, "rm") == 0)
                cJSON_DeleteItemFromObjectCaseSensitive(contexts, name);
        if (strcmp(verb, "use") == 0 || (current && strcmp(current, name) == 0))
                cJSON_DeleteItemFromObjectCaseSensitive(file, "current");
        if (strcmp(verb, "use") == 0)
                json_add_string(file, "current", name);
        return save(file);
}

int cli_context(struct cli *cli)
{
        const char *verb = cli->count > 0 ? cli->words[0] : NULL;
        cJSON *file;
        int status;

        if (verb && strcmp(verb, "use") != 0 && strcmp(verb, "set") != 0 && strcmp(verb, "rm") != 0)
                return cli_wrong(cli, "\"%s\" is none of use, set, rm", verb);
        if (cli->count == 1)
                return cli_wrong(cli, "the context's NAME is missing");
        file = contexts_load();
        if (!file)
                return EXIT_FAILURE;
        status = verb ? change(cli, file, verb, cli->words[1]) : list(cli, file);
        cJSON_Delete(file);
        return status;
}
