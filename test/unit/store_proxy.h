/* A TCP proxy between the store and its server that can lose an answer, keep everything, or refuse. After store_fixture.h. */
#ifndef TEST_UNIT_STORE_PROXY_H
#define TEST_UNIT_STORE_PROXY_H
#include "test/unit/store_fixture.h"

enum proxy_mode { PASS, EAT_ANSWER, HOLE, REFUSE };

static struct {
        int listener, port, upstream_port;
        _Atomic int mode;
        _Atomic bool stop;
        const char *_Atomic eat_after; /* in what the client sends */
        _Atomic unsigned eaten;
        pthread_t thread;
} proxy;

struct pair {
        int client, server;
        bool eating; /* the next answer is lost, and the connection with it */
};

static inline void pair_close(struct pair *pair)
{
        close(pair->client);
        close(pair->server);
        *pair = (struct pair){ .client = -1, .server = -1 };
}

static inline int connect_upstream(void)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                .sin_port = htons((uint16_t)proxy.upstream_port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        must(fd >= 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
                abort();
        return fd;
}

static inline void proxy_move(struct pair *pair, bool from_client)
{
        static char data[1 << 16];
        const char *after = proxy.eat_after;
        ssize_t len = recv(from_client ? pair->client : pair->server, data, sizeof data, MSG_DONTWAIT);

        if (len < 0 && errno == EAGAIN)
                return;
        if (from_client && len > 0 && proxy.mode == EAT_ANSWER && memmem(data, (size_t)len, after, strlen(after)))
                pair->eating = true;
        if (!from_client && pair->eating) {
                proxy.eaten++;
                proxy.mode = REFUSE;
                len = 0;
        }
        if (len <= 0 || send(from_client ? pair->server : pair->client, data, (size_t)len, MSG_NOSIGNAL) != len)
                pair_close(pair);
}

static inline void proxy_accept(struct pair *pair)
{
        int client = accept4(proxy.listener, NULL, NULL, SOCK_CLOEXEC);

        if (client < 0)
                return;
        if (proxy.mode == REFUSE || pair->client >= 0) {
                close(client);
                return;
        }
        *pair = (struct pair){ .client = client, .server = connect_upstream() };
}

static inline void *run_proxy(void *arg)
{
        struct pair pair = { .client = -1, .server = -1 };

        while (!proxy.stop) {
                bool hole = proxy.mode == HOLE;
                short events = hole ? POLLRDHUP : POLLIN;
                struct pollfd fds[] = { { .fd = hole && pair.client >= 0 ? -1 : proxy.listener, .events = POLLIN },
                        { .fd = pair.client, .events = events }, { .fd = pair.server, .events = events } };

                poll(fds, 3, 20);
                if (hole && (fds[1].revents || fds[2].revents))
                        pair_close(&pair); /* and all that it held */
                if (!hole && fds[1].revents)
                        proxy_move(&pair, true);
                if (!hole && fds[2].revents && pair.server >= 0)
                        proxy_move(&pair, false);
                if (fds[0].revents)
                        proxy_accept(&pair);
        }
        pair_close(&pair);
        return arg;
}

static inline void proxy_stop(void)
{
        proxy.stop = true;
        pthread_join(proxy.thread, NULL);
        close(proxy.listener);
}

static inline void proxy_start(int upstream_port)
{
        proxy.upstream_port = upstream_port;
        proxy.listener = bound_socket(&proxy.port);
        must(listen(proxy.listener, 16) == 0);
        must(pthread_create(&proxy.thread, NULL, run_proxy, NULL) == 0);
}
#endif
