/* Back to the program before this one. */
#ifndef MASTER_CONTROL_ROLLBACK_H
#define MASTER_CONTROL_ROLLBACK_H
#include "master/control/pools.h"

/* Asks the forker for it: the requests under way are answered, and the master of that program follows. why: for the log.
 * 0; -ENOENT: there is none; or as channel_send. */
int rollback_begin(struct master *master, const char *why);
/* After each change of the pool: a rollout that halted because what came with an upgrade fails is undone. */
void rollback_if_halted(struct master *master, struct master_pool *pool);
#endif
