/* The lock on a run_dir: one daemon at a time. Its children inherit the descriptor: while one of them lives, it is held. */
#ifndef MASTER_BOOT_RUN_LOCK_H
#define MASTER_BOOT_RUN_LOCK_H
#include <stddef.h>

/* 0 and *ret_fd; -EBUSY with reason naming the holder; -EINPROGRESS when the holder is dead, but not all of its children
 * (master/boot/leftovers.h); -errno with reason. */
int run_lock_take(const char *path, int *ret_fd, char *reason, size_t size);
/* Says in it who holds it: this process, and where it listens. 0 or -errno. */
int run_lock_write(int fd, const char *listen);
/* Removes the file and gives the lock up. -1 is fine; returns -1. */
int run_lock_drop(const char *path, int fd);
#endif
