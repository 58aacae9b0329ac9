/* POST /agents/bulk/{spawn|terminate|restart}: a list of requests, each with a result of its own, in the same order. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/api/audit.h"
#include "master/api/idempotency.h"
#include "master/api/spawn_body.h"
#include "master/control/begun.h"
#include "master/control/strays.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BULK_MAX 1000

struct bulk;

/* One item, from its start to its result. */
struct bulk_slot {
        struct waiter waiter; /* first: on_done casts */
        struct bulk *bulk;
        struct id agent_id;   /* pools may forget the agent; zero: a spawn that failed at once */
        int64_t answer_by;    /* mono ms; 0: no time is set */
        bool resumed;         /* an earlier master had begun it */
        const char *pool_name; /* borrowed; once it is known */
        cJSON *result;        /* NULL until there is one */
};

struct bulk {
        struct http_request *request;
        struct master *master;
        cJSON *items;   /* the body */
        void (*start)(struct bulk_slot *slot, const cJSON *item, size_t index);
        size_t count;
        size_t left;    /* items without a result, plus one while they are being started */
        struct bulk_slot slots[];
};

static void bulk_free(void *arg)
{
        struct bulk *bulk = arg;

        for (size_t i = 0; i < bulk->count; i++)
                cJSON_Delete(bulk->slots[i].result);
        cJSON_Delete(bulk->items);
        free(bulk);
}

static void bulk_settled(struct bulk *bulk)
{
        cJSON *list;

        if (--bulk->left > 0)
                return;
        list = cJSON_CreateArray();
        for (size_t i = 0; list && i < bulk->count; i++) {
                json_append(&list, bulk->slots[i].result);
                bulk->slots[i].result = NULL;
        }
        api_answer(bulk->request, 200, list);
        bulk_free(bulk);
}

/* {"status": …, "agent": …} or {"status": …, "detail": …}; take_agent may be NULL. */
static void set_result(struct bulk_slot *slot, int status, cJSON *take_agent, const char *detail)
{
        json_watch();
        slot->result = cJSON_CreateObject();
        json_add_integer(slot->result, "status", status);
        if (take_agent)
                json_add_item(slot->result, "agent", take_agent);
        if (detail && *detail)
                json_add_string(slot->result, "detail", detail);
        if (!json_whole()) { /* then the whole answer is none */
                cJSON_Delete(slot->result);
                slot->result = NULL;
        }
}

static void audit(const struct bulk_slot *slot, const char *action, const struct id *agent_id, int status)
{
        audit_change(slot->bulk->request, slot->bulk->master, action, slot->pool_name, agent_id, status);
}

static void on_spawned(struct waiter *waiter, const struct agent *agent, enum pool_error error, const char *detail)
{
        struct bulk_slot *slot = (struct bulk_slot *)waiter;

        audit(slot, "spawn", error == POOL_OK ? &agent->agent_id : NULL, api_pool_error_status(error));
        set_result(slot, api_pool_error_status(error), error == POOL_OK ? api_agent_summary(agent) : NULL, detail);
        bulk_settled(slot->bulk);
}

static cJSON *only_id(const struct id *agent_id)
{
        cJSON *tree = cJSON_CreateObject();

        json_add_string(tree, "agent_id", ID_TEXT(agent_id));
        return tree;
}

static void on_terminated(struct waiter *waiter, const struct agent *agent, enum pool_error error, const char *detail)
{
        struct bulk_slot *slot = (struct bulk_slot *)waiter;

        (void)agent;
        audit(slot, "terminate", &slot->agent_id, api_pool_error_status(error));
        set_result(slot, api_pool_error_status(error), only_id(&slot->agent_id), detail);
        bulk_settled(slot->bulk);
}

/* An earlier try of the same request, or an earlier master, left it: answered as it is, or once it runs. */
static void take_existing(struct bulk_slot *slot, struct agent *agent)
{
        slot->agent_id = agent->agent_id;
        if (slot->resumed && agent->state == AGENT_STARTING && !agent->waiter) {
                slot->bulk->left++;
                pool_resume_spawn(agent, &slot->waiter, slot->answer_by);
        } else {
                set_result(slot, 200, api_agent_summary(agent), NULL);
        }
}

static void submit_spawn(struct bulk_slot *slot, struct master_pool *pool, const struct spawn_body *body, size_t index)
{
        struct bulk *bulk = slot->bulk;
        enum pool_error error = POOL_E_STORE;
        char detail[192] = "out of memory; try again";
        bool known = slot->resumed || idempotency_agent_id(bulk->request, index, &slot->agent_id);
        struct agent *agent = known ? pools_agent(bulk->master->pools, &slot->agent_id) : NULL;

        slot->pool_name = pool->config->pool_name;
        slot->waiter = (struct waiter){ .done = on_spawned, .spawn_us = clock_mono_us() };
        if (agent) {
                take_existing(slot, agent);
                return;
        }
        bulk->left++;
        agent = spawn_body_agent(body);
        if (agent) {
                if (known)
                        agent->agent_id = slot->agent_id;
                slot->agent_id = agent->agent_id;
                agent->waiter = &slot->waiter;
                snprintf(agent->trace, sizeof agent->trace, "%s", api_trace(bulk->request));
                if (api_spawn(bulk->master, pool, agent, &error, detail) == 0) {
                        slot->answer_by = agent->deadline;
                        pools_wake(bulk->master->pools, pool);
                        return;
                }
        }
        slot->agent_id = (struct id){ 0 };
        agent_free(agent);
        audit(slot, "spawn", NULL, api_pool_error_status(error));
        set_result(slot, api_pool_error_status(error), NULL, detail);
        bulk->left--;
}

static void start_spawn(struct bulk_slot *slot, const cJSON *item, size_t index)
{
        struct schema_errors errors = { 0 };
        struct spawn_body body = { 0 };
        struct master_pool *pool;
        char text[400];

        if (spawn_body_read(slot->bulk->master, item, "", &body, &errors) < 0) {
                snprintf(text, sizeof text, "%s: %s", errors.errors[0].pointer, errors.errors[0].detail);
                set_result(slot, errors.errors[0].rule ? 422 : 400, NULL, text);
                return;
        }
        pool = pools_find(slot->bulk->master->pools, body.pool_name);
        if (body.count)
                set_result(slot, 400, NULL, "/count: one agent per item; repeat the item instead");
        else if (!pool)
                set_result(slot, 404, NULL, api_unknown_pool(slot->bulk->master, body.pool_name, text));
        else
                submit_spawn(slot, pool, &body, index);
        spawn_body_done(&body);
}

/* The agent that an item names: an id, or an object with one. NULL: the result says why not. */
static struct agent *find_agent(struct bulk_slot *slot, const cJSON *item)
{
        const char *text = cJSON_IsString(item) ? item->valuestring : json_string(item, "agent_id");
        struct agent *agent;

        if (!text || id_parse(text, &slot->agent_id) < 0) {
                set_result(slot, 400, NULL, "an item must be an agent's id, or an object with \"agent_id\": a UUID");
                return NULL;
        }
        agent = pools_agent(slot->bulk->master->pools, &slot->agent_id);
        if (!agent)
                agent = strays_agent(slot->bulk->master->strays, &slot->agent_id);
        if (!agent)
                set_result(slot, 404, only_id(&slot->agent_id), "no such agent, or it has ended already");
        return agent;
}

static void start_terminate(struct bulk_slot *slot, const cJSON *item, size_t index)
{
        struct agent *agent = find_agent(slot, item);

        (void)index;
        if (!agent)
                return;
        slot->waiter.done = on_terminated;
        slot->pool_name = pool_config(agent->pool)->pool_name;
        slot->bulk->left++;
        if (api_terminate(slot->bulk->master, agent, json_bool(item, "graceful", true), &slot->waiter) == 0)
                return;
        set_result(slot, 409, only_id(&slot->agent_id), "the agent is being terminated already");
        slot->bulk->left--;
}

static void start_restart(struct bulk_slot *slot, const cJSON *item, size_t index)
{
        struct agent *agent = find_agent(slot, item);

        (void)index;
        if (!agent)
                return;
        if (strays_has(slot->bulk->master->strays, agent)) {
                set_result(slot, 409, only_id(&slot->agent_id), strays_detail(agent, (char[200]){ 0 }));
                return;
        }
        if (pool_restart_agent(agent->pool, agent, clock_mono_ms()) < 0) {
                set_result(slot, 409, only_id(&slot->agent_id), "only a running agent can be restarted");
        } else {
                slot->pool_name = pool_config(agent->pool)->pool_name;
                audit(slot, "restart", &slot->agent_id, 200);
                set_result(slot, 200, api_agent_summary(agent), NULL);
        }
        pools_wake(slot->bulk->master->pools, pools_of(slot->bulk->master->pools, agent));
}

static struct begun tell_begun(const void *arg, size_t index)
{
        const struct bulk_slot *slot = &((const struct bulk *)arg)->slots[index];

        return (struct begun){ .agent_id = slot->agent_id, .answer_by = slot->answer_by };
}

static void start_all(struct http_request *request, void *arg)
{
        struct bulk *bulk = arg;
        const cJSON *item = bulk->items->child;

        bulk->request = request;
        for (size_t i = 0; item; item = item->next, i++) {
                struct begun begun = { .answer_by = 0 };
                bool resumed = begun_read(request, i, &begun);

                bulk->slots[i] = (struct bulk_slot){ .bulk = bulk, .resumed = resumed, .answer_by = begun.answer_by };
                if (resumed)
                        bulk->slots[i].agent_id = begun.agent_id;
                bulk->start(&bulk->slots[i], item, i);
        }
        begun_leave(request, bulk->count, tell_begun, bulk);
        bulk_settled(bulk);
}

static void begin(struct http_request *request, struct master *master, const char *scope,
        void (*start)(struct bulk_slot *slot, const cJSON *item, size_t index))
{
        cJSON *items = api_read_tree(request);
        size_t count = (size_t)cJSON_GetArraySize(items);
        struct bulk *bulk;

        if (!items)
                return;
        if (!cJSON_IsArray(items) || count == 0 || count > BULK_MAX) {
                cJSON_Delete(items);
                http_answer_problem(request, 400, "the body must be a list of 1 to %d items", BULK_MAX);
                return;
        }
        bulk = calloc(1, sizeof *bulk + count * sizeof bulk->slots[0]);
        if (!bulk) {
                cJSON_Delete(items);
                http_answer_problem(request, 503, "out of memory; try again");
                return;
        }
        bulk->master = master;
        bulk->items = items;
        bulk->start = start;
        bulk->count = count;
        bulk->left = 1;
        idempotency_run(request, master, scope, start_all, bulk_free, bulk);
}

void api_bulk_spawn(struct http_request *request, void *arg)
{
        begin(request, arg, "bulk/spawn", start_spawn);
}

void api_bulk_terminate(struct http_request *request, void *arg)
{
        begin(request, arg, "bulk/terminate", start_terminate);
}

void api_bulk_restart(struct http_request *request, void *arg)
{
        begin(request, arg, "bulk/restart", start_restart);
}
