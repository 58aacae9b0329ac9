/* One agent as its master sees it: what was asked for and where it is. Pure. Owned by its pool (registry/core/pool.h). */
#ifndef REGISTRY_CORE_AGENT_H
#define REGISTRY_CORE_AGENT_H
#include "common/id.h"
#include "common/trace.h"
#include "registry/core/agent_phase.h"
#include "registry/core/state.h"
#include "registry/protocol/command.h"
#include "registry/protocol/usage.h"

#include <bsd/sys/tree.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

struct pool;
struct pool_worker;

/* What the registry was asked for it under this epoch, and what is known of that. */
enum agent_asked {
        ASKED_NOTHING = 0,
        ASKED,           /* for a slot */
        ASKED_UNCERTAIN, /* it did not say what became of it: asked again, under the same epoch */
        ASKED_UNSURE,    /* it went away: the agent is where a worker lists it, or, once all have told, nowhere */
};

/* One write of its row is under way at a time, never two. */
enum agent_write { WRITE_NONE = 0, WRITE_UNDER_WAY, WRITE_AGAIN /* what is being written is out of date */ };

struct agent {
        struct id agent_id;
        struct id project_id;
        struct id command_id; /* of the spawn or terminate in flight */
        struct pool *pool;
        struct pool_worker *worker; /* whose slot it takes; NULL: none */
        char *role_type;            /* owned */
        char *labels, *args;        /* owned compact JSON objects; NULL: none */
        char trace[TRACE_SIZE];     /* traceparent of its spawn, for its first start; "": none */
        const char *start_reason;   /* one of hosted_start_reason */
        struct agent_exit *last_exit; /* owned; NULL: never ended */
        void *waiter;               /* the shell's: whom to answer; NULL: nobody */
        void *ender;                /* likewise for the terminate that came while waiter was taken, or later */
        uint64_t epoch;             /* grows by one at every placement; 1 at the first */
        int64_t created_at, updated_at; /* wall ms */
        int64_t deadline;           /* mono ms by which its spawn, or else its terminate, must be answered; 0: it is */
        int64_t resend_at;          /* mono ms: the command again, or the end of the restart delay; 0: none */
        int64_t store_retry_at;     /* mono ms; 0: none */
        int64_t placed_at;          /* mono ms: when its slot was taken */
        int64_t timer_at;           /* the earliest of those, as its pool's timers know it; 0: not among them */
        int64_t running_since;      /* mono ms; 0: does not run */
        int64_t idle_since;         /* mono ms: when it started or last had to do with a message */
        int64_t idle_at;            /* mono ms when to look whether it was idle for max_idle_time; 0: never */
        int64_t restart_window;     /* mono ms: start of the period in which restarts_in_window count */
        uint32_t restarts;          /* all, ever */
        uint32_t restarts_in_window;
        uint32_t restart_delay_tries; /* doublings so far */
        struct usage usage;         /* of its processes, as its worker last told; the shell's */
        uint64_t usage_epoch;       /* which of its lives that was */
        int64_t usage_at;           /* wall ms; 0: never told */
        uint32_t in_flight;         /* messages being worked on */
        int32_t heartbeat_interval, max_idle_time; /* seconds */
        enum agent_state state;
        enum agent_phase phase;
        enum agent_asked asked;
        enum agent_write write;
        bool stored;      /* its row of this epoch is committed */
        bool acked;       /* its worker acknowledged this epoch */
        bool answer_stored; /* answer the spawn once it is stored, before it runs (wait=false) */
        bool answered;    /* the spawn was answered: from now on it is never lost */
        bool graceful;    /* how to end it */
        bool moving;      /* ended on purpose to start again, and not started yet */
        bool resumed;     /* its spawn was begun by the master before this one */
        bool ending;      /* a terminate waits for its answer */
        bool idled;       /* it is ended because it was idle; last_exit says so */
        bool aside;       /* it waits apart from those that can be placed */
        bool row;         /* the store has a row of it */
        bool listed;      /* among what its worker said just now (pool_worker_ready) */
        bool shown;       /* the shell has written it to the registry, where its worker has no connection to that … */
        bool busy_shown;  /* … and that it is busy */
        TAILQ_ENTRY(agent) pending;    /* in its pool's list of those that wait for a slot or a report */
        RB_ENTRY(agent) timer;         /* in its pool's timers */
        TAILQ_ENTRY(agent) on_worker;  /* in its worker's list */
        UT_hash_handle hh;             /* by agent_id */
};

/* A zeroed agent with a new id, state starting, epoch 0 (the first placement makes it 1); NULL when out of memory. */
struct agent *agent_new(void);
/* NULL is fine; returns NULL. */
struct agent *agent_free(struct agent *agent);
/* Messages can be given to it. */
bool agent_runs(const struct agent *agent);
/* It does not run, but is on its way: a message may wait for that. Not while it is held back since it failed. */
bool agent_comes(const struct agent *agent);
#endif
