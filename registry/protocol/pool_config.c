#include "registry/protocol/pool_config.h"

#include "common/json/json_raw.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS 3600000.0
#define PETABYTE 1125899906842624.0
/* Below these nothing would start. */
#define MEMORY_LEAST 1048576
#define FILES_LEAST 16
#define WORKER_MEMORY_LEAST 33554432
#define WORKER_FILES_LEAST 64
#define RUNTIME(field) offsetof(struct pool_runtime_config, field)
#define PROBE(field) offsetof(struct pool_probe_config, field)
#define RESTART(field) offsetof(struct pool_restart_config, field)
#define BREAKER(field) offsetof(struct breaker_config, field)
#define LIMITS(field) offsetof(struct pool_limits_config, field)
#define WORKER_LIMITS(field) offsetof(struct pool_worker_limits_config, field)
#define POOL(field) offsetof(struct pool_config, field)
#define INTEGER(field, at, low, high, text) \
        { .name = #field, .type = SCHEMA_INTEGER, .offset = at(field), .min = (low), .max = (high), .fallback = (text) }

static const char *const runtime_words[] = { "command", "module", NULL };
static const char *const signal_words[] = { "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL", NULL };
static const char *const policy_words[] = { "permanent", "transient", "temporary", NULL };
static const char *const placement_words[] = { "pack", "spread", NULL };

static const struct schema_field runtime_fields[] = {
        { .name = "type", .type = SCHEMA_ENUM, .offset = RUNTIME(type), .required = true, .words = runtime_words },
        { .name = "argv", .type = SCHEMA_STRINGS, .offset = RUNTIME(argv), .min = 1, .max = 256 },
        { .name = "path", .type = SCHEMA_STRING, .offset = RUNTIME(path), .min = 1, .max = 4095 },
        { .name = "env", .type = SCHEMA_MAP, .offset = RUNTIME(env), .max = 256, .secret = true },
        { .name = "directory", .type = SCHEMA_STRING, .offset = RUNTIME(directory), .min = 1, .max = 4095 },
        { .name = "wait_ready", .type = SCHEMA_BOOL, .offset = RUNTIME(wait_ready), .fallback = "false" },
        { .name = "ready_method", .type = SCHEMA_STRING, .offset = RUNTIME(ready_method), .min = 1, .max = 128,
                .fallback = "\"ping\"" },
        { .name = "credentials", .type = SCHEMA_MAP, .offset = RUNTIME(credentials), .max = 64 },
        { .name = "stop_signal", .type = SCHEMA_ENUM, .offset = RUNTIME(stop_signal), .words = signal_words, .fallback = "\"TERM\"" },
        { .name = "umask", .type = SCHEMA_STRING, .offset = RUNTIME(umask), .min = 1, .max = 4 },
        INTEGER(nice, RUNTIME, -20, 19, "0"),
        { .name = "cancel_method", .type = SCHEMA_STRING, .offset = RUNTIME(cancel_method), .max = 128,
                .fallback = "\"notifications/cancelled\"" },
        { .name = "strict_stdout", .type = SCHEMA_BOOL, .offset = RUNTIME(strict_stdout), .fallback = "false" },
        INTEGER(max_line_bytes, RUNTIME, 1024, 1 << 30, "16777216"),
        INTEGER(max_depth, RUNTIME, 16, JSON_RAW_DEPTH_MAX, "512"),
        INTEGER(queue_bytes, RUNTIME, 1024, 1 << 30, "1048576"),
        INTEGER(log_bytes_per_second, RUNTIME, 0, 1 << 30, "65536"),
        INTEGER(log_line_bytes, RUNTIME, 256, 1 << 20, "16384"),
        { .name = NULL },
};

static const struct schema_field probe_fields[] = {
        { .name = "method", .type = SCHEMA_STRING, .offset = PROBE(method), .min = 1, .max = 128 },
        INTEGER(interval_seconds, PROBE, 0, 86400, "0"),
        INTEGER(timeout_ms, PROBE, 1, HOUR_MS, "5000"),
        INTEGER(failures, PROBE, 1, 1000, "3"),
        { .name = NULL },
};

static const struct schema_field restart_fields[] = {
        { .name = "policy", .type = SCHEMA_ENUM, .offset = RESTART(policy), .words = policy_words,
                .fallback = "\"permanent\"" },
        INTEGER(intensity, RESTART, 0, 1000000, "5"),
        INTEGER(period_seconds, RESTART, 1, 86400, "60"),
        INTEGER(delay_ms, RESTART, 1, HOUR_MS, "100"),
        INTEGER(delay_max_ms, RESTART, 1, HOUR_MS, "30000"),
        INTEGER(healthy_seconds, RESTART, 0, 86400, "10"),
        { .name = NULL },
};

static const struct schema_field breaker_fields[] = {
        INTEGER(threshold, BREAKER, 0, 1000000, "5"),
        INTEGER(window_seconds, BREAKER, 1, 86400, "60"),
        INTEGER(cooldown_seconds, BREAKER, 1, 86400, "10"),
        { .name = "auto_reset", .type = SCHEMA_BOOL, .offset = BREAKER(auto_reset), .fallback = "true" },
        { .name = NULL },
};

static const struct schema_field limits_fields[] = {
        INTEGER(memory_bytes, LIMITS, 0, PETABYTE, "0"),
        INTEGER(cpu_percent, LIMITS, 0, 1000000, "0"),
        INTEGER(processes, LIMITS, 0, 4194304, "0"),
        INTEGER(open_files, LIMITS, 0, 1 << 30, "0"),
        { .name = NULL },
};

static const struct schema_field worker_limits_fields[] = {
        INTEGER(memory_bytes, WORKER_LIMITS, 0, PETABYTE, "0"),
        INTEGER(open_files, WORKER_LIMITS, 0, 1 << 30, "0"),
        { .name = NULL },
};

const struct schema_field pool_config_fields[] = {
        { .name = "role_type", .type = SCHEMA_NAME, .offset = POOL(role_type), .required = true },
        { .name = "project_id", .type = SCHEMA_ID, .offset = POOL(project_id) },
        INTEGER(max_idle_time, POOL, 0, 31536000, "0"),
        { .name = "runtime", .type = SCHEMA_OBJECT, .offset = POOL(runtime), .required = true, .fields = runtime_fields },
        { .name = "probe", .type = SCHEMA_OBJECT, .offset = POOL(probe), .fields = probe_fields },
        { .name = "restart", .type = SCHEMA_OBJECT, .offset = POOL(restart), .fields = restart_fields },
        { .name = "breaker", .type = SCHEMA_OBJECT, .offset = POOL(breaker), .fields = breaker_fields },
        { .name = "limits", .type = SCHEMA_OBJECT, .offset = POOL(limits), .fields = limits_fields },
        { .name = "worker_limits", .type = SCHEMA_OBJECT, .offset = POOL(worker_limits), .fields = worker_limits_fields },
        { .name = "user", .type = SCHEMA_STRING, .offset = POOL(user), .min = 1, .max = 64 },
        { .name = "group", .type = SCHEMA_STRING, .offset = POOL(group), .min = 1, .max = 64 },
        { .name = "allowed_args", .type = SCHEMA_STRINGS, .offset = POOL(allowed_args), .max = 64 },
        { .name = "placement", .type = SCHEMA_ENUM, .offset = POOL(placement), .words = placement_words,
                .fallback = "\"pack\"" },
        INTEGER(max_agents_per_worker, POOL, 1, 100000, "10"),
        INTEGER(min_workers, POOL, 0, 65536, "0"),
        INTEGER(max_workers, POOL, 1, 65536, "100"),
        INTEGER(spare_workers, POOL, 0, 65536, "0"),
        INTEGER(queue_max, POOL, 0, 10000000, "10000"),
        INTEGER(spawn_timeout_ms, POOL, 1, HOUR_MS, "10000"),
        INTEGER(start_timeout_ms, POOL, 1, HOUR_MS, "5000"),
        INTEGER(worker_start_timeout_ms, POOL, 1, HOUR_MS, "10000"),
        INTEGER(drain_timeout_ms, POOL, 0, HOUR_MS, "30000"),
        INTEGER(stop_grace_ms, POOL, 0, HOUR_MS, "2000"),
        INTEGER(kill_grace_ms, POOL, 0, HOUR_MS, "3000"),
        INTEGER(worker_idle_timeout_ms, POOL, 0, 24 * HOUR_MS, "60000"),
        INTEGER(heartbeat_interval_ms, POOL, 10, HOUR_MS, "2000"),
        INTEGER(worker_lease_ms, POOL, 20, HOUR_MS, "10000"),
        { .name = NULL },
};

int pool_config_stop_signal(const struct pool_runtime_config *runtime)
{
        static const int signals[] = { SIGTERM, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGKILL };

        return signals[runtime->stop_signal];
}

/* What the rules across fields share. */
struct check {
        const struct pool_config *config;
        const char *prefix;
        struct schema_errors *errors;
};

#define REFUSE(check, member, ...)                                                       \
        do {                                                                             \
                char pointer[128];                                                       \
                                                                                         \
                snprintf(pointer, sizeof pointer, "%s/%s", (check)->prefix, (member));   \
                schema_fail((check)->errors, pointer, __VA_ARGS__);                      \
        } while (0)

static bool allowed(const struct pool_config *config, const char *name, size_t len)
{
        for (char **arg = config->allowed_args; arg && *arg; arg++)
                if (strlen(*arg) == len && memcmp(*arg, name, len) == 0)
                        return true;
        return false;
}

/* Every ${args.NAME} must be closed and one of allowed_args. */
static void check_placeholders(const struct check *check, const char *text, const char *member)
{
        static const char open[] = "${args.";

        while ((text = strstr(text, open))) {
                const char *name = text + sizeof open - 1;
                size_t len = strcspn(name, "}");

                if (name[len] != '}') {
                        REFUSE(check, member, "\"${args.\" lacks its closing \"}\"");
                        return;
                }
                if (!allowed(check->config, name, len))
                        REFUSE(check, member, "uses ${args.%.*s}; add \"%.*s\" to allowed_args",
                                (int)len, name, (int)len, name);
                text = name + len;
        }
}

static void check_env(const struct check *check)
{
        const cJSON *item;

        cJSON_ArrayForEach(item, check->config->runtime.env) {
                const char *name = item->string;
                size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

                if (len == 0 || name[len] || isdigit((unsigned char)*name))
                        REFUSE(check, "runtime/env", "\"%.64s\" is no variable name: letters, digits and _", name);
                else if (strncmp(name, "AGENTPOOL_", 10) == 0)
                        REFUSE(check, "runtime/env", "%.64s: names with AGENTPOOL_ are set by agentpool itself", name);
        }
}

static void check_credentials(const struct check *check)
{
        static const char allowed_bytes[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
        const cJSON *item;

        cJSON_ArrayForEach(item, check->config->runtime.credentials) {
                const char *name = item->string;

                if (!*name || *name == '.' || strlen(name) > 64 || name[strspn(name, allowed_bytes)])
                        REFUSE(check, "runtime/credentials", "\"%.64s\" is no name for a file: letters, digits, _, - and ., not first", name);
                else if (item->valuestring[0] != '/')
                        REFUSE(check, "runtime/credentials", "%.64s: must be the absolute path of a file", name);
        }
}

static void check_command(const struct check *check)
{
        const struct pool_runtime_config *runtime = &check->config->runtime;
        char member[40];

        if (runtime->path)
                REFUSE(check, "runtime/path", "belongs to type \"module\"; a command has argv");
        if (!runtime->argv) {
                REFUSE(check, "runtime/argv", "is required for type \"command\": the program and its arguments");
                return;
        }
        if (!*runtime->argv[0])
                REFUSE(check, "runtime/argv/0", "must name a program");
        /* A client chooses args; it must never choose the program. */
        if (strstr(runtime->argv[0], "${"))
                REFUSE(check, "runtime/argv/0", "the program cannot come from args; write its path");
        for (size_t i = 1; runtime->argv[i]; i++) {
                snprintf(member, sizeof member, "runtime/argv/%zu", i);
                check_placeholders(check, runtime->argv[i], member);
        }
        check_env(check);
        check_credentials(check);
        if (runtime->umask && (runtime->umask[strspn(runtime->umask, "01234567")] || strtoul(runtime->umask, NULL, 8) > 0777))
                REFUSE(check, "runtime/umask", "must be permissions in octal, as \"027\"");
}

static void check_module(const struct check *check)
{
        const struct pool_runtime_config *runtime = &check->config->runtime;

        if (!runtime->path)
                REFUSE(check, "runtime/path", "is required for type \"module\": the shared object");
        if (runtime->argv)
                REFUSE(check, "runtime/argv", "belongs to type \"command\"; a module has a path");
        if (runtime->env)
                REFUSE(check, "runtime/env", "belongs to type \"command\"; a module has no environment of its own");
        if (runtime->directory)
                REFUSE(check, "runtime/directory", "belongs to type \"command\"");
        if (runtime->credentials)
                REFUSE(check, "runtime/credentials", "belongs to type \"command\"; a module reads what its worker's user may read");
        if (runtime->umask)
                REFUSE(check, "runtime/umask", "belongs to type \"command\"");
        if (runtime->nice)
                REFUSE(check, "runtime/nice", "belongs to type \"command\"");
        if (runtime->wait_ready)
                REFUSE(check, "runtime/wait_ready", "belongs to type \"command\"; a module is ready when started");
        if (runtime->strict_stdout)
                REFUSE(check, "runtime/strict_stdout", "belongs to type \"command\"; a module has no standard output");
}

static void check_least(const struct check *check, const char *member, int64_t value, int64_t least)
{
        if (value > 0 && value < least)
                REFUSE(check, member, "is %lld; nothing starts with less than %lld; 0 means no limit", (long long)value,
                        (long long)least);
}

static void check_limits(const struct check *check)
{
        const struct pool_limits_config *limits = &check->config->limits;
        const struct pool_worker_limits_config *worker = &check->config->worker_limits;

        check_least(check, "limits/memory_bytes", limits->memory_bytes, MEMORY_LEAST);
        check_least(check, "limits/open_files", limits->open_files, FILES_LEAST);
        check_least(check, "worker_limits/memory_bytes", worker->memory_bytes, WORKER_MEMORY_LEAST);
        check_least(check, "worker_limits/open_files", worker->open_files, WORKER_FILES_LEAST);
        if (check->config->runtime.type == POOL_RUNTIME_MODULE &&
                (limits->memory_bytes || limits->cpu_percent || limits->processes || limits->open_files))
                REFUSE(check, "limits", "belong to type \"command\"; a module lives in its worker: see worker_limits");
}

static void check_rules(const struct check *check)
{
        const struct pool_config *config = check->config;

        if (config->runtime.type == POOL_RUNTIME_COMMAND)
                check_command(check);
        else
                check_module(check);
        check_limits(check);
        if (config->group && !config->user)
                REFUSE(check, "group", "takes a user");
        if (config->max_idle_time > 0 && config->max_idle_time < 60)
                REFUSE(check, "max_idle_time", "is %lld; it must be 0 (never) or at least 60 seconds",
                        (long long)config->max_idle_time);
        if (config->min_workers > config->max_workers)
                REFUSE(check, "min_workers", "is %lld, more than max_workers %lld", (long long)config->min_workers,
                        (long long)config->max_workers);
        if (config->spare_workers > config->max_workers)
                REFUSE(check, "spare_workers", "is %lld, more than max_workers %lld",
                        (long long)config->spare_workers, (long long)config->max_workers);
        if (config->probe.interval_seconds > 0 && !config->probe.method)
                REFUSE(check, "probe/method", "is required for a probe: a JSON-RPC method that every agent answers, if only "
                                              "with an error; \"ping\" will do");
        if (config->restart.delay_ms > config->restart.delay_max_ms)
                REFUSE(check, "restart/delay_ms", "is %lld, more than delay_max_ms %lld",
                        (long long)config->restart.delay_ms, (long long)config->restart.delay_max_ms);
        if (config->worker_lease_ms < 2 * config->heartbeat_interval_ms)
                REFUSE(check, "worker_lease_ms", "is %lld; it must be at least twice heartbeat_interval_ms %lld",
                        (long long)config->worker_lease_ms, (long long)config->heartbeat_interval_ms);
}

static int read_name(const char *pool_name, const char *prefix, struct pool_config *config,
        struct schema_errors *errors)
{
        static const struct schema_field fields[] = {
                { .name = "pool_name", .type = SCHEMA_NAME, .offset = POOL(pool_name), .required = true },
                { .name = NULL },
        };
        struct schema_errors found = { 0 };
        cJSON *object = cJSON_CreateObject();
        int r = object ? json_add_string(object, "pool_name", pool_name) : -ENOMEM;

        r = r ? r : schema_read(object, prefix, fields, config, &found);
        if (r == -EINVAL)
                schema_fail(errors, prefix, "the pool's name %s", found.errors[0].detail);
        /* GET …/agents/pools/events is a route of its own: the pool could not be looked at. */
        if (r == 0 && strcmp(pool_name, "events") == 0)
                schema_fail(errors, prefix, "no pool can be named \"events\": the API has a route of that name; choose another name");
        cJSON_Delete(object);
        return r;
}

int pool_config_read(const char *pool_name, const cJSON *settings, const char *prefix, struct pool_config **ret_config,
        struct schema_errors *errors)
{
        struct pool_config *config = calloc(1, sizeof *config);
        unsigned count = errors->count;
        int r, named;

        if (!config)
                return -ENOMEM;
        r = schema_read(settings, prefix, pool_config_fields, config, errors);
        if (r == 0)
                check_rules(&(struct check){ config, prefix, errors });
        named = r == -ENOMEM ? 0 : read_name(pool_name, prefix, config, errors);
        r = r ? r : named;
        if (r == 0 && errors->count > count)
                r = -EINVAL;
        if (r < 0)
                pool_config_free(config);
        else
                *ret_config = config;
        return r;
}

struct pool_config *pool_config_free(struct pool_config *config)
{
        if (!config)
                return NULL;
        schema_done(pool_config_fields, config);
        free(config->pool_name);
        free(config);
        return NULL;
}

cJSON *pool_config_print(const struct pool_config *config, bool mask)
{
        cJSON *json = schema_print(pool_config_fields, config, mask);

        if (json && json_add_string(json, "pool_name", config->pool_name) == 0)
                return json;
        cJSON_Delete(json);
        return NULL;
}
