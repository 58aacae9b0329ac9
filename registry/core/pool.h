/* The master's rules for one pool: which agents wait, where they go, when to fork, what to do when things die.
 * Pure: takes events with the time, queues actions; reads no clock, does no I/O, logs nothing. The shell (master/)
 * carries the actions out and reports back; the simulator (test/sim) does the same with a network that lies. */
#ifndef REGISTRY_CORE_POOL_H
#define REGISTRY_CORE_POOL_H
#include "registry/core/agent.h"
#include "registry/core/breaker.h"
#include "registry/core/pool_config.h"

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
        bool degraded;             /* a breaker is not closed; see reason */
        char reason[192];
        struct pool_rollout rollout;
};

/* config is borrowed and must outlive the pool; random (64 unpredictable bits) feeds jitter and process and command ids.
 * Nothing is placed or forked before pool_restored. NULL when out of memory. */
struct pool *pool_new(const struct pool_config *config, uint64_t random, int64_t now);
struct pool *pool_free(struct pool *pool);
const struct pool_config *pool_config(const struct pool *pool);
/* What masters before this one counted: workers_spawned, workers_terminated. */
void pool_count_on(struct pool *pool, uint64_t spawned, uint64_t terminated);

/* The next action, or false. Call until false after every event (or batch of events). */
bool pool_next_action(struct pool *pool, struct pool_action *ret_action);
/* The mono ms at which pool_tick is due; INT64_MAX: never. Every event may change it. */
int64_t pool_next_deadline(const struct pool *pool);
void pool_tick(struct pool *pool, int64_t now);

/* Requests. 0 or -EBUSY with *ret_error and detail: refused at once, the agent stays the caller's. */
int pool_spawn(struct pool *pool, struct agent *take_agent, int64_t now, enum pool_error *ret_error, char detail[192]);
/* A row from the store, at start: placed again unless an adopted worker reports it. */
void pool_restore(struct pool *pool, struct agent *take_agent, int64_t now);
/* The agent of a spawn that the master before this one began, and that still starts: waiter hears how it goes on, by
 * deadline (mono ms). */
void pool_resume_spawn(struct agent *agent, void *waiter, int64_t deadline);
/* No more pool_restore calls: place what no adopted worker reports (waits for those that have not reported). */
void pool_restored(struct pool *pool, int64_t now);
/* Every adopted worker has said what it runs. */
bool pool_known(const struct pool *pool);
/* Ends an agent on purpose; POOL_ANSWER follows when it is certainly gone (at once when it is already).
 * -EALREADY while another terminate is under way: waiter then stays the caller's. */
int pool_terminate(struct pool *pool, struct agent *agent, bool graceful, void *waiter, int64_t now);
/* Ends one agent's program and starts it again elsewhere or here (epoch + 1). -EPROTO when it does not run. */
int pool_restart_agent(struct pool *pool, struct agent *agent, int64_t now);
/* Restarts every agent that runs. Returns how many. */
unsigned pool_restart_all(struct pool *pool, int64_t now);
/* While held, new spawns are refused; what should exist goes on and is started again. */
void pool_hold(struct pool *pool, bool held);
/* Begins a rollout. -EALREADY while one runs; -EPROTO when the pool is closing. */
int pool_rollout(struct pool *pool, unsigned batch_size, int64_t min_healthy_ms, int64_t now);
/* Where reservations should go: as configured, but to the emptiest (new) worker while a rollout runs. */
enum pool_placement pool_placement(const struct pool *pool);
/* The registry is away (reservations are made by the rules, POOL_SEND carries all commands), or is to be used again. From
 * the start it is to be used. Away: every worker is asked to let go of it and to say then what it runs; until it has,
 * pool_worker_ready is not called for it. */
void pool_registry(struct pool *pool, bool up, int64_t now);
bool pool_degraded(const struct pool *pool); /* it is away */
/* Its workers never use the registry: reservations are made by the rules at all times, which is no degradation. At the start. */
void pool_set_apart(struct pool *pool);
/* Closes both breakers. */
void pool_reset(struct pool *pool, int64_t now);
/* Ends everything: workers are shut down, nothing is placed again; agents stay wanted in the store. */
void pool_close(struct pool *pool, int64_t now);
bool pool_closed(const struct pool *pool); /* closed, all answered, and no worker is left */
/* Out of memory: actions were lost, only a new master can go on. */
bool pool_broken(const struct pool *pool);

/* What came back. Unknown ids and lower epochs are ignored. One write per agent is under way at a time, and POOL_STORE_*
 * means: what the agent says when the action is carried out. */
void pool_stored(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, int64_t now);
/* error 0: placed in process_id; -ENOSPC: no slot; -ESTALE: a higher epoch is there (fenced); else the registry failed. */
void pool_reserved(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, const struct id *process_id,
        int64_t now);
/* SPAWNED, SPAWN_FAILED, EXITED; others are not for the pool. */
void pool_reply(struct pool *pool, const struct reply *reply, int64_t now);
/* How many messages the agent works on now. Also when it was given a notification: it is not idle. */
void pool_in_flight(struct pool *pool, struct agent *agent, unsigned count, int64_t now);
/* It works although no message is known to be in flight: it emits, or (unanswered) may still answer one that was given up,
 * of which its worker speaks with each heartbeat. */
void pool_active(struct agent *agent, bool unanswered, int64_t now);

void pool_worker_forked(struct pool *pool, const struct id *process_id, int pid, int64_t now);
void pool_worker_fork_failed(struct pool *pool, const struct id *process_id, int error, int64_t now);
/* A worker from before this master; pool_worker_ready says later what it runs. */
void pool_worker_adopt(struct pool *pool, const struct id *process_id, int pid, int64_t now);
/* How many agents it takes: what it was told when it was forked, which may be another number by now. Before it is ready. */
void pool_worker_capacity(struct pool *pool, const struct id *process_id, unsigned max_agents);
struct pool_hosted {
        struct id agent_id;
        uint64_t epoch;
        const char *start_reason; /* as in struct agent; NULL: not known */
        bool starting; /* its start is still under way: SPAWNED or SPAWN_FAILED follows */
};
/* It is subscribed and registered, and runs these agents (adopted: any; new: none). Again whenever it registered anew
 * (FLUSHALL): what should be there but is not listed is then asked for. */
void pool_worker_ready(struct pool *pool, const struct id *process_id, const struct pool_hosted *hosted, size_t count,
        int64_t now);
/* It does not answer; it will be killed, and its agents placed again once it has exited. */
void pool_worker_suspect(struct pool *pool, const struct id *process_id, int64_t now);
/* Certainly gone. why: "exit status 1", "killed by signal 9 (KILL)", … */
void pool_worker_exited(struct pool *pool, const struct id *process_id, const char *why, int64_t now);

/* Looking. Borrowed pointers, valid until the next event or action. */
struct agent *pool_agent(const struct pool *pool, const struct id *agent_id);
struct pool_worker *pool_worker(const struct pool *pool, const struct id *process_id);
struct agent *pool_first_agent(const struct pool *pool);          /* then agent->hh.next, oldest first */
struct pool_worker *pool_first_worker(const struct pool *pool);   /* then worker->hh.next, oldest first */
void pool_stats(const struct pool *pool, struct pool_stats *ret_stats);
const struct breaker *pool_breaker(const struct pool *pool, enum pool_breaker which);
/* When a spawn that was refused with POOL_E_BREAKER should come again; at least 1. */
int64_t pool_retry_seconds(const struct pool *pool, int64_t now);
#endif
