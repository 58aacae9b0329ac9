/* System calls that are refused (EPERM), whatever the process may do otherwise: what a program taken over would reach
 * for next. A filter is inherited by all below and cannot be taken back. */
#ifndef MASTER_BOOT_SECCOMP_H
#define MASTER_BOOT_SECCOMP_H

/* For the forker and, as it forks them, everything below it: agents, too. What changes the kernel or the machine. 0 or
 * -errno. */
int seccomp_everywhere(void);
/* For the master besides: no program, no other process's memory, no mounts or namespaces, no other user. 0 or -errno. */
int seccomp_master(void);
#endif
