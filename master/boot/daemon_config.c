#include "master/boot/daemon_config.h"

#include "common/log.h"
#include "master/config/config_keep.h"
#include "master/config/tokens.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int daemon_config_place(struct config *config, const struct daemon_users *users)
{
        char *absolute = NULL;
        bool created = mkdir(config->run_dir, 0700) == 0;

        if ((created || errno == EEXIST) && daemon_users_give_directory(users, config->run_dir, created) == 0)
                absolute = realpath(config->run_dir, NULL);
        if (!absolute) {
                int error = errno;

                log_error("run_dir.unusable", "path=%s error=%s", LOG_Q(config->run_dir), LOG_Q(strerror(error)));
                return -error;
        }
        free(config->run_dir);
        config->run_dir = absolute;
        return 0;
}

/* Tokens of the start may have been revoked since: those that the file has now, or none. */
static void renew_tokens(struct config *config)
{
        struct tokens *tokens;
        char reason[256];

        if (!config->tokens)
                return;
        if (tokens_load(config->server.tokens_file, &tokens, reason, sizeof reason) == 0) {
                tokens_free(config->tokens);
                config->tokens = tokens;
                return;
        }
        config->tokens->count = 0;
        log_error("auth.closed", "reason=%s detail=\"no token is taken until that is right and HUP is sent\"", LOG_Q(reason));
}

/* NULL: it is wrong, which is logged. */
static struct config *read_file(const char *path, const struct config *start, const struct daemon_users *users)
{
        struct config_errors errors = { 0 };
        struct config *config;

        if (config_load(path, environ, &config, &errors) == 0) {
                const char *fixed = daemon_config_place(config, users) < 0 ? "run_dir" : config_fixed_change(start, config);

                if (!fixed)
                        return config;
                log_error("config.invalid", "error=\"%s takes effect with stop and start\"", fixed);
                config_free(config);
        }
        for (unsigned i = 0; i < errors.count; i++)
                log_error("config.invalid", "error=%s", LOG_Q(errors.lines[i]));
        return NULL;
}

struct config *daemon_config_read(const char *path, struct config *start, const struct daemon_users *users)
{
        struct config *config = read_file(path, start, users);
        int r;

        if (config) {
                r = config_keep(config);
                if (r < 0)
                        log_warn("config.not_kept", "error=%s detail=\"should a master die while the file is broken, the "
                                "settings of the start count\"", LOG_Q(strerror(-r)));
                return config;
        }
        r = config_recall(start->run_dir, &config);
        if (r == 0) {
                log_error("config.kept", "file=%s detail=\"going on with the settings that were right last\"", LOG_Q(path));
                return config;
        }
        log_error("config.kept", "file=%s detail=\"going on with the settings of the start\"", LOG_Q(path));
        renew_tokens(start);
        return NULL;
}
