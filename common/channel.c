#include "common/channel.h"

#include "common/fd.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Bounded work per wake-up. */
#define PACKETS_PER_WAKE 64

struct packet {
        TAILQ_ENTRY(packet) link;
        size_t len;
        char data[];
};

struct channel {
        struct channel_events events;
        void *arg;
        struct event *read, *write;
        TAILQ_HEAD(, packet) queue;
        size_t queued; /* bytes in queue */
        int socket;
        bool reading; /* on_readable runs: channel_free leaves the freeing to it */
        bool freed;
};

static void drop_queue(struct channel *channel)
{
        struct packet *packet;

        while ((packet = TAILQ_FIRST(&channel->queue))) {
                TAILQ_REMOVE(&channel->queue, packet, link);
                free(packet);
        }
        channel->queued = 0;
}

static void release(struct channel *channel)
{
        if (channel->read)
                event_free(channel->read);
        if (channel->write)
                event_free(channel->write);
        drop_queue(channel);
        fd_close(channel->socket);
        free(channel);
}

/* False: nothing more to read for now. */
static bool read_packet(struct channel *channel)
{
        static char data[CHANNEL_PACKET_MAX + 1];
        ssize_t n;
        int fd;

        do
                n = fd_receive(channel->socket, data, CHANNEL_PACKET_MAX, &fd);
        while (n == -ECONNRESET); /* said once when the other end went with packets unread, before its own last words */
        if (n == -EAGAIN)
                return false;
        if (n <= 0) {
                event_del(channel->read);
                event_del(channel->write);
                channel->events.on_closed(channel->arg);
                return false;
        }
        data[n] = '\0';
        channel->events.on_packet(channel->arg, data, (size_t)n, fd);
        return true;
}

static void read_packets(struct channel *channel, unsigned most)
{
        channel->reading = true;
        for (unsigned i = 0; i < most && read_packet(channel) && !channel->freed; i++)
                ;
        channel->reading = false;
        if (channel->freed)
                release(channel);
}

static void on_readable(evutil_socket_t socket, short what, void *arg)
{
        (void)socket;
        (void)what;
        read_packets(arg, PACKETS_PER_WAKE);
}

void channel_hear_out(struct channel *channel)
{
        read_packets(channel, UINT_MAX);
}

static void on_writable(evutil_socket_t socket, short what, void *arg)
{
        struct channel *channel = arg;
        struct packet *packet;

        (void)what;
        while ((packet = TAILQ_FIRST(&channel->queue))) {
                int r = fd_send(socket, packet->data, packet->len, -1);

                if (r == -EAGAIN) {
                        event_add(channel->write, NULL);
                        return;
                }
                if (r < 0) { /* the read side reports the end */
                        drop_queue(channel);
                        return;
                }
                TAILQ_REMOVE(&channel->queue, packet, link);
                channel->queued -= packet->len;
                free(packet);
        }
}

struct channel *channel_new(struct event_base *base, int take_socket, const struct channel_events *events, void *arg)
{
        struct channel *channel = calloc(1, sizeof *channel);

        if (!channel)
                return NULL;
        *channel = (struct channel){ .events = *events, .arg = arg, .socket = take_socket };
        TAILQ_INIT(&channel->queue);
        channel->read = event_new(base, take_socket, EV_READ | EV_PERSIST, on_readable, channel);
        channel->write = event_new(base, take_socket, EV_WRITE, on_writable, channel);
        if (!channel->read || !channel->write || event_add(channel->read, NULL) < 0) {
                channel->socket = -1; /* stays the caller's */
                return channel_free(channel);
        }
        return channel;
}

struct channel *channel_free(struct channel *channel)
{
        if (!channel)
                return NULL;
        channel->freed = true;
        if (!channel->reading)
                release(channel);
        return NULL;
}

int channel_send(struct channel *channel, const void *data, size_t len)
{
        struct packet *packet;

        if (len == 0 || len > CHANNEL_PACKET_MAX)
                return -EMSGSIZE;
        if (TAILQ_EMPTY(&channel->queue)) {
                int r = fd_send(channel->socket, data, len, -1);

                if (r != -EAGAIN)
                        return r;
        }
        if (channel->queued + len > CHANNEL_QUEUE_MAX)
                return -EAGAIN;
        packet = malloc(sizeof *packet + len);
        if (!packet)
                return -ENOMEM;
        packet->len = len;
        memcpy(packet->data, data, len);
        TAILQ_INSERT_TAIL(&channel->queue, packet, link);
        channel->queued += len;
        return event_add(channel->write, NULL) < 0 ? -ENOMEM : 0;
}
