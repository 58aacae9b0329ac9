/* Looks which workers are hung. */
#ifndef MASTER_CONTROL_SILENCE_H
#define MASTER_CONTROL_SILENCE_H
#include "master/control/pools.h"

/* What a sweep says of worker's heartbeat. That it changed counts, not when it was: Redis' clock may jump. */
void silence_heard(struct pool_worker *worker, int64_t heartbeat_at);
/* Gives up the workers that were silent in Redis and on their control sockets for longer than their lease, unless this master
 * has to suspect itself. */
void silence_check(struct master *master);
#endif
