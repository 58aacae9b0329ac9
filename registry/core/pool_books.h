/* What the rules of a pool share: its state, and the functions that keep it consistent. Pure. */
#ifndef REGISTRY_CORE_POOL_BOOKS_H
#define REGISTRY_CORE_POOL_BOOKS_H
#define HASH_NONFATAL_OOM 1
#include "common/backoff.h"
#include "registry/core/pool_model.h"

#include <bsd/sys/tree.h>

#define POOL_RESEND_MS 500       /* a command without its reply is sent again */
#define POOL_START_MARGIN_MS 2000 /* what an acknowledgement may take beyond start_timeout_ms */
#define POOL_RETRY_MS 100        /* the registry or a worker refused: ask again */
#define POOL_EXHAUSTED_MS 1000   /* a worker had no process, descriptor or memory to start an agent: once to twice as long */
#define POOL_STORE_RETRY_MS 1000
#define POOL_LOOK_MS 1000        /* an idle worker that was still needed */
#define POOL_UNANSWERED_BEATS 2    /* heartbeats after which an agent that works on what was given up would be idle */
#define POOL_KILL_MARGIN_MS 5000 /* a worker that should end by itself gets so much longer; a KILL is repeated so often */
#define POOL_STORING_MAX 1000    /* restored agents that are on their way at once */

struct pool_node { /* one queued action */
        struct pool_action action;
        STAILQ_ENTRY(pool_node) link;
};
TAILQ_HEAD(pool_list, agent);
RB_HEAD(agent_timers, agent);
RB_HEAD(worker_timers, pool_worker);

/* What was told to end since no agent of the store has its id; see pool_spawn. */
#define POOL_EVICTED 128
struct pool_evicted {
        struct id agent_id;
        uint64_t epoch;
};

struct pool {
        const struct pool_config *config; /* borrowed */
        uint64_t random;
        struct agent *agents;
        struct pool_worker *workers;
        STAILQ_HEAD(, pool_node) actions;
        struct pool_node *shown;           /* the action last returned: freed with what it forgets at the next call */
        struct agent_timers agent_timers;
        struct worker_timers worker_timers;
        int64_t wake_at;                   /* mono ms when waiting agents or forks are looked at again; 0: by events only */
        /* Agents that wait: spawns, placed again (they go first), restored. */
        struct pool_list fresh, again, restoring;
        /* Of fresh and again: those that may be in a worker that has not said what it runs. */
        struct pool_list fresh_aside, again_aside;
        unsigned fresh_aside_count;
        unsigned in_phase[PHASE_COUNT], fresh_count, by_state[AGENT_STATE_COUNT], workers_by_state[WORKER_STATE_COUNT];
        unsigned capacity, used, empty;    /* of ready workers: slots, taken slots, workers that host nothing */
        unsigned placed;                   /* agents in any worker */
        unsigned unsettled;                /* workers that are not settled */
        unsigned ending;                   /* terminates not answered yet */
        bool restored, closing, broken;
        bool held;                         /* new spawns are refused */
        bool apart;                        /* its workers have no registry */
        bool away;                         /* the registry is away */
        bool degraded;                     /* either: the rules place by themselves */
        int64_t reserve_at;                /* no reservation before this: the registry had no slot or no answer */
        struct backoff fork_backoff;
        int64_t fork_at;                   /* no fork before this */
        struct breaker breakers[POOL_BREAKERS];
        struct agent *trial;               /* the one that a half open breaker lets start; NULL: none */
        uint64_t workers_spawned, workers_terminated, spawns_ok, spawns_failed, idle_ends;
        struct pool_rollout rollout;
        struct pool_evicted evicted[POOL_EVICTED]; /* the last ones */
        unsigned next_evicted;
};

/* Actions, in the order in which they are carried out. */
void pool_push(struct pool *pool, enum pool_action_type type, struct agent *agent, struct pool_worker *worker);
void pool_push_release(struct pool *pool, const struct agent *agent);
void pool_push_evict(struct pool *pool, struct pool_worker *worker, const struct id *agent_id, uint64_t epoch);
uint64_t pool_evicted_epoch(const struct pool *pool, const struct id *agent_id); /* 0: none */
void pool_push_answer(struct pool *pool, struct agent *agent, void *waiter, enum pool_error error, const char *detail);
void pool_push_event(struct pool *pool, const char *event, struct agent *agent, struct pool_worker *worker,
        const char *detail);
uint32_t pool_random(struct pool *pool);
struct id pool_new_id(struct pool *pool);

/* Times: after any change of those that an agent or worker waits for. */
void pool_agent_time(struct agent *agent);
void pool_worker_time(struct pool_worker *worker);
void pool_wake_at(struct pool *pool, int64_t at); /* the whole is looked at then, at the latest */
struct agent *pool_due_agent(const struct pool *pool, int64_t now);         /* NULL: none is */
struct pool_worker *pool_due_worker(const struct pool *pool, int64_t now);

/* An agent in its pool's lists. */
bool pool_add_agent(struct pool *pool, struct agent *agent);
void pool_phase(struct agent *agent, enum agent_phase_event event); /* the one place where its phase changes */
void pool_ask(struct agent *agent, enum agent_asked asked); /* at least so much of it is open now */
void pool_set_answered(struct agent *agent, bool answered);
void pool_set_state(struct agent *agent, enum agent_event event);
void pool_attach(struct agent *agent, struct pool_worker *worker, int64_t now);
void pool_detach(struct agent *agent, int64_t now);
void pool_forget_agent(struct agent *agent, int64_t now);
void pool_put_aside(struct agent *agent); /* it waits, and cannot be placed yet */
/* Those that were put aside may be placed again: all workers have said what they run, or the registry came or went. */
void pool_join_aside(struct pool *pool);

unsigned pool_free_slots(const struct pool *pool);   /* as far as this pool knows, less what it asked for */
/* Slots that agents on their way back (restart delay, new epoch being stored, restore) or in workers that are leaving will
 * need: not for new spawns. */
unsigned pool_owed_slots(const struct pool *pool);
#endif
