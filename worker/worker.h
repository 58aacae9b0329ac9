/* A worker process: up to N agents of one pool on one event loop. The shell around registry/core/roster.h. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H
#include "common/id.h"
#include "worker/worker_place.h"

/* Runs until its agents are gone and it was told to end, or its control socket closes. control: its end of that
 * socket; every setting comes over it (WELCOME), nothing but place from this image. Returns the exit
 * status. */
int worker_run(int control, const struct id *process_id, const char *pool_name, const struct worker_place *place);
#endif
