#include "common/cgroup.h"

#include "common/kernel_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 16 /* an agent may make cgroups below its own */

static const struct {
        const char *name;
        unsigned controller;
} controllers[] = { { "memory", CGROUP_MEMORY }, { "cpu", CGROUP_CPU }, { "pids", CGROUP_PIDS } };

unsigned cgroup_controllers(const char *cgroup, const char *file)
{
        char text[512], *rest = text, *word;
        unsigned found = 0;

        if (kernel_file_read(cgroup, file, text, sizeof text) < 0)
                return 0;
        while ((word = strsep(&rest, " \n")))
                for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++)
                        if (strcmp(word, controllers[i].name) == 0)
                                found |= controllers[i].controller;
        return found;
}

unsigned cgroup_enable(const char *cgroup, unsigned wanted)
{
        char text[16];

        /* One by one: a controller that is refused does not take the others along. */
        for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
                snprintf(text, sizeof text, "+%s", controllers[i].name);
                if (wanted & controllers[i].controller)
                        kernel_file_write(cgroup, "cgroup.subtree_control", text);
        }
        return cgroup_controllers(cgroup, "cgroup.subtree_control") & wanted;
}

int cgroup_kill(const char *cgroup)
{
        return kernel_file_write(cgroup, "cgroup.kill", "1");
}

bool cgroup_populated(const char *cgroup)
{
        uint64_t populated;

        return kernel_file_number(cgroup, "cgroup.events", "populated", &populated) == 0 && populated;
}

static int remove_at(const char *cgroup, int depth)
{
        char path[PATH_MAX];
        struct dirent *entry;
        DIR *below;
        int r = 0;

        if (rmdir(cgroup) == 0 || errno == ENOENT)
                return 0;
        if (errno != EBUSY && errno != ENOTEMPTY)
                return -errno;
        below = depth < DEPTH_MAX ? opendir(cgroup) : NULL;
        if (!below)
                return -EBUSY;
        while (r == 0 && (entry = readdir(below)))
                if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
                        r = snprintf(path, sizeof path, "%s/%s", cgroup, entry->d_name) < PATH_MAX ? remove_at(path, depth + 1)
                                                                                                   : -ENAMETOOLONG;
        closedir(below);
        if (r == 0 && rmdir(cgroup) < 0 && errno != ENOENT)
                r = -EBUSY;
        return r;
}

int cgroup_remove(const char *cgroup)
{
        return remove_at(cgroup, 0);
}
