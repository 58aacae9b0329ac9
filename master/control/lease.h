/* Workers' leases: one that was heard neither in Redis nor on its control socket for so long is hung. */
#ifndef MASTER_CONTROL_LEASE_H
#define MASTER_CONTROL_LEASE_H
#include "master/control/pools.h"

/* What a sweep says of worker's heartbeat. That it changed counts, not when it was: Redis' clock may jump. */
void lease_heard(struct pool_worker *worker, int64_t heartbeat_at);
/* Gives up the workers that were silent in Redis and on their control sockets for longer than their lease, unless this master
 * has to suspect itself. */
void lease_check(struct master *master);
#endif
