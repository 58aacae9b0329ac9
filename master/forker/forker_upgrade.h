/* How one program hands its children to the next under the same pid: the table in a memfd whose number an environment
 * variable names, the descriptors in it left open over exec. */
#ifndef MASTER_FORKER_FORKER_UPGRADE_H
#define MASTER_FORKER_FORKER_UPGRADE_H
#include "master/forker/forker_retired.h"
#include "master/forker/forker_table.h"

/* The environment variable with the state's descriptor, for the program that USR2 executes (and for its check). */
#define FORKER_STATE_VARIABLE "AGENTPOOL_FORKER_STATE"

/* What an earlier program of this pid left in state at USR2. */
struct forker_inheritance {
        int lock; /* -1: none */
        int listeners[FORKER_LISTENERS_MAX];
        unsigned listener_count;
};
/* 0; -EPROTO: state is not of this version of the table, or damaged. */
int forker_inherit(int state, struct forker_inheritance *ret_inheritance);

struct forker_upgrade {
        pid_t check_pid; /* of the check before it, 0: none */
        int64_t by;      /* mono ms: exec follows the master, which hands over, or at the latest then; 0: none is due */
        bool back;       /* the one under way goes to previous */
        int previous;    /* the program before this one (O_PATH); -1: none */
        int64_t at;      /* wall ms: when this one was executed in its place */
};

/* For the environment, once at start-up. 0 or -ENOMEM. */
int forker_upgrade_init(void);
/* Executes the program in this process; the old master sees its channel close. Returns only when that fails, and then
 * all is as it was (logged). */
void forker_upgrade_exec(const struct forker_config *config, const struct forker_table *table,
        const struct forker_retired *retired, struct forker_upgrade *upgrade, pid_t master_pid, pid_t redis_pid);
/* Starts the program in a child with check_argv, to judge its configuration and the table; check_pid is 0 when that is not
 * possible (logged). */
void forker_upgrade_check(const struct forker_config *config, const struct forker_table *table,
        struct forker_upgrade *upgrade);
/* Says that the check ended with status. */
void forker_upgrade_refused(const struct forker_config *config, const struct forker_upgrade *upgrade, int status);
/* What the program before this one left, into a new table. 0; -EPROTO: not of this version, or damaged; -errno. */
int forker_upgrade_load(int state, const struct forker_config *config, struct forker_table *table,
        struct forker_retired *ret_retired, struct forker_upgrade *ret_upgrade, pid_t *ret_master_pid, pid_t *ret_redis_pid);
#endif
