/* The ABI between a worker and a module: a shared object whose agents live inside the worker's event loop and cost
 * kilobytes. Version 1. Include this file only; link nothing; export agentpool_module_init.
 *
 *     cc -shared -fPIC -I/usr/local/include/agentpool -o echo.so echo.c
 *
 * Rules. Everything runs on one thread, the worker's loop: no callback may block. Pointers that a callback is handed
 * are valid until it returns. JSON is UTF-8 text (compact when it comes from the worker, checked by the worker when it
 * comes from the module); lengths are bytes without a NUL. Functions that fail return a negative errno (errno.h). A
 * crash in a module takes its worker with it, and its agents are started again in another worker under the pool's
 * restart policy.
 *
 * An agent's life: start, then message and timers in any number, then stop, always and last (unless start failed).
 * Requests that are still unanswered when the agent is told to end gracefully have the pool's drain_timeout_ms and
 * stop_grace_ms to be answered before stop is called; no message comes in that time. etc/examples/module.c is a whole one. */
#ifndef AGENTPOOL_MODULE_H
#define AGENTPOOL_MODULE_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AGENTPOOL_MODULE_ABI 1

struct agentpool_agent; /* the worker's side of one agent */
struct agentpool_timer;

/* What an agent is started with. Texts are NUL-terminated. */
struct agentpool_start {
        const char *agent_id, *project_id, *pool_name, *role_type;
        const char *start_reason; /* "spawn", "restart", "worker_exited", "restore", "rollout" */
        const char *args_json;    /* an object of strings, "{}" without any */
        const char *labels_json;  /* likewise */
        uint64_t epoch;
};

/* What the worker does for a module; valid for the life of the process. New members are only ever added at the end:
 * one that is not in version 1 is there when size > offsetof(struct agentpool_host, member). */
struct agentpool_host {
        uint32_t abi;
        uint32_t size;
        /* Answers a request, now or later. result_json is any JSON value. -EINVAL: that is no JSON; -EMSGSIZE: longer than
         * the pool's max_line_bytes; -ENOMEM; after these it may be answered again. -ENOENT: no such request waits: it was
         * answered, or its deadline has passed. */
        int (*reply)(struct agentpool_agent *agent, uint64_t request, const char *result_json, size_t len);
        /* Answers it with a JSON-RPC error. message is NUL-terminated text. As reply. */
        int (*reply_error)(struct agentpool_agent *agent, uint64_t request, int code, const char *message);
        /* Emits a JSON-RPC notification to the agent's events. params_json is an object, an array, or NULL for none.
         * -EINVAL, -EMSGSIZE, -ENOMEM; -EAGAIN: more than the pool's queue_bytes wait already, try later. */
        int (*emit)(struct agentpool_agent *agent, const char *method, const char *params_json, size_t len);
        /* One line into the log under the agent's id; over the pool's log_bytes_per_second it is counted and dropped. */
        void (*log)(struct agentpool_agent *agent, const char *text);
        /* Calls fire once, after delay_ms, never from inside timer_start. NULL when out of memory or after stop began.
         * It does not fire after finish; what has not fired when stop returns is freed. */
        struct agentpool_timer *(*timer_start)(struct agentpool_agent *agent, uint32_t delay_ms,
                void (*fire)(struct agentpool_agent *agent, void *state, void *arg), void *arg);
        void (*timer_stop)(struct agentpool_timer *timer); /* not from fire on; NULL is fine */
        /* The agent ends by itself: status 0 is success, and reason (or NULL) says why. No message comes any more; stop is
         * still called, soon. Only the first call counts. */
        void (*finish)(struct agentpool_agent *agent, int status, const char *reason);
};

/* What a module is; it stays valid while the module is loaded. No member may be NULL. */
struct agentpool_module {
        uint32_t abi; /* AGENTPOOL_MODULE_ABI */
        const char *name;
        /* 0 and *ret_state, or a negative errno with reason written (at most reason_size bytes with the NUL). The host's
         * functions may be used already. */
        int (*start)(struct agentpool_agent *agent, const struct agentpool_start *start, void **ret_state, char *reason,
                size_t reason_size);
        /* A JSON-RPC request (request is not 0: answer it, now or later) or notification (request is 0). params_json is an
         * object, an array, or "null" without params. */
        void (*message)(struct agentpool_agent *agent, void *state, uint64_t request, const char *method,
                const char *params_json, size_t params_len);
        /* The end: free state. Requests may be answered for the last time; nothing of the agent, its timers included, may
         * be used afterwards. */
        void (*stop)(struct agentpool_agent *agent, void *state);
};

/* Exported by the shared object; called once in each worker. NULL: this module cannot run here. */
__attribute__((visibility("default"))) const struct agentpool_module *agentpool_module_init(
        const struct agentpool_host *host);

#ifdef __cplusplus
}
#endif
#endif
