/* What the worker lends to modules (worker/agentpool_module.h). */
#include "worker/runtime/module_agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct note *note_new(char *take_text)
{
        struct note *note = take_text ? calloc(1, sizeof *note) : NULL;

        if (!note) {
                free(take_text);
                return NULL;
        }
        note->text = take_text;
        note->len = strlen(take_text);
        return note;
}

void module_note_free(struct note *note)
{
        jsonrpc_request_done(&note->request);
        free(note->text);
        free(note);
}

static void add_note(struct agentpool_agent *agent, struct note *take_note)
{
        STAILQ_INSERT_TAIL(&agent->notes, take_note, link);
        module_agent_take_turn(agent);
}

static int check_size(const struct agentpool_agent *agent, size_t len)
{
        return len > (size_t)agent->agent.runtime->config->runtime.max_line_bytes ? -EMSGSIZE : 0;
}

static int check_json(const struct agentpool_agent *agent, const char *text, size_t len)
{
        struct json_error error;

        return json_raw_check(text, len, (unsigned)agent->agent.runtime->config->runtime.max_depth, &error);
}

/* take_text answers the request. */
static int answer(struct agentpool_agent *agent, uint64_t request, char *take_text)
{
        struct note *note = note_new(take_text);
        int r;

        if (!note)
                return -ENOMEM;
        r = jsonrpc_pending_take(&agent->agent.pending, request, &note->request);
        if (r < 0) {
                module_note_free(note);
                return r;
        }
        add_note(agent, note);
        return 0;
}

static int host_reply(struct agentpool_agent *agent, uint64_t request, const char *result_json, size_t len)
{
        int r = check_size(agent, len);

        r = r ? r : check_json(agent, result_json, len);
        return r ? r : answer(agent, request, jsonrpc_result((struct json_raw){ result_json, len }, json_raw_of("null")));
}

static int host_reply_error(struct agentpool_agent *agent, uint64_t request, int code, const char *message)
{
        int r = check_size(agent, strlen(message));

        return r ? r : answer(agent, request, jsonrpc_error(code, message, json_raw_of("null")));
}

static int host_emit(struct agentpool_agent *agent, const char *method, const char *params_json, size_t len)
{
        const struct pool_runtime_config *config = &agent->agent.runtime->config->runtime;
        size_t blanks = params_json ? strspn(params_json, " \t\r\n") : 0;
        struct note *note;
        int r = check_size(agent, len + strlen(method));

        if (r == 0 && agent->events_len > (size_t)config->queue_bytes)
                r = -EAGAIN;
        if (r == 0 && params_json)
                r = check_json(agent, params_json, len);
        if (r == 0 && params_json && params_json[blanks] != '{' && params_json[blanks] != '[')
                r = -EINVAL;
        if (r < 0)
                return r;
        note = note_new(jsonrpc_call(0, method, (struct json_raw){ params_json, len }));
        if (!note)
                return -ENOMEM;
        agent->events_len += note->len + sizeof *note;
        add_note(agent, note);
        return 0;
}

static void host_log(struct agentpool_agent *agent, const char *text)
{
        agent_log_line(&agent->log, "agent.log", text, strlen(text));
}

static void on_module_timer(void *arg)
{
        struct agentpool_timer *timer = arg, fired = *timer;

        if (fired.agent->finished)
                return; /* the module may yet stop it */
        LIST_REMOVE(timer, link);
        free(timer);
        fired.fire(fired.agent, fired.agent->state, fired.arg);
}

static struct agentpool_timer *host_timer_start(struct agentpool_agent *agent, uint32_t delay_ms,
        void (*fire)(struct agentpool_agent *agent, void *state, void *arg), void *arg)
{
        struct agentpool_timer *timer = agent->stopped ? NULL : calloc(1, sizeof *timer);

        if (!timer)
                return NULL;
        timer->agent = agent;
        timer->fire = fire;
        timer->arg = arg;
        timer_init(&timer->timer, agent->agent.runtime->base, on_module_timer, timer);
        if (timer_once(&timer->timer, delay_ms) < 0) {
                free(timer);
                return NULL;
        }
        LIST_INSERT_HEAD(&agent->timers, timer, link);
        return timer;
}

static void host_timer_stop(struct agentpool_timer *timer)
{
        if (!timer)
                return;
        timer_stop(&timer->timer);
        LIST_REMOVE(timer, link);
        free(timer);
}

static void host_finish(struct agentpool_agent *agent, int status, const char *reason)
{
        if (agent->finished || agent->stopped)
                return;
        agent->finished = true;
        agent->exit.code = status;
        if (reason)
                snprintf(agent->exit.reason, sizeof agent->exit.reason, "%s", reason);
        else
                snprintf(agent->exit.reason, sizeof agent->exit.reason, "finished with status %d", status);
        module_agent_take_turn(agent);
}

void module_timers_free(struct agentpool_agent *agent)
{
        struct agentpool_timer *timer;

        while ((timer = LIST_FIRST(&agent->timers)))
                host_timer_stop(timer);
}

const struct agentpool_host module_host = {
        .abi = AGENTPOOL_MODULE_ABI,
        .size = sizeof module_host,
        .reply = host_reply,
        .reply_error = host_reply_error,
        .emit = host_emit,
        .log = host_log,
        .timer_start = host_timer_start,
        .timer_stop = host_timer_stop,
        .finish = host_finish,
};
