/* Module agents: a shared object whose agents live inside the worker's loop. */
#include "common/clock.h"
#include "worker/runtime/module_agent.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Told per turn of the loop, so that its other work comes in between. */
#define NOTES_PER_TURN 256

static struct module_runtime *runtime_of(const struct agentpool_agent *agent)
{
        return (struct module_runtime *)agent->agent.runtime;
}

/* timer_once and not timer_now: the loop looks at its descriptors before each turn. */
static void schedule(struct module_runtime *runtime)
{
        if (!TAILQ_EMPTY(&runtime->agents) && !timer_armed(&runtime->turn))
                timer_once(&runtime->turn, 0);
}

void module_agent_take_turn(struct agentpool_agent *agent)
{
        struct module_runtime *runtime = runtime_of(agent);

        if (agent->in_turn)
                return;
        agent->in_turn = true;
        TAILQ_INSERT_TAIL(&runtime->agents, agent, link);
        schedule(runtime);
}

static void arm_timer(struct agentpool_agent *agent)
{
        int64_t at = agent->agent.pending.earliest;

        if (agent->stopping && agent->grace_until < at)
                at = agent->grace_until;
        timer_at(&agent->timer, at);
}

static void tell_note(struct agentpool_agent *agent, struct note *note)
{
        struct jsonrpc message;

        STAILQ_REMOVE_HEAD(&agent->notes, link);
        jsonrpc_read(note->text, note->len, &message);
        if (note->request.number > 0) {
                runtime_answer(&agent->agent, &note->request, &message);
        } else {
                agent->events_len -= note->len + sizeof *note;
                runtime_event(&agent->agent, &message);
        }
        module_note_free(note);
}

static bool may_end(const struct agentpool_agent *agent)
{
        return agent->finished || (agent->stopping && (agent->agent.pending.count == agent->agent.pending.given_up ||
                                                              clock_mono_ms() >= agent->grace_until));
}

static void call_stop(struct agentpool_agent *agent)
{
        agent->stopped = true;
        runtime_of(agent)->module->stop(agent, agent->state);
        module_timers_free(agent);
}

/* One thing that agent has to tell. Returns false when there is nothing (for now); true with *ret_ended when its end is
 * all that is left. */
static bool tell_one(struct agentpool_agent *agent, bool *ret_ended)
{
        struct note *note = STAILQ_FIRST(&agent->notes);

        if (agent->starting) {
                agent->starting = false;
                runtime_started(&agent->agent);
                return true;
        }
        if (note) {
                tell_note(agent, note);
                return true;
        }
        if (!may_end(agent))
                return false;
        if (!agent->stopped) {
                call_stop(agent);
                return true;
        }
        *ret_ended = STAILQ_EMPTY(&agent->notes);
        return true;
}

static void tell_ended(struct agentpool_agent *agent)
{
        if (!agent->finished) {
                agent->exit.code = 0;
                snprintf(agent->exit.reason, sizeof agent->exit.reason, "stopped");
        }
        runtime_give_up(&agent->agent, &agent->exit);
        agent->agent.events->on_ended(agent->agent.arg, &agent->exit);
}

static void on_turn(void *arg)
{
        struct module_runtime *runtime = arg;
        struct agentpool_agent *agent;
        bool ended = false;

        for (int i = 0; i < NOTES_PER_TURN && (agent = TAILQ_FIRST(&runtime->agents)); i++) {
                TAILQ_REMOVE(&runtime->agents, agent, link);
                agent->in_turn = false;
                if (tell_one(agent, &ended) && !ended)
                        module_agent_take_turn(agent);
                if (!ended)
                        continue;
                schedule(runtime);
                tell_ended(agent); /* may free the runtime as well */
                return;
        }
        schedule(runtime);
}

static void on_timer(void *arg)
{
        struct agentpool_agent *agent = arg;

        runtime_expire(&agent->agent, clock_mono_ms());
        if (may_end(agent))
                module_agent_take_turn(agent);
        else
                arm_timer(agent);
}

static void agent_free(struct runtime_agent *base)
{
        struct agentpool_agent *agent = (struct agentpool_agent *)base;
        struct note *note;

        timer_stop(&agent->timer);
        if (agent->in_turn)
                TAILQ_REMOVE(&runtime_of(agent)->agents, agent, link);
        while ((note = STAILQ_FIRST(&agent->notes))) {
                STAILQ_REMOVE_HEAD(&agent->notes, link);
                module_note_free(note);
        }
        agent_log_report(&agent->log);
        runtime_agent_done(base);
        free(agent);
}

static struct agentpool_agent *agent_new(struct runtime *runtime, const struct command *spawn,
        const struct runtime_events *events, void *arg)
{
        struct agentpool_agent *agent = calloc(1, sizeof *agent);

        if (!agent)
                return NULL;
        runtime_agent_init(&agent->agent, runtime, spawn, events, arg);
        agent_log_init(&agent->log, &spawn->agent_id, runtime->config->runtime.log_bytes_per_second);
        STAILQ_INIT(&agent->notes);
        LIST_INIT(&agent->timers);
        timer_init(&agent->timer, runtime->base, on_timer, agent);
        agent->starting = true;
        return agent;
}

static int call_start(struct agentpool_agent *agent, const struct command *spawn, char *reason, size_t size)
{
        const struct module_runtime *runtime = runtime_of(agent);
        const struct pool_config *config = runtime->runtime.config;
        char *args = spawn->args ? json_print(spawn->args) : NULL;
        char *labels = spawn->labels ? json_print(spawn->labels) : NULL;
        struct agentpool_start start = {
                .agent_id = ID_TEXT(&spawn->agent_id),
                .project_id = ID_TEXT(&spawn->project_id),
                .pool_name = config->pool_name,
                .role_type = spawn->role_type ? spawn->role_type : config->role_type,
                .start_reason = spawn->start_reason ? spawn->start_reason : "spawn",
                .args_json = args ? args : "{}",
                .labels_json = labels ? labels : "{}",
                .epoch = spawn->epoch,
        };
        int r = -ENOMEM;

        *reason = '\0';
        if ((!spawn->args || args) && (!spawn->labels || labels))
                r = runtime->module->start(agent, &start, &agent->state, reason, size);
        free(args);
        free(labels);
        if (r != 0 && !*reason)
                snprintf(reason, size, "module %s cannot start it: %s", runtime->module->name,
                        r < 0 ? strerror(-r) : "its start returned no errno");
        return r > 0 ? -EIO : r;
}

static int start(struct runtime *runtime, const struct command *spawn, const struct runtime_events *events, void *arg,
        struct runtime_agent **ret_agent, char *reason, size_t size)
{
        struct agentpool_agent *agent = agent_new(runtime, spawn, events, arg);
        int r;

        if (!agent) {
                snprintf(reason, size, "no memory for an agent");
                return -ENOMEM;
        }
        r = call_start(agent, spawn, reason, size);
        if (r < 0) {
                module_timers_free(agent);
                agent_free(&agent->agent);
                return r;
        }
        module_agent_take_turn(agent);
        *ret_agent = &agent->agent;
        return 0;
}

/* Modules are promised compact text. */
static int send_message(struct runtime_agent *base, const struct jsonrpc *message, uint64_t number)
{
        struct agentpool_agent *agent = (struct agentpool_agent *)base;
        char *method, *params;
        int r = -ENOMEM;
        size_t len;

        if (agent->stopping || agent->finished)
                return -EPIPE;
        method = json_raw_string(message->method);
        params = message->params.text ? strndup(message->params.text, message->params.len) : strdup("null");
        if (method && params) {
                len = json_raw_compact(params, strlen(params));
                params[len] = '\0';
                runtime_of(agent)->module->message(agent, agent->state, number, method, params, len);
                r = 0;
        }
        free(params);
        free(method);
        return r;
}

static void arm(struct runtime_agent *base)
{
        arm_timer((struct agentpool_agent *)base);
}

static void stop(struct runtime_agent *base, bool graceful)
{
        struct agentpool_agent *agent = (struct agentpool_agent *)base;

        if (agent->stopping && graceful)
                return;
        agent->stopping = true;
        agent->grace_until = graceful ? clock_mono_ms() + base->runtime->config->stop_grace_ms : 0;
        arm_timer(agent);
        module_agent_take_turn(agent);
}

static void fail(struct runtime_agent *base, const char *reason)
{
        module_host.finish((struct agentpool_agent *)base, 1, reason);
}

static void runtime_close(struct runtime *base)
{
        struct module_runtime *runtime = (struct module_runtime *)base;

        assert(TAILQ_EMPTY(&runtime->agents));
        timer_stop(&runtime->turn);
        dlclose(runtime->library);
        free(runtime);
}

/* NULL, or why what the module's init returned cannot be used. */
static const char *judge(const struct agentpool_module *module)
{
        if (!module)
                return "its agentpool_module_init returned NULL: it cannot run here";
        if (module->abi != AGENTPOOL_MODULE_ABI)
                return "it was built for another agentpool_module.h: build it again";
        if (!module->name || !module->start || !module->message || !module->stop)
                return "its struct agentpool_module has a NULL member";
        return NULL;
}

static int load(struct module_runtime *runtime, const char *path, char *reason, size_t size)
{
        const struct agentpool_module *(*init)(const struct agentpool_host *);
        const char *why;
        void *symbol;

        runtime->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!runtime->library) {
                snprintf(reason, size, "cannot load the module: %s", dlerror());
                return -EINVAL;
        }
        symbol = dlsym(runtime->library, "agentpool_module_init");
        if (!symbol) {
                snprintf(reason, size, "%s is no module: it does not export agentpool_module_init", path);
                return -EINVAL;
        }
        memcpy(&init, &symbol, sizeof init); /* ISO C has no cast from void * to a function */
        runtime->module = init(&module_host);
        why = judge(runtime->module);
        if (!why)
                return 0;
        snprintf(reason, size, "%s (ABI %" PRIu32 ", this worker has %d): %s", path,
                runtime->module ? runtime->module->abi : 0, AGENTPOOL_MODULE_ABI, why);
        return -EINVAL;
}

static int runtime_open(struct event_base *base, const struct pool_config *config, struct runtime **ret_runtime,
        char *reason, size_t size)
{
        struct module_runtime *runtime = calloc(1, sizeof *runtime);
        char path[4100];
        int r;

        if (!runtime) {
                snprintf(reason, size, "no memory for the runtime");
                return -ENOMEM;
        }
        /* Without a slash dlopen would search the system's libraries. */
        snprintf(path, sizeof path, "%s%s", strchr(config->runtime.path, '/') ? "" : "./", config->runtime.path);
        r = load(runtime, path, reason, size);
        if (r < 0) {
                if (runtime->library)
                        dlclose(runtime->library);
                free(runtime);
                return r;
        }
        TAILQ_INIT(&runtime->agents);
        timer_init(&runtime->turn, base, on_turn, runtime);
        *ret_runtime = &runtime->runtime;
        return 0;
}

static int usage_of(const struct runtime_agent *base, struct usage *ret_usage)
{
        (void)base;
        (void)ret_usage;
        return -ENOTSUP;
}

const struct runtime_kind runtime_module = { runtime_open, runtime_close, start, send_message, arm, stop, agent_free,
        usage_of, fail };
