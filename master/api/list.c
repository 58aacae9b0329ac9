/* Lists of agents: those that there are come from memory, those that were ended from the store. */
#include "common/json/json.h"
#include "master/api/api.h"
#include "master/control/strays.h"
#include "master/control/usages.h"
#include "sql/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_DEFAULT 100
#define LIST_MAX 1000
#define CURSOR_SIZE (65 + 24 + ID_TEXT_SIZE)
#define NO_CURSOR "\"cursor\" is none of ours; start again without it"

/* What a list is narrowed to. */
struct filter {
        const char *pool_name;
        enum agent_state state; /* 0: any */
        struct id project_id;
        bool by_project;
        const char *label;      /* "name" or "name=value"; NULL: any */
        const char *cursor;     /* "POOL.MILLISECONDS.AGENT": after that agent, or after its time if it is gone; NULL: all */
        int64_t limit;
};

static bool label_matches(const struct agent *agent, const char *label)
{
        const char *equals = strchrnul(label, '=');
        const cJSON *item = NULL;
        struct json_error error;
        cJSON *labels;

        if (!agent->labels || json_parse(agent->labels, strlen(agent->labels), JSON_STRICT, &labels, &error) < 0)
                return false;
        cJSON_ArrayForEach(item, labels)
        {
                if (strncmp(item->string, label, (size_t)(equals - label)) == 0 && !item->string[equals - label])
                        break;
        }
        if (item && *equals && (!cJSON_IsString(item) || strcmp(item->valuestring, equals + 1) != 0))
                item = NULL;
        cJSON_Delete(labels);
        return item;
}

static bool is_of(const struct agent *agent, const char *pool_name)
{
        return strcmp(pool_config(agent->pool)->pool_name, pool_name) == 0;
}

static bool filter_matches(const struct filter *filter, const struct agent *agent)
{
        if (filter->state && agent->state != filter->state)
                return false;
        if (filter->pool_name && !is_of(agent, filter->pool_name))
                return false;
        if (filter->by_project && !id_equal(&filter->project_id, &agent->project_id))
                return false;
        return !filter->label || label_matches(agent, filter->label);
}

static bool split_cursor(const char *cursor, char name[65], int64_t *ret_at, struct id *ret_last)
{
        char id[ID_TEXT_SIZE];
        long long at;
        int n = 0;

        /* From the right: a pool's name may hold dots. */
        const char *last = strrchr(cursor, '.'), *time = last ? memrchr(cursor, '.', (size_t)(last - cursor)) : NULL;

        if (!time || time - cursor > 64 || sscanf(time, ".%lld.%36s%n", &at, id, &n) != 2 || time[n])
                return false;
        snprintf(name, 65, "%.*s", (int)(time - cursor), cursor);
        *ret_at = at;
        return id_parse(id, ret_last) == 0;
}

/* Of pool i; after all pools come the agents whose pool is not configured. */
static struct agent *first_agent(const struct master *master, size_t i)
{
        return i < pools_count(master->pools) ? pool_first_agent(pools_at(master->pools, i)->rules) : strays_first(master->strays);
}

static struct agent *known_agent(const struct master *master, size_t i, const struct id *agent_id)
{
        return i < pools_count(master->pools) ? pool_agent(pools_at(master->pools, i)->rules, agent_id)
                                              : strays_agent(master->strays, agent_id);
}

/* Where a cursor points: *ret_pool as in first_agent, there after *ret_at (wall ms) or *ret_last. */
static bool read_cursor(const struct master *master, const char *cursor, char name[65], size_t *ret_pool, int64_t *ret_at,
        struct id *ret_last)
{
        if (!split_cursor(cursor, name, ret_at, ret_last))
                return false;
        for (*ret_pool = 0; *ret_pool < pools_count(master->pools); ++*ret_pool)
                if (strcmp(pools_at(master->pools, *ret_pool)->config->pool_name, name) == 0)
                        return true;
        return strays_are_of(master->strays, name);
}

/* The first agent to look at; pools before *ret_pool are passed already. False: the cursor is none of ours. */
static bool list_start(const struct master *master, const struct filter *filter, size_t *ret_pool,
        struct agent **ret_agent)
{
        struct agent *agent, *last;
        struct id last_id;
        char name[65];
        int64_t at;

        *ret_pool = 0;
        *ret_agent = first_agent(master, 0);
        if (!filter->cursor)
                return true;
        if (!read_cursor(master, filter->cursor, name, ret_pool, &at, &last_id))
                return false;
        last = known_agent(master, *ret_pool, &last_id);
        agent = last ? last->hh.next : first_agent(master, *ret_pool);
        while (!last && agent && !is_of(agent, name))
                agent = agent->hh.next;
        while (!last && agent && is_of(agent, name) && agent->created_at < at) /* rather one twice than one left out */
                agent = agent->hh.next;
        *ret_agent = agent;
        return true;
}

/* *ret_last is the agent to go on after, NULL at the end. */
static cJSON *page(const struct master *master, const struct filter *filter, size_t pool, struct agent *agent,
        const struct agent **ret_last)
{
        size_t count = pools_count(master->pools);
        cJSON *list = cJSON_CreateArray();
        const struct agent *last = NULL;
        int64_t left = filter->limit;

        while (list && left > 0 && pool <= count) {
                bool wanted = pool == count || !filter->pool_name ||
                        strcmp(filter->pool_name, pools_at(master->pools, pool)->config->pool_name) == 0;

                for (; list && wanted && agent && left > 0; agent = agent->hh.next) {
                        if (!filter_matches(filter, agent))
                                continue;
                        json_append(&list, api_agent_print(master, agent));
                        last = agent;
                        left--;
                }
                if (left > 0 && ++pool <= count)
                        agent = first_agent(master, pool);
        }
        *ret_last = list && left == 0 ? last : NULL;
        return list;
}

static void answer_list(struct http_request *request, const struct master *master, const struct filter *filter)
{
        char cursor[CURSOR_SIZE];
        const struct agent *last;
        struct agent *agent;
        cJSON *list;
        size_t pool;

        if (!list_start(master, filter, &pool, &agent)) {
                http_answer_problem(request, 400, NO_CURSOR);
                return;
        }
        usages_refresh(master->usages); /* for the next one who asks */
        list = page(master, filter, pool, agent, &last);
        if (last) {
                snprintf(cursor, sizeof cursor, "%s.%lld.%s", pool_config(last->pool)->pool_name,
                        (long long)last->created_at, ID_TEXT(&last->agent_id));
                api_next_link(request, cursor);
        }
        api_answer(request, 200, list);
}

/* ---- those that were ended: only the store has them ---- */

struct ended {
        struct http_request *request;
        const struct master *master;
        struct filter filter; /* its texts are the request's */
};

/* One as a list shows it; NULL: it is not wanted. */
static cJSON *print_ended(const struct ended *ended, const struct store_agent *row)
{
        struct agent *agent = api_row_agent(ended->master, row);
        cJSON *tree = agent && filter_matches(&ended->filter, agent) ? api_agent_print(ended->master, agent) : NULL;

        agent_free(agent);
        return tree;
}

static bool is_known_pool(const struct master *master, const char *pool_name)
{
        return !pool_name || pools_find(master->pools, pool_name) || strays_are_of(master->strays, pool_name);
}

static void on_ended(void *arg, int error, const struct store_agent *rows, size_t count)
{
        struct ended *ended = arg;
        cJSON *list = error ? NULL : cJSON_CreateArray();
        char cursor[CURSOR_SIZE];

        for (size_t i = 0; list && i < count; i++) {
                cJSON *tree = print_ended(ended, &rows[i]);

                if (tree)
                        json_append(&list, tree);
        }
        if (list && count > 0) { /* perhaps not the last: unreadable rows were left out */
                snprintf(cursor, sizeof cursor, "%s.%lld.%s", rows[count - 1].pool_name, (long long)rows[count - 1].created_at,
                        ID_TEXT(&rows[count - 1].agent_id));
                api_next_link(ended->request, cursor);
        }
        if (error) {
                api_answer_pool_error(ended->request, POOL_E_STORE, "the store is not available; try again");
        } else if (count == 0 && !ended->filter.cursor && !is_known_pool(ended->master, ended->filter.pool_name)) {
                cJSON_Delete(list);
                api_answer_unknown_pool(ended->request, ended->master, ended->filter.pool_name);
        } else {
                api_answer(ended->request, 200, list);
        }
        free(ended);
}

static void answer_ended(struct http_request *request, const struct master *master, const struct filter *filter)
{
        struct ended *ended = malloc(sizeof *ended);
        struct store_place after = { .created_at = INT64_MIN };
        char name[65] = "";
        int r = -ENOMEM;

        after.pool_name = name;
        if (filter->cursor && !split_cursor(filter->cursor, name, &after.created_at, &after.agent_id)) {
                http_answer_problem(request, 400, NO_CURSOR);
                free(ended);
                return;
        }
        if (ended) {
                *ended = (struct ended){ .request = request, .master = master, .filter = *filter };
                r = store_agents_ended(master->store, filter->pool_name, filter->by_project ? &filter->project_id : NULL, &after,
                        (unsigned)filter->limit, on_ended, ended);
        }
        if (r == 0)
                return;
        free(ended);
        api_answer_pool_error(request, POOL_E_STORE, "the store is not available; try again");
}

void api_agents_list(struct http_request *request, void *arg)
{
        static const char *const names[] = { "pool_name", "state", "project_id", "label", "limit", "cursor", NULL };
        struct master *master = arg;
        const char *state = http_request_query(request, "state");
        struct filter filter = { .pool_name = http_request_query(request, "pool_name"),
                .label = http_request_query(request, "label"), .cursor = http_request_query(request, "cursor") };

        filter.by_project = http_request_query(request, "project_id");
        if (!api_check_query(request, names) || !api_query_id(request, "project_id", &filter.project_id) ||
                !api_query_integer(request, "limit", LIST_DEFAULT, 1, LIST_MAX, &filter.limit))
                return;
        if (state && agent_state_parse(state, &filter.state) < 0)
                http_answer_problem(request, 400, "no agent state \"%s\"; one of starting, idle, busy, stopping, stopped, failed, "
                        "terminated", state);
        else if (filter.state == AGENT_TERMINATED)
                answer_ended(request, master, &filter);
        else if (!is_known_pool(master, filter.pool_name))
                api_answer_unknown_pool(request, master, filter.pool_name);
        else
                answer_list(request, master, &filter);
}

void api_agents_by_project(struct http_request *request, void *arg)
{
        static const char *const names[] = { "limit", "cursor", NULL };
        struct filter filter = { .by_project = true };

        if (id_parse(http_request_param(request, "project_id"), &filter.project_id) < 0) {
                http_answer_problem(request, 400, "the project id in the path is no UUID");
                return;
        }
        filter.cursor = http_request_query(request, "cursor");
        if (api_check_query(request, names) &&
                api_query_integer(request, "limit", LIST_DEFAULT, 1, LIST_MAX, &filter.limit))
                answer_list(request, arg, &filter);
}
