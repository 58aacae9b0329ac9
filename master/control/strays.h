/* Agents whose pool is not configured: they run nowhere, but can be looked at and ended. A master that finds their pool
 * configured restores them. */
#ifndef MASTER_CONTROL_STRAYS_H
#define MASTER_CONTROL_STRAYS_H
#include "master/control/pools.h"

struct store_agent;
struct strays;

struct strays *strays_new(struct master *master); /* NULL when out of memory */
struct strays *strays_free(struct strays *strays); /* after the store was closed; NULL is fine */
/* Rows come in the order of their pools, then of their age; one that is known is passed over. 0, or -ENOMEM: out of memory,
 * or the row makes no sense. */
int strays_add(struct strays *strays, const struct store_agent *row);
struct agent *strays_agent(const struct strays *strays, const struct id *agent_id); /* NULL: unknown */
bool strays_has(const struct strays *strays, const struct agent *agent);
struct agent *strays_first(const struct strays *strays); /* the next: hh.next, pool by pool */
bool strays_are_of(const struct strays *strays, const char *pool_name); /* there are some */
/* What stands for a pool of that name where its agents are shown: rules that nothing ever happens to. NULL when out of memory. */
struct pool *strays_pool(struct strays *strays, const char *pool_name);
/* Why it does not run, and what to do. Returns detail. */
char *strays_detail(const struct agent *agent, char detail[200]);
/* Ends it: waiter->done follows, also with an error. -EBUSY: somebody else does that already. */
int strays_terminate(struct strays *strays, struct agent *agent, struct waiter *waiter);
#endif
