#include "master/api/spawn_body.h"

#include "common/clock.h"
#include "common/json/json.h"
#include "master/control/pools.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Labels and args of one agent: both are kept in SQL and sent with every placement. */
#define TEXTS_MAX (1024 * 1024)

#define BODY(field) .name = #field, .offset = offsetof(struct spawn_body, field)

static const struct schema_field spawn_fields[] = {
        { BODY(project_id), .type = SCHEMA_ID },
        { BODY(role_type), .type = SCHEMA_NAME },
        { BODY(pool_name), .type = SCHEMA_NAME, .required = true },
        { BODY(heartbeat_interval), .type = SCHEMA_INTEGER, .min = 10, .max = 86400, .fallback = "30" },
        { BODY(max_idle_time), .type = SCHEMA_INTEGER, .min = 0, .max = 31536000 },
        { BODY(count), .type = SCHEMA_INTEGER, .min = 1, .max = 1000 },
        { BODY(labels), .type = SCHEMA_MAP, .min = 0, .max = 64, .nullable = true },
        { BODY(args), .type = SCHEMA_MAP, .min = 0, .max = 64, .nullable = true },
        { .name = NULL },
};

static void break_rule(struct schema_errors *errors, const char *prefix, const char *name, const char *detail)
{
        char pointer[128];

        schema_fail(errors, schema_pointer(prefix, name, pointer, sizeof pointer), "%s", detail);
        if (errors->count <= SCHEMA_ERRORS_MAX)
                errors->errors[errors->count - 1].rule = true;
}

static bool is_allowed(const struct pool_config *config, const char *name)
{
        for (char **allowed = config->allowed_args; allowed && *allowed; allowed++)
                if (strcmp(*allowed, name) == 0)
                        return true;
        return false;
}

/* args may only use names that the pool allows. */
static void check_args(const struct pool_config *config, const char *prefix, const cJSON *args, struct schema_errors *errors)
{
        char pointer[128], detail[200];
        const cJSON *item;

        schema_pointer(prefix, "args", pointer, sizeof pointer);
        cJSON_ArrayForEach(item, args)
        {
                if (is_allowed(config, item->string))
                        continue;
                snprintf(detail, sizeof detail, "pool \"%s\" does not allow the argument \"%.64s\"; its allowed_args list them",
                        config->pool_name, item->string);
                break_rule(errors, pointer, item->string, detail);
        }
}

static bool has_control(const char *text)
{
        while (*text && (unsigned char)*text >= 0x20 && *text != 0x7f)
                text++;
        return *text;
}

/* What GET /agents?label=NAME=VALUE could never find. */
static void check_labels(const char *prefix, const cJSON *labels, struct schema_errors *errors)
{
        char pointer[128];
        const cJSON *item;

        schema_pointer(prefix, "labels", pointer, sizeof pointer);
        cJSON_ArrayForEach(item, labels)
        {
                if (strchr(item->string, '=') || has_control(item->string) || has_control(item->valuestring))
                        break_rule(errors, pointer, item->string, "a label's name has no \"=\", and neither its name nor its "
                                "value a control character: label=NAME=VALUE could not find it");
        }
}

static size_t bytes_of(const cJSON *map)
{
        size_t bytes = 0;
        const cJSON *item;

        cJSON_ArrayForEach(item, map)
                bytes += strlen(item->string) + strlen(item->valuestring);
        return bytes;
}

static void check_rules(const struct master *master, const char *prefix, const struct spawn_body *body,
        struct schema_errors *errors)
{
        const struct master_pool *pool = pools_find(master->pools, body->pool_name);
        char detail[100];

        if (body->max_idle_time > 0 && body->max_idle_time < 60) {
                snprintf(detail, sizeof detail, "must be 0 (never) or at least 60 seconds, not %lld",
                        (long long)body->max_idle_time);
                break_rule(errors, prefix, "max_idle_time", detail);
        }
        if (bytes_of(body->labels) + bytes_of(body->args) > TEXTS_MAX) {
                snprintf(detail, sizeof detail, "labels and args of an agent may have %d bytes together, not %zu", TEXTS_MAX,
                        bytes_of(body->labels) + bytes_of(body->args));
                break_rule(errors, prefix, body->args ? "args" : "labels", detail);
        }
        check_labels(prefix, body->labels, errors);
        if (pool)
                check_args(pool->config, prefix, body->args, errors);
}

/* What the request leaves open is the pool's to say. 0 or -ENOMEM. */
static int complete(const struct master *master, const cJSON *tree, struct spawn_body *body)
{
        const struct master_pool *pool = pools_find(master->pools, body->pool_name);

        if (!pool)
                return 0; /* the caller refuses it */
        if (!cJSON_HasObjectItem(tree, "project_id"))
                body->project_id = pool->config->project_id;
        if (!cJSON_HasObjectItem(tree, "max_idle_time"))
                body->max_idle_time = pool->config->max_idle_time;
        if (!body->role_type)
                body->role_type = strdup(pool->config->role_type);
        return body->role_type ? 0 : -ENOMEM;
}

int spawn_body_read(const struct master *master, const cJSON *tree, const char *prefix, struct spawn_body *ret_body,
        struct schema_errors *errors)
{
        struct spawn_body body = { 0 };
        int r = schema_read(tree, prefix, spawn_fields, &body, errors);

        if (r == 0)
                r = complete(master, tree, &body);
        if (r == -ENOMEM) {
                spawn_body_done(&body);
                break_rule(errors, prefix, "", "out of memory; try again");
        }
        if (r < 0)
                return r;
        check_rules(master, prefix, &body, errors);
        if (errors->count > 0) {
                spawn_body_done(&body);
                return -EINVAL;
        }
        *ret_body = body;
        return 0;
}

void spawn_body_done(struct spawn_body *body)
{
        schema_done(spawn_fields, body);
}

static char *print_map(const cJSON *map, int *error)
{
        char *text;

        if (!map || !map->child)
                return NULL;
        text = json_print(map);
        if (!text)
                *error = -ENOMEM;
        return text;
}

struct agent *spawn_body_agent(const struct spawn_body *body)
{
        struct agent *agent = agent_new();
        int error = 0;

        if (!agent)
                return NULL;
        agent->project_id = body->project_id;
        agent->role_type = strdup(body->role_type ? body->role_type : "");
        agent->labels = print_map(body->labels, &error);
        agent->args = print_map(body->args, &error);
        agent->heartbeat_interval = (int32_t)body->heartbeat_interval;
        agent->max_idle_time = (int32_t)body->max_idle_time;
        agent->start_reason = "spawn";
        agent->created_at = agent->updated_at = clock_wall_ms();
        if (error == 0 && agent->role_type)
                return agent;
        return agent_free(agent);
}
