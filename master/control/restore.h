/* Desired state at start: every agent that the store says should exist goes into its pool's rules. */
#ifndef MASTER_CONTROL_RESTORE_H
#define MASTER_CONTROL_RESTORE_H
#include "master/control/context.h"

struct restore;

/* on_away(arg): the store cannot be read now; it is asked again until it can. on_done(arg, 0 or -errno) follows once,
 * from the event loop. NULL when out of memory. Freed after the store is closed. */
struct restore *restore_new(struct master *master, void (*on_away)(void *arg), void (*on_done)(void *arg, int error), void *arg);
struct restore *restore_free(struct restore *restore); /* NULL is fine */
#endif
