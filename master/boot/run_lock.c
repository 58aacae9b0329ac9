#include "master/boot/run_lock.h"

#include "common/fd.h"
#include "common/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The holder may have removed the file between our open and flock: then we locked what no one else will find. */
static bool is_current(const char *path, int fd)
{
        struct stat mine, there;

        return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
                mine.st_dev == there.st_dev;
}

/* Says who holds it. -EBUSY; -EINPROGRESS when that process is gone, and what inherited the lock from it is not. */
static int name_holder(const char *path, int fd, char *reason, size_t size)
{
        struct proc_stat stat = { 0 };
        char holder[512] = "";
        unsigned long long started = 0;
        int pid = 0;

        if (read(fd, holder, sizeof holder - 1) < 0)
                holder[0] = '\0';
        if (sscanf(holder, "%d%*[^\n]\nstarted %llu", &pid, &started) == 2 &&
                (proc_stat(pid, &stat) < 0 || stat.exiting || stat.started != started)) {
                snprintf(reason, size, "%s is still held by what the agentpoold with pid %d left behind when it was killed: "
                        "end that (fuser %s), or use another run_dir", path, pid, path);
                return -EINPROGRESS;
        }
        holder[strcspn(holder, "\n")] = '\0';
        snprintf(reason, size, "%s is held by another agentpoold, pid %s: end that one, or use another run_dir", path,
                holder[0] ? holder : "not known yet");
        return -EBUSY;
}

int run_lock_take(const char *path, int *ret_fd, char *reason, size_t size)
{
        int fd, r;

        for (;;) {
                fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0) {
                        r = -errno;
                        snprintf(reason, size, "cannot open %s: %s", path, strerror(-r));
                        return r;
                }
                if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                        r = name_holder(path, fd, reason, size);
                        fd_close(fd);
                        return r;
                }
                if (is_current(path, fd))
                        break;
                fd_close(fd);
        }
        if (ftruncate(fd, 0) < 0) /* the name of a holder that was killed */
                errno = 0;
        *ret_fd = fd;
        return 0;
}

int run_lock_write(int fd, const char *listen)
{
        struct proc_stat stat = { 0 };
        char text[512];
        int len, r = proc_stat(getpid(), &stat);

        if (r < 0)
                return r;
        len = snprintf(text, sizeof text, "%d, listening on %s\nstarted %llu\n", (int)getpid(), listen, stat.started);

        if (len >= (int)sizeof text)
                len = (int)sizeof text - 1;
        if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
                return -errno;
        return 0;
}

int run_lock_drop(const char *path, int fd)
{
        if (fd >= 0)
                unlink(path);
        return fd_close(fd);
}
