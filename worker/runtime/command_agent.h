/* One command agent as a life: from exec to the moment when nothing of it is left. Inside the command runtime. */
#ifndef WORKER_RUNTIME_COMMAND_AGENT_H
#define WORKER_RUNTIME_COMMAND_AGENT_H
#include "common/json/json_skim.h"
#include "worker/runtime/agent_cgroup.h"
#include "worker/runtime/agent_pipes.h"
#include "worker/runtime/process_tree.h"
#include "worker/runtime/runtime_kind.h"

enum command_phase {
        COMMAND_STARTING = 1, /* exec succeeded; on_started is due */
        COMMAND_RUNNING,
        COMMAND_STOPPING,     /* told or made to end */
        COMMAND_DEAD,         /* the program is, and is not reaped yet; what it left behind is being ended */
        COMMAND_ENDED,        /* nothing is left; on_ended is due */
};

/* What an agent's one timer is for, in the order of handling. */
enum command_due {
        DUE_STARTED, /* tell that it runs */
        DUE_PROBE,   /* it must have answered */
        DUE_SUSPECT, /* it must have died */
        DUE_TERM,
        DUE_KILL,
        DUE_REQUEST, /* the earliest deadline of a request */
        DUE_SWEEP,   /* look again whether its tree is gone */
        DUE_ENDED,   /* tell that it ended; frees the agent */
        DUE_COUNT
};

struct command_agent {
        struct runtime_agent agent;
        enum command_phase phase;
        bool failed;         /* exit.reason is ours: why it was ended */
        const char *suspect; /* static: what it closed */
        int pidfd; /* -1: the kernel has none, SIGCHLD has to do */
        struct event death;
        struct timer timer;
        int64_t due[DUE_COUNT]; /* mono ms, INT64_MAX: not due */
        int64_t armed;          /* when timer fires at the latest */
        int64_t sweep_delay;
        struct process_tree tree;
        struct agent_cgroup cgroup;
        struct agent_pipes pipes;
        struct json_skim skim;     /* of the line on its stdout that is too long to be kept */
        size_t skipped;            /* bytes of it */
        int64_t strange_at;        /* mono ms: when an answer to nothing was last warned of */
        uint64_t strange_answers;  /* since then */
        struct agent_exit exit;
};

struct command_runtime {
        struct runtime runtime;
        struct process_trees trees;
        struct event *children; /* SIGCHLD: something that an agent left behind died */
};

/* Fills in a zeroed agent whose runtime is known. */
void command_agent_init(struct command_agent *agent);
/* The program runs, pidfd is set: it now belongs to the agent, and its death will be noticed. 0 or -ENOMEM. */
int command_agent_watch(struct command_agent *agent, pid_t pid);
/* Undoes that. */
void command_agent_unwatch(struct command_agent *agent);
void command_agent_set_due(struct command_agent *agent, enum command_due due, int64_t at);
void command_agent_stop(struct command_agent *agent, bool graceful);
/* Ends it at once for a reason of ours, which becomes that of its end. */
void command_agent_fail(struct command_agent *agent, const char *reason);
/* It closed a pipe: fails unless it dies very soon. what is static. */
void command_agent_suspect(struct command_agent *agent, const char *what);
/* Some child of this process died. */
void command_agent_children_died(struct command_runtime *runtime);
#endif
