#include "common/clock.h"
#include "common/fault.h"
#include "worker/runtime_kind.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

int runtime_send(struct runtime_agent *agent, const struct command *message)
{
        const char *why;
        enum jsonrpc_kind kind = jsonrpc_classify(message->message, &why);
        int r;

        if (kind != JSONRPC_REQUEST && kind != JSONRPC_NOTIFICATION)
                return -EINVAL;
        if (agent->ending)
                return -EPIPE;
        r = agent->runtime->kind->send(agent, message, kind);
        agent->in_flight += r == 0 && kind == JSONRPC_REQUEST;
        return r;
}

static void end(struct runtime_agent *agent, bool graceful)
{
        event_del(&agent->drained);
        agent->drain_by = 0;
        agent_probe_stop(agent);
        agent->runtime->kind->stop(agent, graceful);
}

static void on_drain_over(evutil_socket_t fd, short what, void *arg)
{
        struct runtime_agent *agent = arg;

        (void)fd;
        (void)what;
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
                runtime_arm(&agent->drained, by);
        }
}

/* message NULL: none will come, and why says why not. */
static void tell_answer(struct runtime_agent *agent, const struct id *command_id, const cJSON *message, const char *why)
{
        agent->in_flight--;
        agent->events->on_answer(agent->arg, command_id, message, why);
        if (agent->drain_by && agent->in_flight == 0)
                end(agent, true);
}

void runtime_hold(struct runtime_agent *agent, bool hold)
{
        agent->runtime->kind->hold(agent, hold);
}

void runtime_agent_free(struct runtime_agent *agent)
{
        agent->runtime->kind->free(agent);
}

int runtime_usage(const struct runtime_agent *agent, struct usage *ret_usage)
{
        return agent->runtime->kind->usage(agent, ret_usage);
}

int runtime_agent_pid(const struct runtime_agent *agent)
{
        return agent->runtime->kind->pid(agent);
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
        event_assign(&agent->drained, runtime->base, -1, 0, on_drain_over, agent);
}

void runtime_agent_done(struct runtime_agent *agent)
{
        event_del(&agent->drained);
        agent_probe_stop(agent);
        jsonrpc_pending_done(&agent->pending);
}

void runtime_started(struct runtime_agent *agent)
{
        agent_probe_start(agent);
        agent->events->on_started(agent->arg);
}

int runtime_note_request(struct runtime_agent *agent, const struct command *message, uint64_t *ret_number)
{
        struct jsonrpc_request *request;
        int r;

        r = jsonrpc_pending_add(&agent->pending, clock_mono_ms() + message->timeout_ms, &request);
        if (r < 0)
                return r;
        request->command_id = message->command_id;
        jsonrpc_id_rewrite(message->message, request->number, &request->client);
        *ret_number = request->number;
        return 0;
}

void runtime_answer(struct runtime_agent *agent, struct jsonrpc_request *take_request, cJSON *response)
{
        if (id_is_zero(&take_request->command_id)) { /* our own */
                jsonrpc_id_done(&take_request->client);
                agent_probe_answered(agent);
                return;
        }
        jsonrpc_id_restore(response, &take_request->client);
        tell_answer(agent, &take_request->command_id, response, NULL);
}

static void give_up(struct runtime_agent *agent, int64_t now, const char *why)
{
        struct jsonrpc_request request;

        while (jsonrpc_pending_expire(&agent->pending, now, &request) == 0) {
                jsonrpc_id_done(&request.client);
                if (!id_is_zero(&request.command_id))
                        tell_answer(agent, &request.command_id, NULL, why);
                else if (now < INT64_MAX)
                        agent_probe_missed(agent);
        }
}

void runtime_expire(struct runtime_agent *agent, int64_t now)
{
        give_up(agent, now, "the agent did not answer within the message's timeout");
}

void runtime_give_up(struct runtime_agent *agent, const struct agent_exit *exit)
{
        char why[sizeof exit->reason + 128];

        agent->drain_by = 0;
        if (agent->overdue)
                snprintf(why, sizeof why, "no answer within %" PRId64 " ms (drain_timeout_ms) of the agent's being told to end: %s",
                        agent->drain_ms, exit->reason);
        else
                snprintf(why, sizeof why, "the agent has ended: %s", exit->reason);
        give_up(agent, INT64_MAX, why);
}

void runtime_arm(struct event *timer, int64_t at)
{
        int64_t delay = at - clock_mono_ms();
        struct timeval tv = { 0 };

        if (at == INT64_MAX) {
                event_del(timer);
                return;
        }
        if (delay > 0) {
                tv.tv_sec = delay / 1000;
                tv.tv_usec = delay % 1000 * 1000;
        }
        event_add(timer, &tv);
}
