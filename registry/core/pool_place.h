/* From waiting to a worker. Pure. */
#ifndef REGISTRY_CORE_POOL_PLACE_H
#define REGISTRY_CORE_POOL_PLACE_H
#include "registry/core/pool_books.h"

void pool_place_again(struct agent *agent);          /* under a new epoch; it certainly runs nowhere */
void pool_place_later(struct agent *agent, int64_t now); /* the same in POOL_RETRY_MS */
/* A slot by the registry or by the rules. False: it stays as it is, no worker has room. */
bool pool_reserve(struct agent *agent, int64_t now);
void pool_take_reserved(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error,
        const struct id *process_id, int64_t now);
bool pool_found_early(const struct agent *agent);
void pool_reserved_at(struct agent *agent, struct pool_worker *worker, int64_t now);
void pool_pump_waiting(struct pool *pool, int64_t now); /* into free slots */
#endif
