/* Command agents: programs that speak newline-delimited JSON-RPC 2.0 on stdin and stdout. */
#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/utf8.h"
#include "worker/runtime/agent_program.h"
#include "worker/runtime/command_agent.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Answers to an agent's own requests may wait beyond queue_bytes, for as long as it reads them at some time. */
#define OWN_ANSWERS_BYTES 65536
#define SECOND_MS 1000

static int write_line(struct command_agent *agent, const char *text, size_t len, size_t reserve)
{
        char *line = malloc(len + 1);
        int r;

        if (!line)
                return -ENOMEM;
        *(char *)mempcpy(line, text, len) = '\n';
        r = agent_pipes_write(&agent->pipes, line, len + 1, reserve);
        free(line);
        if (r == -EPIPE)
                command_agent_suspect(agent, "closed its stdin");
        return r;
}

/* The agent's own requests: it may ask whether we live, nothing else. */
static void answer_agent(struct command_agent *agent, const struct jsonrpc *request)
{
        char *response = json_raw_says(request->method, "ping") ? jsonrpc_result(json_raw_of("{}"), request->id)
                : jsonrpc_error(JSONRPC_METHOD_NOT_FOUND, "this host answers ping only", request->id);
        int r = response ? write_line(agent, response, strlen(response), OWN_ANSWERS_BYTES) : -ENOMEM;

        free(response);
        if (r == -EAGAIN)
                command_agent_fail(agent, "sent requests without reading the answers");
}

/* At most one in a second: an agent that answers all twice is to be heard of, not to fill the log. */
static void warn_of_answer(struct command_agent *agent, struct json_raw id)
{
        int64_t now = clock_mono_ms();
        char quoted[80];

        agent->strange_answers++;
        if (agent->strange_at && now - agent->strange_at < SECOND_MS)
                return;
        agent->strange_at = now;
        log_warn("agent.answer_unknown", "agent=%s id=%s answers=%" PRIu64 " detail=\"no request waits for it\"",
                ID_TEXT(&agent->agent.agent_id), log_quote(id.text, id.len, quoted, sizeof quoted), agent->strange_answers);
        agent->strange_answers = 0;
}

static void take_response(struct command_agent *agent, const struct jsonrpc *response)
{
        struct jsonrpc_request request;
        uint64_t number;

        if (jsonrpc_number(response->id, &number) < 0 ||
                jsonrpc_pending_take(&agent->agent.pending, number, &request) < 0) {
                warn_of_answer(agent, response->id);
                return;
        }
        if (!id_is_zero(&request.command_id) || agent->phase != COMMAND_STARTING) {
                runtime_answer(&agent->agent, &request, response);
                return;
        }
        jsonrpc_request_done(&request);
        agent->due[DUE_PROBE] = INT64_MAX;
        command_agent_set_due(agent, DUE_STARTED, 0);
}

static void take_noise(struct command_agent *agent, const char *line, size_t len)
{
        agent->agent.events->on_noise(agent->agent.arg);
        agent_log_line(&agent->pipes.log, "agent.stdout", line, len);
}

/* What is no message goes to the agent's log. One that looks like an answer is none for the request that it names, either. */
static void refuse_line(struct command_agent *agent, const char *line, size_t len, const struct json_skim *skim,
        const char *why)
{
        char reason[sizeof agent->exit.reason], begin[40];
        struct jsonrpc_request request;
        uint64_t number;

        if (agent->agent.runtime->config->runtime.strict_stdout) {
                snprintf(reason, sizeof reason, "wrote a line that is not JSON-RPC: %.70s; it begins %s", why,
                        log_quote(line, len, begin, sizeof begin));
                command_agent_fail(agent, reason);
                return;
        }
        take_noise(agent, line, len);
        if (!skim->versioned || skim->called || jsonrpc_number(json_raw_of(skim->id), &number) < 0 ||
                jsonrpc_pending_take(&agent->agent.pending, number, &request) < 0)
                return;
        snprintf(reason, sizeof reason, "the agent's answer cannot be passed on: %.100s", why);
        runtime_fail_request(&agent->agent, &request, reason);
}

static void take_message(struct command_agent *agent, const char *line, size_t len)
{
        struct json_skim skim = { 0 };
        struct jsonrpc message;

        jsonrpc_read(line, len, &message);
        switch (message.kind) {
        case JSONRPC_REQUEST:
                if (json_raw_kind(message.id) == 'n') /* as JSON-RPC 1.0 spells a notification */
                        runtime_event(&agent->agent, &message);
                else
                        answer_agent(agent, &message);
                break;
        case JSONRPC_NOTIFICATION:
                runtime_event(&agent->agent, &message);
                break;
        case JSONRPC_RESPONSE:
                take_response(agent, &message);
                break;
        case JSONRPC_INVALID:
        case JSONRPC_KIND_COUNT:
                json_skim(&skim, line, len);
                refuse_line(agent, line, len, &skim, message.why);
                break;
        }
}

static void take_line(struct command_agent *agent, const char *line, size_t len)
{
        unsigned depth = (unsigned)agent->agent.runtime->config->runtime.max_depth + JSONRPC_ENVELOPE_DEPTH;
        struct json_skim skim = { 0 };
        struct json_error error;
        char *repaired = NULL;
        int r = json_raw_check(line, len, depth, &error);

        if (r < 0 && !utf8_valid(line, len) && (repaired = utf8_repair(line, len, &len))) {
                line = repaired;
                r = json_raw_check(line, len, depth, &error);
        }
        if (r == 0) {
                take_message(agent, line, len);
        } else {
                json_skim(&skim, line, len);
                refuse_line(agent, line, len, &skim, memchr(line, '\0', len) ? "it contains a NUL byte" : error.detail);
        }
        free(repaired);
}

/* Of a line over max_line_bytes nothing is kept but what it says of itself. */
static void skip_line(struct command_agent *agent, const char *line, size_t len, enum line_kind kind)
{
        char why[96];

        if (agent->skim.begun == false)
                agent->skipped = 0;
        agent->skipped += len;
        json_skim(&agent->skim, line, len);
        if (kind == LINE_PART && !agent->agent.runtime->config->runtime.strict_stdout)
                return;
        snprintf(why, sizeof why, "wrote a line of more than %" PRId64 " bytes (max_line_bytes)",
                agent->agent.runtime->config->runtime.max_line_bytes);
        if (agent->agent.runtime->config->runtime.strict_stdout) {
                command_agent_fail(agent, why);
                return;
        }
        log_warn("agent.line_skipped", "agent=%s bytes=%zu detail=\"longer than the pool's runtime.max_line_bytes\"",
                ID_TEXT(&agent->agent.agent_id), agent->skipped);
        refuse_line(agent, "", 0, &agent->skim, why);
        agent->skim = (struct json_skim){ 0 };
}

/* White space around a message and a byte order mark before it mean nothing. */
static void on_line(void *arg, const char *line, size_t len, enum line_kind kind)
{
        if (kind == LINE_PART || kind == LINE_LAST) {
                skip_line(arg, line, len, kind);
                return;
        }
        if (kind == LINE_REST && line[len - 1] != '}') { /* cut off by the agent's end, which says more */
                take_noise(arg, line, len);
                return;
        }
        if (len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
                line += 3;
                len -= 3;
        }
        while (len > 0 && strchr(" \t\r", line[len - 1]) && line[len - 1])
                len--;
        if (len > 0)
                take_line(arg, line, len);
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
        int r;

        if (!config->runtime.wait_ready) {
                command_agent_set_due(agent, DUE_STARTED, 0);
                return 0;
        }
        r = runtime_ask(&agent->agent, config->runtime.ready_method, INT64_MAX);
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
        timer_stop(&agent->timer);
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

static int send_message(struct runtime_agent *base, const struct jsonrpc *message, uint64_t number)
{
        struct command_agent *agent = (struct command_agent *)base;

        (void)number;
        return agent->phase >= COMMAND_STOPPING ? -EPIPE : write_line(agent, message->text.text, message->text.len, 0);
}

static void arm(struct runtime_agent *base)
{
        command_agent_set_due((struct command_agent *)base, DUE_REQUEST, base->pending.earliest);
}

static void stop(struct runtime_agent *base, bool graceful)
{
        command_agent_stop((struct command_agent *)base, graceful);
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

const struct runtime_kind runtime_command = { runtime_open, runtime_close, start, send_message, arm, stop, free_ended, usage_of, fail };
