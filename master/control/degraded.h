/* Whether this master uses Redis or does without it: one decision for its pools and all their workers, taken under a
 * number (the generation) that voids what a worker said under an earlier one. Degraded, the rules place by themselves and
 * the control sockets carry everything. Before Redis is used again all that was left in it is removed; the workers register
 * anew. */
#ifndef MASTER_CONTROL_DEGRADED_H
#define MASTER_CONTROL_DEGRADED_H
#include "master/control/context.h"

struct degraded;
/* Undecided. on_decided(arg, changed) follows whenever master->mode was decided, also when it is as before. NULL when out of
 * memory. */
struct degraded *degraded_new(struct master *master, void (*on_decided)(void *arg, bool changed), void *arg);
struct degraded *degraded_free(struct degraded *degraded);

/* From the registry's events, after master->registry_up was set. */
void degraded_link_up(struct degraded *degraded);
void degraded_link_down(struct degraded *degraded, const char *why);
/* An operation failed with error. When Redis refused it (it is full, …) and did not just go away: does without it. */
void degraded_failed(struct degraded *degraded, int error);
/* Redis refused a worker, which was told of this generation; why: in Redis' words. */
void degraded_refused(struct degraded *degraded, uint64_t generation, const char *why);
/* A worker did without Redis under the master before this one: what is in it is out of date. */
void degraded_distrust(struct degraded *degraded);
#endif
