#include "master/api/api.h"

#include "common/clock.h"
#include "common/trace.h"
#include "common/utf8.h"
#include "master/api/idempotency.h"
#include "master/control/strays.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#define API_CLIENT_LABEL_MAX 128

void api_answer(struct http_request *request, int status, cJSON *take_tree)
{
        char *text = take_tree ? json_print(take_tree) : NULL;

        cJSON_Delete(take_tree);
        idempotency_answered(request, status, text);
        if (text)
                http_answer(request, status, "application/json", text, strlen(text));
        else
                http_answer_problem(request, 503, "out of memory; nothing was lost, try again");
        free(text);
}

void api_answer_whole(struct http_request *request, cJSON *take_tree)
{
        if (!json_whole()) {
                cJSON_Delete(take_tree);
                take_tree = NULL;
        }
        api_answer(request, 200, take_tree);
}

/* RFC 9457 with our errors member. */
static cJSON *print_errors(int status, const struct schema_errors *errors)
{
        cJSON *tree = cJSON_CreateObject();
        cJSON *list = cJSON_CreateArray();
        int r = tree ? 0 : -ENOMEM;

        r = r ? r : json_add_string(tree, "type", "about:blank");
        r = r ? r : json_add_string(tree, "title", status == 400 ? "Bad Request" : "Unprocessable Content");
        r = r ? r : json_add_integer(tree, "status", status);
        r = r ? r : json_add_string(tree, "detail", errors->errors[0].detail);
        for (unsigned i = 0; r == 0 && i < errors->count && i < SCHEMA_ERRORS_MAX; i++) {
                cJSON *item = cJSON_CreateObject();

                r = json_add_string(item, "pointer", errors->errors[i].pointer);
                r = r ? r : json_add_string(item, "detail", errors->errors[i].detail);
                json_append(&list, item);
        }
        r = r ? r : json_add_item(tree, "errors", list);
        if (r == 0)
                return tree;
        cJSON_Delete(tree);
        return NULL;
}

void api_answer_errors(struct http_request *request, const struct schema_errors *errors)
{
        int status = 422;
        cJSON *tree;
        char *text;

        for (unsigned i = 0; i < errors->count && i < SCHEMA_ERRORS_MAX; i++)
                if (!errors->errors[i].rule)
                        status = 400;
        tree = print_errors(status, errors);
        text = tree ? json_print(tree) : NULL;
        cJSON_Delete(tree);
        http_answer(request, status, "application/problem+json", text ? text : "{}", text ? strlen(text) : 2);
        free(text);
}

int api_pool_error_status(enum pool_error error)
{
        switch (error) {
        case POOL_OK:
                return 200;
        case POOL_E_TIMEOUT:
                return 504;
        case POOL_E_START:
                return 422;
        case POOL_E_ENDED:
                return 409;
        case POOL_E_FULL:
        case POOL_E_QUEUE:
        case POOL_E_WORKERS:
        case POOL_E_BREAKER:
        case POOL_E_STORE:
        case POOL_E_RESOURCES:
        case POOL_E_CLOSING:
                break;
        }
        return 503;
}

int api_spawn(struct master *master, struct master_pool *pool, struct agent *take_agent, enum pool_error *ret_error,
        char detail[192])
{
        int64_t now = clock_mono_ms();
        const char *refusal = admission_refusal(&master->admission, now);

        if (!refusal)
                return pool_spawn(pool->rules, take_agent, now, ret_error, detail);
        *ret_error = POOL_E_RESOURCES;
        snprintf(detail, 192, "%s", refusal);
        return -EBUSY;
}

int api_terminate(struct master *master, struct agent *agent, bool graceful, struct waiter *waiter)
{
        struct master_pool *pool = pools_of(master->pools, agent);
        struct waiter *first;
        int r;

        if (strays_has(master->strays, agent))
                return strays_terminate(master->strays, agent, waiter);
        r = pool_terminate(pool->rules, agent, graceful, waiter, clock_mono_ms());
        first = agent->ender;
        if (r == -EALREADY && first) { /* the same end answers both */
                waiter->next = first->next;
                first->next = waiter;
                r = 0;
        }
        pools_wake(master->pools, pool);
        return r;
}

void api_answer_pool_error(struct http_request *request, enum pool_error error, const char *detail)
{
        int status = api_pool_error_status(error);

        idempotency_answered(request, status, NULL);
        if (status == 503 && error != POOL_E_BREAKER) /* its caller knows when */
                http_answer_retry_after(request, error == POOL_E_FULL || error == POOL_E_RESOURCES ? 5 : 1);
        http_answer_problem(request, status, "%s", detail);
}

cJSON *api_read_tree(struct http_request *request)
{
        struct json_error error;
        size_t len;
        const char *body = http_request_body(request, &len);
        size_t mark = utf8_mark(body, len); /* RFC 8259, 8.1: may be passed over */
        cJSON *tree = NULL;
        int r = json_parse(body + mark, len - mark, JSON_STRICT, &tree, &error);

        if (r == -EINVAL)
                http_answer_problem(request, 400, "the body is not acceptable JSON: line %zu, column %zu: %s", error.line,
                        error.column, error.detail);
        else if (r < 0)
                http_answer_problem(request, 503, "out of memory; try again");
        return r == 0 ? tree : NULL;
}

bool api_read_body(struct http_request *request, const struct schema_field *fields, void *out)
{
        struct schema_errors errors = { 0 };
        cJSON *tree = api_read_tree(request);
        int r;

        if (!tree)
                return false;
        r = schema_read(tree, "", fields, out, &errors);
        cJSON_Delete(tree);
        if (r == -EINVAL)
                api_answer_errors(request, &errors);
        else if (r < 0)
                http_answer_problem(request, 503, "out of memory; try again");
        return r == 0;
}

bool api_check_query(struct http_request *request, const char *const *names)
{
        const char *name, *nearest;

        for (size_t i = 0; (name = http_request_query_name(request, i)); i++) {
                size_t known = 0;

                while (names[known] && strcmp(names[known], name) != 0)
                        known++;
                if (names[known] && http_request_query_once(request, i))
                        continue;
                if (names[known]) {
                        http_answer_problem(request, 400, "query parameter \"%s\" is there more than once", name);
                        return false;
                }
                nearest = schema_nearest(name, names);
                http_answer_problem(request, 400, "unknown query parameter \"%s\"%s%s%s", name,
                        nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
                return false;
        }
        return true;
}

bool api_query_integer(struct http_request *request, const char *name, int64_t fallback, int64_t min, int64_t max,
        int64_t *ret_value)
{
        const char *text = http_request_query(request, name);
        char *end;
        long long value;

        *ret_value = fallback;
        if (!text)
                return true;
        errno = 0;
        value = strtoll(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno || value < min || value > max) {
                http_answer_problem(request, 400, "query parameter \"%s\" must be a whole number from %lld to %lld", name,
                        (long long)min, (long long)max);
                return false;
        }
        *ret_value = value;
        return true;
}

bool api_query_id(struct http_request *request, const char *name, struct id *ret_id)
{
        const char *text = http_request_query(request, name);

        *ret_id = (struct id){ 0 };
        if (!text || id_parse(text, ret_id) == 0)
                return true;
        http_answer_problem(request, 400, "query parameter \"%s\" must be a UUID", name);
        return false;
}

const char *api_trace(const struct http_request *request)
{
        const char *trace = http_request_header(request, "traceparent");

        return trace_valid(trace) ? trace : "";
}

bool api_client(struct http_request *request, char client[API_CLIENT_SIZE])
{
        const char *user = http_request_user(request), *label = http_request_header(request, "agentpool-client");
        char address[INET6_ADDRSTRLEN] = "";

        if (label && (strlen(label) > API_CLIENT_LABEL_MAX || !utf8_valid(label, strlen(label)))) {
                http_answer_problem(request, 400, "the Agentpool-Client header takes at most %d bytes of UTF-8",
                        API_CLIENT_LABEL_MAX);
                return false;
        }
        if (!*user)
                inet_ntop(AF_INET6, http_request_address(request), address, sizeof address);
        snprintf(client, API_CLIENT_SIZE, "%s%s%s%s", *user ? "token " : "address ", *user ? user : address,
                label ? " client " : "", label ? label : "");
        return true;
}

bool api_path_agent_id(struct http_request *request, struct id *ret_id)
{
        if (id_parse(http_request_param(request, "agent_id"), ret_id) == 0)
                return true;
        http_answer_problem(request, 400, "the agent id in the path is no UUID");
        return false;
}

struct agent *api_path_agent(struct http_request *request, struct master *master)
{
        struct agent *agent;
        struct id id;

        if (!api_path_agent_id(request, &id))
                return NULL;
        agent = pools_agent(master->pools, &id);
        if (agent)
                return agent;
        agent = strays_agent(master->strays, &id);
        if (agent)
                http_answer_problem(request, 409, "%s", strays_detail(agent, (char[200]){ 0 }));
        else
                http_answer_problem(request, 404, "no agent %s", ID_TEXT(&id));
        return NULL;
}

char *api_unknown_pool(const struct master *master, const char *pool_name, char detail[200])
{
        size_t count = pools_count(master->pools);
        const char **names = calloc(count + 1, sizeof *names);
        const char *nearest = NULL;

        for (size_t i = 0; names && i < count; i++)
                names[i] = pools_at(master->pools, i)->config->pool_name;
        if (names)
                nearest = schema_nearest(pool_name, names);
        if (nearest)
                snprintf(detail, 200, "no pool \"%.64s\"; did you mean \"%s\"?", pool_name, nearest);
        else
                snprintf(detail, 200, "no pool \"%.64s\"; GET /api/v1/agents/pools lists them", pool_name);
        free(names);
        return detail;
}

void api_answer_broken(struct http_request *request, const struct id *agent_id)
{
        http_answer_problem(request, 503, "the record of agent %s cannot be read: mend or delete its row in the database",
                ID_TEXT(agent_id));
}

void api_answer_unknown_pool(struct http_request *request, const struct master *master, const char *pool_name)
{
        http_answer_problem(request, 404, "%s", api_unknown_pool(master, pool_name, (char[200]){ 0 }));
}

struct master_pool *api_path_pool(struct http_request *request, struct master *master)
{
        const char *name = http_request_param(request, "name");
        struct master_pool *pool = pools_find(master->pools, name);

        if (!pool)
                api_answer_unknown_pool(request, master, name);
        return pool;
}

void api_next_link(struct http_request *request, const char *cursor)
{
        struct evbuffer *link = evbuffer_new();
        const char *name;

        if (!link)
                return;
        evbuffer_add_printf(link, "<%s?cursor=%s", http_request_path(request), cursor);
        for (size_t i = 0; (name = http_request_query_name(request, i)); i++) {
                char *quoted = evhttp_encode_uri(http_request_query(request, name));

                if (quoted && strcmp(name, "cursor") != 0)
                        evbuffer_add_printf(link, "&%s=%s", name, quoted);
                free(quoted);
        }
        evbuffer_add_printf(link, ">; rel=\"next\"%c", 0);
        http_answer_header(request, "Link", (const char *)evbuffer_pullup(link, -1));
        evbuffer_free(link);
}
