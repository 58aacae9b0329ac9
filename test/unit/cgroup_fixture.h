/* A cgroup v2 directory for a test, where the machine has one that may be written to, and removing it again. */
#ifndef TEST_CGROUP_FIXTURE_H
#define TEST_CGROUP_FIXTURE_H
#include "common/cgroup.h"

#include <check.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below wherever cgroup2 is mounted. False: this machine offers none, which is said. */
static inline bool cgroup_fixture_make(char path[PATH_MAX])
{
        FILE *mounts = fopen("/proc/self/mountinfo", "re");
        char line[PATH_MAX * 2], point[PATH_MAX] = "";

        while (mounts && !*point && fgets(line, sizeof line, mounts))
                if (strstr(line, " - cgroup2 "))
                        sscanf(line, "%*d %*d %*s %*s %4095s", point);
        if (mounts)
                fclose(mounts);
        snprintf(path, PATH_MAX, "%.4000s/agentpool-test-XXXXXX", point);
        if (*point && mkdtemp(path))
                return true;
        fprintf(stderr, "not tested: no cgroup v2 to be written to\n");
        return false;
}

static inline void cgroup_fixture_remove(const char *path)
{
        ck_assert(!cgroup_populated(path));
        ck_assert_int_eq(cgroup_remove(path), 0);
}
#endif
