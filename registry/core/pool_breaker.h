/* The two breakers of a pool, for workers and for agents. Pure. */
#ifndef REGISTRY_CORE_POOL_BREAKER_H
#define REGISTRY_CORE_POOL_BREAKER_H
#include "registry/core/pool_books.h"

void pool_worker_failed(struct pool_worker *worker, const char *reason, int64_t now);
void pool_worker_proved(struct pool_worker *worker, int64_t now); /* an agent runs in it */
void pool_agent_failed(struct pool *pool, const char *reason, int64_t now);
bool pool_may_fork(const struct pool *pool);
bool pool_may_start(const struct pool *pool);
void pool_start_tried(struct agent *agent);
/* POOL_OK, or what a new spawn is answered. room: there is a slot for it. */
enum pool_error pool_breaker_refuses(const struct pool *pool, bool room, int64_t now, char detail[192]);
void pool_pump_breakers(struct pool *pool, int64_t now);
void pool_reset_breakers(struct pool *pool, int64_t now);
#endif
