/* Command agents: programs that speak newline-delimited JSON-RPC 2.0 on stdin and stdout. */
#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "worker/agent_program.h"
#include "worker/command_agent.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Answers to an agent's own requests may wait beyond queue_bytes, for as long as it reads them at some time. */
#define OWN_ANSWERS_BYTES 65536

static int write_message(struct command_agent *agent, const cJSON *message, size_t reserve)
{
        char *line = json_print(message);
        size_t len;
        int r;

        if (!line)
                return -ENOMEM;
        len = strlen(line);
        line[len] = '\n';
        r = agent_pipes_write(&agent->pipes, line, len + 1, reserve);
        free(line);
        if (r == -EPIPE)
                command_agent_suspect(agent, "closed its stdin");
        return r;
}

/* The agent's own requests: it may ask whether we live, nothing else. */
static void answer_agent(struct command_agent *agent, cJSON *request)
{
        const char *method = json_string(request, "method");
        struct jsonrpc_id id;
        cJSON *response;
        int r = -ENOMEM;

        if (strcmp(method, "ping") == 0)
                response = jsonrpc_result(cJSON_CreateObject());
        else
                response = jsonrpc_error(JSONRPC_METHOD_NOT_FOUND, "this host answers ping only");
        jsonrpc_id_rewrite(request, 0, &id);
        if (response) {
                jsonrpc_id_restore(response, &id);
                r = write_message(agent, response, OWN_ANSWERS_BYTES);
        }
        jsonrpc_id_done(&id);
        cJSON_Delete(response);
        if (r == -EAGAIN || r == -EMSGSIZE)
                command_agent_fail(agent, "sent requests without reading the answers");
}

static void take_response(struct command_agent *agent, cJSON *response)
{
        struct jsonrpc_request request;
        uint64_t number;

        if (jsonrpc_id_number(response, &number) < 0 ||
                jsonrpc_pending_take(&agent->agent.pending, number, &request) < 0) {
                log_debug("agent.answer_dropped", "agent=%s nobody waits for it", ID_TEXT(&agent->agent.agent_id));
                return;
        }
        if (!id_is_zero(&request.command_id) || agent->phase != COMMAND_STARTING) {
                runtime_answer(&agent->agent, &request, response);
                return;
        }
        agent->due[DUE_PROBE] = INT64_MAX;
        command_agent_set_due(agent, DUE_STARTED, 0);
}

static void refuse_line(struct command_agent *agent, const char *line, size_t len, const char *why)
{
        char reason[sizeof agent->exit.reason], begin[40];

        snprintf(reason, sizeof reason, "wrote a line that is not JSON-RPC: %.70s; it begins %s", why,
                log_quote(line, len, begin, sizeof begin));
        command_agent_fail(agent, reason);
}

static void take_message(struct command_agent *agent, cJSON *message, const char *line, size_t len)
{
        const char *why;

        switch (jsonrpc_classify(message, &why)) {
        case JSONRPC_REQUEST:
                answer_agent(agent, message);
                break;
        case JSONRPC_NOTIFICATION:
                agent->agent.events->on_event(agent->agent.arg, message);
                break;
        case JSONRPC_RESPONSE:
                take_response(agent, message);
                break;
        case JSONRPC_INVALID:
        case JSONRPC_KIND_COUNT:
                refuse_line(agent, line, len, why);
                break;
        }
}

static void on_line(void *arg, const char *line, size_t len)
{
        struct command_agent *agent = arg;
        struct json_error error;
        cJSON *message;
        int r;

        if (len > 0 && line[len - 1] == '\r')
                len--;
        if (len == 0)
                return;
        if (memchr(line, '\0', len)) {
                refuse_line(agent, line, len, "it contains a NUL byte");
                return;
        }
        r = json_parse(line, len, JSON_STRICT, &message, &error);
        if (r < 0) {
                refuse_line(agent, line, len, r == -ENOMEM ? "no memory to read it" : error.detail);
                return;
        }
        take_message(agent, message, line, len);
        cJSON_Delete(message);
}

static void on_pipe_closed(void *arg, const char *what)
{
        command_agent_suspect(arg, what);
}

static void on_pipe_failed(void *arg, const char *reason)
{
        command_agent_fail(arg, reason);
}

static const struct agent_pipes_events pipes_events = { on_line, on_pipe_closed, on_pipe_failed };

/* Its start is told when the loop runs, or when it has answered the probe. */
static int expect_start(struct command_agent *agent)
{
        const struct pool_config *config = agent->agent.runtime->config;
        struct jsonrpc_request *request;
        cJSON *probe;
        int r;

        if (!config->runtime.wait_ready) {
                command_agent_set_due(agent, DUE_STARTED, 0);
                return 0;
        }
        r = jsonrpc_pending_add(&agent->agent.pending, INT64_MAX, &request);
        if (r < 0)
                return r;
        probe = jsonrpc_call(request->number, config->runtime.ready_method, NULL);
        r = probe ? write_message(agent, probe, 0) : -ENOMEM;
        cJSON_Delete(probe);
        command_agent_set_due(agent, DUE_PROBE, clock_mono_ms() + config->start_timeout_ms);
        return r == -EPIPE ? 0 : r; /* its death will tell more */
}

static int start_program(struct command_agent *agent, const struct command *spawn, const int fds[3], char *reason,
        size_t size)
{
        const struct runtime *runtime = agent->agent.runtime;
        pid_t pid;
        int r;

        r = agent_cgroup_init(&agent->cgroup, runtime->host->cgroup, &spawn->agent_id, spawn->epoch, &runtime->config->limits);
        if (r < 0) {
                snprintf(reason, size, "cannot make its cgroup: %s", strerror(-r));
                return r;
        }
        r = agent_program_run(runtime->config, spawn, &runtime->host->limits, &agent->cgroup, fds, &pid, &agent->pidfd, reason,
                size);
        if (r < 0)
                return r;
        r = FAULT_POINT("runtime.started");
        if (r == 0)
                r = command_agent_watch(agent, pid);
        if (r < 0)
                goto kill_program;
        r = expect_start(agent);
        if (r == 0)
                return 0;
        command_agent_unwatch(agent);
kill_program:
        snprintf(reason, size, "cannot watch it: %s", strerror(-r));
        kill(-pid, SIGKILL); /* it has only just started: nothing is below it */
        waitpid(pid, NULL, 0);
        agent->pidfd = fd_close(agent->pidfd);
        return r;
}

static struct command_agent *agent_new(struct runtime *runtime, const struct command *spawn,
        const struct runtime_events *events, void *arg)
{
        struct command_agent *agent = calloc(1, sizeof *agent);

        if (!agent)
                return NULL;
        runtime_agent_init(&agent->agent, runtime, spawn, events, arg);
        command_agent_init(agent);
        return agent;
}

static void agent_free(struct command_agent *agent)
{
        event_del(&agent->timer);
        agent_pipes_close(&agent->pipes);
        agent_cgroup_end(&agent->cgroup); /* of one that did not start; else it has ended */
        agent_cgroup_done(&agent->cgroup);
        runtime_agent_done(&agent->agent);
        free(agent);
}

static int start(struct runtime *runtime, const struct command *spawn, const struct runtime_events *events, void *arg,
        struct runtime_agent **ret_agent, char *reason, size_t size)
{
        struct command_agent *agent = agent_new(runtime, spawn, events, arg);
        int fds[3], r;

        if (!agent) {
                snprintf(reason, size, "no memory for an agent");
                return -ENOMEM;
        }
        r = agent_pipes_open(&agent->pipes, runtime->base, &runtime->config->runtime, &spawn->agent_id, &pipes_events,
                agent, fds);
        if (r < 0) {
                snprintf(reason, size, "cannot make its pipes: %s", strerror(-r));
                goto free_agent;
        }
        r = start_program(agent, spawn, fds, reason, size);
        for (int i = 0; i < 3; i++)
                fd_close(fds[i]);
        if (r < 0)
                goto free_agent;
        *ret_agent = &agent->agent;
        return 0;
free_agent:
        agent_free(agent);
        return r;
}

static int send_message(struct runtime_agent *base, const struct command *message, enum jsonrpc_kind kind)
{
        struct command_agent *agent = (struct command_agent *)base;
        struct jsonrpc_request request;
        uint64_t number = 0;
        int r = 0;

        if (agent->phase >= COMMAND_STOPPING)
                return -EPIPE;
        if (kind == JSONRPC_REQUEST)
                r = runtime_note_request(base, message, &number);
        if (r < 0)
                return r;
        r = write_message(agent, message->message, 0);
        if (kind != JSONRPC_REQUEST)
                return r;
        if (r < 0 && jsonrpc_pending_take(&base->pending, number, &request) == 0)
                jsonrpc_id_done(&request.client);
        if (r == 0)
                command_agent_set_due(agent, DUE_REQUEST, base->pending.earliest);
        return r;
}

static void stop(struct runtime_agent *base, bool graceful)
{
        command_agent_stop((struct command_agent *)base, graceful);
}

static void hold(struct runtime_agent *base, bool hold)
{
        agent_pipes_hold(&((struct command_agent *)base)->pipes, hold);
}

static void free_ended(struct runtime_agent *base)
{
        struct command_agent *agent = (struct command_agent *)base;

        assert(agent->phase == COMMAND_ENDED);
        agent_free(agent);
}

static void fail(struct runtime_agent *base, const char *reason)
{
        command_agent_fail((struct command_agent *)base, reason);
}

static int usage_of(const struct runtime_agent *base, struct usage *ret_usage)
{
        const struct command_agent *agent = (const struct command_agent *)base;

        if (agent->phase >= COMMAND_DEAD)
                return -ESRCH;
        if (agent->cgroup.path)
                return agent_cgroup_usage(&agent->cgroup, ret_usage);
        return process_tree_usage(&agent->tree, &((const struct command_runtime *)base->runtime)->trees, ret_usage);
}

static int pid_of(const struct runtime_agent *base)
{
        return (int)((const struct command_agent *)base)->tree.leader;
}

static void on_children(int fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        command_agent_children_died(arg);
}

static void runtime_close(struct runtime *base)
{
        struct command_runtime *runtime = (struct command_runtime *)base;

        assert(!runtime->trees.by_leader);
        event_free(runtime->children);
        free(runtime);
}

static int runtime_open(struct event_base *base, const struct pool_config *config, struct runtime **ret_runtime,
        char *reason, size_t size)
{
        struct command_runtime *runtime;
        int r;

        r = agent_program_check(config, reason, size);
        if (r == 0 && process_trees_reap(&(struct process_trees){ 0 }) < 0) {
                snprintf(reason, size, "/proc shows no children of processes: mount it, with CONFIG_PROC_CHILDREN");
                r = -EINVAL;
        }
        if (r < 0)
                return r;
        runtime = calloc(1, sizeof *runtime);
        if (!runtime)
                goto no_memory;
        runtime->children = evsignal_new(base, SIGCHLD, on_children, runtime);
        if (!runtime->children)
                goto free_runtime;
        if (event_add(runtime->children, NULL) < 0)
                goto free_event;
        *ret_runtime = &runtime->runtime;
        return 0;
free_event:
        event_free(runtime->children);
free_runtime:
        free(runtime);
no_memory:
        snprintf(reason, size, "no memory for the runtime");
        return -ENOMEM;
}

const struct runtime_kind runtime_command = { runtime_open, runtime_close, start, send_message, stop, hold, free_ended, usage_of, pid_of, fail };
