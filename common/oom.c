#include "common/oom.h"

#include "common/kernel_file.h"

#include <stdio.h>
#include <string.h>

#define MIB 1048576

static uint64_t count(void)
{
        uint64_t kills = 0;

        kernel_file_number("/proc", "vmstat", "oom_kill", &kills);
        return kills;
}

void oom_begin(struct oom_watch *watch)
{
        watch->seen[0] = watch->seen[1] = count();
}

void oom_look(struct oom_watch *watch)
{
        watch->seen[0] = watch->seen[1];
        watch->seen[1] = count();
}

bool oom_happened(const struct oom_watch *watch)
{
        return count() > watch->seen[0];
}

void oom_suspect(char *reason, size_t size, uint64_t used_bytes, int64_t limit_bytes, const char *setting)
{
        size_t len = strlen(reason);
        uint64_t limit = (uint64_t)limit_bytes;

        if (limit_bytes > 0 && used_bytes >= limit / 4 * 3)
                snprintf(reason + len, size - len, ", probably out of memory: it used %llu of %llu MiB (%s)",
                        (unsigned long long)used_bytes / MIB, (unsigned long long)limit / MIB, setting);
}
