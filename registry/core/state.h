/* The states of agents and workers: tables state × event, nothing else. Pure. The names are a contract: they stand
 * in Redis, SQL, the API and MULTIPROCESSING.md. */
#ifndef REGISTRY_CORE_STATE_H
#define REGISTRY_CORE_STATE_H
#include <stdbool.h>

enum agent_state {
        AGENT_STARTING = 1, /* wanted; waits for a slot, its start or its acknowledgement */
        AGENT_IDLE,         /* runs; no message is being worked on */
        AGENT_BUSY,         /* runs; works on at least one message */
        AGENT_STOPPING,     /* told to end; its slot is still taken */
        AGENT_STOPPED,      /* ended by itself with success and its policy does not restart it */
        AGENT_FAILED,       /* the restart policy gave up; the reason is in its record */
        AGENT_TERMINATED,   /* ended on purpose; never restored */
        AGENT_STATE_COUNT
};
enum agent_event {
        AGENT_EV_PLACE = 1, /* wanted (again): restart, worker lost, restore */
        AGENT_EV_STARTED,   /* its worker acknowledged */
        AGENT_EV_WORK,      /* a message went in flight while none was */
        AGENT_EV_REST,      /* the last message in flight was answered */
        AGENT_EV_STOP,      /* asked to end */
        AGENT_EV_ENDED,     /* ended by itself, policy says leave it */
        AGENT_EV_GAVE_UP,   /* policy says enough */
        AGENT_EV_GONE,      /* ended on purpose and certainly gone */
        AGENT_EVENT_COUNT
};
enum worker_state {
        WORKER_STARTING = 1, /* fork asked for or done; no capacity yet */
        WORKER_READY,        /* subscribed and registered: capacity */
        WORKER_DRAINING,     /* takes no new agents; ends when empty */
        WORKER_STALE,        /* suspected hung: told to be killed, not yet certainly gone */
        WORKER_EXITED,       /* certainly gone */
        WORKER_STATE_COUNT
};
enum worker_event {
        WORKER_EV_READY = 1,
        WORKER_EV_DRAIN,
        WORKER_EV_SUSPECT,
        WORKER_EV_EXITED,
        WORKER_EVENT_COUNT
};

/* 0, or -EPROTO when the state refuses the event: *state is then unchanged. */
int agent_state_apply(enum agent_state *state, enum agent_event event);
int worker_state_apply(enum worker_state *state, enum worker_event event);
/* "starting", "idle", …; NULL for no state. */
const char *agent_state_name(enum agent_state state);
const char *worker_state_name(enum worker_state state);
/* 0 or -EINVAL. */
int agent_state_parse(const char *name, enum agent_state *ret_state);
/* True while the agent should exist (a restore brings it back): starting, idle, busy. */
bool agent_state_wanted(enum agent_state state);
#endif
