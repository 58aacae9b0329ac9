#include "common/log_target.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define APPENDING (O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)

static int connect_journal(const char *name)
{
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (fd < 0)
                return -errno;
        snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
                return fd;
        r = -errno;
        close(fd);
        return r;
}

int log_target_open(const char *name, bool journal)
{
        int fd = journal ? connect_journal(name) : open(name, O_WRONLY | O_CREAT | APPENDING, 0640);

        if (journal)
                return fd;
        if (fd < 0 && errno == ENXIO) /* a FIFO that nobody reads yet: reading it, too, we need nobody */
                fd = open(name, O_RDWR | APPENDING);
        return fd < 0 ? -errno : fd;
}

/* The controlling terminal may be opened by everybody, its own file only by whom it was given to. */
static int open_terminal(dev_t device)
{
        unsigned its = 0;
        int fd = open("/dev/tty", O_WRONLY | APPENDING);

        if (fd < 0 || (ioctl(fd, TIOCGDEV, &its) == 0 && its == (unsigned)device))
                return fd;
        return fd_close(fd);
}

int log_target_stderr(void)
{
        bool terminal = isatty(STDERR_FILENO);
        struct stat st;
        int fd;

        if (fstat(STDERR_FILENO, &st) < 0 || !(terminal || S_ISFIFO(st.st_mode)))
                return STDERR_FILENO;
        fd = open("/proc/self/fd/2", O_WRONLY | APPENDING);
        if (fd >= 0)
                return fd;
        fd = terminal ? open_terminal(st.st_rdev) : -1;
        return fd < 0 ? STDERR_FILENO : fd;
}

static ssize_t put_when_ready(int fd, const char *bytes, size_t len)
{
        struct pollfd ready = { .fd = fd, .events = POLLOUT };

        if (poll(&ready, 1, 0) > 0)
                return write(fd, bytes, len);
        errno = EAGAIN;
        return -1;
}

/* Between a look whether there is room and the write another process may fill the pipe; a splice refuses to wait by itself. */
static ssize_t put_in_pipe(int fd, const char *bytes, size_t len)
{
        int own[2];
        ssize_t n;

        if (pipe2(own, O_CLOEXEC | O_NONBLOCK) < 0)
                return put_when_ready(fd, bytes, len);
        n = write(own[1], bytes, len);
        if (n > 0)
                n = splice(own[0], NULL, fd, NULL, (size_t)n, SPLICE_F_NONBLOCK);
        fd_close(own[0]);
        fd_close(own[1]);
        return n;
}

ssize_t log_target_put(int fd, const char *bytes, size_t len)
{
        struct stat st;
        int flags;

        if (fstat(fd, &st) < 0 || (flags = fcntl(fd, F_GETFL)) < 0)
                return -1;
        if (S_ISSOCK(st.st_mode))
                return send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (S_ISREG(st.st_mode) || (flags & O_NONBLOCK))
                return write(fd, bytes, len);
        return S_ISFIFO(st.st_mode) ? put_in_pipe(fd, bytes, len) : put_when_ready(fd, bytes, len);
}
