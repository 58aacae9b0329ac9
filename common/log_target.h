/* Where log lines go, and how one gets there without waiting for whoever should read it. */
#ifndef COMMON_LOG_TARGET_H
#define COMMON_LOG_TARGET_H
#include <stdbool.h>
#include <sys/types.h>

/* A file, FIFO or terminal to append to, or the journal's socket: close-on-exec, its writes do not wait. The descriptor or -errno. */
int log_target_open(const char *name, bool journal);
/* The same for what standard error is. Of a pipe or terminal a descriptor of our own: that writes do not wait is a matter of the
 * open file, and others hold that of standard error. STDERR_FILENO: standard error itself. */
int log_target_stderr(void);
/* Never waits for a reader. How many bytes went; -1 (errno): none. */
ssize_t log_target_put(int fd, const char *bytes, size_t len);
#endif
