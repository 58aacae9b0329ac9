/* The part of a runtime that is the same for each kind: requests, answers, notifications, the end. */
#include "worker/runtime/runtime.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "worker/runtime/agent_probe.h"
#include "worker/runtime/runtime_kind.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A cancelled request counts as work of its agent for so much longer: many never answer one. */
#define CANCELLED_MS 30000

int runtime_new(struct event_base *base, const struct pool_config *config, const struct runtime_host *host,
        struct runtime **ret_runtime, char *reason, size_t size)
{
        const struct runtime_kind *kind =
                config->runtime.type == POOL_RUNTIME_MODULE ? &runtime_module : &runtime_command;
        int r;

        r = kind->open(base, config, ret_runtime, reason, size);
        if (r < 0)
                return r;
        (*ret_runtime)->kind = kind;
        (*ret_runtime)->base = base;
        (*ret_runtime)->config = config;
        (*ret_runtime)->host = host;
        return 0;
}

struct runtime *runtime_free(struct runtime *runtime)
{
        if (runtime)
                runtime->kind->close(runtime);
        return NULL;
}

int runtime_start(struct runtime *runtime, const struct command *spawn, const struct runtime_events *events, void *arg,
        struct runtime_agent **ret_agent, char *reason, size_t size)
{
        int r = FAULT_POINT("runtime.start");

        if (r < 0) {
                snprintf(reason, size, "cannot start: %s", strerror(-r));
                return r;
        }
        return runtime->kind->start(runtime, spawn, events, arg, ret_agent, reason, size);
}

static void end(struct runtime_agent *agent, bool graceful)
{
        timer_stop(&agent->drained);
        agent->drain_by = 0;
        agent->probe = agent_probe_free(agent->probe);
        agent->runtime->kind->stop(agent, graceful);
}

static void on_drain_over(void *arg)
{
        struct runtime_agent *agent = arg;

        agent->overdue = true;
        end(agent, true);
}

void runtime_stop(struct runtime_agent *agent, bool graceful)
{
        int64_t drain_ms = agent->runtime->host->drain_ms, by = clock_mono_ms() + drain_ms;
        bool draining = agent->ending ? agent->drain_by > 0 : agent->in_flight > 0 && drain_ms > 0;

        agent->ending = true;
        if (!graceful || !draining) {
                end(agent, graceful);
        } else if (!agent->drain_by || by < agent->drain_by) {
                agent->drain_by = by;
                agent->drain_ms = drain_ms;
                timer_at(&agent->drained, by);
        }
}

/* message NULL: none will come, and why says why not. */
static void tell_answer(struct runtime_agent *agent, const struct id *command_id, const char *message, const char *why)
{
        agent->in_flight--;
        agent->events->on_answer(agent->arg, command_id, message, why);
        if (agent->drain_by && agent->in_flight == 0)
                end(agent, true);
}

void runtime_agent_free(struct runtime_agent *agent)
{
        agent->runtime->kind->free(agent);
}

int runtime_usage(const struct runtime_agent *agent, struct usage *ret_usage)
{
        return agent->runtime->kind->usage(agent, ret_usage);
}

unsigned runtime_in_flight(const struct runtime_agent *agent)
{
        return agent->in_flight;
}

void runtime_agent_init(struct runtime_agent *agent, struct runtime *runtime, const struct command *spawn,
        const struct runtime_events *events, void *arg)
{
        *agent = (struct runtime_agent){ .runtime = runtime, .events = events, .arg = arg,
                .agent_id = spawn->agent_id, .heartbeat_interval = (int32_t)spawn->heartbeat_interval };
        jsonrpc_pending_init(&agent->pending);
        timer_init(&agent->drained, runtime->base, on_drain_over, agent);
}

void runtime_agent_done(struct runtime_agent *agent)
{
        timer_stop(&agent->drained);
        agent->probe = agent_probe_free(agent->probe);
        jsonrpc_pending_done(&agent->pending);
}

static int ask_probe(void *arg, const char *method, int64_t deadline)
{
        return runtime_ask(arg, method, deadline);
}

static void fail_probe(void *arg, const char *reason)
{
        struct runtime_agent *agent = arg;

        agent->probe = agent_probe_free(agent->probe);
        agent->runtime->kind->fail(agent, reason);
}

void runtime_started(struct runtime_agent *agent)
{
        static const struct agent_probe_events events = { ask_probe, fail_probe };

        agent->probe = agent_probe_new(agent->runtime->base, &agent->runtime->config->probe, &agent->agent_id,
                agent->heartbeat_interval, &events, agent);
        agent->events->on_started(agent->arg);
}

/* What was put into it cannot be sent after all. */
static void forget(struct runtime_agent *agent, uint64_t number)
{
        struct jsonrpc_request request;

        if (jsonrpc_pending_take(&agent->pending, number, &request) == 0)
                jsonrpc_request_done(&request);
}

static int send_text(struct runtime_agent *agent, char *take_text, size_t len, uint64_t number)
{
        struct jsonrpc message;
        int r = -ENOMEM;

        if (take_text) {
                jsonrpc_read(take_text, len, &message);
                r = agent->runtime->kind->send(agent, &message, number);
        }
        free(take_text);
        if (r < 0 && number > 0)
                forget(agent, number);
        else if (number > 0)
                agent->runtime->kind->arm(agent);
        return r;
}

int runtime_ask(struct runtime_agent *agent, const char *method, int64_t deadline)
{
        struct jsonrpc_request *request;
        char *text;
        int r = jsonrpc_pending_add(&agent->pending, deadline, &request);

        if (r < 0)
                return r;
        text = jsonrpc_call(request->number, method, json_raw_of(NULL));
        return send_text(agent, text, text ? strlen(text) : 0, request->number);
}

/* The client's own, kept for what the agent says of it. 0 or -ENOMEM. */
static int note(struct jsonrpc_request *request, const struct command *command, struct json_raw id, struct json_raw token)
{
        request->command_id = command->command_id;
        request->client = strdup(command->client ? command->client : "");
        request->id = strndup(id.text, id.len);
        request->token = token.text ? strndup(token.text, token.len) : NULL;
        return request->client && request->id && (!token.text || request->token) ? 0 : -ENOMEM;
}

/* With a number of ours for its id, and for its progress token. */
static int send_request(struct runtime_agent *agent, const struct command *command, const struct jsonrpc *message)
{
        struct json_raw token = jsonrpc_token(message);
        struct jsonrpc_request *request;
        struct json_edit edits[2];
        char number[24], *text;
        size_t len = 0;
        int r = -EPIPE;

        if (!agent->ending)
                r = jsonrpc_pending_add(&agent->pending, clock_mono_ms() + command->timeout_ms, &request);
        if (r < 0)
                return r;
        if (note(request, command, message->id, token) < 0) {
                forget(agent, request->number);
                return -ENOMEM;
        }
        snprintf(number, sizeof number, "%" PRIu64, request->number);
        edits[0] = (struct json_edit){ message->id, json_raw_of(number) };
        edits[1] = (struct json_edit){ token, json_raw_of(number) };
        if (token.text && token.text < message->id.text) {
                edits[1] = edits[0];
                edits[0].what = token;
        }
        text = json_raw_edit(message->text, edits, token.text ? 2 : 1, &len);
        r = send_text(agent, text, len, request->number);
        agent->in_flight += r == 0;
        return r;
}

/* One that cancels a request names it by the number that the agent knows. What its client has not is nobody's business. */
static int send_notification(struct runtime_agent *agent, const struct command *command, const struct jsonrpc *message)
{
        struct json_edit edit = { 0 };
        enum jsonrpc_named named = jsonrpc_named(message, agent->runtime->config->runtime.cancel_method, &edit.what);
        struct jsonrpc_request *request = NULL;
        int64_t until = clock_mono_ms() + CANCELLED_MS;
        char number[24], *text;
        size_t len = 0;
        int r;

        if (named == JSONRPC_NAMES_NOTHING)
                return agent->ending ? -EPIPE : agent->runtime->kind->send(agent, message, 0);
        if (named == JSONRPC_NAMES_REQUEST && edit.what.text)
                request = jsonrpc_pending_find_client(&agent->pending, command->client ? command->client : "", edit.what);
        if (!request) {
                log_debug("message.dropped", "agent=%s it names no request that its client has", ID_TEXT(&agent->agent_id));
                return 0;
        }
        snprintf(number, sizeof number, "%" PRIu64, request->number);
        edit.with = json_raw_of(number);
        if (request->deadline > until) {
                request->deadline = until;
                if (until < agent->pending.earliest)
                        agent->pending.earliest = until;
        }
        request->cancelled = true;
        text = json_raw_edit(message->text, &edit, 1, &len);
        r = send_text(agent, text, len, 0);
        agent->runtime->kind->arm(agent);
        return r;
}

int runtime_send(struct runtime_agent *agent, const struct command *command)
{
        struct jsonrpc message;

        jsonrpc_read(command->message, strlen(command->message), &message);
        if (message.kind == JSONRPC_REQUEST)
                return send_request(agent, command, &message);
        return message.kind == JSONRPC_NOTIFICATION ? send_notification(agent, command, &message) : -EINVAL;
}

/* Tells the agent that its answer is not waited for; it counts as work of its for a while. */
static void cancel(struct runtime_agent *agent, struct jsonrpc_request *request, const char *reason)
{
        const char *method = agent->runtime->config->runtime.cancel_method;
        int64_t until = *method ? clock_mono_ms() + CANCELLED_MS : INT64_MAX;
        bool told = request->cancelled;
        struct json_text params = { 0 };
        char begin[64], *text, *call;

        jsonrpc_pending_give_up(&agent->pending, request, told ? request->deadline : until);
        request->cancelled = true;
        if (told || !*method)
                return;
        snprintf(begin, sizeof begin, "{\"%s\":%" PRIu64 ",\"reason\":", jsonrpc_cancel_member(method), request->number);
        json_text_put(&params, begin, strlen(begin));
        json_text_string(&params, reason);
        json_text_put(&params, "}", 1);
        text = json_text_take(&params);
        call = text ? jsonrpc_call(0, method, json_raw_of(text)) : NULL;
        free(text);
        send_text(agent, call, call ? strlen(call) : 0, 0); /* an agent that reads nothing does not hear this either */
}

void runtime_cancel(struct runtime_agent *agent, const struct id *command_id, const char *reason)
{
        struct jsonrpc_request *request = jsonrpc_pending_find_command(&agent->pending, command_id);

        if (!request || request->given_up)
                return;
        cancel(agent, request, reason);
        agent->runtime->kind->arm(agent);
        agent->in_flight--;
        if (agent->drain_by && agent->in_flight == 0)
                end(agent, true);
}

bool runtime_works_on(const struct runtime_agent *agent)
{
        return agent->pending.given_up > 0;
}

void runtime_answer(struct runtime_agent *agent, struct jsonrpc_request *take_request, const struct jsonrpc *response)
{
        size_t len;
        char *text;

        if (id_is_zero(&take_request->command_id)) {
                agent_probe_answered(agent->probe);
        } else if (take_request->given_up) {
                log_debug("agent.answer_late", "agent=%s nobody waits for it any more", ID_TEXT(&agent->agent_id));
        } else {
                text = jsonrpc_with_id(response, json_raw_of(take_request->id), &len);
                if (text)
                        json_raw_one_line(text, len);
                tell_answer(agent, &take_request->command_id, text, text ? NULL : "out of memory for the answer");
                free(text);
        }
        jsonrpc_request_done(take_request);
}

void runtime_fail_request(struct runtime_agent *agent, struct jsonrpc_request *take_request, const char *why)
{
        if (!id_is_zero(&take_request->command_id) && !take_request->given_up)
                tell_answer(agent, &take_request->command_id, NULL, why);
        jsonrpc_request_done(take_request);
}

void runtime_event(struct runtime_agent *agent, const struct jsonrpc *notification)
{
        struct json_edit edit = { 0 };
        enum jsonrpc_named named = jsonrpc_named(notification, agent->runtime->config->runtime.cancel_method, &edit.what);
        const struct jsonrpc_request *request = NULL;
        uint64_t number;
        size_t len = 0;
        char *text;

        if (edit.what.text) {
                if (jsonrpc_number(edit.what, &number) == 0)
                        request = jsonrpc_pending_find(&agent->pending, number);
                if (!request || !request->client || (named == JSONRPC_NAMES_TOKEN && !request->token)) {
                        log_debug("agent.event_dropped", "agent=%s it names no request that waits", ID_TEXT(&agent->agent_id));
                        return;
                }
                edit.with = json_raw_of(named == JSONRPC_NAMES_TOKEN ? request->token : request->id);
        }
        text = json_raw_edit(notification->text, &edit, edit.what.text ? 1 : 0, &len);
        if (!text)
                return;
        json_raw_one_line(text, len);
        agent->events->on_event(agent->arg, text, request ? request->client : NULL);
        free(text);
}

void runtime_expire(struct runtime_agent *agent, int64_t now)
{
        struct jsonrpc_request *due, request;

        while ((due = jsonrpc_pending_due(&agent->pending, now))) {
                struct id command_id = due->command_id;
                const char *why = due->cancelled ? "the request was cancelled, and the agent did not answer it"
                                                 : "the agent did not answer within the message's timeout";

                if (due->given_up || id_is_zero(&command_id)) {
                        jsonrpc_pending_take(&agent->pending, due->number, &request);
                        jsonrpc_request_done(&request);
                        if (id_is_zero(&command_id))
                                agent_probe_missed(agent->probe);
                        continue;
                }
                cancel(agent, due, why);
                tell_answer(agent, &command_id, NULL, why); /* may add and take: due is not there any more */
        }
}

void runtime_give_up(struct runtime_agent *agent, const struct agent_exit *exit)
{
        struct jsonrpc_request request;
        char why[sizeof exit->reason + 128];

        agent->drain_by = 0;
        if (agent->overdue)
                snprintf(why, sizeof why, "no answer within %" PRId64 " ms (drain_timeout_ms) of the agent's being told to end: %s",
                        agent->drain_ms, exit->reason);
        else
                snprintf(why, sizeof why, "the agent has ended: %s", exit->reason);
        while (jsonrpc_pending_expire(&agent->pending, INT64_MAX, &request) == 0)
                runtime_fail_request(agent, &request, why);
}
