/* Without the registry. Pure. */
#ifndef REGISTRY_CORE_POOL_DEGRADED_H
#define REGISTRY_CORE_POOL_DEGRADED_H
#include "registry/core/pool_books.h"

void pool_take_registry(struct pool *pool, bool up);
#endif
