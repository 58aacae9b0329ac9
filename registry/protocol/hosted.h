/* An agent as the worker that runs it tells its master. */
#ifndef REGISTRY_PROTOCOL_HOSTED_H
#define REGISTRY_PROTOCOL_HOSTED_H
#include "common/id.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOSTED_MAX 500 /* agents in one telling */

struct hosted_agent {
        struct id agent_id;
        uint64_t epoch;
        const char *start_reason; /* static, see hosted_start_reason; NULL: not known */
        bool starting; /* its start is still under way: SPAWNED or SPAWN_FAILED follows */
};

/* "spawn", "restart", "worker_exited", "restore" or "rollout" by its text; NULL: none of them. */
const char *hosted_start_reason(const char *text);
/* NULL when out of memory: half a list would make the master place again what runs. */
cJSON *hosted_print(const struct hosted_agent *hosted, size_t count);
/* 0 with *ret_hosted (the caller's to free()), -EINVAL, -ENOMEM. */
int hosted_read(const cJSON *list, struct hosted_agent **ret_hosted, size_t *ret_count);
#endif
