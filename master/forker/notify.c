#include "master/forker/notify.h"

#include "common/clock.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MORE_MS 30000 /* what each sign of life adds to the unit's time-out while it starts or reloads */

static const char *const words[NOTIFY_STATE_COUNT] = { [NOTIFY_STARTING] = "", [NOTIFY_READY] = "READY=1\n",
        [NOTIFY_RELOADING] = "RELOADING=1\n", [NOTIFY_STOPPING] = "STOPPING=1\n" };

/* A path, or with '@' a name in the abstract namespace. 0 or -1. */
static int set_address(struct notify *n, const char *name)
{
        size_t len = name ? strlen(name) : 0;

        if (len < 2 || len >= sizeof n->address.sun_path || (name[0] != '/' && name[0] != '@'))
                return -1;
        n->address.sun_family = AF_UNIX;
        memcpy(n->address.sun_path, name, len);
        if (name[0] == '@')
                n->address.sun_path[0] = '\0';
        n->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
        return 0;
}

static int64_t read_watchdog_ms(void)
{
        const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

        if (!usec || (pid && atoll(pid) != getpid()))
                return 0;
        return atoll(usec) / 1000;
}

void notify_begin(struct notify *n)
{
        *n = (struct notify){ .fd = -1, .told = true };
        if (set_address(n, getenv("NOTIFY_SOCKET")) < 0)
                return;
        n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        n->watchdog_ms = read_watchdog_ms();
}

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *format, ...)
{
        size_t len = strlen(text);
        va_list args;

        va_start(args, format);
        vsnprintf(text + len, size - len, format, args);
        va_end(args);
}

static bool deliver(const struct notify *n, const char *text)
{
        ssize_t sent = sendto(n->fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&n->address, n->address_size);

        return sent == (ssize_t)strlen(text);
}

/* status: NULL when it is as before. */
static void tell(struct notify *n, const char *status, bool feed, int64_t within_ms)
{
        int64_t now = clock_mono_ms();
        char text[256] = "";

        if (n->fd < 0)
                return;
        if (!n->told)
                add(text, sizeof text, "%s", words[n->state]);
        if (!n->told && n->state == NOTIFY_RELOADING)
                add(text, sizeof text, "MONOTONIC_USEC=%lld\n", (long long)now * 1000);
        if (feed)
                add(text, sizeof text, "WATCHDOG=1\n");
        if (within_ms)
                add(text, sizeof text, "EXTEND_TIMEOUT_USEC=%lld\n", (long long)within_ms * 1000);
        if (status && strcmp(status, n->status) != 0)
                add(text, sizeof text, "STATUS=%s\n", status);
        if (!text[0] || !deliver(n, text))
                return;
        n->told = true;
        n->fed_at = feed ? now : n->fed_at;
        if (status)
                snprintf(n->status, sizeof n->status, "%s", status);
}

void notify_state(struct notify *n, enum notify_state state, int64_t within_ms)
{
        if (n->state == NOTIFY_STOPPING)
                return;
        n->told = false;
        n->state = state;
        tell(n, NULL, false, within_ms);
}

void notify_alive(struct notify *n, const char *status)
{
        bool feed = n->watchdog_ms && clock_mono_ms() - n->fed_at >= n->watchdog_ms / 4;

        tell(n, status, feed, n->state == NOTIFY_STARTING || n->state == NOTIFY_RELOADING ? MORE_MS : 0);
}

void notify_forget(void)
{
        static const char *const names[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID",
                "LISTEN_FDNAMES" };

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                unsetenv(names[i]);
}
