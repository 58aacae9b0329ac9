/* What the scripts answer, as the registry's structs. Nothing is believed: an answer of any other form is -EPROTO. */
#ifndef REGISTRY_REDIS_REGISTRY_REPLY_H
#define REGISTRY_REDIS_REGISTRY_REPLY_H
#include "registry/redis/redis_protocol.h"
#include "registry/redis/registry.h"

/* "OK", "ENOENT", "ESTALE", "ENOSPC" as 0 or -errno; else -EPROTO. */
int registry_reply_code(const redisReply *reply);
/* Fill result (and process_id) of count items; 0, or the error of the whole. */
/* -EPROTO: no other daemon's. The texts are reply's. */
int registry_reply_owner(const redisReply *reply, struct registry_owner *ret_owner);
int registry_reply_placed(const redisReply *reply, struct registry_placed *placed, size_t count);
int registry_reply_reported(const redisReply *reply, struct registry_reported *reported, size_t count);
/* 0 and *ret_listing with agents that borrow from reply, in an array the caller frees; else the error. */
int registry_reply_listing(const redisReply *reply, struct registry_listing *ret_listing,
        struct registry_listed_agent **ret_agents);
/* 0 and the workers, whose ends borrow from reply, in one piece that the caller frees; else the error. */
int registry_reply_swept(const redisReply *reply, struct registry_swept **ret_swept, size_t *ret_count);
/* The maxmemory-policy in an answer to INFO memory. 0, -EPERM when it may evict keys without TTL, -EPROTO when it is not
 * there. */
int registry_reply_policy(const redisReply *reply, char *ret_policy, size_t size);
#endif
