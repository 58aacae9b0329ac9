#include "master/boot/leftovers.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/proc.h"
#include "master/boot/run_lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 20    /* between two looks at the lock */
#define TOLD_MAX 20   /* lines of log */
#define DYING_MS 5000 /* what was killed is gone by then, or never */

struct leftover {
        pid_t pid, parent;
        unsigned long long started;
        bool ours; /* to be ended */
};

struct leftovers {
        struct leftover *list;
        size_t count, size;
        size_t ours;
};

/* A short look at a file of that process. Bytes read, 0 when there is no such file. */
static size_t read_proc(pid_t pid, const char *name, char *buffer, size_t size)
{
        char path[320];
        ssize_t n;
        int fd;

        snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? 0 : read(fd, buffer, size);
        fd_close(fd);
        return n < 0 ? 0 : (size_t)n;
}

/* Who waits for the lock has the file open, too, but not locked. */
static bool is_locked_by(pid_t pid, const char *fd_name)
{
        char name[280], text[1024];
        size_t n;

        snprintf(name, sizeof name, "fdinfo/%s", fd_name);
        n = read_proc(pid, name, text, sizeof text - 1);
        text[n] = '\0';
        return strstr(text, "FLOCK");
}

static bool holds_lock(pid_t pid, const struct stat *lock)
{
        char path[32];
        struct dirent *entry;
        struct stat st;
        bool found = false;
        DIR *fds;

        snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
        fds = opendir(path);
        if (!fds)
                return false;
        while (!found && (entry = readdir(fds)))
                found = entry->d_name[0] != '.' && fstatat(dirfd(fds), entry->d_name, &st, 0) == 0 &&
                        st.st_ino == lock->st_ino && st.st_dev == lock->st_dev && is_locked_by(pid, entry->d_name);
        closedir(fds);
        return found;
}

static bool carries(pid_t pid, const char *master_id)
{
        char path[32], *variable = NULL;
        bool found = false;
        size_t size = 0;
        FILE *file;

        snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
        file = *master_id ? fopen(path, "re") : NULL;
        if (!file)
                return false;
        while (!found && getdelim(&variable, &size, '\0', file) > 0)
                found = strncmp(variable, "AGENTPOOL_MASTER_ID=", 20) == 0 && strcmp(variable + 20, master_id) == 0;
        free(variable);
        fclose(file);
        return found;
}

static int add(struct leftovers *all, const struct leftover *one)
{
        size_t size = all->size ? all->size * 2 : 256;
        struct leftover *list = all->list;

        if (all->count == all->size) {
                list = reallocarray(list, size, sizeof *list);
                if (!list)
                        return -ENOMEM;
                all->list = list;
                all->size = size;
        }
        list[all->count++] = *one;
        all->ours += one->ours;
        return 0;
}

static bool has_parent_among(const struct leftovers *all, const struct leftover *child)
{
        for (size_t i = 0; i < all->count; i++)
                if (all->list[i].ours && all->list[i].pid == child->parent)
                        return true;
        return false;
}

/* What is below one of ours is ours. */
static void add_descendants(struct leftovers *all)
{
        size_t before;

        do {
                before = all->ours;
                for (size_t i = 0; i < all->count; i++)
                        if (!all->list[i].ours && all->list[i].pid != getpid() && has_parent_among(all, &all->list[i])) {
                                all->list[i].ours = true;
                                all->ours++;
                        }
        } while (all->ours > before);
}

/* Everything that runs on this machine, with ours marked. lock NULL: nobody else holds it. 0 or -errno. */
static int look(struct leftovers *all, const struct stat *lock, const char *master_id)
{
        DIR *processes = opendir("/proc");
        struct dirent *entry;
        struct proc_stat stat = { 0 };
        int r = 0;

        all->count = all->ours = 0;
        if (!processes)
                return -errno;
        while (r == 0 && (entry = readdir(processes))) {
                struct leftover one = { .pid = (pid_t)strtol(entry->d_name, NULL, 10) };

                if (one.pid <= 1 || one.pid == getpid() || proc_stat(one.pid, &stat) < 0 || strchr("ZX", stat.state))
                        continue;
                one.parent = stat.parent;
                one.started = stat.started;
                one.ours = (lock && holds_lock(one.pid, lock)) || carries(one.pid, master_id);
                r = add(all, &one);
        }
        closedir(processes);
        if (all->ours > 0)
                add_descendants(all);
        return r;
}

/* The pidfd is that of a process which was there when we looked, or of none. */
static void kill_one(const struct leftover *one)
{
        int pidfd = pidfd_open(one->pid, 0);
        struct proc_stat stat = { 0 };
        bool same = proc_stat(one->pid, &stat) == 0 && stat.started == one->started;

        if (same && (pidfd < 0 ? kill(one->pid, SIGKILL) : pidfd_send_signal(pidfd, SIGKILL, NULL, 0)) < 0 && errno != ESRCH)
                log_error("leftover.not_killed", "pid=%d error=%s", (int)one->pid, strerrorname_np(errno));
        fd_close(pidfd);
}

static void log_each(const struct leftovers *all, const char *event)
{
        char title[128];
        size_t told = 0;

        for (size_t i = 0; i < all->count && told < TOLD_MAX; i++) {
                const struct leftover *one = &all->list[i];
                size_t n = one->ours ? read_proc(one->pid, "cmdline", title, sizeof title) : 0;

                for (size_t k = 0; k < n; k++)
                        title[k] = title[k] ? title[k] : ' ';
                while (n > 0 && title[n - 1] == ' ')
                        n--;
                if (one->ours && ++told)
                        log_warn(event, "pid=%d command=%s", (int)one->pid, log_quote(title, n, (char[256]){ 0 }, 256));
        }
        if (all->ours > told)
                log_warn(event, "more=%zu", all->ours - told);
}

static void pause_a_little(void)
{
        struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };

        nanosleep(&pause, NULL);
}

/* Until none is found: what was forked meanwhile is found the next time. */
static void kill_all(const struct stat *lock, const char *master_id)
{
        int64_t deadline = clock_mono_ms() + DYING_MS;
        struct leftovers all = { 0 };
        bool told = false;

        while (look(&all, lock, master_id) == 0 && all.ours > 0 && clock_mono_ms() < deadline) {
                if (!told)
                        log_each(&all, "leftover.killed");
                told = true;
                for (size_t i = 0; i < all.count; i++)
                        if (all.list[i].ours)
                                kill_one(&all.list[i]);
                pause_a_little();
        }
        free(all.list);
}

static void tell_waiting(const struct stat *lock, int64_t patience_ms)
{
        struct leftovers all = { 0 };

        log_warn("run_dir.waiting",
                "patience_ms=%lld detail=\"the daemon before this one was killed; what it left is ending\"",
                (long long)patience_ms);
        if (look(&all, lock, "") == 0)
                log_each(&all, "leftover.awaited");
        free(all.list);
}

int leftovers_await(const char *lock_path, const char *master_id, int64_t patience_ms, int *ret_fd, char *reason,
        size_t size)
{
        int64_t start = clock_mono_ms();
        bool told = false, killed = false;
        struct stat lock;
        int r;

        while ((r = run_lock_take(lock_path, ret_fd, reason, size)) == -EINPROGRESS) {
                int64_t waited = clock_mono_ms() - start;

                if (stat(lock_path, &lock) < 0)
                        continue;
                if (!told)
                        tell_waiting(&lock, patience_ms);
                told = true;
                if (waited > patience_ms && !killed)
                        kill_all(&lock, master_id);
                killed = waited > patience_ms;
                if (waited > patience_ms + DYING_MS)
                        return -EBUSY; /* by a process that we cannot see, or not kill */
                pause_a_little();
        }
        if (r == 0)
                kill_all(NULL, master_id);
        return r;
}
