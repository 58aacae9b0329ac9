/* Pools and their worker processes. */
#include "master/api/api.h"

void api_pools_list(struct http_request *request, void *arg)
{
        const struct master *master = arg;
        cJSON *list = cJSON_CreateArray();

        for (size_t i = 0; list && i < pools_count(master->pools); i++)
                cJSON_AddItemToArray(list, api_pool_print(master, pools_at(master->pools, i)));
        api_answer(request, 200, list);
}

void api_pools_get(struct http_request *request, void *arg)
{
        struct master_pool *pool = api_path_pool(request, arg);

        if (pool)
                api_answer(request, 200, api_pool_print(arg, pool));
}

static void add_workers(cJSON *list, const struct master *master, const struct master_pool *pool)
{
        for (const struct pool_worker *w = pool_first_worker(pool->rules); w; w = w->hh.next)
                cJSON_AddItemToArray(list, api_worker_print(master, w));
}

void api_pools_processes(struct http_request *request, void *arg)
{
        struct master_pool *pool = api_path_pool(request, arg);
        cJSON *list;

        if (!pool)
                return;
        list = cJSON_CreateArray();
        if (list)
                add_workers(list, arg, pool);
        api_answer(request, 200, list);
}

void api_processes(struct http_request *request, void *arg)
{
        const struct master *master = arg;
        cJSON *list = cJSON_CreateArray();

        for (size_t i = 0; list && i < pools_count(master->pools); i++)
                add_workers(list, master, pools_at(master->pools, i));
        api_answer(request, 200, list);
}
