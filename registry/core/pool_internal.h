/* What the files of the pool's rules share: pool.c (life, actions, time, looking), pool_place.c (from the request to the
 * answer), pool_room.c (whether there is any), pool_degraded.c (the registry is away), pool_restore.c, pool_end.c (ends,
 * restarts, terminate), pool_idle.c, pool_breaker.c, pool_workers.c, pool_rollout.c. Nobody else includes this. */
#ifndef REGISTRY_CORE_POOL_INTERNAL_H
#define REGISTRY_CORE_POOL_INTERNAL_H
#define HASH_NONFATAL_OOM 1
#include "common/backoff.h"
#include "registry/core/pool_model.h"
#include "registry/protocol/hosted.h"

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

/* pool.c */
void pool_push(struct pool *pool, enum pool_action_type type, struct agent *agent, struct pool_worker *worker);
void pool_push_release(struct pool *pool, const struct agent *agent);
void pool_push_evict(struct pool *pool, struct pool_worker *worker, const struct id *agent_id, uint64_t epoch);
uint64_t pool_evicted_epoch(const struct pool *pool, const struct id *agent_id); /* 0: none */
void pool_push_answer(struct pool *pool, struct agent *agent, void *waiter, enum pool_error error, const char *detail);
void pool_push_event(struct pool *pool, const char *event, struct agent *agent, struct pool_worker *worker,
        const char *detail);
uint32_t pool_random(struct pool *pool);
void pool_wake_at(struct pool *pool, int64_t at); /* pool_pump is due then, at the latest */
struct id pool_new_id(struct pool *pool);
/* After any change of the times that an agent or worker waits for. */
void pool_agent_time(struct agent *agent);
void pool_worker_time(struct pool_worker *worker);

/* pool_place.c */
bool pool_add_agent(struct pool *pool, struct agent *agent);
void pool_set_phase(struct agent *agent, enum agent_phase phase);
void pool_set_state(struct agent *agent, enum agent_event event);
void pool_attach(struct agent *agent, struct pool_worker *worker, int64_t now);
void pool_detach(struct agent *agent, int64_t now);
void pool_store(struct agent *agent);                /* its row as it is now, after the write under way */
void pool_place_again(struct agent *agent);          /* under a new epoch; it certainly runs nowhere */
void pool_place_later(struct agent *agent, int64_t now); /* the same in POOL_RETRY_MS */
/* A slot by the registry or by the rules. False: it stays as it is, no worker has room. */
bool pool_reserve(struct agent *agent, int64_t now);
bool pool_found_early(const struct agent *agent);
void pool_reserved_at(struct agent *agent, struct pool_worker *worker, int64_t now);
void pool_answer_if_due(struct agent *agent);
/* A spawn that is not answered fails: nothing is left behind. */
void pool_abandon(struct agent *agent, enum pool_error error, const char *detail, int64_t now);
void pool_forget_agent(struct agent *agent, int64_t now);
void pool_agent_due(struct agent *agent, int64_t now);
unsigned pool_free_slots(const struct pool *pool);   /* as far as this pool knows, less what it asked for */
/* Slots that agents on their way back (restart delay, new epoch being stored, restore) or in workers that are leaving will
 * need: not for new spawns. */
unsigned pool_owed_slots(const struct pool *pool);
/* Waiting agents into free slots, restored ones on their way, workers forked for the rest. After every event. */
void pool_pump(struct pool *pool, int64_t now);

/* Those that were put aside may be placed again: all workers have said what they run, or the registry came or went. */
void pool_join_aside(struct pool *pool);

/* pool_degraded.c */
/* Not while it may be in a worker that has not said what it runs. */
bool pool_may_place(const struct agent *agent);
/* What pool_reserve does while the registry is away, and with those that were on their way when it went. */
bool pool_place_alone(struct agent *agent, int64_t now);

/* pool_restore.c */
void pool_pump_restoring(struct pool *pool, int64_t now);
void pool_take_hosted(struct pool_worker *worker, const struct hosted_agent *hosted, int64_t now);
/* After all it hosts was taken: asks for what should be there and was not listed. */
void pool_doubt_unlisted(struct pool_worker *worker, int64_t now);

/* pool_room.c */
bool pool_is_room(const struct pool *pool, unsigned fresh);
/* POOL_OK, or why a new spawn is refused at once. */
enum pool_error pool_refuse_spawn(const struct pool *pool, int64_t now, char detail[192]);

/* pool_idle.c */
void pool_idle_watch(struct agent *agent, int64_t now); /* it runs: from now on it may be idle for too long */
void pool_idle_due(struct agent *agent, int64_t now);

/* pool_breaker.c */
void pool_worker_failed(struct pool_worker *worker, const char *reason, int64_t now);
void pool_worker_proved(struct pool_worker *worker, int64_t now); /* an agent runs in it */
void pool_agent_failed(struct pool *pool, const char *reason, int64_t now);
bool pool_may_fork(const struct pool *pool);
bool pool_may_start(const struct pool *pool);
void pool_start_tried(struct agent *agent);
/* POOL_OK, or what a new spawn is answered. room: there is a slot for it. */
enum pool_error pool_breaker_refuses(const struct pool *pool, bool room, int64_t now, char detail[192]);
void pool_pump_breakers(struct pool *pool, int64_t now);

/* pool_end.c */
int64_t pool_end_ms(const struct pool *pool); /* the longest that an agent's end takes in its worker */
void pool_begin_end(struct agent *agent, int64_t now);  /* on purpose; agent->graceful says how */
void pool_keep_exit(struct agent *agent, const struct agent_exit *exit);
void pool_agent_gone(struct agent *agent, int64_t now); /* stopping, and certainly gone */
void pool_worker_lost(struct agent *agent, const char *why, int64_t now); /* its worker is certainly gone */
void pool_answer_end(struct agent *agent, enum pool_error error, const char *detail); /* to the terminate that waits */
void pool_end_timed_out(struct agent *agent);
void pool_finish_if_stored(struct agent *agent, int64_t now);
void pool_tell_end(struct agent *agent, int64_t now);   /* sends its terminate command, until it has ended */
void pool_withdraw(struct agent *agent, bool graceful, int64_t now);

/* pool_workers.c */
void pool_fork_workers(struct pool *pool, int64_t now);
void pool_worker_due(struct pool_worker *worker, int64_t now);
/* Takes a ready worker out of service: it gets no new agents and exits when it has none. */
void pool_drain_worker(struct pool_worker *worker, const char *why, int64_t now);
void pool_close_worker(struct pool_worker *worker, int64_t now);

/* pool_rollout.c */
void pool_rollout_pump(struct pool *pool, int64_t now);
void pool_rollout_failed(struct pool *pool, const char *reason); /* halts it */
/* Workers that the rollout wants ready and empty beyond the spare ones. */
unsigned pool_rollout_surge(const struct pool *pool);
/* Ready workers that host nothing; while a rollout runs, only those that it will not replace. */
unsigned pool_rollout_empty(const struct pool *pool);
#endif
