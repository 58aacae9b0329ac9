#include "common/proc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PF_EXITING 0x4 /* of the kernel's include/linux/sched.h, which programs do not see */

int proc_stat(pid_t pid, struct proc_stat *ret_stat)
{
        char path[64], line[1024];
        const char *p = NULL;
        struct proc_stat stat = { 0 };
        unsigned long long cpu[4];
        unsigned flags;
        FILE *file;
        int n = 0;

        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        file = fopen(path, "re");
        if (!file)
                return errno == ENOENT ? -ESRCH : -errno;
        if (fgets(line, sizeof line, file))
                p = strrchr(line, ')');
        fclose(file);
        /* After the name: state parent group session, 2 more, flags, 4 more, 4 times, 4 more, start, size, resident. */
        if (!p || sscanf(p, ") %c %d %*d %d%n", &stat.state, &stat.parent, &stat.session, &n) != 3)
                return -ESRCH;
        if (sscanf(p + n, "%*s %*s %u %*s %*s %*s %*s %llu %llu %llu %llu %*s %*s %*s %*s %llu %*s %llu", &flags, &cpu[0],
                    &cpu[1], &cpu[2], &cpu[3], &stat.started, &stat.rss_pages) != 7)
                return -ESRCH;
        stat.exiting = flags & PF_EXITING;
        stat.cpu_ticks = cpu[0] + cpu[1] + cpu[2] + cpu[3];
        *ret_stat = stat;
        return 0;
}

const char *proc_flaw(void)
{
        char self[24];
        ssize_t n = readlink("/proc/self", self, sizeof self - 1);

        if (n < 0)
                return "/proc is not there: mount -t proc proc /proc";
        self[n] = '\0';
        return atoi(self) == getpid() ? NULL : "/proc is that of another PID namespace: mount -t proc proc /proc";
}

uint64_t proc_own_rss(void)
{
        unsigned long pages = 0;
        FILE *file = fopen("/proc/self/statm", "re");

        if (file && fscanf(file, "%*u %lu", &pages) != 1)
                pages = 0;
        if (file)
                fclose(file);
        return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t proc_own_cpu_ms(void)
{
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (uint64_t)((usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                          (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000);
}
