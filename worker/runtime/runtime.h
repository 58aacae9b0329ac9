/* A kind of agent as one struct: how it starts, takes messages and ends. runtime_command.c, runtime_module.c. */
#ifndef WORKER_RUNTIME_RUNTIME_H
#define WORKER_RUNTIME_RUNTIME_H
#include "registry/protocol/command.h"
#include "registry/protocol/pool_config.h"
#include "registry/protocol/usage.h"
#include "worker/runtime/runtime_model.h"

#include <event2/event.h>

/* -EINVAL with a reason (at most size bytes) when the pool's runtime cannot work: no such module, wrong ABI. config and
 * host are borrowed until runtime_free. For command agents the process must be a child subreaper (PR_SET_CHILD_SUBREAPER), ignore
 * SIGPIPE, keep 0, 1 and 2 open, have no other children and let libevent handle SIGCHLD on base. */
int runtime_new(struct event_base *base, const struct pool_config *config, const struct runtime_host *host,
        struct runtime **ret_runtime, char *reason, size_t size);
struct runtime *runtime_free(struct runtime *runtime); /* after its last agent; NULL is fine */

/* 0: on_started or on_ended follows; -errno with a reason when it cannot even begin (then no callback follows). */
int runtime_start(struct runtime *runtime, const struct command *spawn, const struct runtime_events *events, void *arg,
        struct runtime_agent **ret_agent, char *reason, size_t size);
/* A MESSAGE command. Request: on_answer follows, once. Notification: nothing follows; one that names a request which its
 * client does not have is dropped. 0; -EINVAL: neither of them; -EAGAIN: its queue is full; -EPIPE: it is ending; -ENOMEM. */
int runtime_send(struct runtime_agent *agent, const struct command *message);
/* Nobody waits for the answer to that MESSAGE command any more: the agent is told (runtime.cancel_method), and no on_answer
 * follows. */
void runtime_cancel(struct runtime_agent *agent, const struct id *command_id, const char *reason);
/* Whether it may still work on requests that were given up. */
bool runtime_works_on(const struct runtime_agent *agent);
/* Ends it: gracefully (it takes no more messages; once all are answered, or after drain_ms, stdin is closed, TERM after
 * stop_grace, KILL after kill_grace) or at once. on_ended follows. Repeating is fine: a later "at once", or a drain_ms that
 * has become less, hurries an earlier graceful one. */
void runtime_stop(struct runtime_agent *agent, bool graceful);
/* Frees it; from on_ended only. */
void runtime_agent_free(struct runtime_agent *agent);
/* What it and all below it use. 0; -ENOTSUP: it lives in this process; -errno when that cannot be seen now. */
int runtime_usage(const struct runtime_agent *agent, struct usage *ret_usage);
unsigned runtime_in_flight(const struct runtime_agent *agent); /* requests of clients that it has not answered */
#endif
