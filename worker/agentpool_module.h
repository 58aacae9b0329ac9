/* The ABI between a worker and a module: a shared object whose agents live inside the worker's event loop and cost
 * kilobytes. Version 1. Include this file only; link nothing; export agentpool_module_init.
 *
 *     cc -shared -fPIC -I"$(pkg-config --variable=includedir agentpool)" -o echo.so echo.c
 *
 * Rules. Everything runs on one thread, the worker's loop: no callback may block. Pointers that a callback is handed
 * are valid until it returns. JSON is compact UTF-8 text; lengths are bytes without a NUL. A crash in a module
 * takes its worker with it, and its agents are started again in another worker under the pool's restart policy. */
#ifndef AGENTPOOL_MODULE_H
#define AGENTPOOL_MODULE_H
#include <stddef.h>
#include <stdint.h>

#define AGENTPOOL_MODULE_ABI 1

struct agentpool_agent; /* the worker's side of one agent */
struct agentpool_timer;

/* What an agent is started with. Texts are NUL-terminated. */
struct agentpool_start {
        const char *agent_id, *project_id, *pool_name, *role_type;
        const char *start_reason; /* "spawn", "restart", "worker_exited", "restore" */
        const char *args_json;    /* an object of strings, "{}" without any */
        const char *labels_json;  /* likewise */
        uint64_t epoch;
};

/* What the worker does for a module. New members are only ever added at the end; size says how many there are. */
struct agentpool_host {
        uint32_t abi;
        uint32_t size;
        /* Answers a request once. result_json is any JSON value. 0, -22 (no JSON, or unknown request), -12. */
        int (*reply)(struct agentpool_agent *agent, uint64_t request, const char *result_json, size_t len);
        /* Answers a request with a JSON-RPC error. */
        int (*reply_error)(struct agentpool_agent *agent, uint64_t request, int code, const char *message);
        /* Emits a JSON-RPC notification (method, params or NULL) to the agent's events. */
        int (*emit)(struct agentpool_agent *agent, const char *method, const char *params_json, size_t len);
        /* One line into the log under the agent's id. */
        void (*log)(struct agentpool_agent *agent, const char *text);
        /* Calls fire once after delay_ms. NULL when out of memory. Ended agents' timers never fire. */
        struct agentpool_timer *(*timer_start)(struct agentpool_agent *agent, uint32_t delay_ms,
                void (*fire)(struct agentpool_agent *agent, void *state, void *arg), void *arg);
        void (*timer_stop)(struct agentpool_timer *timer); /* not after it fired; NULL is fine */
        /* The agent ends by itself: status 0 is success. stop is still called, later. */
        void (*finish)(struct agentpool_agent *agent, int status, const char *reason);
};

struct agentpool_module {
        uint32_t abi; /* AGENTPOOL_MODULE_ABI */
        const char *name;
        /* 0 and *ret_state, or a negative errno with reason written (at most reason_size bytes with the NUL). */
        int (*start)(struct agentpool_agent *agent, const struct agentpool_start *start, void **ret_state, char *reason,
                size_t reason_size);
        /* A JSON-RPC request (request is not 0: answer it, now or later) or notification (request is 0).
         * params_json is "null" without params. */
        void (*message)(struct agentpool_agent *agent, void *state, uint64_t request, const char *method,
                const char *params_json, size_t params_len);
        /* The end: free state. Nothing of the agent may be used afterwards. */
        void (*stop)(struct agentpool_agent *agent, void *state);
};

/* Exported by the shared object; called once in each worker. NULL: this module cannot run here (log why). */
const struct agentpool_module *agentpool_module_init(const struct agentpool_host *host);
#endif
