#include "common/channel.h"

#include "common/fd.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Bounded work per wake-up. */
#define PACKETS_PER_WAKE 64
#define PIECE_HEAD 2 /* a NUL, and flags */
#define PIECE_MAX (CHANNEL_PACKET_MAX - PIECE_HEAD)

enum piece_flags { PIECE_FIRST = 1, PIECE_LAST = 2 };

struct packet {
        TAILQ_ENTRY(packet) link;
        size_t len, sent;
        char data[];
};

/* A packet that comes in pieces. */
struct unfinished {
        char *data; /* NULL: none is under way */
        size_t len, size;
};

struct channel {
        struct channel_events events;
        void *arg;
        struct event *read, *write;
        TAILQ_HEAD(, packet) queue;
        size_t queued; /* bytes in queue */
        struct unfinished unfinished;
        size_t longest; /* of unfinished */
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
        free(channel->unfinished.data);
        fd_close(channel->socket);
        free(channel);
}

static void drop_unfinished(struct channel *channel)
{
        free(channel->unfinished.data);
        channel->unfinished = (struct unfinished){ 0 };
}

/* Room for len more and a NUL. Out of memory it is as if none of its pieces had come. */
static bool grow(struct unfinished *unfinished, size_t len)
{
        size_t size = unfinished->size ? unfinished->size : (size_t)CHANNEL_PACKET_MAX * 2;
        char *data;

        while (size <= unfinished->len + len)
                size *= 2;
        if (size == unfinished->size)
                return true;
        data = realloc(unfinished->data, size);
        if (!data)
                return false;
        unfinished->data = data;
        unfinished->size = size;
        return true;
}

static void take_piece(struct channel *channel, const char *data, size_t len)
{
        struct unfinished *unfinished = &channel->unfinished, whole;
        int flags = (unsigned char)data[1];

        if (flags & PIECE_FIRST)
                drop_unfinished(channel);
        else if (!unfinished->data)
                return;
        len -= PIECE_HEAD;
        if (len > channel->longest - unfinished->len)
                len = channel->longest - unfinished->len;
        if (!grow(unfinished, len)) {
                drop_unfinished(channel);
                return;
        }
        memcpy(unfinished->data + unfinished->len, data + PIECE_HEAD, len);
        unfinished->len += len;
        unfinished->data[unfinished->len] = '\0';
        if (!(flags & PIECE_LAST))
                return;
        whole = *unfinished;
        *unfinished = (struct unfinished){ 0 };
        channel->events.on_packet(channel->arg, whole.data, whole.len, -1);
        free(whole.data);
}

static void take_packet(struct channel *channel, const char *data, size_t len, int fd)
{
        if (len > PIECE_HEAD && data[0] == '\0') {
                fd_close(fd);
                take_piece(channel, data, len);
                return;
        }
        drop_unfinished(channel);
        channel->events.on_packet(channel->arg, data, len, fd);
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
        take_packet(channel, data, (size_t)n, fd);
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

/* The packet, or its next piece. */
static int send_next(int socket, struct packet *packet)
{
        static char piece[CHANNEL_PACKET_MAX];
        size_t left = packet->len - packet->sent, len = left < PIECE_MAX ? left : PIECE_MAX;
        int r;

        if (packet->len <= CHANNEL_PACKET_MAX) {
                r = fd_send(socket, packet->data, packet->len, -1);
                len = left;
        } else {
                piece[1] = (char)((packet->sent == 0 ? PIECE_FIRST : 0) | (len == left ? PIECE_LAST : 0));
                memcpy(piece + PIECE_HEAD, packet->data + packet->sent, len);
                r = fd_send(socket, piece, PIECE_HEAD + len, -1);
        }
        if (r == 0)
                packet->sent += len;
        return r;
}

/* 0: all is sent, or the rest waits for room. */
static int send_queued(struct channel *channel)
{
        struct packet *packet;
        int r = 0;

        while (r == 0 && (packet = TAILQ_FIRST(&channel->queue))) {
                r = send_next(channel->socket, packet); /* NOLINT(clang-analyzer-unix.Malloc): the one before was taken out */
                if (r < 0 || packet->sent < packet->len)
                        continue;
                TAILQ_REMOVE(&channel->queue, packet, link);
                channel->queued -= packet->len;
                free(packet);
        }
        if (r == -EAGAIN)
                return event_add(channel->write, NULL) < 0 ? -ENOMEM : 0;
        if (r < 0)
                drop_queue(channel); /* the read side reports the end */
        return r;
}

static void on_writable(evutil_socket_t socket, short what, void *arg)
{
        (void)socket;
        (void)what;
        send_queued(arg);
}

struct channel *channel_new(struct event_base *base, int take_socket, const struct channel_events *events, void *arg)
{
        struct channel *channel = calloc(1, sizeof *channel);

        if (!channel)
                return NULL;
        *channel = (struct channel){ .events = *events, .arg = arg, .socket = take_socket,
                .longest = CHANNEL_LONGEST };
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

void channel_limit(struct channel *channel, size_t longest)
{
        channel->longest = longest;
}

int channel_send(struct channel *channel, const void *data, size_t len)
{
        bool empty = TAILQ_EMPTY(&channel->queue);
        struct packet *packet;
        int r;

        if (len == 0 || len > CHANNEL_LONGEST)
                return -EMSGSIZE;
        if (empty && len <= CHANNEL_PACKET_MAX) {
                r = fd_send(channel->socket, data, len, -1);
                if (r != -EAGAIN)
                        return r;
        }
        if (!empty && channel->queued + len > CHANNEL_QUEUE_MAX + (len <= CHANNEL_SHORT ? CHANNEL_RESERVE : 0))
                return -EAGAIN;
        packet = malloc(sizeof *packet + len);
        if (!packet)
                return -ENOMEM;
        packet->len = len;
        packet->sent = 0;
        memcpy(packet->data, data, len);
        TAILQ_INSERT_TAIL(&channel->queue, packet, link);
        channel->queued += len;
        return empty ? send_queued(channel) : 0;
}

int channel_flush(struct channel *channel, int most_ms)
{
        struct pollfd room = { .fd = channel->socket, .events = POLLOUT };
        int r = send_queued(channel), n;

        while (r == 0 && !TAILQ_EMPTY(&channel->queue)) {
                n = poll(&room, 1, most_ms);
                r = n > 0 ? send_queued(channel) : n == 0 ? -ETIMEDOUT : errno == EINTR ? 0 : -errno;
        }
        return r;
}
