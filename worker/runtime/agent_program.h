/* What a command agent's program is started with: its pool's argv and environment, and what its spawn adds. */
#ifndef WORKER_RUNTIME_AGENT_PROGRAM_H
#define WORKER_RUNTIME_AGENT_PROGRAM_H
#include "registry/protocol/command.h"
#include "registry/protocol/pool_config.h"
#include "worker/runtime/agent_cgroup.h"
#include "worker/runtime/limits.h"

#include <sys/types.h>

/* 0, or -EINVAL with a reason: these settings can never start a program. */
int agent_program_check(const struct pool_config *config, char *reason, size_t size);
/* As launch_run (worker/runtime/launch.h), in cgroup and within the pool's limits. fds become 0, 1 and 2 of the program; the caller
 * closes them. */
int agent_program_run(const struct pool_config *config, const struct command *spawn, const struct limits *limits,
        const struct agent_cgroup *cgroup, const int fds[3], pid_t *ret_pid, int *ret_pidfd, char *reason, size_t size);
#endif
