/* What a worker and its agents' programs may use, as far as the kernel keeps count per process (setrlimit(2)). */
#ifndef WORKER_RUNTIME_LIMITS_H
#define WORKER_RUNTIME_LIMITS_H
#include "registry/protocol/pool_config.h"
#include "worker/runtime/launch.h"

/* What programs begin with that their pool does not limit. */
struct limits {
        struct rlimit files; /* as it was before the daemon raised it */
        struct rlimit data;  /* as it was before the worker's own limit */
};

/* files: the soft limit of open files that the daemon was started with. */
void limits_init(struct limits *limits, rlim_t files);
/* This worker's own, until its end. 0 or -errno. */
int limits_apply(const struct pool_worker_limits_config *config);
/* Those of a program; by_cgroup: its memory is limited by its cgroup. */
void limits_program(const struct limits *limits, const struct pool_limits_config *config, bool by_cgroup,
        struct launch *launch);
#endif
