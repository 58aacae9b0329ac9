/* A worker's place in the registry: registers, beats, compares what is placed here with what runs. */
#ifndef WORKER_REGISTRATION_H
#define WORKER_REGISTRATION_H
#include "worker/context.h"

/* Connects and registers, or is ready without the registry, as the welcome says; starts to beat. 0 or -errno with a reason. */
int registration_start(struct worker *worker, char *reason, size_t size);
/* Uses the registry, or lets go of it: nothing comes by it any more, and what it was not told goes to the master. READY
 * follows. 0 or -ENOMEM. */
int registration_use(struct worker *worker, bool up);
/* Takes no more agents; or again. Tells the registry, too. */
void registration_drain(struct worker *worker, bool draining);
#endif
