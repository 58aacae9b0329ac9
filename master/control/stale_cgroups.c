#include "master/control/stale_cgroups.h"

#include "common/cgroup.h"
#include "master/control/pools.h"
#include "master/control/workers.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>

/* A worker that is being forked is known to its pool only, one whose pool is not configured any more to workers only. */
static bool is_used(const struct master *master, const struct id *process_id)
{
        bool used = workers_has(master->workers, process_id);

        for (size_t i = 0; i < pools_count(master->pools) && !used; i++)
                used = pool_worker(pools_at(master->pools, i)->rules, process_id);
        return used;
}

bool stale_cgroups_remove(const struct master *master)
{
        DIR *dir = master->cgroup ? opendir(master->cgroup) : NULL;
        struct dirent *entry;
        char path[PATH_MAX];
        struct id process_id;
        bool left = false;

        while (dir && (entry = readdir(dir))) {
                if (id_parse(entry->d_name, &process_id) < 0 || is_used(master, &process_id) ||
                        snprintf(path, sizeof path, "%s/%s", master->cgroup, entry->d_name) >= PATH_MAX)
                        continue;
                cgroup_kill(path);
                left |= cgroup_remove(path) < 0;
        }
        if (dir)
                closedir(dir);
        return left;
}
