/* POST /agents/{agent_id}/messages: JSON-RPC 2.0 through to the agent, its answer back. */
#include "master/api/api.h"
#include "master/messages.h"

#include <errno.h>
#include <string.h>

#define TIMEOUT_DEFAULT_MS 30000
#define TIMEOUT_MAX_MS 600000

static void on_answer(void *arg, enum message_result result, const cJSON *message, const char *detail)
{
        struct http_request *request = arg;
        char *text;

        switch (result) {
        case MESSAGE_ANSWERED:
                text = json_print(message);
                if (text)
                        http_answer(request, 200, "application/json", text, strlen(text));
                else
                        http_answer_problem(request, 503, "out of memory; try again");
                cJSON_free(text);
                break;
        case MESSAGE_TIMEOUT:
                http_answer_problem(request, 504, "%s", detail);
                break;
        case MESSAGE_REFUSED:
                http_answer_problem(request, 409, "%s", detail);
                break;
        case MESSAGE_FAILED:
                api_retry_after(request, 1);
                http_answer_problem(request, 503, "%s", detail);
                break;
        }
}

/* A JSON-RPC 2.0 request or notification. NULL: answered already. */
static cJSON *read_message(struct http_request *request)
{
        cJSON *tree = api_read_tree(request);
        const cJSON *id, *params;
        const char *version;

        if (!tree)
                return NULL;
        id = cJSON_GetObjectItemCaseSensitive(tree, "id");
        params = cJSON_GetObjectItemCaseSensitive(tree, "params");
        version = json_string(tree, "jsonrpc");
        if (!version || strcmp(version, "2.0") != 0)
                http_answer_problem(request, 400, "/jsonrpc: the body must be a JSON-RPC 2.0 message with \"jsonrpc\": \"2.0\"");
        else if (!json_string(tree, "method"))
                http_answer_problem(request, 400, "/method: must be a string");
        else if (params && !cJSON_IsObject(params) && !cJSON_IsArray(params))
                http_answer_problem(request, 400, "/params: must be an object or an array, or be left out");
        else if (id && !cJSON_IsString(id) && !cJSON_IsNumber(id))
                http_answer_problem(request, 400, "/id: must be a string or a number; leave it out for a notification");
        else
                return tree;
        cJSON_Delete(tree);
        return NULL;
}

/* Into params._meta, where MCP has room for it; what the client put there itself stays. 0 or -ENOMEM. */
static int add_trace(cJSON *message, const char *trace)
{
        cJSON *params = cJSON_GetObjectItemCaseSensitive(message, "params"), *meta;

        if (!*trace || cJSON_IsArray(params))
                return 0;
        params = params ? params : cJSON_AddObjectToObject(message, "params");
        meta = cJSON_GetObjectItemCaseSensitive(params, "_meta");
        meta = meta ? meta : cJSON_AddObjectToObject(params, "_meta");
        if (!cJSON_IsObject(meta))
                return meta ? 0 : -ENOMEM;
        return cJSON_HasObjectItem(meta, "traceparent") ? 0 : json_add_string(meta, "traceparent", trace);
}

static const char *send_problem(int error)
{
        switch (error) {
        case -EMSGSIZE:
                return "longer than the 1 GiB that a worker's control socket carries";
        case -EAGAIN:
                return "100000 messages wait, or 64 MiB for this agent's worker; try again";
        case -ENOMEM:
                return "out of memory; try again";
        default:
                return "its worker cannot be reached; try again";
        }
}

static void send_message(struct http_request *request, struct master *master, struct agent *agent, cJSON *message,
        int64_t timeout_ms)
{
        bool answered = cJSON_HasObjectItem(message, "id");
        int r = add_trace(message, api_trace(request));

        r = r ? r : messages_send(master->messages, agent, message, timeout_ms, answered ? on_answer : NULL, request);

        if (r == -EMSGSIZE) {
                http_answer_problem(request, 413, "%s", send_problem(r));
        } else if (r < 0) {
                api_retry_after(request, 1);
                http_answer_problem(request, 503, "%s", send_problem(r));
        } else if (!answered) {
                http_answer(request, 202, NULL, NULL, 0);
        }
}

void api_agents_message(struct http_request *request, void *arg)
{
        static const char *const names[] = { "timeout_ms", NULL };
        struct master *master = arg;
        struct agent *agent;
        int64_t timeout_ms;
        cJSON *message;

        if (!api_check_query(request, names) ||
                !api_query_integer(request, "timeout_ms", TIMEOUT_DEFAULT_MS, 1, TIMEOUT_MAX_MS, &timeout_ms))
                return;
        agent = api_path_agent(request, master);
        message = agent ? read_message(request) : NULL;
        if (!message)
                return;
        if (agent_runs(agent) || agent_comes(agent)) {
                send_message(request, master, agent, message, timeout_ms);
        } else {
                api_retry_after(request, 1);
                http_answer_problem(request, agent->state == AGENT_STARTING ? 503 : 409, "the agent is %s%s%s",
                        agent_state_name(agent->state), agent->idled && agent->last_exit ? ": " : "",
                        agent->idled && agent->last_exit ? agent->last_exit->reason : "");
        }
        cJSON_Delete(message);
}
