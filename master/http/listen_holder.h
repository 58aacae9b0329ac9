/* Who listens on a TCP port of this host: so that a refusal can name it. */
#ifndef MASTER_HTTP_LISTEN_HOLDER_H
#define MASTER_HTTP_LISTEN_HOLDER_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LISTEN_HOLDER_NAME 16 /* as the kernel cuts it */

/* 0, or -ENOENT when nobody listens there, or nobody whose descriptors we may see. */
int listen_holder_find(uint16_t port, pid_t *ret_pid, char name[LISTEN_HOLDER_NAME]);
#endif
