#include "common/fd.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int fd_close(int fd)
{
        int saved = errno;

        if (fd >= 0)
                close(fd); /* never repeated: Linux has released fd even on EINTR */
        errno = saved;
        return -1;
}

int fd_packet_pair(int ret_fds[2])
{
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        memcpy(ret_fds, fds, sizeof fds);
        return 0;
}

int fd_send(int socket, const void *data, size_t len, int fd)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof fd)];
        } control = { 0 };
        struct iovec part = { .iov_len = len };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
        ssize_t n;

        assert(len > 0); /* an empty packet would read as end of file */
        memcpy(&part.iov_base, &data, sizeof data); /* sendmsg only reads, its struct does not say so */
        if (fd >= 0) {
                struct cmsghdr *c = &control.align;

                message.msg_control = &control;
                message.msg_controllen = sizeof control.bytes;
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof fd);
                memcpy(CMSG_DATA(c), &fd, sizeof fd);
        }
        do
                n = sendmsg(socket, &message, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

/* The first descriptor that came with message, or -1. Padding leaves room for a second: it is closed. */
static int take_fd(struct msghdr *message)
{
        int taken = -1;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
                        if (taken < 0)
                                taken = fd;
                        else
                                fd_close(fd);
                }
        }
        return taken;
}

ssize_t fd_receive(int socket, void *data, size_t size, int *ret_fd)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec part = { .iov_base = data, .iov_len = size };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                .msg_controllen = sizeof control.bytes };
        ssize_t n;
        int fd;

        *ret_fd = -1;
        do
                n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        fd = take_fd(&message);
        if (message.msg_flags & MSG_TRUNC) {
                fd_close(fd);
                return -EMSGSIZE;
        }
        *ret_fd = fd;
        return n;
}

int fd_nonblock(int fd)
{
        int flags = fcntl(fd, F_GETFL);

        return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static bool is_kept(unsigned fd, const int *keep, size_t keep_count)
{
        for (size_t i = 0; i < keep_count; i++)
                if (keep[i] >= 0 && (unsigned)keep[i] == fd)
                        return true;
        return false;
}

/* For kernels and sandboxes without close_range(2). Reading a directory of /proc while closing what it lists is fine:
 * its position is the descriptor's number. */
static void close_listed(const int *keep, size_t keep_count)
{
        union {
                struct dirent64 align;
                char bytes[4096];
        } buffer;
        int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ssize_t n;

        while (dir >= 0 && (n = getdents64(dir, &buffer, sizeof buffer)) > 0) {
                const struct dirent64 *entry;

                for (ssize_t at = 0; at < n; at += entry->d_reclen) {
                        unsigned long fd;

                        entry = (const struct dirent64 *)(const void *)(buffer.bytes + at);
                        fd = strtoul(entry->d_name, NULL, 10);
                        if (fd >= 3 && fd != (unsigned long)dir && !is_kept((unsigned)fd, keep, keep_count))
                                fd_close((int)fd);
                }
        }
        if (dir >= 0) {
                fd_close(dir);
                return;
        }
        for (int fd = 3; fd < sysconf(_SC_OPEN_MAX); fd++)
                if (!is_kept((unsigned)fd, keep, keep_count))
                        fd_close(fd);
}

void fd_close_all_but(const int *keep, size_t keep_count)
{
        unsigned from = 3, next;

        for (;;) {
                next = UINT_MAX;
                for (size_t i = 0; i < keep_count; i++)
                        if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
                                next = (unsigned)keep[i];
                if (next > from && close_range(from, next == UINT_MAX ? next : next - 1, 0) < 0) {
                        close_listed(keep, keep_count);
                        return;
                }
                if (next == UINT_MAX)
                        return;
                from = next + 1;
        }
}
