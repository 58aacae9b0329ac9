/* POST /agents/{agent_id}/messages: JSON-RPC 2.0 through to the agent, its answer back. */
#include "common/json/jsonrpc.h"
#include "common/utf8.h"
#include "master/api/api.h"
#include "master/control/messages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_DEFAULT_MS 30000
#define TIMEOUT_MAX_MS 600000

static void on_answer(void *arg, enum message_result result, const char *message, const char *detail)
{
        struct http_request *request = arg;

        switch (result) {
        case MESSAGE_ANSWERED:
                http_answer(request, 200, "application/json", message, strlen(message));
                break;
        case MESSAGE_TIMEOUT:
                http_answer_problem(request, 504, "%s", detail);
                break;
        case MESSAGE_REFUSED:
                http_answer_problem(request, 409, "%s", detail);
                break;
        case MESSAGE_FAILED:
                http_answer_retry_after(request, 1);
                http_answer_problem(request, 503, "%s", detail);
                break;
        }
}

static void on_gone(struct http_request *request)
{
        messages_cancel(http_request_context(request), "the client has gone");
}

/* What the worker reads of params, and so must not be there twice. */
static const char *named_twice(const struct jsonrpc *message)
{
        struct json_raw meta, ignored;

        if (json_raw_member(message->params, "_meta", &meta) > 1)
                return "/params/_meta";
        if (json_raw_member(meta, "progressToken", &ignored) > 1)
                return "/params/_meta/progressToken";
        return NULL;
}

static const char *why_not(const struct jsonrpc *message, const char *cancel_method)
{
        struct json_raw named;
        char params = json_raw_kind(message->params), id = json_raw_kind(message->id);

        if (message->text.text[strspn(message->text.text, " \t\r\n")] == '[')
                return message->why;
        if (!json_raw_says(message->version, "2.0"))
                return "/jsonrpc: the body must be a JSON-RPC 2.0 message with \"jsonrpc\": \"2.0\"";
        if (json_raw_kind(message->method) != '"')
                return "/method: must be a string";
        if (params && params != '{' && params != '[')
                return "/params: must be an object or an array, or be left out";
        if (id && id != '"' && id != '0' && id != '-')
                return "/id: must be a string or a number; leave it out for a notification";
        /* An agent that goes by the method alone would obey it, and nobody has looked at what it names. */
        if (message->kind == JSONRPC_REQUEST && jsonrpc_named(message, cancel_method, &named) != JSONRPC_NAMES_NOTHING)
                return "/id: a notification of this method has none; leave it out";
        return message->kind == JSONRPC_INVALID ? message->why : NULL;
}

static const char *body_of(const struct http_request *request, size_t *ret_len)
{
        const char *body = http_request_body(request, ret_len);
        size_t mark = utf8_mark(body, *ret_len);

        *ret_len -= mark;
        return body + mark;
}

/* A JSON-RPC 2.0 request or notification. False: answered already. */
static bool read_message(struct http_request *request, const struct agent *agent, struct jsonrpc *ret_message)
{
        const struct pool_runtime_config *runtime = &pool_config(agent->pool)->runtime;
        struct json_error error;
        const char *body, *why;
        size_t len;

        body = body_of(request, &len);
        if (json_raw_check(body, len, (unsigned)runtime->max_depth + JSONRPC_ENVELOPE_DEPTH, &error) < 0) {
                http_answer_problem(request, 400, "the body is not acceptable JSON: line %zu, column %zu: %s", error.line,
                        error.column, error.detail);
                return false;
        }
        jsonrpc_read(body, len, ret_message);
        why = why_not(ret_message, runtime->cancel_method);
        if (why) {
                http_answer_problem(request, 400, "%s", why);
                return false;
        }
        why = named_twice(ret_message);
        if (why)
                http_answer_problem(request, 400, "%s: appears twice", why);
        return !why;
}

/* Just behind its opening brace, and whether nothing is in it. */
static struct json_raw inside(struct json_raw object, bool *ret_empty)
{
        const char *first = object.text + 1 + strspn(object.text + 1, " \t\r\n");

        *ret_empty = *first == '}';
        return (struct json_raw){ object.text + 1, 0 };
}

/* The traceparent goes into params._meta, where MCP has room for it; what the client put there itself stays. Returns how many
 * edits, at most one. */
static size_t add_trace(const struct jsonrpc *message, const char *trace, struct json_edit *ret_edit, char with[128])
{
        struct json_raw meta, ignored;
        bool empty = false;

        if (!*trace || json_raw_kind(message->params) == '[')
                return 0;
        if (!message->params.text) {
                snprintf(with, 128, "\"params\":{\"_meta\":{\"traceparent\":\"%s\"}},", trace);
                ret_edit->what = (struct json_raw){ strchr(message->text.text, '{') + 1, 0 };
        } else if (json_raw_member(message->params, "_meta", &meta) == 0) {
                ret_edit->what = inside(message->params, &empty);
                snprintf(with, 128, "\"_meta\":{\"traceparent\":\"%s\"}%s", trace, empty ? "" : ",");
        } else if (json_raw_kind(meta) == '{' && json_raw_member(meta, "traceparent", &ignored) == 0) {
                ret_edit->what = inside(meta, &empty);
                snprintf(with, 128, "\"traceparent\":\"%s\"%s", trace, empty ? "" : ",");
        } else {
                return 0;
        }
        ret_edit->with = json_raw_of(with);
        return 1;
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
        case -EPROTO:
                return "what the master before this one knew of it cannot be read";
        default:
                return "its worker cannot be reached; try again";
        }
}

/* note: of the master that has sent it, and knows by when it is to be answered; NULL: it is sent now. */
static void send_message(struct http_request *request, struct master *master, struct agent *agent,
        const struct jsonrpc *message, const char *note, int64_t timeout_ms)
{
        bool answered = message->kind == JSONRPC_REQUEST;
        char with[128], client[API_CLIENT_SIZE], *text;
        struct message *sent = NULL;
        struct json_edit edit;
        size_t edits, len = 0;
        int r = -ENOMEM;

        if (!api_client(request, client))
                return;
        edits = add_trace(message, api_trace(request), &edit, with);
        text = json_raw_edit(message->text, &edit, edits, &len);
        if (text) {
                json_raw_one_line(text, len);
                r = note ? messages_resume(master->messages, agent, note, text, client, on_answer, request, &sent)
                         : messages_send(master->messages, agent, text, client, timeout_ms, answered ? on_answer : NULL, request,
                                   &sent);
        }
        free(text);
        if (r == -EMSGSIZE) {
                http_answer_problem(request, 413, "%s", send_problem(r));
        } else if (r < 0) {
                http_answer_retry_after(request, 1);
                http_answer_problem(request, 503, "%s", send_problem(r));
        } else if (!answered) {
                http_answer(request, 202, NULL, NULL, 0);
        } else if (sent) {
                http_request_set_context(request, sent);
                http_request_on_gone(request, on_gone);
        }
}

/* Sent by an earlier master, which accepted it and left note. */
static void resume(struct http_request *request, struct master *master, const char *note)
{
        struct jsonrpc message;
        struct agent *agent;
        struct id agent_id;
        const char *body;
        size_t len;

        agent = id_parse(http_request_param(request, "agent_id"), &agent_id) == 0 ? pools_agent(master->pools, &agent_id) : NULL;
        if (!agent) {
                on_answer(request, MESSAGE_FAILED, NULL, MESSAGES_AGENT_ENDED);
                return;
        }
        body = body_of(request, &len);
        jsonrpc_read(body, len, &message);
        send_message(request, master, agent, &message, note, 0);
}

void api_agents_message(struct http_request *request, void *arg)
{
        static const char *const names[] = { "timeout_ms", NULL };
        struct master *master = arg;
        struct jsonrpc message;
        struct agent *agent;
        int64_t timeout_ms;

        if (http_request_note(request)) {
                resume(request, master, http_request_note(request));
                return;
        }
        if (!api_check_query(request, names) ||
                !api_query_integer(request, "timeout_ms", TIMEOUT_DEFAULT_MS, 1, TIMEOUT_MAX_MS, &timeout_ms))
                return;
        agent = api_path_agent(request, master);
        if (!agent || !read_message(request, agent, &message))
                return;
        if (agent_runs(agent) || agent_comes(agent)) {
                send_message(request, master, agent, &message, NULL, timeout_ms);
                return;
        }
        http_answer_retry_after(request, 1);
        http_answer_problem(request, agent->state == AGENT_STARTING ? 503 : 409, "the agent is %s%s%s",
                agent_state_name(agent->state), agent->idled && agent->last_exit ? ": " : "",
                agent->idled && agent->last_exit ? agent->last_exit->reason : "");
}
