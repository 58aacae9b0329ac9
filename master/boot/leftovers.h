/* What a daemon that was killed left running on its run_dir: workers that still end their agents, and what is below them;
 * known by the lock that they inherited (master/boot/run_lock.h). And programs of agents whose worker was killed with it, which
 * nobody ends any more; known by AGENTPOOL_MASTER_ID in their environment. No agent is started before all are gone. */
#ifndef MASTER_BOOT_LEFTOVERS_H
#define MASTER_BOOT_LEFTOVERS_H
#include <stddef.h>
#include <stdint.h>

/* Takes the lock as run_lock_take does, but waits for what a dead holder left; after patience_ms that is killed. Once
 * locked, kills what carries master_id ("" when this run_dir never had one). Says in the log what it waits for and kills.
 * 0 and *ret_fd; -EBUSY or -errno with reason. */
int leftovers_await(const char *lock_path, const char *master_id, int64_t patience_ms, int *ret_fd, char *reason,
        size_t size);
#endif
