/* A SEQPACKET socket on an event loop: whole packets in, whole packets out, never blocking. What the socket does not
 * take at once waits in order, up to CHANNEL_QUEUE_MAX bytes. Used on control sockets and between forker and master.
 *
 * What is longer than CHANNEL_PACKET_MAX travels in pieces, one after the other, and is put together again. A piece begins
 * with a NUL, which no packet of ours does, and a byte of flags: 1 the first, 2 the last. A whole packet, or another first
 * piece, voids what is unfinished, and a piece without its first is dropped: this end, or that, may be a new master's. */
#ifndef COMMON_CHANNEL_H
#define COMMON_CHANNEL_H
#include <event2/event.h>
#include <stddef.h>

#define CHANNEL_PACKET_MAX (128 * 1024)
#define CHANNEL_QUEUE_MAX (64UL * 1024 * 1024)
#define CHANNEL_SHORT 4096                /* so short a packet is not refused … */
#define CHANNEL_RESERVE (4UL * 1024 * 1024) /* … before so much more waits: somebody must be able to say that it is full */
#define CHANNEL_LONGEST ((1UL << 30) + (1UL << 20)) /* the longest body or line that a setting allows, and its envelope */

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
/* Of what comes in pieces no more than this is kept (until then CHANNEL_LONGEST): a longer packet comes cut. */
void channel_limit(struct channel *channel, size_t longest);
/* 0; -EMSGSIZE over CHANNEL_LONGEST, or empty; -EAGAIN: the queue is full, an empty one takes any packet; -EPIPE; -ENOMEM. */
int channel_send(struct channel *channel, const void *data, size_t len);
/* Blocks until what was sent is in the socket, before an exit, for as long as the other end takes some each most_ms. 0;
 * -ETIMEDOUT: it takes none; else it is gone (-EPIPE, -ECONNRESET). */
int channel_flush(struct channel *channel, int most_ms);
#endif
