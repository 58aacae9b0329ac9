/* The master's rules for one pool: which agents wait, where they go, when to fork, what to do when things die.
 * Pure: takes events with the time, queues actions; reads no clock, does no I/O, logs nothing. The shell (master/)
 * carries the actions out and reports back; the simulator (test/sim) does the same with a network that lies. */
#ifndef REGISTRY_CORE_POOL_H
#define REGISTRY_CORE_POOL_H
#include "registry/core/pool_model.h"
#include "registry/protocol/hosted.h"

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
/* It is subscribed and registered, and runs these agents (adopted: any; new: none). Again whenever it registered anew
 * (FLUSHALL): what should be there but is not listed is then asked for. */
void pool_worker_ready(struct pool *pool, const struct id *process_id, const struct hosted_agent *hosted, size_t count,
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
