/* Carrying out what a pool's rules ask for. */
#ifndef MASTER_CONTROL_POOLS_ACT_H
#define MASTER_CONTROL_POOLS_ACT_H
#include "master/control/pools.h"
#include "registry/protocol/control.h"
#include "sql/store.h"

void pools_stop_worker(struct master *master, const struct pool_worker *worker, enum control_stop how);
/* All actions that wait now. */
void pools_act(struct master *master, struct master_pool *pool);
/* Asks the forker for SIGKILL; POOL_REAP and the rest follow from the exit. */
void pools_kill(struct master *master, const struct id *process_id);
/* {"event":…, "at":…, …} for whoever watches; the caller's to free(), NULL when out of memory. */
char *pools_event_text(const struct store_event *event);
/* Logged, kept in the history, published, told to whoever listens. */
void pools_tell(struct master *master, const struct store_event *event);
/* An agent as the store's row, without last_exit and master_id. Borrowed from agent and pool_name. */
struct store_agent pools_agent_row(const struct agent *agent, const char *pool_name);
#endif
