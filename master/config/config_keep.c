#include "master/config/config_keep.h"

#include "common/fd.h"
#include "common/json/json.h"
#include "common/log.h"
#include "master/config/config_internal.h"
#include "master/config/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKENS "tokens" /* the member beside the sections: the tokens as their file would have them, by digest */

static void name_file(char path[PATH_MAX], const char *run_dir, const char *suffix)
{
        if (snprintf(path, PATH_MAX, "%s/" CONFIG_KEPT "%s", run_dir, suffix) >= PATH_MAX)
                path[0] = '\0'; /* no file has that name: opening it says so */
}

/* Nobody else may read it: there are passwords in settings. 0 or -errno. */
static int write_file(const char *path, const char *text)
{
        size_t len = strlen(text);
        int fd, r = 0;

        unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        for (ssize_t n = 0; r == 0 && len > 0; text += n, len -= (size_t)n) {
                n = write(fd, text, len);
                r = n < 0 ? -errno : 0;
                n = n < 0 ? 0 : n;
        }
        fd_close(fd);
        return r;
}

/* The tree with the settings, and the tokens beside them. NULL when out of memory. */
static char *print(const struct config *config)
{
        struct json_error error;
        char *settings = config_print(config, false), *text = NULL;
        char *tokens = config->tokens ? tokens_print(config->tokens) : NULL;
        cJSON *tree = NULL;

        if (settings && (tokens || !config->tokens) && json_parse(settings, strlen(settings), JSON_STRICT, &tree, &error) == 0 &&
                (!tokens || json_add_string(tree, TOKENS, tokens) == 0))
                text = json_print(tree);
        cJSON_Delete(tree);
        free(settings);
        free(tokens);
        return text;
}

int config_keep(const struct config *config)
{
        char path[PATH_MAX], new[PATH_MAX];
        char *text = print(config);
        int r;

        name_file(path, config->run_dir, "");
        name_file(new, config->run_dir, ".new");
        r = text ? write_file(new, text) : -ENOMEM;
        free(text);
        if (r == 0 && rename(new, path) < 0)
                r = -errno;
        if (r < 0) {
                unlink(new);
                unlink(path); /* what is out of date may let in whom the last file does not */
        }
        return r;
}

void config_forget(const char *run_dir)
{
        char path[PATH_MAX];

        name_file(path, run_dir, "");
        unlink(path);
        name_file(path, run_dir, ".new");
        unlink(path);
}

/* 0 or -errno. Without tokens where there should be some, it would be open to everybody. */
static int read_settings(const cJSON *tree, const char *tokens, struct config *config)
{
        struct schema_errors wrong = { 0 }, outside = { 0 };
        char reason[200];
        int r = config_read_tree(tree, config, &wrong);

        if (r == 0 && wrong.count > 0)
                r = -EINVAL;
        r = r ? r : config_complete(config, &outside);
        for (unsigned i = 0; i < outside.count; i++)
                log_warn("config.recalled", "setting=%s detail=%s", LOG_Q(outside.errors[i].pointer),
                        LOG_Q(outside.errors[i].detail));
        if (r == 0 && config->server.tokens_file && !config->tokens)
                r = tokens ? tokens_parse(tokens, strlen(tokens), &config->tokens, reason, sizeof reason) : -EINVAL;
        return r;
}

int config_recall(const char *run_dir, struct config **ret_config)
{
        struct config *config = calloc(1, sizeof *config);
        cJSON *tree = NULL, *tokens = NULL;
        struct json_error error;
        char path[PATH_MAX], *text = NULL;
        size_t len = 0;
        int r;

        name_file(path, run_dir, "");
        r = config ? config_read_file(path, &text, &len) : -ENOMEM;
        r = r ? r : json_parse(text, len, JSON_STRICT, &tree, &error);
        if (r == 0) {
                tokens = cJSON_DetachItemFromObjectCaseSensitive(tree, TOKENS);
                r = read_settings(tree, cJSON_GetStringValue(tokens), config);
        }
        cJSON_Delete(tokens);
        cJSON_Delete(tree);
        free(text);
        if (r < 0)
                config_free(config);
        else
                *ret_config = config;
        return r;
}
