/* What a rollout asks of the rest of the rules. Pure. */
#ifndef REGISTRY_CORE_POOL_ROLLOUT_H
#define REGISTRY_CORE_POOL_ROLLOUT_H
#include "registry/core/pool_books.h"

void pool_rollout_failed(struct pool *pool, const char *reason); /* halts it */
void pool_rollout_finish(struct pool *pool, enum rollout_state state, const char *event);
/* Workers that the rollout wants ready and empty beyond the spare ones. */
unsigned pool_rollout_surge(const struct pool *pool);
/* Ready workers that host nothing; while a rollout runs, only those that it will not replace. */
unsigned pool_rollout_empty(const struct pool *pool);
#endif
