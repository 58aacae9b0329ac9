/* One directory of cgroup v2 and its files (Documentation/admin-guide/cgroup-v2.rst). Functions return 0 or -errno. */
#ifndef COMMON_CGROUP_H
#define COMMON_CGROUP_H
#include <stdbool.h>

enum cgroup_controller { CGROUP_MEMORY = 1, CGROUP_CPU = 2, CGROUP_PIDS = 4 }; /* those that we use */

/* Which of our controllers that file ("cgroup.controllers", "cgroup.subtree_control") names. */
unsigned cgroup_controllers(const char *cgroup, const char *file);
/* Hands them to the cgroups below; returns those that are handed now. */
unsigned cgroup_enable(const char *cgroup, unsigned controllers);
/* Kills all that is in it or below it. */
int cgroup_kill(const char *cgroup);
/* Something alive is in it or below it. */
bool cgroup_populated(const char *cgroup);
/* Removes it and what is below it. -EBUSY while something lives there; 0 also when it is gone already. */
int cgroup_remove(const char *cgroup);
#endif
