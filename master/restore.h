/* Desired state at start: every agent that the store says should exist goes into its pool's rules. */
#ifndef MASTER_RESTORE_H
#define MASTER_RESTORE_H
#include "master/context.h"

/* on_done(arg, 0 or -errno) follows once, from the event loop. 0 or -errno (then it does not follow). */
int restore_start(struct master *master, void (*on_done)(void *arg, int error), void *arg);
#endif
