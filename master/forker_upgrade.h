/* How one program hands its children to the next under the same pid: the table in a memfd whose number an environment
 * variable names, the descriptors in it left open over exec. */
#ifndef MASTER_FORKER_UPGRADE_H
#define MASTER_FORKER_UPGRADE_H
#include "master/forker_table.h"

/* For the environment, once at start-up. 0 or -ENOMEM. */
int forker_upgrade_init(void);
/* Executes the program in this process; the old master sees its channel close. Returns only when that fails, and then
 * all is as it was (logged). */
void forker_upgrade_exec(const struct forker_config *config, const struct forker_table *table, pid_t master_pid,
        pid_t redis_pid);
/* Starts the program in a child with check_argv, to judge its configuration and the table. Its pid; 0: not possible
 * (logged). */
pid_t forker_upgrade_check(const struct forker_config *config, const struct forker_table *table);
/* What the program before this one left, into a new table. 0; -EPROTO: not of this version, or damaged; -errno. */
int forker_upgrade_load(int state, const struct forker_config *config, struct forker_table *table,
        pid_t *ret_master_pid, pid_t *ret_redis_pid);
#endif
