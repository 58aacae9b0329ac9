/* POST /agents/import: agents as GET /agents prints them, with their ids and epochs, made to exist here. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/pools_act.h"
#include "registry/agent_exit.h"
#include "sql/store.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT_MAX 1000

struct import {
        struct http_request *request;
        struct master *master;
        int64_t imported;
        size_t left; /* rows not yet stored, plus one while they are being submitted */
        cJSON *failed;
};

/* One agent on its way into the store. */
struct import_slot {
        struct import *import;
        struct master_pool *pool;
        struct agent *agent; /* owned until its pool has it */
};

static void note_failure(struct import *import, const char *agent_id, const char *detail)
{
        cJSON *item = cJSON_CreateObject();

        json_add_string(item, "agent_id", agent_id ? agent_id : "");
        json_add_string(item, "detail", detail);
        cJSON_AddItemToArray(import->failed, item);
}

static void import_settled(struct import *import)
{
        cJSON *tree;

        if (--import->left > 0)
                return;
        tree = cJSON_CreateObject();
        json_add_integer(tree, "imported", import->imported);
        cJSON_AddItemToObject(tree, "failed", import->failed);
        api_answer(import->request, 200, tree);
        free(import);
}

static const char *store_problem(int error)
{
        if (error == -EEXIST)
                return "another agent has this id";
        return "the store is not available; try again";
}

static void on_inserted(void *arg, int error)
{
        struct import_slot *slot = arg;
        struct import *import = slot->import;

        if (error < 0) {
                note_failure(import, ID_TEXT(&slot->agent->agent_id), store_problem(error));
                agent_free(slot->agent);
        } else {
                import->imported++;
                pool_restore(slot->pool->rules, slot->agent, clock_mono_ms());
                pool_restored(slot->pool->rules, clock_mono_ms());
                pools_wake(import->master->pools, slot->pool);
        }
        free(slot);
        import_settled(import);
}

static char *copy_map(const cJSON *record, const char *name)
{
        const cJSON *map = cJSON_GetObjectItemCaseSensitive(record, name);

        return cJSON_IsObject(map) && map->child ? json_print(map) : NULL;
}

static int read_integers(const cJSON *record, struct agent *agent)
{
        int64_t epoch, restarts, heartbeat, idle;

        if (json_integer(record, "epoch", &epoch) < 0 || json_integer(record, "restarts", &restarts) < 0 ||
                json_integer(record, "heartbeat_interval", &heartbeat) < 0 || json_integer(record, "max_idle_time", &idle) < 0)
                return -EINVAL;
        if (epoch < 0 || restarts < 0 || restarts > UINT_MAX || heartbeat < 0 || heartbeat > INT_MAX || idle < 0 ||
                idle > INT_MAX)
                return -EINVAL;
        agent->epoch = (uint64_t)epoch;
        agent->restarts = (uint32_t)restarts;
        agent->heartbeat_interval = (int32_t)heartbeat;
        agent->max_idle_time = (int32_t)idle;
        return 0;
}

static int read_texts(const cJSON *record, struct agent *agent)
{
        const char *agent_id = json_string(record, "agent_id"), *project_id = json_string(record, "project_id");
        const char *role = json_string(record, "role_type"), *state = json_string(record, "state");
        const char *created_at = json_string(record, "created_at");

        if (!agent_id || !project_id || !role || !state || !created_at || id_parse(agent_id, &agent->agent_id) < 0 ||
                id_parse(project_id, &agent->project_id) < 0 || agent_state_parse(state, &agent->state) < 0 ||
                clock_parse(created_at, &agent->created_at) < 0)
                return -EINVAL;
        agent->role_type = strdup(role);
        return agent->role_type ? 0 : -ENOMEM;
}

/* NULL: the record is not one of an agent. */
static struct agent *read_agent(const cJSON *record)
{
        const cJSON *last_exit = cJSON_GetObjectItemCaseSensitive(record, "last_exit");
        struct agent *agent = agent_new();

        if (!agent)
                return NULL;
        if (read_texts(record, agent) < 0 || read_integers(record, agent) < 0)
                return agent_free(agent);
        agent->updated_at = clock_wall_ms();
        agent->labels = copy_map(record, "labels");
        agent->args = copy_map(record, "args");
        if (agent_state_wanted(agent->state))
                agent->state = AGENT_STARTING;
        if (!cJSON_IsObject(last_exit))
                return agent;
        agent->last_exit = calloc(1, sizeof *agent->last_exit);
        if (agent->last_exit && agent_exit_read(last_exit, agent->last_exit) == 0)
                return agent;
        return agent_free(agent);
}

static int submit(struct import_slot *slot)
{
        struct agent *agent = slot->agent;
        struct store_agent row = pools_agent_row(agent, slot->pool->config->pool_name);
        char *last_exit = agent->last_exit ? agent_exit_encode(agent->last_exit) : NULL;
        int r;

        row.last_exit = last_exit;
        row.master_id = ID_TEXT(&slot->import->master->master_id);
        r = store_agent_insert(slot->import->master->store, &row, on_inserted, slot);
        free(last_exit);
        return r;
}

static void import_record(struct import *import, const cJSON *record)
{
        const char *agent_id = json_string(record, "agent_id"), *pool_name = json_string(record, "pool_name");
        struct master_pool *pool = pool_name ? pools_find(import->master->pools, pool_name) : NULL;
        struct agent *agent = pool ? read_agent(record) : NULL;
        struct import_slot *slot = agent ? malloc(sizeof *slot) : NULL;

        if (!slot) {
                note_failure(import, agent_id, pool ? "not the record of an agent as GET /agents prints it"
                                                    : "no such pool is configured here");
                agent_free(agent);
                return;
        }
        *slot = (struct import_slot){ .import = import, .pool = pool, .agent = agent };
        import->left++;
        if (pools_agent(import->master->pools, &agent->agent_id))
                on_inserted(slot, -EEXIST);
        else if (submit(slot) < 0)
                on_inserted(slot, -EAGAIN);
}

struct import_body {
        cJSON *agents;
};

static const struct schema_field import_fields[] = {
        { .name = "agents", .type = SCHEMA_TREE, .offset = offsetof(struct import_body, agents), .required = true },
        { .name = NULL },
};

void api_agents_import(struct http_request *request, void *arg)
{
        struct import_body body = { 0 };
        struct import *import;
        const cJSON *record;

        if (!api_read_body(request, import_fields, &body))
                return;
        import = calloc(1, sizeof *import);
        if (import)
                import->failed = cJSON_CreateArray();
        if (!import || !import->failed) {
                http_answer_problem(request, 503, "out of memory; try again");
                free(import);
        } else if (!cJSON_IsArray(body.agents) || cJSON_GetArraySize(body.agents) > IMPORT_MAX) {
                http_answer_problem(request, 400, "/agents: must be an array of at most %d agents", IMPORT_MAX);
                cJSON_Delete(import->failed);
                free(import);
        } else {
                *import = (struct import){ .request = request, .master = arg, .left = 1, .failed = import->failed };
                cJSON_ArrayForEach(record, body.agents)
                        import_record(import, record);
                import_settled(import); /* NOLINT(clang-analyzer-unix.Malloc): left is at least 1 until here */
        }
        schema_done(import_fields, &body);
}
