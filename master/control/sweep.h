/* A pool's rules and the registry, compared: ends that were not heard of, heartbeats, workers that nobody knows.
 * After the first time agents may be placed. */
#ifndef MASTER_CONTROL_SWEEP_H
#define MASTER_CONTROL_SWEEP_H
#include "master/control/pools.h"

/* Asks the registry. Every worker from before this master has been handed over by then. */
void sweep_pool(struct master_pool *pool);
/* The registry is away: there is nothing to wait for. */
void sweep_without_registry(struct master_pool *pool);
#endif
