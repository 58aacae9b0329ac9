#include "master/control/totals.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "NAME SPAWNED TERMINATED", padded, so that a line is written over in its place. */
#define LINE_SIZE 128

static void path_of(char path[PATH_MAX], const char *run_dir)
{
        snprintf(path, PATH_MAX, "%s/totals", run_dir);
}

void totals_forget(const char *run_dir)
{
        char path[PATH_MAX];

        path_of(path, run_dir);
        unlink(path);
}

int totals_open(const char *run_dir)
{
        char path[PATH_MAX];
        int fd;

        path_of(path, run_dir);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
                return fd;
        fd = -errno;
        log_warn("totals.unusable", "file=%s error=%s", LOG_Q(path), LOG_Q(strerror(-fd)));
        return fd;
}

static void write_line(int fd, const char *pool_name, const struct totals *totals)
{
        char line[LINE_SIZE];
        int len = snprintf(line, sizeof line, "%.64s %" PRIu64 " %" PRIu64, pool_name, totals->spawned, totals->terminated);

        memset(line + len, ' ', sizeof line - (size_t)len);
        line[sizeof line - 1] = '\n';
        if (pwrite(fd, line, LINE_SIZE, totals->line * LINE_SIZE) < 0)
                log_warn("totals.not_written", "pool=%s error=%s", pool_name, LOG_Q(strerror(errno)));
}

struct totals totals_read(int fd, const char *pool_name)
{
        struct totals totals = { .line = fd < 0 ? -1 : 0 };
        char line[LINE_SIZE + 1], name[65];

        for (; fd >= 0 && pread(fd, line, LINE_SIZE, totals.line * LINE_SIZE) == LINE_SIZE; totals.line++) {
                line[LINE_SIZE] = '\0';
                if (sscanf(line, "%64s %" SCNu64 " %" SCNu64, name, &totals.spawned, &totals.terminated) == 3 &&
                        strcmp(name, pool_name) == 0)
                        return totals;
        }
        totals.spawned = totals.terminated = 0;
        if (fd >= 0)
                write_line(fd, pool_name, &totals); /* its place is taken */
        return totals;
}

void totals_note(int fd, const char *pool_name, struct totals *totals, uint64_t spawned, uint64_t terminated)
{
        if (totals->line < 0 || (totals->spawned == spawned && totals->terminated == terminated))
                return;
        totals->spawned = spawned;
        totals->terminated = terminated;
        write_line(fd, pool_name, totals);
}
