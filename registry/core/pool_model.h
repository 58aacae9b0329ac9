/* What a pool is made of, as its rules and its shell see it: workers, actions, errors, rollout, figures. */
#ifndef REGISTRY_CORE_POOL_MODEL_H
#define REGISTRY_CORE_POOL_MODEL_H
#include "registry/core/agent.h"
#include "registry/core/breaker.h"
#include "registry/protocol/pool_config.h"

struct pool_worker {
        struct id process_id;
        struct pool *pool;
        int pid;                    /* 0 until forked */
        unsigned max_agents;        /* slots; as the pool was configured when it was forked (pool_worker_capacity) */
        unsigned used;              /* slots taken = length of agents */
        enum worker_state state;
        bool adopted;               /* was there before this master */
        bool settled;               /* nothing that the registry may have sent it is unknown: it has said what it runs since
                                       the registry went away last, or since this master began */
        bool reported;              /* was ready once */
        bool start_failed;          /* it will not be: counted among the failures already */
        bool outdated;              /* a rollout is to replace it */
        bool proved;                /* an agent ran in it */
        int64_t created_at;         /* wall ms */
        int64_t ready_at;           /* mono ms; 0: was not ready yet */
        int64_t idle_since;         /* mono ms since it hosts nothing; 0: hosts something */
        int64_t deadline;           /* mono ms by which it must be ready or gone; 0: none */
        int64_t look_at;            /* mono ms when to see whether it is still needed; 0: hosts something */
        int64_t timer_at;           /* when its pool looks at it next; 0: not among the timers */
        struct usage agents_usage;  /* of its agents' processes, as it last told; the shell's */
        int64_t usage_number;       /* which telling that was; 0: none */
        uint64_t rss_bytes, cpu_ms; /* as of its last heartbeat or pong; the shell's */
        uint64_t revision;          /* of what the registry has placed there, as last seen by the shell; 0: never */
        int64_t beat_at;            /* mono ms: when the shell last wrote a heartbeat for it */
        int64_t heartbeat_at;       /* Redis ms of that; the shell's */
        int64_t heard_at;           /* mono ms when that was last seen to change, or it was adopted; the shell's */
        int64_t forked_us;          /* mono µs when its fork was asked for; 0: not by this master, or measured; the shell's */
        TAILQ_HEAD(, agent) agents; /* by agent.on_worker */
        RB_ENTRY(pool_worker) timer;
        UT_hash_handle hh;          /* by process_id */
};

enum pool_action_type {
        POOL_STORE_INSERT = 1, /* agent: commit its new row                          -> pool_stored */
        POOL_STORE_EPOCH,      /* agent: commit its raised epoch before it is placed -> pool_stored */
        POOL_STORE_STATE,      /* agent: commit state, last exit, restarts           -> pool_stored */
        POOL_STORE_DELETE,     /* agent: a spawn that failed leaves nothing behind; no event */
        POOL_RESERVE,          /* agent: take a slot and publish its spawn command   -> pool_reserved (batch neighbours) */
        POOL_SEND,             /* agent on worker: record and publish (again) its spawn command if phase is PHASE_SENT, else
                                  its terminate command */
        POOL_RELEASE,          /* agent_id, epoch: free the slot it may still hold in the registry (after any POOL_RESERVE) */
        POOL_EVICT,            /* worker, agent_id, epoch: it runs an agent that should not be there: end it there */
        POOL_FORK,             /* worker: fork it                         -> pool_worker_forked | pool_worker_fork_failed */
        POOL_DRAIN,            /* worker: no new agents in the registry; let it exit when empty */
        POOL_SHUTDOWN,         /* worker: end its agents, then exit */
        POOL_KILL,             /* worker: SIGKILL                         -> pool_worker_exited in the end */
        POOL_REAP,             /* worker: certainly gone: take it out of the registry (before its agents are placed again) */
        POOL_ANSWER,           /* agent, waiter, error, detail: answer the spawn or terminate that waits */
        POOL_EVENT,            /* event (static name), agent or worker, detail: for the events channel and the log */
        POOL_FORGET_AGENT,     /* agent: last mention; freed at the next pool_next_action */
        POOL_FORGET_WORKER,    /* worker: likewise */
        POOL_ACTION_COUNT
};

enum pool_error {
        POOL_OK = 0,
        POOL_E_FULL,     /* no slot and none can come */
        POOL_E_QUEUE,    /* too many spawns wait already */
        POOL_E_TIMEOUT,  /* deadline passed */
        POOL_E_START,    /* the agent does not start (detail: why) */
        POOL_E_WORKERS,  /* workers of the pool do not start (detail: why) */
        POOL_E_STORE,    /* the store refused or is away */
        POOL_E_RESOURCES, /* no memory, processes or descriptors for it now */
        POOL_E_CLOSING,  /* the pool is being drained or the daemon ends */
        POOL_E_BREAKER,  /* a breaker of the pool is open (detail: which, why, for how long) */
        POOL_E_ENDED,    /* the agent was ended while its start was under way */
};

struct pool_action {
        enum pool_action_type type;
        struct agent *agent;
        struct pool_worker *worker;
        struct id agent_id;  /* POOL_EVICT, POOL_RELEASE */
        uint64_t epoch;      /* POOL_EVICT, POOL_RELEASE */
        enum agent_state state; /* POOL_STORE_*: what to write (an agent that is stopping is stored as terminated) */
        void *waiter;        /* POOL_ANSWER; not agent->waiter, which may be the next request's already; NULL: nobody */
        enum pool_error error;
        const char *event;   /* static */
        char detail[192];
};

enum pool_breaker { POOL_WORKERS = 0, POOL_AGENTS, POOL_BREAKERS };

enum rollout_state { ROLLOUT_NONE = 0, ROLLOUT_RUNNING, ROLLOUT_HALTED, ROLLOUT_FINISHED };

/* Replacing the workers that were there when it began, batch by batch: new ones are ready before old ones are emptied. */
struct pool_rollout {
        enum rollout_state state;
        unsigned batch_size;       /* workers at a time */
        int64_t min_healthy_ms;    /* nothing may fail for so long after a batch, before the next */
        int64_t healthy_at;        /* mono ms when the next batch may begin */
        unsigned replaced, remaining; /* old workers gone, old workers left */
        unsigned leaving;          /* of those, on their way out */
        char reason[160];          /* why it halted */
};

struct pool_stats {
        unsigned workers_starting, workers_ready, workers_draining, workers_stale;
        unsigned capacity, used;   /* slots of ready workers; agents that hold one */
        unsigned agents;           /* wanted or stopping */
        unsigned waiting;          /* spawns without a slot */
        unsigned by_state[AGENT_STATE_COUNT];
        uint64_t workers_spawned, workers_terminated, spawns_ok, spawns_failed;
        uint64_t idle_ends;        /* agents ended because they were idle */
        bool held;                 /* pool_hold */
        bool tripped;              /* a breaker is not closed; see reason */
        char reason[192];
        struct pool_rollout rollout;
};
#endif
