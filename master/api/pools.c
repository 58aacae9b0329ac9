/* Pools and their worker processes. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/api/audit.h"
#include "master/control/rollback.h"
#include "master/control/usages.h"
#include "sql/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void api_pools_list(struct http_request *request, void *arg)
{
        const struct master *master = arg;
        cJSON *list = cJSON_CreateArray();

        for (size_t i = 0; list && i < pools_count(master->pools); i++)
                json_append(&list, api_pool_print(master, pools_at(master->pools, i)));
        api_answer(request, 200, list);
}

void api_pools_get(struct http_request *request, void *arg)
{
        struct master_pool *pool = api_path_pool(request, arg);

        if (pool)
                api_answer(request, 200, api_pool_print(arg, pool));
}

struct rollout_body {
        int64_t batch_size;
        double min_healthy_seconds;
};

static const struct schema_field rollout_fields[] = {
        { .name = "batch_size", .type = SCHEMA_INTEGER, .offset = offsetof(struct rollout_body, batch_size), .min = 1,
                .max = 1000, .fallback = "1" },
        { .name = "min_healthy_seconds", .type = SCHEMA_NUMBER, .offset = offsetof(struct rollout_body, min_healthy_seconds),
                .min = 0, .max = 3600, .fallback = "10" },
        { .name = NULL },
};

/* 202: the pool's record says how it goes on. */
static void answer_begun(struct http_request *request, struct master *master, const struct master_pool *pool, const char *action)
{
        char location[128];

        audit_change(request, master, action, pool->config->pool_name, NULL, 202);
        snprintf(location, sizeof location, "/api/v1/agents/pools/%s", pool->config->pool_name);
        http_answer_header(request, "Location", location);
        api_answer(request, 202, api_pool_print(master, pool));
}

void api_pools_rollout(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct master_pool *pool = api_path_pool(request, master);
        struct rollout_body body = { 0 };
        int r;

        if (!pool || !api_read_body(request, rollout_fields, &body))
                return;
        r = pool_rollout(pool->rules, (unsigned)body.batch_size, (int64_t)(body.min_healthy_seconds * 1000), clock_mono_ms());
        if (r < 0) {
                http_answer_retry_after(request, 1);
                http_answer_problem(request, r == -EALREADY ? 409 : 503, r == -EALREADY
                                ? "a rollout of this pool is under way; its state is in GET /api/v1/agents/pools/{name}"
                                : "the pool is being shut down");
                return;
        }
        pool->rolling_out = true;
        pools_wake(master->pools, pool);
        answer_begun(request, master, pool, "rollout");
}

void api_pools_rollback(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct master_pool *pool = api_path_pool(request, master);
        int r;

        if (!pool)
                return;
        r = rollback_begin(master, "asked for");
        if (r == 0) {
                answer_begun(request, master, pool, "rollback");
        } else if (r == -ENOENT) {
                http_answer_problem(request, 409, "there is nothing to go back to: this program was not put in the place of "
                                                  "another, or came back itself");
        } else {
                http_answer_retry_after(request, 1);
                http_answer_problem(request, 503, "the forker cannot be reached; try again");
        }
}

void api_pools_reset(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct master_pool *pool = api_path_pool(request, master);

        if (!pool)
                return;
        audit_change(request, master, "reset", pool->config->pool_name, NULL, 200);
        pool_reset(pool->rules, clock_mono_ms());
        pools_wake(master->pools, pool);
        api_answer(request, 200, api_pool_print(master, pool));
}

/* A pool on its way to being drained, or taken up again. */
struct hold {
        struct http_request *request;
        struct master *master;
        struct master_pool *pool;
        bool held;
};

static void on_held(void *arg, int error)
{
        struct hold *hold = arg;

        if (error < 0) {
                api_answer_pool_error(hold->request, POOL_E_STORE, "the store is not available; try again");
        } else {
                pool_hold(hold->pool->rules, hold->held);
                answer_begun(hold->request, hold->master, hold->pool, hold->held ? "drain" : "resume");
        }
        free(hold);
}

/* Committed first: it holds for the masters to come. */
static void set_held(struct http_request *request, struct master *master, bool held)
{
        struct master_pool *pool = api_path_pool(request, master);
        struct hold *hold = pool ? malloc(sizeof *hold) : NULL;
        struct store_pool row = { .settings = "{\"draining\":true}", .updated_at = clock_wall_ms() };
        int r = -ENOMEM;

        if (!pool)
                return;
        row.pool_name = pool->config->pool_name;
        if (hold) {
                *hold = (struct hold){ .request = request, .master = master, .pool = pool, .held = held };
                r = held ? store_pool_put(master->store, &row, on_held, hold)
                         : store_pool_delete(master->store, row.pool_name, on_held, hold);
        }
        if (r == 0)
                return;
        free(hold);
        api_answer_pool_error(request, POOL_E_STORE, "the store is not available; try again");
}

void api_pools_drain(struct http_request *request, void *arg)
{
        set_held(request, arg, true);
}

void api_pools_resume(struct http_request *request, void *arg)
{
        set_held(request, arg, false);
}

void api_pools_restart(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct master_pool *pool = api_path_pool(request, master);

        if (!pool)
                return;
        pool_restart_all(pool->rules, clock_mono_ms());
        pools_wake(master->pools, pool);
        answer_begun(request, master, pool, "restart");
}

static void add_workers(cJSON **list, const struct master *master, const struct master_pool *pool)
{
        for (const struct pool_worker *w = pool_first_worker(pool->rules); *list && w; w = w->hh.next)
                json_append(list, api_worker_print(master, w));
}

/* Workers of one pool or of all, once they have told what their agents use. */
struct processes {
        struct http_request *request;
        struct master *master;
        struct master_pool *pool; /* NULL: all */
};

static void answer_processes(void *arg)
{
        struct processes *processes = arg;
        const struct master *master = processes->master;
        cJSON *list = cJSON_CreateArray();

        for (size_t i = 0; list && i < pools_count(master->pools); i++)
                if (!processes->pool || processes->pool == pools_at(master->pools, i))
                        add_workers(&list, master, pools_at(master->pools, i));
        api_answer(processes->request, 200, list);
        free(processes);
}

static void look_at_processes(struct http_request *request, struct master *master, struct master_pool *pool)
{
        struct processes *processes = malloc(sizeof *processes);

        if (!processes) {
                http_answer_problem(request, 503, "out of memory; try again");
                return;
        }
        *processes = (struct processes){ .request = request, .master = master, .pool = pool };
        usages_ask(master->usages, pool, NULL, answer_processes, processes);
}

void api_pools_processes(struct http_request *request, void *arg)
{
        struct master_pool *pool = api_path_pool(request, arg);

        if (pool)
                look_at_processes(request, arg, pool);
}

void api_processes(struct http_request *request, void *arg)
{
        look_at_processes(request, arg, NULL);
}
