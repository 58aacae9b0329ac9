#include "master/http/listen_holder.h"

#include "common/proc.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TCP_LISTENING 0x0a /* include/net/tcp_states.h of the kernel */

/* The inode of the socket that listens on port, from a table as proc(5) has it; 0: none does. */
static uint64_t find_inode(const char *path, uint16_t port)
{
        FILE *table = fopen(path, "re");
        uint64_t inode, found = 0;
        unsigned local, state;
        char line[512];

        while (table && !found && fgets(line, sizeof line, table))
                if (sscanf(line, "%*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %*s %*s %" SCNu64, &local, &state, &inode) == 3
                    && local == port && state == TCP_LISTENING)
                        found = inode;
        if (table)
                fclose(table);
        return found;
}

static bool has_open(const char *pid, const char *wanted)
{
        char path[300], target[64];
        struct dirent *entry;
        bool found = false;
        ssize_t len;
        DIR *fds;

        snprintf(path, sizeof path, "/proc/%.16s/fd", pid);
        fds = opendir(path);
        while (fds && !found && (entry = readdir(fds)) != NULL) {
                snprintf(path, sizeof path, "/proc/%.16s/fd/%.16s", pid, entry->d_name);
                len = readlink(path, target, sizeof target - 1);
                target[len > 0 ? len : 0] = '\0';
                found = strcmp(target, wanted) == 0;
        }
        if (fds)
                closedir(fds);
        return found;
}

static void read_name(pid_t pid, char name[LISTEN_HOLDER_NAME])
{
        char path[32];
        FILE *file;

        snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
        file = fopen(path, "re");
        if (!file || !fgets(name, LISTEN_HOLDER_NAME, file))
                snprintf(name, LISTEN_HOLDER_NAME, "?");
        name[strcspn(name, "\n")] = '\0';
        if (file)
                fclose(file);
}

/* Of all processes that have it open, the one that began first: a daemon hands it to its masters. */
static pid_t find_eldest(DIR *processes, const char *wanted)
{
        unsigned long long began = 0;
        struct proc_stat stat;
        struct dirent *entry;
        pid_t found = 0;

        while ((entry = readdir(processes)) != NULL) {
                pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

                if (pid <= 0 || !has_open(entry->d_name, wanted) || proc_stat(pid, &stat) < 0)
                        continue;
                if (!found || stat.started < began || (stat.started == began && pid < found)) {
                        found = pid;
                        began = stat.started;
                }
        }
        return found;
}

int listen_holder_find(uint16_t port, pid_t *ret_pid, char name[LISTEN_HOLDER_NAME])
{
        uint64_t inode = find_inode("/proc/net/tcp", port);
        char wanted[40];
        DIR *processes;
        pid_t found;

        inode = inode ? inode : find_inode("/proc/net/tcp6", port);
        processes = inode ? opendir("/proc") : NULL;
        if (!processes)
                return -ENOENT;
        snprintf(wanted, sizeof wanted, "socket:[%" PRIu64 "]", inode);
        found = find_eldest(processes, wanted);
        closedir(processes);
        if (!found)
                return -ENOENT;
        *ret_pid = found;
        read_name(found, name);
        return 0;
}
