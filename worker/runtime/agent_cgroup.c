#include "worker/runtime/agent_cgroup.h"

#include "common/cgroup.h"
#include "common/kernel_file.h"
#include "common/log.h"
#include "worker/runtime/process_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CPU_PERIOD_US 100000
#define CPU_PERIOD_TEXT "100000"

char *agent_cgroup_parent(const char *base, const struct id *process_id)
{
        char *path;

        if (asprintf(&path, "%s/%s", base, ID_TEXT(process_id)) < 0)
                return NULL;
        /* Also for the daemon's user, when the pool has another: it removes what this worker leaves. */
        if (mkdir(path, 0775) < 0 || chmod(path, 0775) < 0) {
                log_warn("cgroup.unusable", "path=%s error=%s detail=\"limits and ends of agents go without\"", LOG_Q(path),
                        LOG_Q(strerror(errno)));
                free(path);
                return NULL;
        }
        cgroup_enable(path, cgroup_controllers(path, "cgroup.controllers"));
        return path;
}

/* value 0: no such limit. */
static int limit(const struct agent_cgroup *cgroup, unsigned controller, const char *file, int64_t value, const char *rest)
{
        char text[64];

        if (value == 0 || !(cgroup->controllers & controller))
                return 0;
        snprintf(text, sizeof text, "%" PRId64 "%s", value, rest);
        return kernel_file_write(cgroup->path, file, text);
}

static int set_limits(const struct agent_cgroup *cgroup, const struct pool_limits_config *limits)
{
        int64_t cpu_us = limits->cpu_percent * (CPU_PERIOD_US / 100);
        int r = limit(cgroup, CGROUP_MEMORY, "memory.max", limits->memory_bytes, "");

        /* One process of it alone would be half an agent. */
        r = r ? r : limit(cgroup, CGROUP_MEMORY, "memory.oom.group", limits->memory_bytes != 0, "");
        r = r ? r : limit(cgroup, CGROUP_CPU, "cpu.max", cpu_us, " " CPU_PERIOD_TEXT);
        return r ? r : limit(cgroup, CGROUP_PIDS, "pids.max", limits->processes, "");
}

int agent_cgroup_init(struct agent_cgroup *cgroup, const char *parent, const struct id *agent_id, uint64_t epoch,
        const struct pool_limits_config *limits)
{
        int r;

        *cgroup = (struct agent_cgroup){ 0 };
        if (!parent)
                return 0;
        if (asprintf(&cgroup->path, "%s/%s-%" PRIu64, parent, ID_TEXT(agent_id), epoch) < 0) {
                cgroup->path = NULL;
                return -ENOMEM;
        }
        cgroup->controllers = cgroup_controllers(parent, "cgroup.subtree_control");
        r = mkdir(cgroup->path, 0755) < 0 && errno != EEXIST ? -errno : 0;
        r = r ? r : set_limits(cgroup, limits);
        if (r < 0) {
                cgroup_remove(cgroup->path);
                agent_cgroup_done(cgroup);
        }
        return r;
}

int agent_cgroup_enter(const struct agent_cgroup *cgroup)
{
        char path[PATH_MAX];
        int fd;

        if (!cgroup->path)
                return 0;
        snprintf(path, sizeof path, "%s/cgroup.procs", cgroup->path);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return fd;
}

bool agent_cgroup_out_of_memory(const struct agent_cgroup *cgroup)
{
        uint64_t kills = 0;

        if (cgroup->path && (cgroup->controllers & CGROUP_MEMORY))
                kernel_file_number(cgroup->path, "memory.events", "oom_kill", &kills);
        return kills > 0;
}

int agent_cgroup_usage(const struct agent_cgroup *cgroup, struct usage *ret_usage)
{
        char text[65536], *rest = text, *line;
        struct usage usage = { 0 };
        uint64_t cpu_us = 0;
        int r = cgroup->path ? kernel_file_read(cgroup->path, "cgroup.procs", text, sizeof text) : -ENOENT;

        r = r ? r : kernel_file_number(cgroup->path, "cpu.stat", "usage_usec", &cpu_us);
        if (r < 0)
                return r;
        while ((line = strsep(&rest, "\n")))
                if (*line)
                        process_usage_add(atoi(line), &usage);
        usage.cpu_ms = cpu_us / 1000; /* of those that are gone, too */
        *ret_usage = usage;
        return 0;
}

int agent_cgroup_end(struct agent_cgroup *cgroup)
{
        int r;

        if (!cgroup->path)
                return 0;
        cgroup_kill(cgroup->path);
        r = cgroup_populated(cgroup->path) ? -EBUSY : cgroup_remove(cgroup->path);
        if (r == 0)
                agent_cgroup_done(cgroup);
        return r;
}

void agent_cgroup_done(struct agent_cgroup *cgroup)
{
        free(cgroup->path);
        *cgroup = (struct agent_cgroup){ 0 };
}
