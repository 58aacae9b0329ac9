/* Whether there is room for one more agent. Pure. */
#ifndef REGISTRY_CORE_POOL_ROOM_H
#define REGISTRY_CORE_POOL_ROOM_H
#include "registry/core/pool_books.h"

bool pool_is_room(const struct pool *pool, unsigned fresh);
/* POOL_OK, or why a new spawn is refused at once. */
enum pool_error pool_refuse_spawn(const struct pool *pool, int64_t now, char detail[192]);
#endif
