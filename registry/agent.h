/* One agent as its master sees it: what was asked for and where it is. Pure. Owned by its pool (registry/pool.h). */
#ifndef REGISTRY_AGENT_H
#define REGISTRY_AGENT_H
#include "common/id.h"
#include "registry/command.h"
#include "registry/state.h"

#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

struct pool;
struct pool_worker;

/* Where an agent that should exist stands on its way into a worker. */
enum agent_phase {
        PHASE_NONE = 1,  /* not on the way: runs, or should not exist */
        PHASE_STORING,   /* its new epoch is being committed; no placement before that (never for a first spawn) */
        PHASE_WAITING,   /* for a slot */
        PHASE_RESERVING, /* the registry was asked */
        PHASE_SENT,      /* slot taken, command published, acknowledgement awaited */
        PHASE_WITHDRAWN, /* told to end where it is, placed again once it is certainly gone */
        PHASE_DELAYED,   /* restart back-off */
        PHASE_RESTORING, /* loaded from the store; adopted workers may yet report it */
        PHASE_COUNT
};

struct agent {
        struct id agent_id;
        struct id project_id;
        struct id command_id; /* of the spawn or terminate in flight */
        struct pool *pool;
        struct pool_worker *worker; /* whose slot it takes; NULL: none */
        char *role_type;            /* owned */
        char *labels, *args;        /* owned compact JSON objects; NULL: none */
        const char *start_reason;   /* static: "spawn", "restart", "worker_exited", "restore" */
        struct agent_exit *last_exit; /* owned; NULL: never ended */
        void *waiter;               /* the shell's: whom to answer; NULL: nobody */
        uint64_t epoch;             /* grows by one at every placement; 1 at the first */
        int64_t created_at, updated_at; /* wall ms */
        int64_t deadline;           /* mono ms of what it waits for; 0: none */
        int64_t resend_at;          /* mono ms; 0: none */
        int64_t running_since;      /* mono ms; 0: does not run */
        int64_t restart_window;     /* mono ms: start of the period in which restarts_in_window count */
        uint32_t restarts;          /* all, ever */
        uint32_t restarts_in_window;
        uint32_t restart_delay_tries; /* doublings so far */
        uint32_t in_flight;         /* messages being worked on */
        int32_t heartbeat_interval, max_idle_time; /* seconds */
        enum agent_state state;
        enum agent_phase phase;
        bool stored;      /* its row of this epoch is committed */
        bool acked;       /* its worker acknowledged this epoch */
        bool answered;    /* the spawn was answered: from now on it is never lost */
        bool graceful;    /* how to end it */
        TAILQ_ENTRY(agent) pending;    /* in its pool's timer or waiting list */
        TAILQ_ENTRY(agent) on_worker;  /* in its worker's list */
        UT_hash_handle hh;             /* by agent_id */
};

/* A zeroed agent with a new id, state starting, epoch 0 (the first placement makes it 1); NULL when out of memory. */
struct agent *agent_new(void);
/* NULL is fine; returns NULL. */
struct agent *agent_free(struct agent *agent);
/* The spawn or terminate command that agent->phase and state call for, as an envelope; free(); NULL when out of memory. */
char *agent_spawn_command(const struct agent *agent, const struct id *master_id);
char *agent_terminate_command(const struct agent *agent, const struct id *master_id);
/* A name for people, derived from the id, always the same: "Ada Lovage". Writes at most size bytes; returns buffer. */
char *agent_human_name(const struct id *agent_id, char *buffer, size_t size);
#endif
