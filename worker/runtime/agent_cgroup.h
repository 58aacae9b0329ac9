/* The cgroup of one command agent: what its program and all below it may use together, and a way to end all of it, even what
 * broke away. <delegated>/agents/<process id of its worker>/<agent id>-<epoch>. */
#ifndef WORKER_RUNTIME_AGENT_CGROUP_H
#define WORKER_RUNTIME_AGENT_CGROUP_H
#include "common/id.h"
#include "registry/protocol/pool_config.h"
#include "registry/protocol/usage.h"

/* Where a worker's agents have theirs, below base; the caller's to free(). NULL when that cannot be made (logged). */
char *agent_cgroup_parent(const char *base, const struct id *process_id);

struct agent_cgroup {
        char *path;           /* owned; NULL: it has none */
        unsigned controllers; /* enum cgroup_controller: those that it is limited by */
};

/* Makes it below parent (NULL: has none). 0 or -errno. */
int agent_cgroup_init(struct agent_cgroup *cgroup, const char *parent, const struct id *agent_id, uint64_t epoch,
        const struct pool_limits_config *limits);
/* Where its first process enters (struct launch); the caller's to close. 0: it has none; -errno. */
int agent_cgroup_enter(const struct agent_cgroup *cgroup);
/* The kernel killed something in it that wanted more memory than it may have. */
bool agent_cgroup_out_of_memory(const struct agent_cgroup *cgroup);
/* What is in it uses now, and has used. -ENOENT: it has none. */
int agent_cgroup_usage(const struct agent_cgroup *cgroup, struct usage *ret_usage);
/* Kills all that is in it, and removes it once that is gone: 0; -EBUSY: not yet. */
int agent_cgroup_end(struct agent_cgroup *cgroup);
void agent_cgroup_done(struct agent_cgroup *cgroup); /* forgets it as it is */
#endif
