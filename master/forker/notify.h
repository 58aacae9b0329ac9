/* What the service manager is told, as sd_notify(3) has it but without its library: datagrams to $NOTIFY_SOCKET. Nothing
 * blocks or allocates; what could not be sent is sent with the next sign of life. */
#ifndef MASTER_FORKER_NOTIFY_H
#define MASTER_FORKER_NOTIFY_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum notify_state { NOTIFY_STARTING = 0, NOTIFY_READY, NOTIFY_RELOADING, NOTIFY_STOPPING, NOTIFY_STATE_COUNT };

struct notify {
        int fd;              /* -1: nobody asked to be told */
        struct sockaddr_un address;
        socklen_t address_size;
        int64_t watchdog_ms; /* 0: none */
        int64_t fed_at;      /* mono ms: the last WATCHDOG=1 */
        enum notify_state state;
        bool told;           /* of that state */
        char status[64];     /* as told */
};

/* Whom to tell, from the environment. */
void notify_begin(struct notify *n);
/* The state has changed. within_ms: how long it may last, beyond what the unit's time-outs allow; 0: as they say. */
void notify_state(struct notify *n, enum notify_state state, int64_t within_ms);
/* The master's loop has turned: the one thing that feeds the watchdog. status: a few words for systemctl. */
void notify_alive(struct notify *n, const char *status);
/* In a child: what was said to this process alone is not for what it executes. */
void notify_forget(void);
#endif
