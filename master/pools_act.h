/* Carrying out what a pool's rules ask for. */
#ifndef MASTER_POOLS_ACT_H
#define MASTER_POOLS_ACT_H
#include "master/pools.h"

/* All actions that wait now. */
void pools_act(struct master *master, struct master_pool *pool);
/* Asks the forker for SIGKILL; POOL_REAP and the rest follow from the exit. */
void pools_kill(struct master *master, const struct id *process_id);
#endif
