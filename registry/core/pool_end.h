/* Agents end, asked and unasked, and what follows. Pure. */
#ifndef REGISTRY_CORE_POOL_END_H
#define REGISTRY_CORE_POOL_END_H
#include "registry/core/pool_books.h"

void pool_begin_end(struct agent *agent, int64_t now);  /* on purpose; agent->graceful says how */
int pool_take_terminate(struct agent *agent, bool graceful, void *waiter, int64_t now);
void pool_end_timed_out(struct agent *agent);
void pool_worker_lost(struct agent *agent, const char *why, int64_t now); /* its worker is certainly gone */
void pool_take_reply(struct pool *pool, const struct reply *reply, int64_t now);
void pool_idle_watch(struct agent *agent, int64_t now); /* it runs: from now on it may be idle for too long */
void pool_idle_due(struct agent *agent, int64_t now);
#endif
