/* Agents: looking, ending, restarting. Spawning is in spawn.c, messages are in message.c, lists in list.c. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/api/audit.h"
#include "master/api/idempotency.h"
#include "master/control/usages.h"
#include "master/control/strays.h"
#include "sql/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static struct agent *find_agent(const struct master *master, const struct id *agent_id)
{
        struct agent *agent = pools_agent(master->pools, agent_id);

        return agent ? agent : strays_agent(master->strays, agent_id);
}

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
        } else if ((error == 0 || error == -ENOENT) && !pools_find(terminate->master->pools, terminate->body.pool_name)) {
                idempotency_answered(request, 404, NULL);
                api_answer_unknown_pool(request, terminate->master, terminate->body.pool_name);
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
        struct agent *agent = find_agent(master, &terminate->body.agent_id);

        if (agent && strcmp(pool_config(agent->pool)->pool_name, terminate->body.pool_name) != 0)
                agent = NULL;
        terminate->request = request;
        terminate->waiter.done = on_terminated;
        if (!agent) {
                terminate_unknown(terminate);
                return;
        }
        if (api_terminate(master, agent, terminate->body.graceful, &terminate->waiter) < 0) {
                idempotency_answered(request, 409, NULL);
                http_answer_retry_after(request, 1);
                http_answer_problem(request, 409, "the agent is being terminated already; ask again for the outcome");
                terminate_free(terminate);
        }
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

        r = r ? r : json_add_string(tree, "placement", strays_has(master->strays, agent)
                        ? strays_detail(agent, (char[200]){ 0 }) : placement_reason(agent));
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
        struct agent *agent = api_row_agent(lookup->master, row);

        if (agent)
                answer_found(lookup, agent);
        else
                api_answer_broken(lookup->request, &row->agent_id);
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
        const struct agent *agent = find_agent(lookup->master, &lookup->agent_id);

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
