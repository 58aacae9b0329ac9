#include "master/boot/delegation.h"

#include "common/cgroup.h"
#include "common/fd.h"
#include "common/kernel_file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OURS "/daemon"

/* Where cgroup2 is mounted, and what of it. The line: id parent major:minor root mount-point options … - type … */
static int find_mount(char root[PATH_MAX], char point[PATH_MAX])
{
        FILE *file = fopen("/proc/self/mountinfo", "re");
        char *line = NULL;
        size_t size = 0;
        int r = -ENOENT;

        if (!file)
                return -errno;
        while (r < 0 && getline(&line, &size, file) > 0)
                if (strstr(line, " - cgroup2 ") && sscanf(line, "%*d %*d %*s %4095s %4095s", root, point) == 2)
                        r = 0;
        free(line);
        fclose(file);
        return r;
}

/* The cgroup of this process, as a directory. */
static int find_own(char ret_path[PATH_MAX])
{
        char text[PATH_MAX], root[PATH_MAX], point[PATH_MAX], *path;
        size_t len;
        int r = kernel_file_read("/proc/self", "cgroup", text, sizeof text);

        r = r ? r : find_mount(root, point);
        if (r < 0)
                return r;
        path = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
        if (!path)
                return -ENOENT;
        path = strchr(path, '/');
        path[strcspn(path, "\n")] = '\0';
        len = strcmp(root, "/") == 0 ? 0 : strlen(root);
        if (strncmp(path, root, len) != 0)
                return -ENOENT;
        path += len;
        r = snprintf(ret_path, PATH_MAX, "%s%s", point, strcmp(path, "/") == 0 ? "" : path);
        return r < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static bool has(const char *cgroup, const char *file)
{
        char path[PATH_MAX];

        return snprintf(path, sizeof path, "%s/%s", cgroup, file) < PATH_MAX && access(path, F_OK) == 0;
}

/* Whoever manages cgroups says what it delegates: by an attribute, or by making it this user's. The root of a namespace, as a
 * container has one, is its own; the machine's root has no cgroup.type and is no one's. */
static bool is_delegated(const char *cgroup)
{
        char path[PATH_MAX], point[PATH_MAX], value[2] = "";
        struct stat st;
        bool marked = getxattr(cgroup, "user.delegate", value, 1) == 1 || getxattr(cgroup, "trusted.delegate", value, 1) == 1;

        if (!has(cgroup, "cgroup.type") || snprintf(path, sizeof path, "%s/cgroup.subtree_control", cgroup) >= PATH_MAX ||
                access(path, W_OK) < 0)
                return false;
        if (marked)
                return value[0] == '1';
        if (stat(cgroup, &st) == 0 && st.st_uid == geteuid() && st.st_uid != 0)
                return true;
        return find_mount(path, point) == 0 && strcmp(cgroup, point) == 0;
}

/* A program that is executed anew, or was started by hand from within, is in OURS already: true, and cgroup is what that is
 * part of. */
static bool leave_leaf(char *cgroup)
{
        char *slash = strrchr(cgroup, '/');

        if (!slash || strcmp(slash, OURS) != 0)
                return false;
        *slash = '\0';
        if (has(cgroup, DELEGATION_AGENTS + 1))
                return true;
        *slash = '/';
        return false;
}

/* Who gave up root since it went in could not go in again. */
static int enter(const char *cgroup)
{
        char own[PATH_MAX];

        if (find_own(own) == 0 && strcmp(own, cgroup) == 0)
                return 0;
        return kernel_file_write(cgroup, "cgroup.procs", "0");
}

static int make(const char *cgroup, const char *name, char ret_path[PATH_MAX])
{
        if (snprintf(ret_path, PATH_MAX, "%s%s", cgroup, name) >= PATH_MAX)
                return -ENAMETOOLONG;
        return mkdir(ret_path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* Two daemons would take each other's agents for what an earlier life left behind. */
static int lock(const char *cgroup, int *ret_lock)
{
        int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                int error = errno;

                fd_close(fd);
                return -error;
        }
        *ret_lock = fd;
        return 0;
}

static int take(const char *cgroup, struct delegation *delegation)
{
        char ours[PATH_MAX];
        unsigned there = cgroup_controllers(cgroup, "cgroup.controllers"), given; /* to both levels */
        int r = lock(cgroup, &delegation->lock);

        r = r ? r : make(cgroup, OURS, ours);
        r = r ? r : make(cgroup, DELEGATION_AGENTS, delegation->agents);
        r = r ? r : has(delegation->agents, "cgroup.kill") ? 0 : -EOPNOTSUPP;
        r = r ? r : enter(ours);
        if (r < 0)
                return r;
        given = cgroup_enable(cgroup, there) & cgroup_enable(delegation->agents, there);
        delegation->controllers = given;
        log_info("cgroup.taken", "path=%s memory=%d cpu=%d pids=%d", LOG_Q(cgroup), !!(given & CGROUP_MEMORY),
                !!(given & CGROUP_CPU), !!(given & CGROUP_PIDS));
        return 0;
}

int delegation_take(const char *setting, struct delegation *ret_delegation, char *reason, size_t size)
{
        char cgroup[PATH_MAX];
        bool automatic = strcmp(setting, "auto") == 0;
        int r;

        *ret_delegation = (struct delegation){ .lock = -1 };
        if (strcmp(setting, "off") == 0)
                return 0;
        if (automatic) {
                if (find_own(cgroup) < 0)
                        return 0;
                if (!leave_leaf(cgroup) && !is_delegated(cgroup))
                        return 0;
        } else {
                snprintf(cgroup, sizeof cgroup, "%s", setting);
        }
        r = take(cgroup, ret_delegation);
        if (r == 0)
                return 0;
        ret_delegation->lock = fd_close(ret_delegation->lock);
        ret_delegation->agents[0] = '\0';
        snprintf(reason, size, "cannot use the cgroup %s: %s", cgroup, r == -EWOULDBLOCK ? "another daemon does" : strerror(-r));
        if (automatic)
                log_warn("cgroup.unusable", "reason=%s", LOG_Q(reason));
        return automatic ? 0 : r;
}

void delegation_warn(const struct delegation *delegation, const struct config *config)
{
        for (size_t i = 0; i < config->pool_count; i++) {
                const struct pool_limits_config *limits = &config->pools[i]->limits;
                bool cpu = limits->cpu_percent && !(delegation->controllers & CGROUP_CPU);
                bool processes = limits->processes && !(delegation->controllers & CGROUP_PIDS);

                if (cpu || processes)
                        log_warn("limits.not_enforced", "pool=%s limits=%s%s%s detail=\"for want of a cgroup with the controller: "
                                "see the setting cgroup\"", config->pools[i]->pool_name, cpu ? "cpu_percent" : "",
                                cpu && processes ? "," : "", processes ? "processes" : "");
        }
}

int delegation_give(const struct delegation *delegation, uid_t uid, gid_t gid)
{
        /* What the kernel asks for when a process is moved: where it goes, and what both places have in common. */
        static const char *const files[] = { "/../cgroup.procs", "/cgroup.procs", "/cgroup.subtree_control" };
        char path[PATH_MAX];

        if (!delegation->agents[0])
                return 0;
        if (chown(delegation->agents, uid, gid) < 0 || chmod(delegation->agents, 0775) < 0)
                return -errno;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                if (snprintf(path, sizeof path, "%s%s", delegation->agents, files[i]) >= PATH_MAX)
                        return -ENAMETOOLONG;
                if (chown(path, uid, gid) < 0 || chmod(path, 0664) < 0)
                        return -errno;
        }
        return 0;
}
