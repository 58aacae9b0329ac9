/* Reads what the master sends to its worker at the start. */
#include "worker/welcome.h"

#include "common/json/json.h"
#include "registry/protocol/pool_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct settings {
        cJSON *pool, *credentials;
        struct id master_id;
        char *host, *run_dir, *redis_url, *log_file, *agents_dir;
        int64_t redis_connect_timeout_ms, redis_request_timeout_ms, redis_ping_interval_ms, registry_generation;
        int64_t agents_max_bytes, log_level, log_format;
        bool registry_up, agents_to_log, agents_to_master;
};

#define FIELD(field, kind) { .name = #field, .type = (kind), .offset = offsetof(struct settings, field), .required = true }
static const struct schema_field settings_fields[] = {
        FIELD(pool, SCHEMA_TREE),
        FIELD(master_id, SCHEMA_ID),
        FIELD(credentials, SCHEMA_TREE),
        FIELD(host, SCHEMA_STRING),
        FIELD(run_dir, SCHEMA_STRING),
        FIELD(redis_url, SCHEMA_STRING),
        FIELD(redis_connect_timeout_ms, SCHEMA_INTEGER),
        FIELD(redis_request_timeout_ms, SCHEMA_INTEGER),
        FIELD(redis_ping_interval_ms, SCHEMA_INTEGER),
        FIELD(registry_up, SCHEMA_BOOL),
        FIELD(registry_generation, SCHEMA_INTEGER),
        FIELD(log_file, SCHEMA_STRING),
        FIELD(log_level, SCHEMA_INTEGER),
        FIELD(log_format, SCHEMA_INTEGER),
        FIELD(agents_to_log, SCHEMA_BOOL),
        FIELD(agents_to_master, SCHEMA_BOOL),
        FIELD(agents_dir, SCHEMA_STRING),
        FIELD(agents_max_bytes, SCHEMA_INTEGER),
        { .name = NULL },
};

static int read_pool(cJSON *pool, struct welcome *welcome, struct schema_errors *errors)
{
        cJSON *name = cJSON_DetachItemFromObjectCaseSensitive(pool, "pool_name");
        int r = cJSON_IsString(name) ? pool_config_read(name->valuestring, pool, "/pool", &welcome->pool, errors) : -EINVAL;

        cJSON_Delete(name);
        return r;
}

static int take_settings(struct settings *settings, struct welcome *welcome, struct schema_errors *errors)
{
        char reason[REDIS_URL_REASON_SIZE];
        int r = read_pool(settings->pool, welcome, errors);

        if (r == 0 && *settings->redis_url)
                r = redis_url_parse(settings->redis_url, &welcome->redis_url, reason);
        if (r < 0)
                return r;
        welcome->master_id = settings->master_id;
        welcome->redis_connect_timeout_ms = (uint32_t)settings->redis_connect_timeout_ms;
        welcome->redis_request_timeout_ms = (uint32_t)settings->redis_request_timeout_ms;
        welcome->redis_ping_interval_ms = (uint32_t)settings->redis_ping_interval_ms;
        welcome->registry_up = settings->registry_up && *settings->redis_url;
        welcome->agents_to_master = settings->agents_to_master;
        welcome->registry_generation = (uint64_t)settings->registry_generation;
        welcome->log_level = (enum log_level)settings->log_level;
        welcome->log_format = (enum log_format)settings->log_format;
        welcome->host = settings->host;
        welcome->log_file = settings->log_file;
        welcome->agents = (struct agent_log_target){ .directory = settings->agents_dir, .to_log = settings->agents_to_log,
                .max_bytes = settings->agents_max_bytes };
        settings->host = settings->log_file = settings->agents_dir = NULL;
        welcome->run_dir = settings->run_dir;
        welcome->credentials = settings->credentials;
        settings->run_dir = NULL;
        settings->credentials = NULL;
        return 0;
}

struct welcome *welcome_read(const cJSON *tree)
{
        struct welcome *welcome = calloc(1, sizeof *welcome);
        struct schema_errors errors = { 0 };
        struct settings settings = { 0 };
        int r;

        if (!welcome)
                return NULL;
        r = schema_read(tree, "", settings_fields, &settings, &errors);
        r = r ? r : take_settings(&settings, welcome, &errors);
        schema_done(settings_fields, &settings);
        if (r == 0)
                return welcome;
        log_error("worker.bad_settings", "pointer=%s detail=%s", errors.errors[0].pointer, LOG_Q(errors.errors[0].detail));
        return welcome_free(welcome);
}

struct welcome *welcome_free(struct welcome *welcome)
{
        if (!welcome)
                return NULL;
        pool_config_free(welcome->pool);
        redis_url_done(&welcome->redis_url);
        cJSON_Delete(welcome->credentials);
        free(welcome->run_dir);
        free(welcome->host);
        free(welcome->log_file);
        free(welcome->agents.directory);
        free(welcome);
        return NULL;
}
