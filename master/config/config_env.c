#include "master/config/config_env.h"

#include "common/json/json.h"
#include "common/utf8.h"
#include "registry/redis/redis_url.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "AGENTPOOL_"

struct env {
        cJSON *tree;
        const struct schema_field *fields;
        char *const *environment;
        struct config_overrides *overrides;
        struct config_errors *errors;
        int result; /* 0 or -ENOMEM */
};

/* A setting that has a variable of its own. */
struct known {
        char name[64];
        char section[32]; /* "server/tls"; "": top level */
        const struct schema_field *field;
};

static const char *find(char *const *environment, const char *name)
{
        size_t len = strlen(name);

        for (char *const *entry = environment; *entry; entry++)
                if (strncmp(*entry, name, len) == 0 && (*entry)[len] == '=' && (*entry)[len + 1])
                        return *entry + len + 1;
        return NULL;
}

static const char *lookup(const struct env *env, const char *name)
{
        return find(env->environment, name);
}

/* NULL when the file has something else there: its own error is reported. */
static cJSON *section_of(struct env *env, const char *section)
{
        char path[32], *rest = path, *name;
        cJSON *object = env->tree, *parent;

        snprintf(path, sizeof path, "%s", section);
        while (cJSON_IsObject(object) && (name = strsep(&rest, "/")) && *name) {
                parent = object;
                object = cJSON_GetObjectItemCaseSensitive(parent, name);
                if (!object && !(object = cJSON_AddObjectToObject(parent, name)))
                        env->result = -ENOMEM;
        }
        return cJSON_IsObject(object) ? object : NULL;
}

static void put(struct env *env, const char *section, const char *key, cJSON *take_item, const char *variable)
{
        cJSON *object = section_of(env, section);
        struct config_overrides *overrides = env->overrides;
        struct config_override *override = &overrides->list[overrides->count];

        if (!take_item)
                env->result = -ENOMEM;
        if (!take_item || !object) {
                cJSON_Delete(take_item);
                return;
        }
        cJSON_DeleteItemFromObjectCaseSensitive(object, key);
        if (json_add_item(object, key, take_item) < 0)
                env->result = -ENOMEM;
        assert(overrides->count < CONFIG_OVERRIDES_MAX);
        snprintf(override->pointer, sizeof override->pointer, "%s%s/%s", *section ? "/" : "", section, key);
        snprintf(override->variable, sizeof override->variable, "%s", variable);
        overrides->count++;
}

static bool is_word(const char *text, const char *const *words)
{
        for (; *words; words++)
                if (strcasecmp(text, *words) == 0)
                        return true;
        return false;
}

/* "a, b" as a list of strings. */
static cJSON *list_item(const char *text)
{
        cJSON *list = cJSON_CreateArray();
        char *copy = strdup(text), *rest = copy, *part;
        bool failed = !list || !copy;

        while (!failed && (part = strsep(&rest, ","))) {
                size_t len;

                part += strspn(part, " \t");
                for (len = strlen(part); len > 0 && isspace((unsigned char)part[len - 1]); len--)
                        part[len - 1] = '\0';
                failed = !cJSON_AddItemToArray(list, cJSON_CreateString(part));
        }
        free(copy);
        if (failed) {
                cJSON_Delete(list);
                list = NULL;
        }
        return list;
}

/* In decimal; infinite when it is too large. */
static bool is_number(const char *text, double *ret_number)
{
        char *end;

        *ret_number = strtod(text, &end);
        return !*end && !text[strspn(text, "+-0123456789.eE")];
}

/* The text as the JSON that field wants; what does not look like it stays a string, which the schema then refuses. */
static cJSON *item_of(const struct schema_field *field, const char *text)
{
        static const char *const yes[] = { "true", "yes", "on", "1", NULL };
        static const char *const no[] = { "false", "no", "off", "0", NULL };
        double number;

        if (field->type == SCHEMA_STRINGS)
                return list_item(text);
        if (field->type == SCHEMA_BOOL && (is_word(text, yes) || is_word(text, no)))
                return cJSON_CreateBool(is_word(text, yes));
        if ((field->type == SCHEMA_INTEGER || field->type == SCHEMA_NUMBER) && is_number(text, &number))
                return cJSON_CreateNumber(number);
        return cJSON_CreateString(text);
}

static const struct schema_field *find_field(const struct schema_field *fields, const char *name)
{
        while (fields->name && strcmp(fields->name, name) != 0)
                fields++;
        assert(fields->name);
        return fields;
}

/* systemd's LoadCredential=tokens:… stands for server.tokens_file, unless the file has that. */
static void apply_credential(struct env *env)
{
        const char *directory = lookup(env, "CREDENTIALS_DIRECTORY");
        const cJSON *server = cJSON_GetObjectItemCaseSensitive(env->tree, "server");
        char path[4096];

        if (!directory || cJSON_HasObjectItem(server, "tokens_file") ||
                snprintf(path, sizeof path, "%s/tokens", directory) >= (int)sizeof path || access(path, F_OK) < 0)
                return;
        put(env, "server", "tokens_file", cJSON_CreateString(path), "CREDENTIALS_DIRECTORY");
}

/* The common variables that stand for one setting. */
static void apply_common(struct env *env)
{
        static const struct {
                const char *variable, *section, *key;
        } common[] = {
                { "MAX_CONNECTIONS", "server", "max_connections" },
                { "DATABASE_URL", "database", "url" },
                { "PGBOUNCER_URL", "database", "url" },
                { "REDIS_URL", "redis", "url" },
        };
        const char *text, *pooled = "PGBOUNCER_URL";
        char level[16];

        for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
                const struct schema_field *section = find_field(env->fields, common[i].section);

                text = lookup(env, common[i].variable);
                if (text)
                        put(env, common[i].section, common[i].key,
                                item_of(find_field(section->fields, common[i].key), text), common[i].variable);
        }
        if (lookup(env, pooled))
                put(env, "database", "pooled", cJSON_CreateTrue(), pooled);
        apply_credential(env);
        text = lookup(env, "LOG_LEVEL");
        if (text) { /* other programs write INFO and WARNING */
                snprintf(level, sizeof level, "%s", strcasecmp(text, "warning") == 0 ? "warn" : text);
                for (char *p = level; *p; p++)
                        *p = (char)tolower((unsigned char)*p);
                put(env, "log", "level", cJSON_CreateString(level), "LOG_LEVEL");
        }
}

static int digits(const char *text, long max, long *ret_value)
{
        char *end;

        errno = 0;
        *ret_value = strtol(text, &end, 10);
        return *end || !isdigit((unsigned char)*text) || errno || *ret_value > max ? -EINVAL : 0;
}

static int replace(char **string, const char *text)
{
        char *copy = text ? strdup(text) : NULL;

        if (text && !copy)
                return -ENOMEM;
        if (copy) {
                free(*string);
                *string = copy;
        }
        return 0;
}

/* The URL in the tree, or 127.0.0.1 when there is none that has a host and one is wanted. */
static int redis_base(const struct env *env, bool tcp, struct redis_url *ret_url)
{
        const cJSON *redis = cJSON_GetObjectItemCaseSensitive(env->tree, "redis");
        const char *text = json_string(redis, "url");
        char reason[REDIS_URL_REASON_SIZE];
        int r = redis_url_parse(text ? text : "embedded:", ret_url, reason);

        if (r == 0 && tcp && !ret_url->host)
                redis_url_done(ret_url);
        else if (r == -ENOMEM || r == 0 || !tcp)
                return r;
        return redis_url_parse("redis://127.0.0.1", ret_url, reason);
}

static void apply_redis_parts(struct env *env)
{
        const char *host = lookup(env, "REDIS_HOST"), *port = lookup(env, "REDIS_PORT");
        const char *db = lookup(env, "REDIS_DB"), *password = lookup(env, "REDIS_PASSWORD");
        struct redis_url url = { 0 };
        long number;
        char *text;
        int r;

        /* Kubernetes sets REDIS_PORT=tcp://10.0.0.1:6379 for any service called redis: not meant for us. */
        if (port && strstr(port, "://"))
                port = NULL;
        if (!(host || port || db || password) || lookup(env, "REDIS_URL") || lookup(env, PREFIX "REDIS_URL"))
                return;
        r = redis_base(env, host || port, &url);
        if (r == 0 && url.embedded) {
                config_fail(env->errors, "environment variable %s: the embedded Redis has none; set REDIS_HOST or REDIS_URL",
                        password ? "REDIS_PASSWORD" : "REDIS_DB");
                return;
        }
        if (r == 0 && port && (digits(port, UINT16_MAX, &number) < 0 || number == 0))
                config_fail(env->errors, "environment variable REDIS_PORT: must be a number from 1 to 65535");
        else if (r == 0 && port)
                url.port = (uint16_t)number;
        if (r == 0 && db && digits(db, INT_MAX, &number) < 0)
                config_fail(env->errors, "environment variable REDIS_DB: must be a number from 0");
        else if (r == 0 && db)
                url.db = (unsigned)number;
        r = r ? r : replace(&url.host, host);
        r = r ? r : replace(&url.password, password);
        text = r ? NULL : redis_url_format(&url, false);
        if (text)
                put(env, "redis", "url", cJSON_CreateString(text),
                        host ? "REDIS_HOST" : port ? "REDIS_PORT" : db ? "REDIS_DB" : "REDIS_PASSWORD");
        else if (r != -EINVAL) /* a wrong URL in the file is reported as such */
                env->result = -ENOMEM;
        free(text);
        redis_url_done(&url);
}

/* The place of the one listener that a host and a port describe; what the file says of either stays. */
static void apply_listen_parts(struct env *env)
{
        const char *host = lookup(env, "PM_AGENT_HOST"), *port = lookup(env, "PM_AGENT_PORT");
        const cJSON *server = cJSON_GetObjectItemCaseSensitive(env->tree, "server");
        const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(server, "listen"), 0);
        const char *given = cJSON_IsString(first) ? first->valuestring : "127.0.0.1:8000", *colon = strrchr(given, ':');
        bool v6 = host && strchr(host, ':') && *host != '[';
        char *text;

        /* Kubernetes sets PM_AGENT_PORT=tcp://… for a service called pm-agent: not meant for us. */
        if (port && strstr(port, "://"))
                port = NULL;
        if (!(host || port) || lookup(env, PREFIX "SERVER_LISTEN"))
                return;
        if (!colon || strncmp(given, "unix:", 5) == 0) {
                given = "127.0.0.1:8000";
                colon = strrchr(given, ':');
        }
        if (asprintf(&text, "%s%.*s%s:%s", v6 ? "[" : "", host ? (int)strlen(host) : (int)(colon - given),
                    host ? host : given, v6 ? "]" : "", port ? port : colon + 1) < 0) {
                env->result = -ENOMEM;
                return;
        }
        put(env, "server", "listen", list_item(text), host ? "PM_AGENT_HOST" : "PM_AGENT_PORT");
        free(text);
}

/* In seconds, as servers in Python have it. */
static void apply_connection_timeout(struct env *env)
{
        const char *text = lookup(env, "CONNECTION_TIMEOUT");
        double seconds;

        if (!text)
                return;
        put(env, "redis", "connect_timeout_ms",
                is_number(text, &seconds) ? cJSON_CreateNumber(floor(seconds * 1000 + 0.5)) : cJSON_CreateString(text),
                "CONNECTION_TIMEOUT");
}

const char *config_env_ignored(char *const *environment, char *names, size_t size)
{
        static const char *const ignored[] = { "PM_AGENT_WORKERS", "REDIS_POOL_SIZE", "DB_POOL_SIZE", "USE_MULTIPROCESSING" };
        size_t len = 0;

        names[0] = '\0';
        for (size_t i = 0; i < sizeof ignored / sizeof *ignored && len < size; i++)
                if (find(environment, ignored[i]))
                        len += (size_t)snprintf(names + len, size - len, "%s%s", len ? ", " : "", ignored[i]);
        return names;
}

static size_t add_known(const char *section, const struct schema_field *fields, struct known *known, size_t count)
{
        for (; fields->name; fields++) {
                struct known *next = &known[count];
                char path[sizeof next->section];

                if (fields->type == SCHEMA_OBJECT) {
                        snprintf(path, sizeof path, "%s%s%s", section, *section ? "/" : "", fields->name);
                        count = add_known(path, fields->fields, known, count);
                        continue;
                }
                if (fields->type == SCHEMA_TREE)
                        continue;
                assert(count < CONFIG_OVERRIDES_MAX);
                *next = (struct known){ .field = fields };
                snprintf(next->section, sizeof next->section, "%s", section);
                snprintf(next->name, sizeof next->name, PREFIX "%s%s%s", section, *section ? "_" : "", fields->name);
                for (char *p = next->name; *p; p++)
                        *p = *p == '/' ? '_' : (char)toupper((unsigned char)*p);
                count++;
        }
        return count;
}

/* Kubernetes describes each service to every container: AGENTPOOL_REDIS_SERVICE_HOST for one called agentpool-redis. */
static bool is_service_variable(const char *entry)
{
        size_t len = strcspn(entry, "=");

        return memmem(entry, len, "_SERVICE_HOST", 13) || memmem(entry, len, "_SERVICE_PORT", 13) ||
               memmem(entry, len, "_PORT_", 6) || strstr(entry, "_PORT=tcp://");
}

/* A misspelt AGENTPOOL_<SECTION>_… would be ignored in silence otherwise. Other AGENTPOOL_ names may be anyone's. */
static void refuse_unknown(struct env *env, const struct known *known, size_t count)
{
        static const char *const prefixes[] = { PREFIX "SERVER_", PREFIX "REDIS_", PREFIX "DATABASE_", PREFIX "LOG_" };
        const char *names[CONFIG_OVERRIDES_MAX + 1] = { NULL };

        for (size_t i = 0; i < count; i++)
                names[i] = known[i].name + strlen(PREFIX);
        for (char *const *entry = env->environment; *entry; entry++) {
                char name[128] = "";
                bool ours = false;
                const char *nearest;

                snprintf(name, sizeof name, "%.*s", (int)strcspn(*entry, "="), *entry);
                for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
                        ours = ours || strncmp(name, prefixes[i], strlen(prefixes[i])) == 0;
                for (size_t i = 0; i < count; i++)
                        ours = ours && strcmp(name, known[i].name) != 0;
                if (!ours || is_service_variable(*entry))
                        continue;
                /* Without the prefix that all share: it would make everything look near. */
                nearest = schema_nearest(name + strlen(PREFIX), names);
                config_fail(env->errors, "environment variable %s: unknown%s%s%s", name,
                        nearest ? "; did you mean " PREFIX : "", nearest ? nearest : "", nearest ? "?" : "");
        }
}

static bool is_utf8(const char *text)
{
        const char *end = text + strlen(text);
        size_t len;

        for (; text < end; text += len) {
                len = utf8_length(text, end);
                if (len == 0)
                        return false;
        }
        return true;
}

int config_env_apply(cJSON *tree, const struct schema_field *fields, char *const *environment,
        struct config_overrides *ret_overrides, struct config_errors *errors)
{
        struct env env = { tree, fields, environment, ret_overrides, errors, 0 };
        struct known known[CONFIG_OVERRIDES_MAX];
        size_t count = add_known("", fields, known, 0);
        const char *text;

        ret_overrides->count = 0;
        apply_common(&env);
        apply_redis_parts(&env);
        apply_listen_parts(&env);
        apply_connection_timeout(&env);
        for (size_t i = 0; i < count; i++) {
                text = lookup(&env, known[i].name);
                if (text)
                        put(&env, known[i].section, known[i].field->name, item_of(known[i].field, text),
                                known[i].name);
        }
        refuse_unknown(&env, known, count);
        for (unsigned i = 0; i < ret_overrides->count; i++)
                if (!is_utf8(lookup(&env, ret_overrides->list[i].variable)))
                        config_fail(errors, "environment variable %s: is not UTF-8", ret_overrides->list[i].variable);
        return env.result;
}

const char *config_env_variable(const struct config_overrides *overrides, const char *pointer)
{
        for (unsigned i = overrides->count; i-- > 0;) {
                const char *known = overrides->list[i].pointer;
                size_t len = strlen(known);

                if (strncmp(pointer, known, len) == 0 && (pointer[len] == '\0' || pointer[len] == '/'))
                        return overrides->list[i].variable;
        }
        return NULL;
}
