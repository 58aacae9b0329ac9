/* Inside the runtimes: what each kind provides, and what they share. */
#ifndef WORKER_RUNTIME_RUNTIME_KIND_H
#define WORKER_RUNTIME_RUNTIME_KIND_H
#include "common/timer.h"
#include "registry/protocol/pool_config.h"
#include "registry/protocol/usage.h"
#include "worker/runtime/jsonrpc_pending.h"
#include "worker/runtime/runtime_model.h"

/* The functions of worker/runtime/runtime.h, one struct per kind. */
struct runtime_kind {
        int (*open)(struct event_base *base, const struct pool_config *config, struct runtime **ret_runtime, char *reason,
                size_t size);
        void (*close)(struct runtime *runtime);
        int (*start)(struct runtime *runtime, const struct command *spawn, const struct runtime_events *events, void *arg,
                struct runtime_agent **ret_agent, char *reason, size_t size);
        /* A request (of ours: number) or notification (number 0), as the agent is to see it: one line of text. */
        int (*send)(struct runtime_agent *agent, const struct jsonrpc *message, uint64_t number);
        void (*arm)(struct runtime_agent *agent); /* pending.earliest may have changed */
        void (*stop)(struct runtime_agent *agent, bool graceful);
        void (*free)(struct runtime_agent *agent);
        int (*usage)(const struct runtime_agent *agent, struct usage *ret_usage);
        void (*fail)(struct runtime_agent *agent, const char *reason); /* ends it at once, for that reason */
};
extern const struct runtime_kind runtime_command;
extern const struct runtime_kind runtime_module;

struct agent_probe;

/* First member of each kind's own struct. */
struct runtime {
        const struct runtime_kind *kind;
        struct event_base *base;
        const struct pool_config *config;
        const struct runtime_host *host;
};
struct runtime_agent {
        struct runtime *runtime;
        const struct runtime_events *events;
        void *arg;
        struct id agent_id;
        int32_t heartbeat_interval;     /* seconds */
        struct jsonrpc_pending pending; /* requests that it has not answered */
        struct agent_probe *probe;      /* owned; NULL: it is not probed */
        unsigned in_flight;             /* of pending: those of clients */
        bool ending;                    /* told to end */
        struct timer drained;           /* end of the time for answers, while it is told to end and has some to give */
        int64_t drain_by, drain_ms;     /* the same in mono ms; how long that was. 0: it has none */
        bool overdue;                   /* that time passed */
};

void runtime_agent_init(struct runtime_agent *agent, struct runtime *runtime, const struct command *spawn,
        const struct runtime_events *events, void *arg);
void runtime_agent_done(struct runtime_agent *agent);
/* It runs: tells so, and watches from now on that it does not hang. */
void runtime_started(struct runtime_agent *agent);
/* A request of our own, without params; its answer comes to runtime_answer. 0, or as runtime_send. */
int runtime_ask(struct runtime_agent *agent, const char *method, int64_t deadline);
/* Hands response, whose request was taken out of pending, to whom it is for. */
void runtime_answer(struct runtime_agent *agent, struct jsonrpc_request *take_request, const struct jsonrpc *response);
/* Tells whom the request was for, which was taken out of pending, that no answer comes. */
void runtime_fail_request(struct runtime_agent *agent, struct jsonrpc_request *take_request, const char *why);
/* A notification that the agent emitted, on to whom it is for. */
void runtime_event(struct runtime_agent *agent, const struct jsonrpc *notification);
/* Gives up the requests whose deadline has passed. */
void runtime_expire(struct runtime_agent *agent, int64_t now);
/* Gives up all of them, as the agent has ended. */
void runtime_give_up(struct runtime_agent *agent, const struct agent_exit *exit);
#endif
