/* POST /agents/import: agents as GET /agents prints them, with their ids and epochs, made to exist here. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/api/audit.h"
#include "master/api/spawn_body.h"
#include "master/control/pools_act.h"
#include "registry/protocol/agent_exit.h"
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
        int64_t index;       /* in the request's list */
};

static void note_failure(struct import *import, int64_t index, const char *agent_id, const char *detail)
{
        cJSON *item = cJSON_CreateObject();

        json_add_integer(item, "index", index);
        json_add_string(item, "agent_id", agent_id ? agent_id : "");
        json_add_string(item, "detail", detail);
        json_append(&import->failed, item);
}

static void import_settled(struct import *import)
{
        cJSON *tree;

        if (--import->left > 0)
                return;
        tree = cJSON_CreateObject();
        if (json_add_item(tree, "failed", import->failed) < 0 || json_add_integer(tree, "imported", import->imported) < 0) {
                cJSON_Delete(tree);
                tree = NULL;
        }
        api_answer(import->request, 200, tree);
        free(import);
}

static const char *store_problem(int error)
{
        if (error == -EEXIST)
                return "an agent with this id exists already";
        return "the store is not available; try again";
}

static void on_inserted(void *arg, int error)
{
        struct import_slot *slot = arg;
        struct import *import = slot->import;

        /* The same row again is no error of the store: the list has it twice. */
        if (error == 0 && pools_agent(import->master->pools, &slot->agent->agent_id))
                error = -EEXIST;
        if (error < 0) {
                note_failure(import, slot->index, ID_TEXT(&slot->agent->agent_id), store_problem(error));
                agent_free(slot->agent);
        } else {
                import->imported++;
                audit_change(import->request, import->master, "import", slot->pool->config->pool_name, &slot->agent->agent_id, 200);
                pool_restore(slot->pool->rules, slot->agent, clock_mono_ms());
                pool_tick(slot->pool->rules, clock_mono_ms()); /* to place it, if it is time to place agents */
                pools_wake(import->master->pools, slot->pool);
        }
        free(slot);
        import_settled(import);
}

/* What a spawn would have asked for, under the rules of a spawn: NULL with *ret_detail filled. */
static struct agent *read_spawn(const struct master *master, cJSON *record, char *ret_detail, size_t size)
{
        static const char *const names[] = { "project_id", "role_type", "pool_name", "heartbeat_interval", "max_idle_time",
                "labels", "args" };
        cJSON *tree = cJSON_CreateObject();
        struct schema_errors errors = { 0 };
        struct spawn_body body = { 0 };
        struct agent *agent = NULL;

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                cJSON *item = cJSON_GetObjectItemCaseSensitive(record, names[i]);

                if (item)
                        cJSON_AddItemReferenceToObject(tree, names[i], item);
        }
        if (tree && spawn_body_read(master, tree, "", &body, &errors) == 0)
                agent = spawn_body_agent(&body);
        if (errors.count > 0)
                snprintf(ret_detail, size, "%s: %s", errors.errors[0].pointer, errors.errors[0].detail);
        spawn_body_done(&body);
        cJSON_Delete(tree);
        return agent;
}

/* What it has become since. 0 or -EINVAL. */
static int read_life(const cJSON *record, struct agent *agent)
{
        const char *agent_id = json_string(record, "agent_id"), *state = json_string(record, "state");
        const char *created_at = json_string(record, "created_at");
        const cJSON *last_exit = cJSON_GetObjectItemCaseSensitive(record, "last_exit");
        int64_t epoch, restarts;

        if (!agent_id || !state || !created_at || id_parse(agent_id, &agent->agent_id) < 0 ||
                id_is_zero(&agent->agent_id) || agent_state_parse(state, &agent->state) < 0 ||
                clock_parse(created_at, &agent->created_at) < 0 || agent->created_at < 0)
                return -EINVAL;
        if (json_integer(record, "epoch", &epoch) < 0 || json_integer(record, "restarts", &restarts) < 0 || epoch < 0 ||
                epoch > STORE_EPOCH_MAX || restarts < 0 || restarts > UINT_MAX)
                return -EINVAL;
        agent->epoch = (uint64_t)epoch;
        agent->restarts = (uint32_t)restarts;
        if (agent_state_wanted(agent->state))
                agent->state = AGENT_STARTING;
        if (!cJSON_IsObject(last_exit))
                return 0;
        agent->last_exit = calloc(1, sizeof *agent->last_exit);
        return agent->last_exit ? agent_exit_read(last_exit, agent->last_exit) : -EINVAL;
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

static void import_record(struct import *import, cJSON *record, int64_t index)
{
        const char *agent_id = json_string(record, "agent_id"), *pool_name = json_string(record, "pool_name");
        struct master_pool *pool = pool_name ? pools_find(import->master->pools, pool_name) : NULL;
        char detail[400] = "not the record of an agent as GET /agents prints it";
        struct agent *agent = pool ? read_spawn(import->master, record, detail, sizeof detail) : NULL;
        struct import_slot *slot = agent && read_life(record, agent) == 0 ? malloc(sizeof *slot) : NULL;

        if (!slot) {
                note_failure(import, index, agent_id, pool_name && !pool ? "no such pool is configured here" : detail);
                agent_free(agent);
                return;
        }
        *slot = (struct import_slot){ .import = import, .pool = pool, .agent = agent, .index = index };
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
        int64_t index = 0;
        cJSON *record;

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
                        import_record(import, record, index++); /* NOLINT(clang-analyzer-unix.Malloc): left is 1 or more */
                import_settled(import); /* NOLINT(clang-analyzer-unix.Malloc) */
        }
        schema_done(import_fields, &body);
}
