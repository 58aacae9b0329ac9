/* One script call under way, for registry_redis.c: its arguments, its answer, and the same again when Redis lost the script. */
#ifndef REGISTRY_REDIS_REGISTRY_CALL_H
#define REGISTRY_REDIS_REGISTRY_CALL_H
#include "registry/redis/redis_session.h"
#include "registry/redis/registry.h"

/* The registry may be gone when it ends without an answer. */
struct registry_call {
        struct registry *registry;
        struct redis_command command; /* kept until answered: a flushed script is loaded and called again */
        enum script script;
        bool repeated;
        void (*finish)(struct registry_call *call, int error, const redisReply *reply);
        union {
                registry_cb done;
                registry_owner_cb owner;
                registry_placed_cb placed;
                registry_reported_cb reported;
                registry_listing_cb listing;
                registry_swept_cb swept;
        } cb;
        void *arg;
        int error; /* why it cannot be sent */
        size_t count;
        void *results; /* of a batch: count registry_placed or registry_reported, in the same allocation */
};

struct registry {
        struct redis_session *session;
        struct id master_id;
        struct registry_call refused; /* stands for a call that could not be made: takes arguments, is never sent */
        char reason[192];
};

/* keys: how many of the arguments that follow are keys; count: items of a batch. Never NULL: see refused. */
struct registry_call *registry_call_new(struct registry *registry, enum script script, int keys, size_t count);
void registry_call_add_agent(struct registry_call *call, const struct id *agent_id, uint64_t epoch);
/* The same, as item i of a batch whose results say so. */
void registry_call_add_reported(struct registry_call *call, size_t i, const struct id *agent_id, uint64_t epoch);
/* Consumes call. 0 (finish follows once), -EAGAIN, -ENOMEM or the call's own error. */
int registry_call_send(struct registry *registry, struct registry_call *call,
        void (*finish)(struct registry_call *, int, const redisReply *), void *arg);
/* How calls end: each reads the answer of its kind and calls back. */
void registry_finish_done(struct registry_call *call, int error, const redisReply *reply);
void registry_finish_owner(struct registry_call *call, int error, const redisReply *reply);
void registry_finish_placed(struct registry_call *call, int error, const redisReply *reply);
void registry_finish_reported(struct registry_call *call, int error, const redisReply *reply);
void registry_finish_listing(struct registry_call *call, int error, const redisReply *reply);
void registry_finish_swept(struct registry_call *call, int error, const redisReply *reply);
/* What Redis said when it refused: see registry_reason. */
void registry_keep_reason(struct registry *registry, int error, const redisReply *reply);
#endif
