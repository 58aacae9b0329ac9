/* The cgroup v2 subtree that this daemon may do with as it likes, cut in two at its start: <delegated>/daemon holds all of its
 * own processes (only leaves may), <delegated>/agents those of agents. */
#ifndef MASTER_BOOT_DELEGATION_H
#define MASTER_BOOT_DELEGATION_H
#include "master/config/config.h"

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#define DELEGATION_AGENTS "/agents"

struct delegation {
        char agents[PATH_MAX]; /* "": there is none; else ends with DELEGATION_AGENTS */
        unsigned controllers;  /* enum cgroup_controller: those that agents' cgroups have */
        int lock;              /* keeps other daemons away; -1: none */
};

/* setting: "auto" (the cgroup of this process, if it was delegated to it), "off", or a directory. Moves this process, so
 * before its first fork. 0, also without any; -errno with a reason when the directory that was set cannot be used. */
int delegation_take(const char *setting, struct delegation *ret_delegation, char *reason, size_t size);
/* Says which limits of pools nothing enforces. */
void delegation_warn(const struct delegation *delegation, const struct config *config);
/* Root is given up next: uid makes cgroups from then on, and who is in its group gid. 0 or -errno. */
int delegation_give(const struct delegation *delegation, uid_t uid, gid_t gid);
#endif
