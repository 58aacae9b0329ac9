/* The workers of a pool: how many, and their lives. Pure. */
#ifndef REGISTRY_CORE_POOL_WORKERS_H
#define REGISTRY_CORE_POOL_WORKERS_H
#include "registry/core/pool_books.h"
#include "registry/protocol/hosted.h"

void pool_fork_workers(struct pool *pool, int64_t now);
void pool_worker_due(struct pool_worker *worker, int64_t now);
/* Takes a ready worker out of service: it gets no new agents and exits when it has none. */
void pool_drain_worker(struct pool_worker *worker, const char *why, int64_t now);
void pool_shut_down_worker(struct pool_worker *worker, int64_t now); /* it ends its agents, then itself */
void pool_take_fork_failed(struct pool *pool, const struct id *process_id, int error, int64_t now);
void pool_take_ready(struct pool *pool, const struct id *process_id, const struct hosted_agent *hosted, size_t count,
        int64_t now);
void pool_take_suspect(struct pool *pool, const struct id *process_id, int64_t now);
void pool_take_exit(struct pool *pool, const struct id *process_id, const char *why, int64_t now);
#endif
