/* What a runtime gets from its worker, and what it tells it. */
#ifndef WORKER_RUNTIME_RUNTIME_MODEL_H
#define WORKER_RUNTIME_RUNTIME_MODEL_H
#include "common/id.h"
#include "common/oom.h"
#include "registry/protocol/command.h"
#include "worker/runtime/limits.h"

/* What the worker has for its agents. */
struct runtime_host {
        const char *cgroup;   /* where agents have theirs (agent_cgroup_parent); NULL: they have none */
        struct limits limits;
        struct oom_watch oom; /* looked at with each heartbeat */
        int64_t drain_ms;     /* what an agent that is told to end has for answers, before it is ended */
};

struct runtime;       /* of one worker: a pool's settings made ready to start agents */
struct runtime_agent; /* one running agent */

/* What a runtime tells its worker. All come from the event loop, never from inside a function below. From within one,
 * all of those may be called for any agent, but runtime_agent_free only from on_ended (runtime_free then, too). */
struct runtime_events {
        void (*on_started)(void *arg);                         /* it runs (and answered its probe, if asked to) */
        void (*on_ended)(void *arg, const struct agent_exit *exit); /* last call: certainly gone, whole tree */
        /* The answer to a request. message: the JSON-RPC response with the caller's own id back in it; NULL: none will
         * come, and why says why not. Both are valid until return. */
        void (*on_answer)(void *arg, const struct id *command_id, const char *message, const char *why);
        /* A notification it emitted. client: whom alone it is for, with that one's own ids in it; NULL: for all. */
        void (*on_event)(void *arg, const char *message, const char *client);
        void (*on_noise)(void *arg); /* a line of its standard output was no message */
};
#endif
