/* A worker's place in the registry: registers, beats, compares what is placed here with what runs. */
#ifndef WORKER_REGISTRATION_H
#define WORKER_REGISTRATION_H
#include "worker/context.h"

/* Connects, registers and starts to beat. 0 or -errno with a reason. */
int registration_start(struct worker *worker, char *reason, size_t size);
/* Tells the master what runs here, once what the registry has placed here is known (at once while Redis is away). */
void registration_announce(struct worker *worker);
#endif
