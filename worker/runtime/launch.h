/* One program to be started: directly (never through a shell), in a session and process group of its own, with exactly
 * the environment and the three descriptors given here, every signal at its default and none blocked. */
#ifndef WORKER_RUNTIME_LAUNCH_H
#define WORKER_RUNTIME_LAUNCH_H
#include "worker/runtime/launch_child.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

/* Appends an argument with each "${args.NAME}" replaced by that member of args (absent: nothing). 0 or -ENOMEM. */
int launch_argument(struct launch *launch, const char *text, const cJSON *args);
/* True when text has something to replace. */
bool launch_has_placeholder(const char *text);
/* Sets a variable; a later one of the same name replaces the earlier. 0 or -ENOMEM. */
int launch_variable(struct launch *launch, const char *name, const char *value);
/* Sets a limit (setrlimit(2)); at most LAUNCH_LIMITS_MAX. */
void launch_limit(struct launch *launch, int resource, rlim_t soft, rlim_t hard);
/* Finds argv[0] as execvp(3) would, with the PATH that the program gets; a relative path counts from where this process
 * is, whatever directory says. Returns once exec has succeeded: *ret_pid, and *ret_pidfd which the caller closes (-1 where
 * the kernel has none). Else -errno with a reason in words. */
int launch_run(const struct launch *launch, pid_t *ret_pid, int *ret_pidfd, char *reason, size_t size);
void launch_done(struct launch *launch);
#endif
