/* The REST surface: one handler per route (master/api/routes.c lists them), and what handlers share. */
#ifndef MASTER_API_API_H
#define MASTER_API_API_H
#include "common/json/json.h"
#include "common/json/schema.h"
#include "master/control/context.h"
#include "master/control/pools.h"
#include "master/http/http.h"

extern const struct http_route api_routes[]; /* ends with a NULL path; each handler's arg is the struct master */
/* What its handler begins leaves a note with which another master goes on. */
bool api_resumes(const struct http_route *route);

/* While the agents are not known yet, answers everything but health (true). arg is the struct master. */
bool api_refuse(struct http_request *request, void *arg);

/* Answers. take_tree is consumed; NULL (out of memory) answers 503. */
void api_answer(struct http_request *request, int status, cJSON *take_tree);
/* 200, or 503 when an addition failed since json_watch. */
void api_answer_whole(struct http_request *request, cJSON *take_tree);
/* 400 (not the shape) or 422 (breaks a rule) with errors: [{pointer, detail}]. */
void api_answer_errors(struct http_request *request, const struct schema_errors *errors);
/* The problem that a refused or failed spawn or terminate deserves. */
void api_answer_pool_error(struct http_request *request, enum pool_error error, const char *detail);
/* pool_spawn, unless the machine is short of memory. */
int api_spawn(struct master *master, struct master_pool *pool, struct agent *take_agent, enum pool_error *ret_error,
        char detail[192]);
int api_pool_error_status(enum pool_error error);
/* Ends it, whether its pool is configured or not: waiter->done follows, also of an end that is under way already, which is not
 * graceful any more when one asks for that. -EBUSY, -EALREADY: it is under way for somebody who cannot be joined. */
int api_terminate(struct master *master, struct agent *agent, bool graceful, struct waiter *waiter);

/* The body as JSON. NULL: answered already. */
cJSON *api_read_tree(struct http_request *request);
/* The body bound by fields. False: answered already. out is zeroed by the caller; schema_done afterwards. */
bool api_read_body(struct http_request *request, const struct schema_field *fields, void *out);
/* Refuses query parameters that are not in names (NULL-terminated). False: answered already. */
bool api_check_query(struct http_request *request, const char *const *names);
/* ?name=N within bounds. False: answered already. */
bool api_query_integer(struct http_request *request, const char *name, int64_t fallback, int64_t min, int64_t max,
        int64_t *ret_value);
/* ?name=UUID; zero when absent. False: answered already. */
bool api_query_id(struct http_request *request, const char *name, struct id *ret_id);
/* The request's traceparent, "" when it has none that is right. */
const char *api_trace(const struct http_request *request);
/* Who sends the request, as far as that can be told: its token's name, else its address (of a unix socket its user), and the
 * Agentpool-Client header, by which clients that share one of those tell themselves apart. False: answered already. */
#define API_CLIENT_SIZE 256
bool api_client(struct http_request *request, char client[API_CLIENT_SIZE]);
/* {agent_id} of the path. False: answered already. */
bool api_path_agent_id(struct http_request *request, struct id *ret_id);
/* The agent of that id, or NULL when answered 404 already, or 409: its pool is not configured. */
struct agent *api_path_agent(struct http_request *request, struct master *master);
/* {name} of the path: the pool, or NULL when answered 404 already. */
struct master_pool *api_path_pool(struct http_request *request, struct master *master);
/* Why a pool's name is none, naming the nearest. Returns detail. */
char *api_unknown_pool(const struct master *master, const char *pool_name, char detail[200]);
/* The 404 that goes with it. */
/* Its row is there, but somebody broke it. */
void api_answer_broken(struct http_request *request, const struct id *agent_id);
void api_answer_unknown_pool(struct http_request *request, const struct master *master, const char *pool_name);

/* A Link header (RFC 8288) to the same list from cursor on: the query as it was, but for its cursor. */
void api_next_link(struct http_request *request, const char *cursor);
/* To the last_exit of an agent's record with its history: what it wrote last before. */
void api_add_last_words(const struct master *master, const struct id *agent_id, cJSON *tree);
/* 200 with take_tree and "history": the last 20 events from the store of what became of the agent, null when the store is
 * away; asked: and "asked", the last 20 that say who asked for a change. */
void api_answer_with_history(struct http_request *request, struct master *master, const struct id *agent_id, bool asked,
        cJSON *take_tree);

/* An agent that only the store knows, to be printed; its pool need not be configured. NULL when out of memory, or the row makes
 * no sense. */
struct store_agent;
struct agent *api_row_agent(const struct master *master, const struct store_agent *row);
/* Representations. NULL when out of memory. */
cJSON *api_agent_summary(const struct agent *agent);                          /* what a spawn answers */
cJSON *api_agent_print(const struct master *master, const struct agent *agent); /* the whole record */
cJSON *api_pool_print(const struct master *master, const struct master_pool *pool);
cJSON *api_worker_print(const struct master *master, const struct pool_worker *worker);

/* Handlers, by file. */
void api_agents_spawn(struct http_request *request, void *arg);
void api_bulk_spawn(struct http_request *request, void *arg);
void api_bulk_terminate(struct http_request *request, void *arg);
void api_bulk_restart(struct http_request *request, void *arg);
void api_agents_import(struct http_request *request, void *arg);
void api_agents_terminate(struct http_request *request, void *arg);
void api_agents_restart(struct http_request *request, void *arg);
void api_agents_get(struct http_request *request, void *arg);
void api_agents_list(struct http_request *request, void *arg);
void api_agents_by_project(struct http_request *request, void *arg);
void api_agents_health(struct http_request *request, void *arg);
void api_agents_message(struct http_request *request, void *arg);
void api_pools_list(struct http_request *request, void *arg);
void api_pools_get(struct http_request *request, void *arg);
void api_pools_drain(struct http_request *request, void *arg);
void api_pools_resume(struct http_request *request, void *arg);
void api_pools_restart(struct http_request *request, void *arg);
void api_pools_rollout(struct http_request *request, void *arg);
void api_pools_rollback(struct http_request *request, void *arg);
void api_pools_reset(struct http_request *request, void *arg);
void api_pools_processes(struct http_request *request, void *arg);
void api_processes(struct http_request *request, void *arg);
void api_agents_logs(struct http_request *request, void *arg);
void api_agents_why(struct http_request *request, void *arg);
void api_agents_events(struct http_request *request, void *arg);
void api_pools_events(struct http_request *request, void *arg);
void api_executions_list(struct http_request *request, void *arg);
void api_executions_get(struct http_request *request, void *arg);
void api_executions_summary(struct http_request *request, void *arg);
void api_timeseries(struct http_request *request, void *arg);
void api_livez(struct http_request *request, void *arg);
void api_readyz(struct http_request *request, void *arg);
void api_health(struct http_request *request, void *arg);
void api_metrics(struct http_request *request, void *arg);
void api_openapi(struct http_request *request, void *arg);
void api_stats(struct http_request *request, void *arg);
#endif
