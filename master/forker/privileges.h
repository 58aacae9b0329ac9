/* Who a process is: the daemon gives up root for its user, workers and their agents become those of their pool. What
 * takes more than that (pools with users of their own) stays with the forker alone: CAP_SETUID, CAP_SETGID, CAP_KILL. */
#ifndef MASTER_FORKER_PRIVILEGES_H
#define MASTER_FORKER_PRIVILEGES_H
#include "common/identity.h"

#include <stdbool.h>

/* No program that any process below executes can gain what this one has not. 0 or -errno. */
int privileges_forbid_new(void);
/* This process may become another user. */
bool privileges_can_change(void);
/* Root becomes who (NULL: nobody else), for good: that it cannot come back is tried. What it could do besides is gone
 * with it; keep: it stays able to become the users of pools. 0 or -errno. */
int privileges_drop(const struct identity *who, bool keep);
/* In a child of one that kept that: it becomes who, and what it executes; its files are opened with group egid. Nothing
 * is left of what was kept. Its parent's death still sends SIGTERM. 0 or -errno. */
int privileges_become(const struct identity *who, gid_t egid);
/* The same for a child that stays who it is. 0 or -errno. */
int privileges_shed(void);
/* What was kept survives the next exec (true), or not. 0 or -errno. */
int privileges_carry(bool carried);
#endif
