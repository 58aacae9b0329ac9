#include "worker/runtime/command_agent.h"

#include "common/cgroup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "registry/protocol/agent_exit.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A program that closed a pipe may be dying: its death is then a better reason than the pipe. */
#define SUSPECT_MS 1000
/* How often what cannot be killed at once (a system call that does not end) is tried again. */
#define SWEEP_MIN_MS 10
#define SWEEP_MAX_MS 1000

static struct command_runtime *runtime_of(const struct command_agent *agent)
{
        return (struct command_runtime *)agent->agent.runtime;
}

static struct command_agent *container_of(struct process_tree *tree)
{
        return (struct command_agent *)(void *)((char *)tree - offsetof(struct command_agent, tree));
}

void command_agent_set_due(struct command_agent *agent, enum command_due due, int64_t at)
{
        agent->due[due] = at;
        if (at >= agent->armed)
                return;
        agent->armed = at;
        timer_at(&agent->timer, at);
}

static void begin_stop(struct command_agent *agent)
{
        agent->phase = COMMAND_STOPPING;
        for (int i = DUE_STARTED; i <= DUE_KILL; i++)
                agent->due[i] = INT64_MAX;
}

static void kill_all(struct command_agent *agent)
{
        begin_stop(agent);
        process_tree_kill(&agent->tree, &runtime_of(agent)->trees);
        command_agent_set_due(agent, DUE_KILL, clock_mono_ms() + SWEEP_MAX_MS);
}

void command_agent_fail(struct command_agent *agent, const char *reason)
{
        if (agent->phase >= COMMAND_DEAD || agent->failed)
                return;
        agent->failed = true;
        snprintf(agent->exit.reason, sizeof agent->exit.reason, "%s", reason);
        kill_all(agent); /* first, so that it does not see its pipe closed and end for that */
        agent_pipes_ignore(&agent->pipes);
}

void command_agent_suspect(struct command_agent *agent, const char *what)
{
        if (agent->phase >= COMMAND_STOPPING || agent->suspect)
                return;
        agent->suspect = what;
        command_agent_set_due(agent, DUE_SUSPECT, clock_mono_ms() + SUSPECT_MS);
}

void command_agent_stop(struct command_agent *agent, bool graceful)
{
        if (agent->phase >= COMMAND_DEAD)
                return;
        if (!graceful) {
                kill_all(agent);
        } else if (agent->phase < COMMAND_STOPPING) {
                begin_stop(agent);
                agent_pipes_finish(&agent->pipes);
                command_agent_set_due(agent, DUE_TERM,
                        clock_mono_ms() + agent->agent.runtime->config->stop_grace_ms);
        }
}

static void tell_started(struct command_agent *agent)
{
        agent->phase = COMMAND_RUNNING;
        runtime_started(&agent->agent);
}

static void fail_probe(struct command_agent *agent)
{
        const struct pool_config *config = agent->agent.runtime->config;
        char reason[sizeof agent->exit.reason];

        snprintf(reason, sizeof reason, "did not answer %.64s within %" PRId64 " ms (start_timeout_ms)",
                config->runtime.ready_method, config->start_timeout_ms);
        command_agent_fail(agent, reason);
}

static void expire_requests(struct command_agent *agent)
{
        runtime_expire(&agent->agent, clock_mono_ms());
        agent->due[DUE_REQUEST] = agent->agent.pending.earliest;
}

static void fail_suspect(struct command_agent *agent)
{
        char reason[64];

        snprintf(reason, sizeof reason, "%s while running", agent->suspect);
        command_agent_fail(agent, reason);
}

static void terminate(struct command_agent *agent)
{
        process_tree_terminate(&agent->tree, pool_config_stop_signal(&agent->agent.runtime->config->runtime));
        command_agent_set_due(agent, DUE_KILL, clock_mono_ms() + agent->agent.runtime->config->kill_grace_ms);
}

static void sweep(struct command_agent *agent)
{
        struct process_trees *trees = &runtime_of(agent)->trees;
        int left = agent_cgroup_end(&agent->cgroup), r = process_tree_kill(&agent->tree, trees);

        if (left == -EBUSY || (r != 0 && r != -EPERM)) {
                agent->sweep_delay = agent->sweep_delay * 2 < SWEEP_MAX_MS ? agent->sweep_delay * 2 : SWEEP_MAX_MS;
                command_agent_set_due(agent, DUE_SWEEP, clock_mono_ms() + agent->sweep_delay);
                return;
        }
        if (r == -EPERM)
                log_warn("agent.stray_left", "agent=%s its children of another user cannot be ended",
                        ID_TEXT(&agent->agent.agent_id));
        waitpid(agent->tree.leader, NULL, WNOHANG);
        agent_cgroup_done(&agent->cgroup);
        process_tree_done(&agent->tree, trees);
        agent->phase = COMMAND_ENDED;
        agent->due[DUE_SWEEP] = INT64_MAX;
        command_agent_set_due(agent, DUE_ENDED, 0);
}

static void tell_ended(struct command_agent *agent)
{
        runtime_give_up(&agent->agent, &agent->exit);
        agent->agent.events->on_ended(agent->agent.arg, &agent->exit);
}

static void (*const on_due[DUE_COUNT])(struct command_agent *agent) = {
        [DUE_STARTED] = tell_started,
        [DUE_PROBE] = fail_probe,
        [DUE_SUSPECT] = fail_suspect,
        [DUE_TERM] = terminate,
        [DUE_KILL] = kill_all,
        [DUE_REQUEST] = expire_requests,
        [DUE_SWEEP] = sweep,
        [DUE_ENDED] = tell_ended,
};

static void on_timer(void *arg)
{
        struct command_agent *agent = arg;
        int64_t now = clock_mono_ms(), next = INT64_MAX;

        agent->armed = INT64_MAX;
        for (int i = 0; i < DUE_ENDED; i++) {
                if (agent->due[i] > now)
                        continue;
                agent->due[i] = INT64_MAX;
                on_due[i](agent);
        }
        if (agent->due[DUE_ENDED] <= now) {
                on_due[DUE_ENDED](agent);
                return;
        }
        for (int i = 0; i < DUE_COUNT; i++)
                if (agent->due[i] < next)
                        next = agent->due[i];
        if (next < agent->armed) {
                agent->armed = next;
                timer_at(&agent->timer, next);
        }
}

static void unwatch(struct command_agent *agent)
{
        if (agent->pidfd >= 0)
                event_del(&agent->death);
        agent->pidfd = fd_close(agent->pidfd);
}

/* Says so when it ended for want of memory, as far as that can be told. */
static void judge_memory(const struct command_agent *agent, const struct rusage *usage, struct agent_exit *exit)
{
        const struct pool_limits_config *limits = &agent->agent.runtime->config->limits;

        if (agent_cgroup_out_of_memory(&agent->cgroup))
                snprintf(exit->reason, sizeof exit->reason, "out of memory: over limits.memory_bytes %" PRId64,
                        limits->memory_bytes);
        else if (agent->phase >= COMMAND_STOPPING)
                return; /* it was told to end */
        else if (exit->signal == SIGKILL && oom_happened(&agent->agent.runtime->host->oom))
                snprintf(exit->reason, sizeof exit->reason, "out of memory: killed by the kernel");
        else if (exit->code != 0 && !(agent->cgroup.controllers & CGROUP_MEMORY))
                oom_suspect(exit->reason, sizeof exit->reason, (uint64_t)usage->ru_maxrss * 1024, limits->memory_bytes,
                        "limits.memory_bytes");
}

/* If the program is dead: it stays a zombie, so that its pid and group stay its own, until its tree is gone. */
static void check_death(struct command_agent *agent)
{
        struct agent_exit exit;
        struct rusage usage = { 0 };
        siginfo_t info = { 0 };

        /* The system call also tells what it used; the library's function does not. */
        if (syscall(SYS_waitid, P_PID, agent->tree.leader, &info, WEXITED | WNOHANG | WNOWAIT, &usage) < 0 ||
                info.si_pid == 0)
                return;
        exit = agent_exit_from_status(info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0) : info.si_status);
        judge_memory(agent, &usage, &exit);
        agent->exit.code = exit.code;
        agent->exit.signal = exit.signal;
        if (!agent->failed)
                memcpy(agent->exit.reason, exit.reason, sizeof exit.reason);
        begin_stop(agent);
        agent->phase = COMMAND_DEAD;
        unwatch(agent);
        agent_pipes_drain(&agent->pipes);
        agent_pipes_close(&agent->pipes);
        sweep(agent);
}

static void on_death(int fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        check_death(arg);
}

void command_agent_children_died(struct command_runtime *runtime)
{
        struct process_tree *tree, *next;

        process_trees_reap(&runtime->trees);
        for (tree = runtime->trees.by_leader; tree; tree = next) {
                struct command_agent *agent = container_of(tree);

                next = tree->hh.next;
                if (agent->phase == COMMAND_DEAD)
                        sweep(agent);
                else if (agent->pidfd < 0)
                        check_death(agent);
        }
}

void command_agent_init(struct command_agent *agent)
{
        agent->phase = COMMAND_STARTING;
        agent->pidfd = -1;
        agent->sweep_delay = SWEEP_MIN_MS;
        agent->armed = INT64_MAX;
        for (int i = 0; i < DUE_COUNT; i++)
                agent->due[i] = INT64_MAX;
        timer_init(&agent->timer, agent->agent.runtime->base, on_timer, agent);
}

int command_agent_watch(struct command_agent *agent, pid_t pid)
{
        struct process_trees *trees = &runtime_of(agent)->trees;
        int r;

        r = process_tree_init(&agent->tree, trees, pid, &agent->agent.agent_id);
        if (r < 0)
                return r;
        event_assign(&agent->death, agent->agent.runtime->base, agent->pidfd, EV_READ | EV_PERSIST, on_death, agent);
        if (agent->pidfd < 0 || event_add(&agent->death, NULL) == 0)
                return 0;
        process_tree_done(&agent->tree, trees);
        return -ENOMEM;
}

void command_agent_unwatch(struct command_agent *agent)
{
        unwatch(agent);
        process_tree_done(&agent->tree, &runtime_of(agent)->trees);
}
