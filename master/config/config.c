#include "master/config/config.h"

#include "common/identity.h"
#include "common/json/json.h"
#include "common/utf8.h"
#include "master/config/config_env.h"
#include "master/config/config_internal.h"
#include "master/config/config_server.h"
#include "master/config/tokens.h"
#include "master/http/listen_address.h"
#include "registry/redis/redis_url.h"
#include "sql/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX (8U << 20)
#define REDIS_SOCKET "/redis.sock"

int config_read_file(const char *path, char **ret_text, size_t *ret_len)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
        size_t len = 0, size = 0;
        char *text = NULL, *larger;
        ssize_t n;

        if (fd < 0)
                return -errno;
        do {
                if (len == size) {
                        size = size ? 2 * size : 16384;
                        larger = size <= FILE_MAX ? realloc(text, size) : NULL;
                        r = larger ? 0 : size <= FILE_MAX ? -ENOMEM : -EFBIG;
                        text = larger ? larger : text;
                }
                n = r ? 0 : read(fd, text + len, size - len);
                if (n < 0 && errno != EINTR)
                        r = -errno;
                len += n > 0 ? (size_t)n : 0;
        } while (r == 0 && n != 0);
        close(fd);
        if (r < 0) {
                free(text);
                return r;
        }
        *ret_text = text;
        *ret_len = len;
        return 0;
}

/* Where each wrong setting stands, for people. */
struct source {
        const char *path, *text;
        size_t len;
        struct config_overrides overrides;
};

/* "/pools/a/runtime" as people write it: "pools.a.runtime: ", nothing for the top. */
static void name_setting(const char *pointer, char *buffer, size_t size)
{
        size_t len = (size_t)snprintf(buffer, size, "%s%s", *pointer ? pointer + 1 : "", *pointer ? ": " : "");

        for (size_t i = 0; i < len && i < size; i++)
                if (buffer[i] == '/')
                        buffer[i] = '.';
}

static void tell_error(const struct source *source, const struct schema_error *error, struct config_errors *errors)
{
        const char *variable = config_env_variable(&source->overrides, error->pointer);
        char pointer[sizeof error->pointer], name[sizeof error->pointer + 3];
        size_t line = 1, column = 1;

        name_setting(error->pointer, name, sizeof name);
        if (variable) {
                config_fail(errors, "environment variable %s: %s%s", variable, name, error->detail);
                return;
        }
        /* What is missing has no place: take that of what should have held it. */
        memcpy(pointer, error->pointer, sizeof pointer);
        while (json_locate(source->text, source->len, JSON_COMMENTS, pointer, &line, &column) < 0 && *pointer)
                *strrchr(pointer, '/') = '\0';
        config_fail(errors, "%s:%zu:%zu: %s%s", source->path, line, column, name, error->detail);
}

/* The embedded Redis listens in run_dir, and the system bounds the path of a socket. */
static void check_run_dir(const struct config *config, struct schema_errors *errors)
{
        char current[PATH_MAX] = "";
        size_t len = strlen(config->run_dir) + strlen(REDIS_SOCKET);

        if (config->run_dir[0] != '/' && getcwd(current, sizeof current))
                len += strlen(current) + 1;
        if (len > LISTEN_PATH_MAX)
                schema_fail(errors, "/run_dir", "the path of its Redis socket, run_dir" REDIS_SOCKET
                        ", would be %zu bytes long; the system takes at most %zu: choose a shorter directory", len,
                        LISTEN_PATH_MAX);
}

static int check_redis(const struct config *config, struct schema_errors *errors)
{
        struct redis_url url = { 0 };
        char reason[REDIS_URL_REASON_SIZE];
        int r = redis_url_parse(config->redis.url, &url, reason);

        if (r == -EINVAL)
                schema_fail(errors, "/redis/url", "%s", reason);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        if (url.embedded)
                check_run_dir(config, errors);
        redis_url_done(&url);
        return 0;
}

static bool begins(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void check_database(const struct config_database *database, struct schema_errors *errors)
{
        static const char schema_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
        bool postgresql = store_postgres_address(database->url);

        if (!postgresql && strcmp(database->url, "none:") != 0 &&
                !(begins(database->url, "sqlite:") && database->url[strlen("sqlite:")]))
                schema_fail(errors, "/database/url", "must be sqlite:PATH, postgresql://USER@HOST/NAME or none:");
        else if (database->pooled && !postgresql)
                schema_fail(errors, "/database/pooled", "is for PgBouncer; database.url is no postgresql://");
        if (database->schema && !postgresql)
                schema_fail(errors, "/database/schema", "is for PostgreSQL; database.url is no postgresql://");
        else if (database->schema && database->schema[strspn(database->schema, schema_letters)])
                schema_fail(errors, "/database/schema", "must be letters, digits and _");
}

/* NULL: the setting is not there. */
static void check_user(const char *user, const char *group, const char *pointer, struct schema_errors *errors)
{
        struct identity ignored;
        char reason[200];

        if ((user || group) && identity_find(user, group, &ignored, reason, sizeof reason) < 0)
                schema_fail(errors, pointer, "%s", reason);
}

static void check_pools(const struct config *config, struct schema_errors *errors)
{
        int64_t least = 0;
        char pointer[128];

        for (struct pool_config *const *pool = config->pools; *pool; pool++) {
                least += (*pool)->min_workers;
                snprintf(pointer, sizeof pointer, "/pools/%s/user", (*pool)->pool_name);
                check_user((*pool)->user, (*pool)->group, pointer, errors);
                snprintf(pointer, sizeof pointer, "/pools/%s/max_workers", (*pool)->pool_name);
                if ((*pool)->max_workers > config->max_workers_total)
                        schema_fail(errors, pointer, "is %lld, more than max_workers_total %lld",
                                (long long)(*pool)->max_workers, (long long)config->max_workers_total);
        }
        if (least > config->max_workers_total)
                schema_fail(errors, "/max_workers_total", "is %lld, less than all min_workers together, %lld",
                        (long long)config->max_workers_total, (long long)least);
}

int config_complete(struct config *config, struct schema_errors *errors)
{
        int r, checked;

        config->shutdown_timeout_ms = (int64_t)(config->shutdown_timeout * 1000);
        if (!config->database.url && asprintf(&config->database.url, "sqlite:%s/agentpool.db", config->run_dir) < 0) {
                config->database.url = NULL;
                return -ENOMEM;
        }
        if (!config->log.agents_dir && asprintf(&config->log.agents_dir, "%s/agents", config->run_dir) < 0) {
                config->log.agents_dir = NULL;
                return -ENOMEM;
        }
        if (config->group && !config->user)
                schema_fail(errors, "/group", "takes a user");
        check_user(config->user, config->group, "/user", errors);
        check_user(config->server.unix_socket.user, config->server.unix_socket.group, "/server/unix", errors);
        checked = config_server_check(config, errors);
        r = check_redis(config, errors);
        check_database(&config->database, errors);
        check_pools(config, errors);
        if (config->cgroup[0] != '/' && strcmp(config->cgroup, "auto") != 0 && strcmp(config->cgroup, "off") != 0)
                schema_fail(errors, "/cgroup", "must be auto, off or the absolute path of a cgroup v2 directory");
        return r ? r : checked;
}

static int read_pools(const cJSON *pools, struct config *config, struct schema_errors *errors)
{
        const cJSON *settings;
        char pointer[128];
        int r = 0;

        if (pools && !cJSON_IsObject(pools))
                schema_fail(errors, "/pools", "must be an object: a pool's name and its settings");
        config->pools = calloc((size_t)cJSON_GetArraySize(pools) + 1, sizeof(struct pool_config *));
        if (!config->pools)
                return -ENOMEM;
        if (!cJSON_IsObject(pools))
                return 0;
        cJSON_ArrayForEach(settings, pools) {
                struct pool_config *pool = NULL;

                schema_pointer("/pools", settings->string, pointer, sizeof pointer);
                r = pool_config_read(settings->string, settings, pointer, &pool, errors);
                if (r == -ENOMEM)
                        return r;
                if (pool)
                        config->pools[config->pool_count++] = pool;
        }
        return 0;
}

int config_read_tree(const cJSON *tree, struct config *config, struct schema_errors *errors)
{
        struct config_draft draft = { 0 };
        int r = schema_read(tree, "", config_fields, &draft, errors), pools;

        if (r == -ENOMEM)
                return r;
        cJSON_Delete(draft.pools);
        *config = draft.config;
        pools = read_pools(cJSON_GetObjectItemCaseSensitive(tree, "pools"), config, errors);
        return pools ? pools : r;
}

static int load(struct source *source, char *const *environment, struct config *config, struct config_errors *errors)
{
        struct schema_errors wrong = { 0 };
        struct json_error error;
        cJSON *tree;
        int r = json_parse(source->text, source->len, JSON_COMMENTS, &tree, &error);

        if (r == -EINVAL && utf8_is_utf16(source->text, source->len))
                config_fail(errors, "%s: is UTF-16: save it as UTF-8", source->path);
        else if (r == -EINVAL)
                config_fail(errors, "%s:%zu:%zu: %s", source->path, error.line, error.column, error.detail);
        if (r < 0)
                return r;
        r = cJSON_IsObject(tree) ? config_env_apply(tree, config_fields, environment, &source->overrides, errors) : 0;
        r = r ? r : config_read_tree(tree, config, &wrong);
        r = r ? r : config_complete(config, &wrong);
        cJSON_Delete(tree);
        for (unsigned i = 0; i < wrong.count; i++)
                tell_error(source, &wrong.errors[i], errors);
        return r == -ENOMEM ? r : errors->count > 0 ? -EINVAL : 0;
}

int config_load(const char *path, char *const *environment, struct config **ret_config, struct config_errors *errors)
{
        struct config *config = calloc(1, sizeof *config);
        struct source source = { .path = path };
        char *text = NULL;
        size_t mark;
        int r = config ? config_read_file(path, &text, &source.len) : -ENOMEM;

        *errors = (struct config_errors){ 0 };
        if (r < 0 && r != -ENOMEM) {
                config_fail(errors, "%s: cannot be read: %s", path, strerror(-r));
                r = -EINVAL;
        }
        mark = utf8_mark(text, source.len);
        source.text = text + mark;
        source.len -= mark;
        r = r ? r : load(&source, environment, config, errors);
        free(text);
        if (r < 0)
                config_free(config);
        else
                *ret_config = config;
        return r;
}

struct config *config_free(struct config *config)
{
        struct config_draft draft = { 0 };

        if (!config)
                return NULL;
        for (size_t i = 0; i < config->pool_count; i++)
                pool_config_free(config->pools[i]);
        free(config->pools);
        tokens_free(config->tokens);
        draft.config = *config;
        schema_done(config_fields, &draft);
        free(config);
        return NULL;
}

const char *config_fixed_change(const struct config *now, const struct config *next)
{
        char *run_dir = realpath(next->run_dir, NULL);
        bool same = run_dir && strcmp(run_dir, now->run_dir) == 0;

        free(run_dir);
        if (!same)
                return "run_dir";
        if (strcmp(now->user ? now->user : "", next->user ? next->user : "") != 0 ||
                strcmp(now->group ? now->group : "", next->group ? next->group : "") != 0)
                return "user";
        return strcmp(now->redis.url, next->redis.url) == 0 ? NULL : "redis.url";
}

int64_t config_sweep_interval_ms(const struct config *config)
{
        int64_t shortest = INT64_MAX;

        for (size_t i = 0; i < config->pool_count; i++)
                if (config->pools[i]->heartbeat_interval_ms < shortest)
                        shortest = config->pools[i]->heartbeat_interval_ms;
        return shortest;
}
