/* Agents: looking, ending, restarting. Spawning is in spawn.c, messages are in message.c. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/api/audit.h"
#include "master/api/idempotency.h"
#include "master/usages.h"
#include "master/restore.h"
#include "sql/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_DEFAULT 100
#define LIST_MAX 1000

struct terminate_body {
        struct id agent_id;
        char *pool_name;
        bool graceful;
};

static const struct schema_field terminate_fields[] = {
        { .name = "pool_name", .type = SCHEMA_NAME, .offset = offsetof(struct terminate_body, pool_name), .required = true },
        { .name = "agent_id", .type = SCHEMA_ID, .offset = offsetof(struct terminate_body, agent_id), .required = true },
        { .name = "graceful", .type = SCHEMA_BOOL, .offset = offsetof(struct terminate_body, graceful), .fallback = "true" },
        { .name = NULL },
};

struct terminate {
        struct waiter waiter; /* first: on_terminated casts */
        struct http_request *request;
        struct master *master;
        struct terminate_body body;
};

static void terminate_free(void *arg)
{
        struct terminate *terminate = arg;

        schema_done(terminate_fields, &terminate->body);
        free(terminate);
}

static void answer_terminated(struct http_request *request, const struct terminate_body *body)
{
        cJSON *tree = cJSON_CreateObject();
        int r = tree ? 0 : -ENOMEM;

        r = r ? r : json_add_string(tree, "message", "agent terminated");
        r = r ? r : json_add_string(tree, "pool_name", body->pool_name);
        r = r ? r : json_add_string(tree, "agent_id", ID_TEXT(&body->agent_id));
        if (r < 0) {
                cJSON_Delete(tree);
                tree = NULL;
        }
        api_answer(request, 200, tree);
}

static void on_terminated(struct waiter *waiter, const struct agent *agent, enum pool_error error, const char *detail)
{
        struct terminate *terminate = (struct terminate *)waiter;

        (void)agent;
        audit_change(terminate->request, terminate->master, "terminate", terminate->body.pool_name, &terminate->body.agent_id,
                api_pool_error_status(error));
        if (error == POOL_OK)
                answer_terminated(terminate->request, &terminate->body);
        else
                api_answer_pool_error(terminate->request, error, detail);
        terminate_free(terminate);
}

static void on_history(void *arg, int error, const struct store_agent *agents, size_t count);

/* Not in memory: ended already, or never there. The store knows. */
static void terminate_unknown(struct terminate *terminate)
{
        if (store_agent_get(terminate->master->store, &terminate->body.agent_id, on_history, terminate) == 0)
                return;
        api_answer_pool_error(terminate->request, POOL_E_STORE, "the store is not available; try again");
        terminate_free(terminate);
}

static void on_history(void *arg, int error, const struct store_agent *agents, size_t count)
{
        struct terminate *terminate = arg;
        struct http_request *request = terminate->request;

        if (error == 0 && count > 0 && strcmp(agents->pool_name, terminate->body.pool_name) == 0) {
                answer_terminated(request, &terminate->body);
        } else if (error == 0 || error == -ENOENT) {
                idempotency_answered(request, 404, NULL);
                http_answer_problem(request, 404, "no agent %s in pool %s", ID_TEXT(&terminate->body.agent_id),
                        terminate->body.pool_name);
        } else if (error == -EBADMSG) {
                api_answer_broken(request, &terminate->body.agent_id);
        } else {
                api_answer_pool_error(request, POOL_E_STORE, "the store is not available; try again");
        }
        terminate_free(terminate);
}

static void start_terminate(struct http_request *request, void *arg)
{
        struct terminate *terminate = arg;
        struct master *master = terminate->master;
        struct master_pool *pool = pools_find(master->pools, terminate->body.pool_name);
        struct agent *agent = pool ? pool_agent(pool->rules, &terminate->body.agent_id) : NULL;

        terminate->request = request;
        terminate->waiter.done = on_terminated;
        if (!agent) {
                terminate_unknown(terminate);
                return;
        }
        if (pool_terminate(pool->rules, agent, terminate->body.graceful, &terminate->waiter, clock_mono_ms()) < 0) {
                idempotency_answered(request, 409, NULL);
                api_retry_after(request, 1);
                http_answer_problem(request, 409, "the agent is being terminated already; ask again for the outcome");
                terminate_free(terminate);
        }
        pools_wake(master->pools, pool);
}

void api_agents_terminate(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct terminate *terminate = calloc(1, sizeof *terminate);

        if (!terminate) {
                http_answer_problem(request, 503, "out of memory; try again");
                return;
        }
        terminate->master = master;
        if (!api_read_body(request, terminate_fields, &terminate->body)) {
                free(terminate);
                return;
        }
        if (!pools_find(master->pools, terminate->body.pool_name)) {
                api_answer_unknown_pool(request, master, terminate->body.pool_name);
                terminate_free(terminate);
                return;
        }
        idempotency_run(request, master, "terminate", start_terminate, terminate_free, terminate);
}

void api_agents_restart(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct agent *agent = api_path_agent(request, master);

        if (!agent)
                return;
        if (pool_restart_agent(agent->pool, agent, clock_mono_ms()) < 0) {
                http_answer_problem(request, 409, "the agent is %s; only a running one can be restarted",
                        agent_state_name(agent->state));
                return;
        }
        audit_change(request, master, "restart", pool_config(agent->pool)->pool_name, &agent->agent_id, 200);
        pools_wake(master->pools, pools_of(master->pools, agent));
        api_answer(request, 200, api_agent_print(master, agent));
}

/* {"restarts_in_window", "intensity", "period_seconds", "next_try_in_ms"} */
static cJSON *print_backoff(const struct agent *agent)
{
        const struct pool_restart_config *restart = &pool_config(agent->pool)->restart;
        int64_t wait = agent->phase == PHASE_DELAYED ? agent->resend_at - clock_mono_ms() : 0;
        cJSON *tree = cJSON_CreateObject();
        int r = tree ? 0 : -ENOMEM;

        r = r ? r : json_add_integer(tree, "restarts_in_window", agent->restarts_in_window);
        r = r ? r : json_add_integer(tree, "intensity", restart->intensity);
        r = r ? r : json_add_integer(tree, "period_seconds", restart->period_seconds);
        r = r ? r : json_add_integer(tree, "next_try_in_ms", wait > 0 ? wait : 0);
        if (r == 0)
                return tree;
        cJSON_Delete(tree);
        return NULL;
}

/* Why it is where it is, in one sentence. */
static const char *placement_reason(const struct agent *agent)
{
        static const char *const reasons[PHASE_COUNT] = {
                [PHASE_NONE] = "it runs where it was placed",
                [PHASE_STORING] = "its next placement is being written to the store",
                [PHASE_WAITING] = "it waits for a free slot",
                [PHASE_RESERVING] = "the registry is choosing its worker",
                [PHASE_SENT] = "its worker was told to start it and has not acknowledged yet",
                [PHASE_WITHDRAWN] = "it is being ended where it is and will be placed again",
                [PHASE_DELAYED] = "it ended and its restart is being held back",
                [PHASE_RESTORING] = "the daemon has restarted and looks whether it still runs",
        };

        if (agent->phase == PHASE_NONE && agent->state != AGENT_IDLE && agent->state != AGENT_BUSY)
                return agent->state == AGENT_FAILED ? "the restart policy gave up on it" : "it has ended or is ending";
        if (agent->phase == PHASE_WAITING && pool_breaker(agent->pool, POOL_AGENTS)->state != BREAKER_CLOSED)
                return "it waits until the breaker of its pool lets agents start";
        return reasons[agent->phase];
}

static cJSON *print_why(const struct master *master, const struct agent *agent)
{
        cJSON *tree = api_agent_print(master, agent);
        int r = tree ? 0 : -ENOMEM;

        r = r ? r : json_add_string(tree, "placement", placement_reason(agent));
        r = r ? r : json_add_string(tree, "start_reason", agent->start_reason ? agent->start_reason : "spawn");
        r = r ? r : json_add_item(tree, "backoff", print_backoff(agent));
        if (r == 0)
                return tree;
        cJSON_Delete(tree);
        return NULL;
}

/* Whom the record of one agent goes to. */
struct lookup {
        struct http_request *request;
        struct master *master;
        struct id agent_id;
        cJSON *(*print)(const struct master *master, const struct agent *agent);
};

static void answer_found(const struct lookup *lookup, const struct agent *agent)
{
        api_answer_with_history(lookup->request, lookup->master, &agent->agent_id, lookup->print == print_why,
                lookup->print(lookup->master, agent));
}

/* Terminated ones are in the store for as long as history is kept. */
static void answer_row(const struct lookup *lookup, const struct store_agent *row)
{
        const struct master_pool *pool = pools_find(lookup->master->pools, row->pool_name);
        struct agent *agent = pool ? restore_agent(row) : NULL;

        if (!pool) {
                http_answer_problem(lookup->request, 404, "agent %s is of pool %s, which is not configured any more",
                        ID_TEXT(&row->agent_id), row->pool_name);
        } else if (!agent) {
                api_answer_broken(lookup->request, &row->agent_id);
        } else {
                agent->pool = pool->rules;
                agent->phase = PHASE_NONE;
                answer_found(lookup, agent);
        }
        agent_free(agent);
}

static void on_row(void *arg, int error, const struct store_agent *agents, size_t count)
{
        struct lookup *lookup = arg;

        if (error == 0 && count > 0)
                answer_row(lookup, agents);
        else if (error == 0 || error == -ENOENT)
                http_answer_problem(lookup->request, 404, "no agent %s", ID_TEXT(&lookup->agent_id));
        else if (error == -EBADMSG)
                api_answer_broken(lookup->request, &lookup->agent_id);
        else
                api_answer_pool_error(lookup->request, POOL_E_STORE, "the store is not available; try again");
        free(lookup);
}

/* arg is a lookup, owned. */
static void answer_lookup(void *arg)
{
        struct lookup *lookup = arg;
        const struct agent *agent = pools_agent(lookup->master->pools, &lookup->agent_id);

        if (!agent && store_agent_get(lookup->master->store, &lookup->agent_id, on_row, lookup) == 0)
                return;
        if (agent)
                answer_found(lookup, agent);
        else
                api_answer_pool_error(lookup->request, POOL_E_STORE, "the store is not available; try again");
        free(lookup);
}

static void look_up(struct http_request *request, struct master *master,
        cJSON *(*print)(const struct master *master, const struct agent *agent))
{
        struct lookup *lookup = malloc(sizeof *lookup);
        const struct agent *agent;

        if (lookup)
                *lookup = (struct lookup){ .request = request, .master = master, .print = print };
        if (!lookup || !api_path_agent_id(request, &lookup->agent_id)) {
                if (!lookup)
                        http_answer_problem(request, 503, "out of memory; try again");
                free(lookup);
                return;
        }
        agent = pools_agent(master->pools, &lookup->agent_id);
        if (agent && agent->worker)
                usages_ask(master->usages, pools_of(master->pools, agent), &agent->worker->process_id, answer_lookup, lookup);
        else
                answer_lookup(lookup);
}

void api_agents_get(struct http_request *request, void *arg)
{
        look_up(request, arg, api_agent_print);
}

void api_agents_why(struct http_request *request, void *arg)
{
        look_up(request, arg, print_why);
}

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
        const char *equals = strchr(label, '=');
        struct json_error error;
        cJSON *labels;
        const char *value;
        char name[128];
        bool matches;

        snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - label) : (int)strlen(label), label);
        if (!agent->labels || json_parse(agent->labels, strlen(agent->labels), JSON_STRICT, &labels, &error) < 0)
                return false;
        value = json_string(labels, name);
        matches = value && (!equals || strcmp(value, equals + 1) == 0);
        cJSON_Delete(labels);
        return matches;
}

static bool filter_matches(const struct filter *filter, const struct agent *agent)
{
        if (filter->state && agent->state != filter->state)
                return false;
        if (filter->by_project && !id_equal(&filter->project_id, &agent->project_id))
                return false;
        return !filter->label || label_matches(agent, filter->label);
}

/* Where a cursor points: pools before *ret_pool are passed, then agents up to *ret_at (wall ms) or *ret_last. */
static bool read_cursor(const struct master *master, const char *cursor, size_t *ret_pool, int64_t *ret_at,
        struct id *ret_last)
{
        char name[65], id[ID_TEXT_SIZE];
        long long at;
        int n = 0;

        /* From the right: a pool's name may hold dots. */
        const char *last = strrchr(cursor, '.'), *time = last ? memrchr(cursor, '.', (size_t)(last - cursor)) : NULL;

        if (!time || (size_t)(time - cursor) >= sizeof name || sscanf(time, ".%lld.%36s%n", &at, id, &n) != 2 || time[n])
                return false;
        snprintf(name, sizeof name, "%.*s", (int)(time - cursor), cursor);
        for (*ret_pool = 0; *ret_pool < pools_count(master->pools); ++*ret_pool)
                if (strcmp(pools_at(master->pools, *ret_pool)->config->pool_name, name) == 0)
                        break;
        *ret_at = at;
        return *ret_pool < pools_count(master->pools) && id_parse(id, ret_last) == 0;
}

/* The first agent to look at; pools before *ret_pool are passed already. False: the cursor is none of ours. */
static bool list_start(const struct master *master, const struct filter *filter, size_t *ret_pool,
        struct agent **ret_agent)
{
        struct agent *agent, *last;
        struct id last_id;
        int64_t at;

        *ret_pool = 0;
        *ret_agent = pools_count(master->pools) ? pool_first_agent(pools_at(master->pools, 0)->rules) : NULL;
        if (!filter->cursor)
                return true;
        if (!read_cursor(master, filter->cursor, ret_pool, &at, &last_id))
                return false;
        last = pool_agent(pools_at(master->pools, *ret_pool)->rules, &last_id);
        agent = last ? last->hh.next : pool_first_agent(pools_at(master->pools, *ret_pool)->rules);
        while (!last && agent && agent->created_at < at) /* rather one twice than one left out */
                agent = agent->hh.next;
        *ret_agent = agent;
        return true;
}

/* *ret_last is the agent to go on after, NULL at the end. */
static cJSON *page(const struct master *master, const struct filter *filter, size_t pool, struct agent *agent,
        const struct agent **ret_last)
{
        cJSON *list = cJSON_CreateArray();
        const struct agent *last = NULL;
        int64_t left = filter->limit;

        for (; list && left > 0 && pool < pools_count(master->pools); ) {
                const struct master_pool *at = pools_at(master->pools, pool);
                bool wanted = !filter->pool_name || strcmp(filter->pool_name, at->config->pool_name) == 0;

                for (; list && wanted && agent && left > 0; agent = agent->hh.next) {
                        if (!filter_matches(filter, agent))
                                continue;
                        json_append(&list, api_agent_print(master, agent));
                        last = agent;
                        left--;
                }
                if (left > 0 && ++pool < pools_count(master->pools))
                        agent = pool_first_agent(pools_at(master->pools, pool)->rules);
        }
        *ret_last = list && left == 0 ? last : NULL;
        return list;
}

static void answer_list(struct http_request *request, const struct master *master, const struct filter *filter)
{
        char cursor[65 + 24 + ID_TEXT_SIZE];
        const struct agent *last;
        struct agent *agent;
        cJSON *list;
        size_t pool;

        if (!list_start(master, filter, &pool, &agent)) {
                http_answer_problem(request, 400, "\"cursor\" is none of ours; start again without it");
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
                http_answer_problem(request, 400, "no agent state \"%s\"; one of starting, idle, busy, stopping, stopped, failed",
                        state);
        else if (filter.pool_name && !pools_find(master->pools, filter.pool_name))
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

static cJSON *health_item(const struct agent *agent)
{
        cJSON *item = cJSON_CreateObject();

        json_add_string(item, "agent_id", ID_TEXT(&agent->agent_id));
        json_add_string(item, "status", agent_state_name(agent->state));
        if (agent->worker)
                json_add_string(item, "process_id", ID_TEXT(&agent->worker->process_id));
        else
                json_add_item(item, "process_id", cJSON_CreateNull());
        json_add_string(item, "role_type", agent->role_type);
        return item;
}

void api_agents_health(struct http_request *request, void *arg)
{
        const struct master *master = arg;
        cJSON *tree = cJSON_CreateObject();

        json_watch();
        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const struct master_pool *pool = pools_at(master->pools, i);
                cJSON *list = cJSON_CreateArray();

                for (const struct agent *a = pool_first_agent(pool->rules); list && a; a = a->hh.next)
                        json_append(&list, health_item(a));
                json_add_item(tree, pool->config->pool_name, list);
        }
        api_answer_whole(request, tree);
}
