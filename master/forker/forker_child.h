/* A child process of the forker: how it is forked, and when it is started again. */
#ifndef MASTER_FORKER_FORKER_CHILD_H
#define MASTER_FORKER_FORKER_CHILD_H
#include "common/backoff.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct forker_child {
        pid_t pid;              /* 0: does not run */
        int64_t started_at;     /* mono ms */
        int64_t start_at;       /* mono ms: when to start it (again); INT64_MAX: not */
        struct backoff backoff; /* for a series of deaths that follow each other closely */
};

/* As fork, but -errno. The child is in a session of its own, so that a terminal's Ctrl-C reaches the forker alone, has
 * default signal dispositions (but SIGPIPE and SIGXFSZ ignored), blocks none, and gets SIGTERM when the forker dies. */
pid_t forker_fork(void);
/* The same with a packet socket between the two: each process's end is its *ret_end. The child keeps nothing else but
 * standard input, output, error, the log, and the lock (-1: none), which says that it lives. */
pid_t forker_fork_linked(int lock, int *ret_end);

void forker_child_began(struct forker_child *child, pid_t pid);
/* It does not run: plans its next start, at once or after a pause that doubles. Returns the pause in ms. */
uint32_t forker_child_again(struct forker_child *child, bool at_once);
/* True when it lived so long that its death does not belong to a series. */
bool forker_child_was_healthy(struct forker_child *child);

/* Of a wait status; -1 when it ended otherwise, and 0. */
int forker_exit_status(int status);
int forker_exit_signal(int status);

/* Makes this process the parent of every orphan below it. The descriptor (close-on-exec) from which its children can
 * be read, -1 where the kernel does not offer that. */
int forker_adopt_orphans(void);
/* Ends every child that is not known: a worker died and left it. Its own children come when it is reaped: call again. */
void forker_kill_strays(int children_fd, bool (*is_known)(const void *arg, pid_t pid), const void *arg);
#endif
