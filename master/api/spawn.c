/* POST /agents/spawn: one agent or count of them, answered when each is durable and runs. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/api/idempotency.h"
#include "sql/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct spawn_body {
        struct id project_id;
        char *role_type, *pool_name;
        int64_t heartbeat_interval, max_idle_time;
        int64_t count; /* 0: not given */
        cJSON *labels, *args;
};

static const struct schema_field spawn_fields[] = {
        { .name = "project_id", .type = SCHEMA_ID, .offset = offsetof(struct spawn_body, project_id), .required = true },
        { .name = "role_type", .type = SCHEMA_NAME, .offset = offsetof(struct spawn_body, role_type), .required = true },
        { .name = "pool_name", .type = SCHEMA_NAME, .offset = offsetof(struct spawn_body, pool_name), .required = true },
        { .name = "heartbeat_interval", .type = SCHEMA_INTEGER, .offset = offsetof(struct spawn_body, heartbeat_interval),
                .min = 10, .max = 86400, .fallback = "30" },
        { .name = "max_idle_time", .type = SCHEMA_INTEGER, .offset = offsetof(struct spawn_body, max_idle_time),
                .min = 0, .max = 31536000, .fallback = "300" },
        { .name = "count", .type = SCHEMA_INTEGER, .offset = offsetof(struct spawn_body, count), .min = 1, .max = 1000 },
        { .name = "labels", .type = SCHEMA_MAP, .offset = offsetof(struct spawn_body, labels), .min = 0, .max = 64,
                .nullable = true },
        { .name = "args", .type = SCHEMA_MAP, .offset = offsetof(struct spawn_body, args), .min = 0, .max = 64,
                .nullable = true },
        { .name = NULL },
};

/* One agent of a request. */
struct spawn_slot {
        struct waiter waiter;
        struct spawn *spawn;
};

struct spawn {
        struct http_request *request;
        struct master *master;
        struct master_pool *pool;
        struct spawn_body body;
        bool single; /* no "count" in the request: the answer is the agent itself */
        bool wait;
        size_t count;
        size_t left; /* slots not yet answered, plus one while slots are still being filled */
        cJSON *agents, *failed;
        enum pool_error error; /* of the last failure */
        char detail[192];
        struct spawn_slot slots[];
};

static void spawn_free(struct spawn *spawn)
{
        schema_done(spawn_fields, &spawn->body);
        cJSON_Delete(spawn->agents);
        cJSON_Delete(spawn->failed);
        free(spawn);
}

static void answer_single(struct spawn *spawn)
{
        cJSON *agent = cJSON_DetachItemFromArray(spawn->agents, 0);
        char location[80];

        if (!agent) {
                api_answer_pool_error(spawn->request, spawn->error, spawn->detail);
                return;
        }
        if (!spawn->wait) {
                snprintf(location, sizeof location, "/api/v1/agents/%s", json_string(agent, "agent_id"));
                http_answer_header(spawn->request, "Location", location);
        }
        api_answer(spawn->request, spawn->wait ? 200 : 202, agent);
}

static void answer_many(struct spawn *spawn)
{
        cJSON *tree;

        if (cJSON_GetArraySize(spawn->agents) == 0) {
                api_answer_pool_error(spawn->request, spawn->error, spawn->detail);
                return;
        }
        tree = cJSON_CreateObject();
        if (tree) {
                cJSON_AddItemToObject(tree, "agents", spawn->agents);
                cJSON_AddItemToObject(tree, "failed", spawn->failed);
                spawn->agents = spawn->failed = NULL;
        }
        api_answer(spawn->request, spawn->wait ? 200 : 202, tree);
}

static void spawn_settled(struct spawn *spawn)
{
        if (--spawn->left > 0)
                return;
        if (spawn->single)
                answer_single(spawn);
        else
                answer_many(spawn);
        spawn_free(spawn);
}

static void note_failure(struct spawn *spawn, enum pool_error error, const char *detail)
{
        cJSON *item = cJSON_CreateObject();

        spawn->error = error;
        snprintf(spawn->detail, sizeof spawn->detail, "%s", detail);
        if (item && json_add_string(item, "detail", detail) == 0)
                cJSON_AddItemToArray(spawn->failed, item);
        else
                cJSON_Delete(item);
}

static void on_spawned(struct waiter *waiter, const struct agent *agent, enum pool_error error, const char *detail)
{
        struct spawn_slot *slot = (struct spawn_slot *)waiter; /* its first member */
        struct spawn *spawn = slot->spawn;

        if (error == POOL_OK)
                cJSON_AddItemToArray(spawn->agents, api_agent_summary(agent));
        else
                note_failure(spawn, error, detail);
        spawn_settled(spawn);
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

static struct agent *make_agent(const struct spawn *spawn, size_t index)
{
        const struct spawn_body *body = &spawn->body;
        struct agent *agent = agent_new();
        int error = 0;

        if (!agent)
                return NULL;
        idempotency_agent_id(spawn->request, index, &agent->agent_id);
        agent->project_id = body->project_id;
        agent->role_type = strdup(body->role_type);
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

/* An agent that an earlier try of the same request left running: answered as it is. */
static bool take_existing(struct spawn *spawn, size_t index)
{
        struct agent *agent;
        struct id id;

        if (!idempotency_agent_id(spawn->request, index, &id))
                return false;
        agent = pools_agent(spawn->master->pools, &id);
        if (!agent)
                return false;
        cJSON_AddItemToArray(spawn->agents, api_agent_summary(agent));
        return true;
}

static void start_slot(struct spawn *spawn, size_t index)
{
        struct spawn_slot *slot = &spawn->slots[index];
        enum pool_error error = POOL_E_STORE;
        char detail[192] = "out of memory; try again";
        struct agent *agent;

        if (take_existing(spawn, index))
                return;
        *slot = (struct spawn_slot){ .waiter = { .done = on_spawned }, .spawn = spawn };
        agent = make_agent(spawn, index);
        if (agent) {
                agent->waiter = &slot->waiter;
                agent->answer_stored = !spawn->wait;
        }
        spawn->left++;
        if (agent && pool_spawn(spawn->pool->rules, agent, clock_mono_ms(), &error, detail) == 0)
                return;
        agent_free(agent);
        note_failure(spawn, error, detail);
        spawn->left--;
}

static void start_all(struct http_request *request, void *arg)
{
        struct spawn *spawn = arg;

        spawn->request = request;
        for (size_t i = 0; i < spawn->count; i++)
                start_slot(spawn, i);
        pools_wake(spawn->master->pools, spawn->pool);
        spawn_settled(spawn);
}

static void drop_spawn(void *arg)
{
        spawn_free(arg);
}

/* args may only use names that the pool allows. */
static bool check_args(struct http_request *request, const struct pool_config *config, const cJSON *args)
{
        struct schema_errors errors = { 0 };
        const cJSON *item;

        cJSON_ArrayForEach(item, args)
        {
                char **allowed = config->allowed_args;
                char pointer[128];

                while (allowed && *allowed && strcmp(*allowed, item->string) != 0)
                        allowed++;
                if (allowed && *allowed)
                        continue;
                snprintf(pointer, sizeof pointer, "/args/%s", item->string);
                schema_fail(&errors, pointer, "pool \"%s\" does not allow the argument \"%s\"; its allowed_args list them",
                        config->pool_name, item->string);
        }
        for (unsigned i = 0; i < errors.count && i < SCHEMA_ERRORS_MAX; i++)
                errors.errors[i].rule = true;
        if (errors.count > 0)
                api_answer_errors(request, &errors);
        return errors.count == 0;
}

static bool check_body(struct http_request *request, const struct spawn_body *body)
{
        struct schema_errors errors = { 0 };

        if (body->max_idle_time == 0 || body->max_idle_time >= 60)
                return true;
        schema_fail(&errors, "/max_idle_time", "must be 0 (never) or at least 60 seconds, not %lld",
                (long long)body->max_idle_time);
        errors.errors[0].rule = true;
        api_answer_errors(request, &errors);
        return false;
}

/* ?wait=false answers once the desire is durable. False: answered already. */
static bool read_wait(struct http_request *request, bool *ret_wait)
{
        static const char *const names[] = { "wait", NULL };
        const char *wait = http_request_query(request, "wait");

        if (!api_check_query(request, names))
                return false;
        *ret_wait = !wait || strcmp(wait, "true") == 0;
        if (*ret_wait || strcmp(wait, "false") == 0)
                return true;
        http_answer_problem(request, 400, "query parameter \"wait\" must be true or false");
        return false;
}

/* Everything that can be refused before anything is done. False: answered already. */
static bool check_request(struct http_request *request, struct master *master, const struct spawn_body *body,
        struct master_pool **ret_pool)
{
        if (!check_body(request, body))
                return false;
        *ret_pool = pools_find(master->pools, body->pool_name);
        if (!*ret_pool) {
                api_answer_unknown_pool(request, master, body->pool_name);
                return false;
        }
        return check_args(request, (*ret_pool)->config, body->args);
}

static struct spawn *spawn_new(struct master *master, struct master_pool *pool, struct spawn_body *take_body, bool wait)
{
        size_t count = take_body->count ? (size_t)take_body->count : 1;
        struct spawn *spawn = calloc(1, sizeof *spawn + count * sizeof spawn->slots[0]);

        if (!spawn)
                return NULL;
        spawn->master = master;
        spawn->pool = pool;
        spawn->body = *take_body;
        spawn->single = take_body->count == 0;
        spawn->count = count;
        spawn->wait = wait;
        spawn->left = 1;
        spawn->agents = cJSON_CreateArray();
        spawn->failed = cJSON_CreateArray();
        *take_body = (struct spawn_body){ 0 };
        if (spawn->agents && spawn->failed)
                return spawn;
        spawn_free(spawn);
        return NULL;
}

void api_agents_spawn(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct spawn_body body = { 0 };
        struct master_pool *pool;
        struct spawn *spawn;
        bool wait;

        if (!read_wait(request, &wait) || !api_read_body(request, spawn_fields, &body))
                return;
        if (check_request(request, master, &body, &pool)) {
                spawn = spawn_new(master, pool, &body, wait);
                if (spawn)
                        idempotency_run(request, master, "spawn", start_all, drop_spawn, spawn);
                else
                        http_answer_problem(request, 503, "out of memory; try again");
        }
        schema_done(spawn_fields, &body);
}
