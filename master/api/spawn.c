/* POST /agents/spawn: one agent or count of them, answered when each is durable and runs. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/api/audit.h"
#include "master/api/idempotency.h"
#include "master/api/spawn_body.h"
#include "master/control/begun.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One agent of a request. */
struct spawn_slot {
        struct waiter waiter;
        struct id agent_id; /* zero: it failed at once */
        int64_t answer_by;  /* mono ms */
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
        char detail[256];
        struct spawn_slot slots[];
};

static void spawn_free(struct spawn *spawn)
{
        spawn_body_done(&spawn->body);
        cJSON_Delete(spawn->agents);
        cJSON_Delete(spawn->failed);
        free(spawn);
}

static void answer_error(struct spawn *spawn)
{
        if (spawn->error == POOL_E_BREAKER)
                http_answer_retry_after(spawn->request, (unsigned)pool_retry_seconds(spawn->pool->rules, clock_mono_ms()));
        api_answer_pool_error(spawn->request, spawn->error, spawn->detail);
}

static void answer_single(struct spawn *spawn)
{
        cJSON *agent = cJSON_DetachItemFromArray(spawn->agents, 0);
        char location[80];

        if (!agent && spawn->agents) {
                answer_error(spawn);
                return;
        }
        if (agent && !spawn->wait) {
                snprintf(location, sizeof location, "/api/v1/agents/%s", json_string(agent, "agent_id"));
                http_answer_header(spawn->request, "Location", location);
        }
        api_answer(spawn->request, spawn->wait ? 200 : 202, agent);
}

static void answer_many(struct spawn *spawn)
{
        cJSON *tree;
        int r;

        if (spawn->agents && cJSON_GetArraySize(spawn->agents) == 0) {
                answer_error(spawn);
                return;
        }
        tree = cJSON_CreateObject();
        r = json_add_item(tree, "agents", spawn->agents);
        r = json_add_item(tree, "failed", spawn->failed) < 0 ? -ENOMEM : r;
        spawn->agents = spawn->failed = NULL;
        if (r < 0) {
                cJSON_Delete(tree);
                tree = NULL;
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

        audit_change(spawn->request, spawn->master, "spawn", spawn->pool->config->pool_name, NULL, api_pool_error_status(error));
        spawn->error = error;
        snprintf(spawn->detail, sizeof spawn->detail, "%s", detail);
        json_add_string(item, "detail", detail);
        json_append(&spawn->failed, item);
}

static void on_spawned(struct waiter *waiter, const struct agent *agent, enum pool_error error, const char *detail)
{
        struct spawn_slot *slot = (struct spawn_slot *)waiter; /* its first member */
        struct spawn *spawn = slot->spawn;

        if (error == POOL_OK) {
                json_append(&spawn->agents, api_agent_summary(agent));
                audit_change(spawn->request, spawn->master, "spawn", spawn->pool->config->pool_name, &agent->agent_id,
                        spawn->wait ? 200 : 202);
        } else {
                note_failure(spawn, error, detail);
        }
        spawn_settled(spawn);
}

static struct begun tell_begun(const void *arg, size_t index)
{
        const struct spawn *spawn = arg;

        return (struct begun){ .agent_id = spawn->slots[index].agent_id, .answer_by = spawn->slots[index].answer_by };
}

/* An agent that an earlier try of the same request, or an earlier master, left: answered as it is, or once it runs. */
static void take_existing(struct spawn *spawn, struct spawn_slot *slot, struct agent *agent, bool resumed)
{
        if (resumed && spawn->wait && agent->state == AGENT_STARTING && !agent->waiter) {
                slot->agent_id = agent->agent_id;
                spawn->left++;
                pool_resume_spawn(agent, &slot->waiter, slot->answer_by);
        } else {
                json_append(&spawn->agents, api_agent_summary(agent));
        }
}

static void start_slot(struct spawn *spawn, size_t index)
{
        struct spawn_slot *slot = &spawn->slots[index];
        enum pool_error error = POOL_E_STORE;
        char detail[192] = "out of memory; try again";
        struct agent *agent = NULL;
        struct begun begun = { .answer_by = 0 };
        bool resumed = begun_read(spawn->request, index, &begun);
        bool known = resumed || idempotency_agent_id(spawn->request, index, &begun.agent_id);

        *slot = (struct spawn_slot){ .waiter = { .done = on_spawned, .spawn_us = clock_mono_us() }, .spawn = spawn,
                .answer_by = begun.answer_by };
        if (known)
                agent = pools_agent(spawn->master->pools, &begun.agent_id);
        if (agent) {
                take_existing(spawn, slot, agent, resumed);
                return;
        }
        agent = spawn_body_agent(&spawn->body);
        if (agent) {
                if (known)
                        agent->agent_id = begun.agent_id;
                slot->agent_id = agent->agent_id;
                agent->waiter = &slot->waiter;
                snprintf(agent->trace, sizeof agent->trace, "%s", api_trace(spawn->request));
                agent->answer_stored = !spawn->wait;
        }
        spawn->left++;
        if (agent && api_spawn(spawn->master, spawn->pool, agent, &error, detail) == 0) {
                slot->answer_by = agent->deadline;
                return;
        }
        slot->agent_id = (struct id){ 0 };
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
        begun_leave(request, spawn->count, tell_begun, spawn);
        pools_wake(spawn->master->pools, spawn->pool);
        spawn_settled(spawn);
}

static void drop_spawn(void *arg)
{
        spawn_free(arg);
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

static void begin(struct http_request *request, struct master *master, struct spawn_body *body, bool wait)
{
        struct master_pool *pool = pools_find(master->pools, body->pool_name);
        struct spawn *spawn;

        if (!pool) {
                api_answer_unknown_pool(request, master, body->pool_name);
                return;
        }
        spawn = spawn_new(master, pool, body, wait);
        if (spawn)
                idempotency_run(request, master, "spawn", start_all, drop_spawn, spawn);
        else
                http_answer_problem(request, 503, "out of memory; try again");
}

void api_agents_spawn(struct http_request *request, void *arg)
{
        struct schema_errors errors = { 0 };
        struct spawn_body body = { 0 };
        cJSON *tree;
        bool wait;

        if (!read_wait(request, &wait) || !(tree = api_read_tree(request)))
                return;
        if (spawn_body_read(arg, tree, "", &body, &errors) < 0)
                api_answer_errors(request, &errors);
        else
                begin(request, arg, &body, wait);
        cJSON_Delete(tree);
        spawn_body_done(&body);
}
