/* File descriptors: all close-on-exec, -1 when absent. Functions return 0 or a count, or -errno. */
#ifndef COMMON_FD_H
#define COMMON_FD_H
#include <stddef.h>
#include <sys/types.h>

/* Closes and returns -1: fd = fd_close(fd). -1 is fine. */
int fd_close(int fd);
/* A connected SOCK_SEQPACKET pair, non-blocking, close-on-exec. Message boundaries are kept. */
int fd_packet_pair(int ret_fds[2]);
/* One packet (len > 0) with at most one descriptor (-1: none). fd stays the caller's. 0, -EAGAIN, -EPIPE, -EMSGSIZE, … */
int fd_send(int socket, const void *data, size_t len, int fd);
/* One packet: its length (0 is end of file), or -errno; -EMSGSIZE when it did not fit. *ret_fd is
 * close-on-exec; -1 when none came, or when this process had no room for it. */
ssize_t fd_receive(int socket, void *data, size_t size, int *ret_fd);
int fd_nonblock(int fd);
/* Closes every descriptor >= 3 that is not in keep (sorted or not). Allocates nothing. */
void fd_close_all_but(const int *keep, size_t keep_count);
#endif
