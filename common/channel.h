/* A SEQPACKET socket on an event loop: whole packets in, whole packets out, never blocking. What the socket does not
 * take at once waits in order, up to CHANNEL_QUEUE_MAX bytes. Used on control sockets and between forker and master. */
#ifndef COMMON_CHANNEL_H
#define COMMON_CHANNEL_H
#include <event2/event.h>
#include <stddef.h>

#define CHANNEL_PACKET_MAX (128 * 1024)
#define CHANNEL_QUEUE_MAX (16 * 1024 * 1024)

struct channel;
struct channel_events {
        /* fd is the callee's when it is not -1. data is NUL-terminated after len. May free the channel. */
        void (*on_packet)(void *arg, const char *data, size_t len, int fd);
        void (*on_closed)(void *arg); /* the other end is gone; last callback; free the channel */
};

/* Takes over the socket on success. NULL when out of memory. */
struct channel *channel_new(struct event_base *base, int take_socket, const struct channel_events *events, void *arg);
struct channel *channel_free(struct channel *channel); /* NULL is fine */
/* Hears what the other end, which is gone, said last: on_packet…, on_closed. */
void channel_hear_out(struct channel *channel);
/* 0; -EMSGSIZE over CHANNEL_PACKET_MAX; -EAGAIN: the queue is full; -EPIPE; -ENOMEM. */
int channel_send(struct channel *channel, const void *data, size_t len);
#endif
