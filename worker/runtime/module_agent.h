/* One module agent as its worker holds it, and the functions that the worker lends to modules. Inside the module
 * runtime. What a module says waits in its agent's notes and is told from the loop, so that no callback of the worker
 * runs inside a call of the worker. */
#ifndef WORKER_RUNTIME_MODULE_AGENT_H
#define WORKER_RUNTIME_MODULE_AGENT_H
#include "worker/runtime/agent_log.h"
#include "worker/agentpool_module.h"
#include "worker/runtime/runtime_kind.h"

#include <event2/event_struct.h>
#include <sys/queue.h>

/* Something an agent said. */
struct note {
        STAILQ_ENTRY(note) link;
        struct jsonrpc_request request; /* what it answers; number 0: it is an event */
        char *text; /* owned; an event's notification, or the answer, whose request's id is still to come into it */
        size_t len; /* of the text */
};

struct agentpool_timer {
        struct agentpool_agent *agent;
        void (*fire)(struct agentpool_agent *agent, void *state, void *arg);
        void *arg;
        struct timer timer;
        LIST_ENTRY(agentpool_timer) link;
};

struct agentpool_agent {
        struct runtime_agent agent;
        void *state; /* the module's */
        bool starting;           /* on_started is due */
        bool stopping, finished; /* told to end; ended by itself: exit is filled in */
        bool stopped;            /* the module's stop was called */
        bool in_turn;            /* in its runtime's list */
        int64_t grace_until;     /* mono ms: stopping waits that long for answers */
        struct timer timer;      /* the earliest deadline of a request, or grace_until */
        STAILQ_HEAD(, note) notes;
        size_t events_len;       /* of the events among notes */
        LIST_HEAD(, agentpool_timer) timers;
        struct agent_log log;
        struct agent_exit exit;
        TAILQ_ENTRY(agentpool_agent) link;
};

struct module_runtime {
        struct runtime runtime;
        void *library;
        const struct agentpool_module *module;
        TAILQ_HEAD(, agentpool_agent) agents; /* that have something to tell, in turns */
        struct timer turn;
};

void module_note_free(struct note *note);
/* Frees the timers that have not fired. */
void module_timers_free(struct agentpool_agent *agent);
/* The agent has something to tell: its runtime comes to it when the loop runs. */
void module_agent_take_turn(struct agentpool_agent *agent);
extern const struct agentpool_host module_host;
#endif
