/* What a client asks for with a spawn: read, checked, made into an agent. */
#ifndef MASTER_API_SPAWN_BODY_H
#define MASTER_API_SPAWN_BODY_H
#include "common/json/schema.h"
#include "master/control/context.h"
#include "registry/core/agent.h"

struct spawn_body {
        struct id project_id;
        char *role_type, *pool_name;
        int64_t heartbeat_interval, max_idle_time; /* seconds */
        int64_t count; /* 0: not given */
        cJSON *labels, *args;
};

/* prefix is the pointer of tree itself. An unknown pool passes: pools_find tells. 0; -EINVAL with *errors; -ENOMEM likewise. */
int spawn_body_read(const struct master *master, const cJSON *tree, const char *prefix, struct spawn_body *ret_body,
        struct schema_errors *errors);
void spawn_body_done(struct spawn_body *body);
/* A new agent as asked for, not yet in any pool. NULL when out of memory. */
struct agent *spawn_body_agent(const struct spawn_body *body);
#endif
