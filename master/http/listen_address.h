/* An address as written in server.listen. */
#ifndef MASTER_HTTP_LISTEN_ADDRESS_H
#define MASTER_HTTP_LISTEN_ADDRESS_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#define LISTEN_PATH_MAX (sizeof((struct sockaddr_un *)0)->sun_path - 1)
/* Where a server.listen text says to listen: "HOST:PORT", "[IPV6]:PORT", "*:PORT" (any address), each also after
 * "tls://"; "unix:PATH". */
struct listen_address {
        bool is_unix, is_tls;
        uint16_t port;  /* 0: any free one */
        char host[256]; /* address or name, "*"; or the socket's path */
};
/* 0, -EINVAL, or -ENAMETOOLONG: a socket's path. */
int listen_address_parse(const char *text, struct listen_address *ret_address);
/* Only this machine's own processes reach it. Of names only localhost is known to be so. */
bool listen_address_is_local(const struct listen_address *address);
#endif
