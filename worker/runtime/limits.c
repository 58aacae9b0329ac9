#include "worker/runtime/limits.h"

#include <errno.h>

void limits_init(struct limits *limits, rlim_t files)
{
        getrlimit(RLIMIT_NOFILE, &limits->files);
        if (files < limits->files.rlim_max)
                limits->files.rlim_cur = files;
        getrlimit(RLIMIT_DATA, &limits->data);
}

/* The soft limit alone: its programs get back what it gives up. */
static int lower(int resource, int64_t value)
{
        struct rlimit limit;

        if (value == 0)
                return 0;
        getrlimit(resource, &limit);
        if ((rlim_t)value < limit.rlim_max)
                limit.rlim_cur = (rlim_t)value;
        return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

int limits_apply(const struct pool_worker_limits_config *config)
{
        int r = lower(RLIMIT_DATA, config->memory_bytes);

        return r ? r : lower(RLIMIT_NOFILE, config->open_files);
}

/* hard, too: it is a limit, not a suggestion. */
static void set(struct launch *launch, int resource, const struct rlimit *usual, int64_t value)
{
        rlim_t hard = value && (rlim_t)value < usual->rlim_max ? (rlim_t)value : usual->rlim_max;

        launch_limit(launch, resource, value ? hard : usual->rlim_cur, hard);
}

/* RLIMIT_DATA counts what a process may write to and does not share; RLIMIT_AS would count what Node or Go only reserve.
 * RLIMIT_NPROC is of no use: it counts all processes of the user, and none of root's. */
void limits_program(const struct limits *limits, const struct pool_limits_config *config, bool by_cgroup,
        struct launch *launch)
{
        launch_limit(launch, RLIMIT_CORE, 0, 0);
        set(launch, RLIMIT_NOFILE, &limits->files, config->open_files);
        set(launch, RLIMIT_DATA, &limits->data, by_cgroup ? 0 : config->memory_bytes);
}
