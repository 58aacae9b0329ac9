/* What agents use, asked of their workers when somebody wants to know. The answers are kept in the agents (agent->usage) and
 * their workers (worker->agents_usage). */
#ifndef MASTER_CONTROL_USAGES_H
#define MASTER_CONTROL_USAGES_H
#include "master/control/context.h"
#include "registry/protocol/control.h"

struct master_pool;
struct usages;

struct usages *usages_new(struct master *master);    /* NULL when out of memory */
struct usages *usages_free(struct usages *usages);   /* whoever waits is answered; NULL is fine */
/* Asks the workers that host programs: of pool (NULL: of all pools), or only this one. done follows, perhaps at once, when all
 * have answered or half a second has passed; the figures are then those of now, as far as they came. */
void usages_ask(struct usages *usages, const struct master_pool *pool, const struct id *only, void (*done)(void *arg), void *arg);
/* The same at most once a second, for whoever takes the figures that there are. */
void usages_refresh(struct usages *usages);
/* A portion of an answer. */
void usages_take(struct usages *usages, const struct id *process_id, const struct control *used);
#endif
