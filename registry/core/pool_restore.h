/* Agents of the store, and of workers that say what they run. Pure. */
#ifndef REGISTRY_CORE_POOL_RESTORE_H
#define REGISTRY_CORE_POOL_RESTORE_H
#include "registry/core/pool_books.h"
#include "registry/protocol/hosted.h"

void pool_pump_restoring(struct pool *pool, int64_t now);
void pool_take_hosted(struct pool_worker *worker, const struct hosted_agent *hosted, int64_t now);
/* After all it hosts was taken: asks for what should be there and was not listed. */
void pool_doubt_unlisted(struct pool_worker *worker, int64_t now);
#endif
