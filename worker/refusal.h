/* What a worker does when the registry refuses to serve it. */
#ifndef WORKER_REFUSAL_H
#define WORKER_REFUSAL_H
#include "worker/context.h"

/* It is Redis' answer to this worker, not its absence. */
bool refusal_is(int error);
void refusal_say(struct worker *worker, const char *why);
/* The registry answered with error. When it refuses this worker, which its master may never meet, the master is told and
 * decides for all. */
void refusal_tell(struct worker *worker, int error);
#endif
