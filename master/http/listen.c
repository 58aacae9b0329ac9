#include "master/http/listen.h"

#include "common/fd.h"
#include "master/http/listen_address.h"
#include "master/http/listen_holder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

union address {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
};

/* "*" is every address of both kinds. 0 or an error of getaddrinfo. */
static int resolve(const struct listen_address *where, union address *ret_address, socklen_t *ret_size)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *found;
        const char *host = strcmp(where->host, "*") == 0 ? "::" : where->host;
        int r = getaddrinfo(host, NULL, &hints, &found);

        if (r != 0) {
                hints.ai_flags = AI_ADDRCONFIG;
                r = getaddrinfo(host, NULL, &hints, &found);
        }
        if (r != 0)
                return r;
        memcpy(ret_address, found->ai_addr, found->ai_addrlen);
        *ret_size = found->ai_addrlen;
        freeaddrinfo(found);
        if (ret_address->any.sa_family == AF_INET6)
                ret_address->in6.sin6_port = htons(where->port);
        else
                ret_address->in.sin_port = htons(where->port);
        return 0;
}

/* Before listen nobody can connect, so nobody comes in under other permissions. */
static int set_owner(const char *path, const struct listen_owner *owner)
{
        return chmod(path, owner->mode) < 0 || lchown(path, owner->uid, owner->gid) < 0 ? -errno : 0;
}

/* owner: of a socket file; NULL when it is none. */
static int open_socket(const union address *address, socklen_t size, bool only_v6, const struct listen_owner *owner)
{
        int family = address->any.sa_family, on = 1, off = 0, r;
        int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        if (family != AF_UNIX)
                setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (family == AF_INET6)
                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, only_v6 ? &on : &off, sizeof on);
        r = bind(fd, &address->any, size) < 0 ? -errno : 0;
        if (r == 0 && owner)
                r = set_owner(address->un.sun_path, owner);
        if (r == 0 && listen(fd, SOMAXCONN) < 0)
                r = -errno;
        if (r == 0)
                return fd;
        fd_close(fd);
        return r;
}

static int open_tcp(const struct listen_address *where, int *ret_gai)
{
        bool every = strcmp(where->host, "*") == 0;
        union address address = { 0 };
        socklen_t size = 0;
        int fd;

        *ret_gai = resolve(where, &address, &size);
        if (*ret_gai != 0)
                return -EADDRNOTAVAIL;
        fd = open_socket(&address, size, !every, NULL);
        if (fd == -EAFNOSUPPORT && every) { /* a kernel without IPv6 */
                address.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(where->port) };
                fd = open_socket(&address, sizeof address.in, false, NULL);
        }
        return fd;
}

/* Nobody listens on this socket file any more. */
static bool is_stale(const union address *address)
{
        struct stat st;
        int fd;
        bool stale;

        if (lstat(address->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
                return false;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        stale = fd >= 0 && connect(fd, &address->any, sizeof address->un) < 0 && errno == ECONNREFUSED;
        fd_close(fd);
        return stale;
}

static int open_unix(const char *path, const struct listen_owner *owner)
{
        union address address = { .un.sun_family = AF_UNIX };
        int fd;

        if (strlen(path) >= sizeof address.un.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.un.sun_path, path, strlen(path) + 1);
        fd = open_socket(&address, sizeof address.un, false, owner);
        if (fd != -EADDRINUSE || !is_stale(&address))
                return fd;
        unlink(path);
        return open_socket(&address, sizeof address.un, false, owner);
}

static void explain(const struct listen_address *where, int error, int gai, char *remedy, size_t size)
{
        char name[LISTEN_HOLDER_NAME];
        pid_t holder;

        if (gai != 0)
                snprintf(remedy, size, "%s: use an address of this host in server.listen", gai_strerror(gai));
        else if (error == -EADDRINUSE && where->is_unix)
                snprintf(remedy, size, "another program listens there, or the file is no socket: end it or change "
                        "server.listen");
        else if (error == -EADDRINUSE && listen_holder_find(where->port, &holder, name) == 0)
                snprintf(remedy, size, "%s, pid %d, listens there: end it or change server.listen", name, (int)holder);
        else if (error == -EADDRINUSE)
                snprintf(remedy, size, "another program listens there (ss -ltnp 'sport = :%u' says which to root): end it "
                        "or change server.listen", where->port);
        else if (error == -EADDRNOTAVAIL)
                snprintf(remedy, size, "this host does not have that address: change server.listen");
        else if (error == -EPERM && where->is_unix)
                snprintf(remedy, size, "only root may give the socket to another user: see server.unix");
        else if (error == -EACCES && !where->is_unix)
                snprintf(remedy, size, "ports below 1024 take root or CAP_NET_BIND_SERVICE: choose a higher one in "
                        "server.listen");
        else
                snprintf(remedy, size, "%s", strerror(-error));
}

int listen_open(const char *text, const struct listen_owner *owner, int *ret_fd, char *reason, size_t size)
{
        struct listen_address where;
        char remedy[160];
        int gai = 0, fd;

        if (listen_address_parse(text, &where) < 0) {
                snprintf(reason, size, "cannot listen on %s: not HOST:PORT, [IPV6]:PORT, *:PORT or unix:PATH", text);
                return -EINVAL;
        }
        fd = where.is_unix ? open_unix(where.host, owner) : open_tcp(&where, &gai);
        if (fd < 0) {
                explain(&where, fd, gai, remedy, sizeof remedy);
                snprintf(reason, size, "cannot listen on %s: %s", text, remedy);
                return fd;
        }
        *ret_fd = fd;
        return 0;
}

int listen_describe(int fd, char text[LISTEN_TEXT_SIZE])
{
        union address address = { 0 };
        socklen_t size = sizeof address;
        char host[INET6_ADDRSTRLEN];

        if (getsockname(fd, &address.any, &size) < 0)
                return -errno;
        if (address.any.sa_family == AF_UNIX)
                snprintf(text, LISTEN_TEXT_SIZE, "unix:%.*s", (int)sizeof address.un.sun_path, address.un.sun_path);
        else if (address.any.sa_family == AF_INET6)
                snprintf(text, LISTEN_TEXT_SIZE, "[%s]:%u",
                        inet_ntop(AF_INET6, &address.in6.sin6_addr, host, sizeof host), ntohs(address.in6.sin6_port));
        else
                snprintf(text, LISTEN_TEXT_SIZE, "%s:%u", inet_ntop(AF_INET, &address.in.sin_addr, host, sizeof host),
                        ntohs(address.in.sin_port));
        return 0;
}

bool listen_matches(int fd, const char *text)
{
        struct listen_address where;
        union address is = { 0 }, wanted = { 0 };
        socklen_t is_size = sizeof is, size;

        if (listen_address_parse(text, &where) < 0 || getsockname(fd, &is.any, &is_size) < 0)
                return false;
        if (where.is_unix || is.any.sa_family == AF_UNIX)
                return where.is_unix && is.any.sa_family == AF_UNIX &&
                        strncmp(is.un.sun_path, where.host, sizeof is.un.sun_path) == 0;
        if (resolve(&where, &wanted, &size) != 0 || wanted.any.sa_family != is.any.sa_family)
                return false;
        if (is.any.sa_family == AF_INET6)
                return (where.port == 0 || is.in6.sin6_port == wanted.in6.sin6_port) &&
                        memcmp(&is.in6.sin6_addr, &wanted.in6.sin6_addr, sizeof is.in6.sin6_addr) == 0;
        return (where.port == 0 || is.in.sin_port == wanted.in.sin_port) &&
                is.in.sin_addr.s_addr == wanted.in.sin_addr.s_addr;
}

unsigned listen_lent(void)
{
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
        int n = count ? atoi(count) : 0;

        return pid && atoll(pid) == getpid() && n > 0 ? (unsigned)n : 0;
}

int listen_take_lent(int fd, char *reason, size_t size)
{
        int listens = 0, type = 0, r = 0;
        socklen_t len = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
                r = -errno;
        else if (!listens || type != SOCK_STREAM)
                r = -EPROTOTYPE;
        r = r ? r : fd_nonblock(fd);
        if (r == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                r = -errno;
        if (r < 0)
                snprintf(reason, size, "descriptor %d of LISTEN_FDS is no listening stream socket (%s): agentpoold.socket takes "
                        "ListenStream= and Accept=no only", fd, strerror(-r));
        return r;
}

const char *listen_text(int fd, size_t index, char *const *texts)
{
        size_t count = 0;

        while (texts[count])
                count++;
        if (index < count && listen_matches(fd, texts[index]))
                return texts[index];
        while (*texts && !listen_matches(fd, *texts))
                texts++;
        return *texts;
}

int listen_describe_as(int fd, size_t index, char *const *texts, char text[LISTEN_TEXT_SIZE])
{
        const char *wanted = listen_text(fd, index, texts);
        char address[LISTEN_TEXT_SIZE];
        int r = listen_describe(fd, address);

        if (r == 0 && snprintf(text, LISTEN_TEXT_SIZE, "%s%s", wanted && listen_wants_tls(wanted) ? "tls://" : "", address) >=
                              LISTEN_TEXT_SIZE)
                r = -ENAMETOOLONG;
        return r;
}

bool listen_is_local(int fd)
{
        union address address = { 0 };
        socklen_t size = sizeof address;

        if (getsockname(fd, &address.any, &size) < 0)
                return false;
        if (address.any.sa_family == AF_INET)
                return ntohl(address.in.sin_addr.s_addr) >> 24 == 127;
        return address.any.sa_family == AF_UNIX || IN6_IS_ADDR_LOOPBACK(&address.in6.sin6_addr) ||
                (IN6_IS_ADDR_V4MAPPED(&address.in6.sin6_addr) && address.in6.sin6_addr.s6_addr[12] == 127);
}

bool listen_wants_tls(const char *text)
{
        return strncmp(text, "tls://", 6) == 0;
}

int listen_close(int fd)
{
        union address address = { 0 };
        socklen_t size = sizeof address;

        if (fd >= 0 && getsockname(fd, &address.any, &size) == 0 && address.any.sa_family == AF_UNIX)
                unlink(address.un.sun_path);
        return fd_close(fd);
}
