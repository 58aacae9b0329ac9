/* What Redis shows of pools whose workers have no connection to it, because they run as users of their own: the master
 * writes it, with the scripts that workers use. The rules place these agents by themselves, Redis is told. Each heartbeat
 * compares what it has with what the rules know, so what was lost on the way heals. */
#ifndef MASTER_CONTROL_MIRROR_H
#define MASTER_CONTROL_MIRROR_H
#include "master/control/pools.h"

/* All of these do nothing for other pools, and while the master does without Redis. */

/* A worker is ready: registers it with its agents. */
void mirror_worker(struct master_pool *pool, const struct pool_worker *worker);
/* An agent was placed, or is to end. */
void mirror_agent(struct master_pool *pool, const struct agent *agent);
/* What a worker was told, for people who watch. */
void mirror_command(const struct master_pool *pool, const struct id *process_id, const char *command);
/* SPAWNED, SPAWN_FAILED, EXITED. */
void mirror_reply(struct master_pool *pool, const struct reply *reply);
/* A worker's loop turns: its heartbeat, when that is due. */
void mirror_alive(struct master_pool *pool, struct pool_worker *worker);
#endif
