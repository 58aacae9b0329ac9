/* The moment between fork and exec of a program: the only place where its limits and its cgroup can be set before it runs. */
#ifndef WORKER_RUNTIME_LAUNCH_CHILD_H
#define WORKER_RUNTIME_LAUNCH_CHILD_H
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

struct launch_list {
        char **items; /* owned, NULL-terminated once not empty */
        size_t count, size;
};
#define LAUNCH_LIMITS_MAX 4
struct launch_limit {
        int resource; /* RLIMIT_… */
        struct rlimit limit;
};
struct launch {
        struct launch_list argv, env;
        const char *directory; /* borrowed; where the program runs; NULL: where this process does */
        int fds[3];            /* borrowed; what it gets as 0, 1, 2; each above 2 */
        struct launch_limit limits[LAUNCH_LIMITS_MAX];
        unsigned limit_count;
        int umask, nice;       /* -1 and 0: as ours */
        int cgroup;            /* borrowed; cgroup.procs of the cgroup that it begins in; 0: it stays in ours */
};

/* path: the program; directory: a descriptor of where it runs, -1: here. Returns once exec has succeeded: the pid, to be
 * reaped by the caller; or -errno, *ret_what says at which step (static) and nothing is left. */
pid_t launch_child(const struct launch *launch, const char *path, int directory, const char **ret_what);
#endif
