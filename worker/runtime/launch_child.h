/* The moment between fork and exec of a program: the only place where its limits and its cgroup can be set before it runs. */
#ifndef WORKER_RUNTIME_LAUNCH_CHILD_H
#define WORKER_RUNTIME_LAUNCH_CHILD_H
#include "worker/runtime/launch.h"

/* path: the program; directory: a descriptor of where it runs, -1: here. Returns once exec has succeeded: the pid, to be
 * reaped by the caller; or -errno, *ret_what says at which step (static) and nothing is left. */
pid_t launch_child(const struct launch *launch, const char *path, int directory, const char **ret_what);
#endif
