/* Replaces the workers that a rollout found. Pure. */
#ifndef REGISTRY_CORE_POOL_REPLACE_H
#define REGISTRY_CORE_POOL_REPLACE_H
#include "registry/core/pool_books.h"

int pool_begin_rollout(struct pool *pool, unsigned batch_size, int64_t min_healthy_ms, int64_t now);
void pool_pump_rollout(struct pool *pool, int64_t now);
#endif
