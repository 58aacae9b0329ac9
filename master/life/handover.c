#include "master/life/handover.h"

#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define PIECE 65536
#define LENGTH_MAX (UINT64_C(1) << 31) /* of one connection: its body is bounded by server.max_body_bytes */

enum kind { CONNECTION = 1, BYTES, LISTED, OPEN, NOTIFICATION };
struct packet {
        uint32_t version, kind;
        uint64_t len; /* CONNECTION, NOTIFICATION: of all its pieces */
        char bytes[]; /* BYTES */
};
#define VERSION 1

/* ---- source ---- */

struct parcel {
        uint32_t kind;
        int fd;
        bool begun; /* its first packet was sent */
        size_t len, sent;
        STAILQ_ENTRY(parcel) link;
        char data[];
};

struct handover_source {
        int socket;
        struct event *readable, *writable;
        struct handover_source_events events;
        void *arg;
        STAILQ_HEAD(, parcel) queue;
        bool listed;
        char piece[sizeof(struct packet) + PIECE];
};

static int say(int socket, char *room, uint32_t kind, const char *data, size_t len, int fd)
{
        const struct packet head = { .version = VERSION, .kind = kind, .len = len };
        size_t more = data ? len : 0;

        memcpy(room, &head, sizeof head);
        if (more)
                memcpy(room + sizeof head, data, more);
        return fd_send(socket, room, sizeof head + more, fd);
}

/* One packet of it: 0, or as fd_send. */
static int send_some(struct handover_source *source, struct parcel *parcel)
{
        size_t left = parcel->len - parcel->sent, piece = left < PIECE ? left : PIECE;
        int r;

        if (!parcel->begun) {
                r = say(source->socket, source->piece, parcel->kind, NULL, parcel->len, parcel->fd);
                parcel->begun = r == 0;
                if (r == 0)
                        parcel->fd = fd_close(parcel->fd);
                return r;
        }
        r = say(source->socket, source->piece, BYTES, parcel->data + parcel->sent, piece, -1);
        parcel->sent += r == 0 ? piece : 0;
        return r;
}

static void drop_first(struct handover_source *source)
{
        struct parcel *parcel = STAILQ_FIRST(&source->queue);

        STAILQ_REMOVE_HEAD(&source->queue, link);
        fd_close(parcel->fd);
        free(parcel);
}

static void send_queue(struct handover_source *source)
{
        struct parcel *parcel;
        int r = 0;

        while (r == 0 && (parcel = STAILQ_FIRST(&source->queue))) {
                r = send_some(source, parcel);
                if (r == 0 && parcel->begun && parcel->sent == parcel->len)
                        drop_first(source);
        }
        if (r == -EAGAIN)
                event_add(source->writable, NULL);
        else if (r == 0)
                source->events.on_sent(source->arg);
        /* Any other error: the end of file is read next. */
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        send_queue(arg);
}

static void on_source_readable(evutil_socket_t fd, short what, void *arg)
{
        struct handover_source *source = arg;
        struct packet packet;
        int ignored;
        ssize_t n = fd_receive(fd, &packet, sizeof packet, &ignored);

        (void)what;
        fd_close(ignored);
        if (n == -EAGAIN)
                return;
        if (n == (ssize_t)sizeof packet && packet.kind == OPEN) {
                if (source->listed)
                        handover_listed(source); /* who was there before has read it */
                source->events.on_open(source->arg);
                return;
        }
        event_del(source->readable);
        while (!STAILQ_EMPTY(&source->queue))
                drop_first(source);
        source->events.on_gone(source->arg);
}

struct handover_source *handover_source_new(struct event_base *base, int take_socket, const struct handover_source_events *events,
        void *arg)
{
        struct handover_source *source = calloc(1, sizeof *source);

        if (!source)
                return NULL;
        source->socket = -1;
        source->events = *events;
        source->arg = arg;
        STAILQ_INIT(&source->queue);
        source->readable = event_new(base, take_socket, EV_READ | EV_PERSIST, on_source_readable, source);
        source->writable = event_new(base, take_socket, EV_WRITE, on_writable, source);
        if (!source->readable || !source->writable || event_add(source->readable, NULL) < 0)
                return handover_source_free(source);
        source->socket = take_socket;
        return source;
}

struct handover_source *handover_source_free(struct handover_source *source)
{
        if (!source)
                return NULL;
        while (!STAILQ_EMPTY(&source->queue))
                drop_first(source);
        if (source->readable)
                event_free(source->readable);
        if (source->writable)
                event_free(source->writable);
        fd_close(source->socket);
        free(source);
        return NULL;
}

static void enqueue(struct handover_source *source, uint32_t kind, const char *data, size_t len, int take_fd)
{
        struct parcel *parcel = malloc(sizeof *parcel + len);

        if (!parcel) {
                fd_close(take_fd); /* the client sees its connection end */
                return;
        }
        *parcel = (struct parcel){ .kind = kind, .fd = take_fd, .len = len };
        if (len)
                memcpy(parcel->data, data, len);
        STAILQ_INSERT_TAIL(&source->queue, parcel, link);
        event_active(source->writable, EV_WRITE, 1);
}

void handover_give(struct handover_source *source, const char *data, size_t len, int take_fd)
{
        enqueue(source, CONNECTION, data, len, take_fd);
}

void handover_notify(struct handover_source *source, const char *data, size_t len)
{
        enqueue(source, NOTIFICATION, data, len, -1);
}

void handover_listed(struct handover_source *source)
{
        source->listed = true;
        enqueue(source, LISTED, NULL, 0, -1);
}

bool handover_waits(const struct handover_source *source)
{
        return !STAILQ_EMPTY(&source->queue);
}

/* ---- sink ---- */

struct handover_sink {
        int socket;
        struct event *readable;
        struct handover_sink_events events;
        void *arg;
        bool listed;
        int fd;              /* of the connection that comes; -1: none does, or a notification */
        char *data;
        size_t len, arrived;
        char packet[sizeof(struct packet) + PIECE];
};

static void forget(struct handover_sink *sink)
{
        sink->fd = fd_close(sink->fd);
        free(sink->data);
        sink->data = NULL;
        sink->len = sink->arrived = 0;
}

static void deliver_if_whole(struct handover_sink *sink)
{
        char *data = sink->data;
        int fd = sink->fd;

        if (!data || sink->arrived < sink->len)
                return;
        sink->data = NULL;
        sink->fd = -1;
        if (fd >= 0)
                sink->events.on_connection(sink->arg, data, sink->len, fd);
        else
                sink->events.on_notification(sink->arg, data, sink->len);
        free(data);
}

static void listed(struct handover_sink *sink)
{
        if (sink->listed)
                return;
        sink->listed = true;
        sink->events.on_listed(sink->arg);
}

/* take_fd: what came with it. */
static void take_packet(struct handover_sink *sink, const struct packet *head, const char *bytes, size_t len, int take_fd)
{
        bool lacks_fd = head->kind == CONNECTION && take_fd < 0;

        switch (head->kind) {
        case CONNECTION:
        case NOTIFICATION:
                forget(sink);
                sink->fd = take_fd;
                sink->len = head->len;
                sink->data = !lacks_fd && head->len > 0 && head->len <= LENGTH_MAX ? malloc(head->len) : NULL;
                if (!sink->data) {
                        log_error("handover.lost", "error=%s", strerrorname_np(lacks_fd ? EMFILE : ENOMEM));
                        forget(sink);
                }
                return;
        case BYTES:
                if (sink->data && len <= sink->len - sink->arrived) {
                        memcpy(sink->data + sink->arrived, bytes, len);
                        sink->arrived += len;
                        deliver_if_whole(sink);
                }
                break;
        case LISTED:
                listed(sink);
                break;
        default:
                break;
        }
        fd_close(take_fd);
}

static void on_sink_readable(evutil_socket_t socket, short what, void *arg)
{
        struct handover_sink *sink = arg;
        struct packet head;
        int fd;
        ssize_t n = fd_receive(socket, sink->packet, sizeof sink->packet, &fd);

        (void)what;
        if (n == -EAGAIN)
                return;
        if (n <= 0) { /* it has ended */
                event_del(sink->readable);
                forget(sink);
                listed(sink);
                return;
        }
        memcpy(&head, sink->packet, (size_t)n < sizeof head ? (size_t)n : sizeof head);
        if ((size_t)n >= sizeof head && head.version == VERSION)
                take_packet(sink, &head, sink->packet + sizeof head, (size_t)n - sizeof head, fd);
        else
                fd_close(fd);
}

struct handover_sink *handover_sink_new(struct event_base *base, int take_socket, const struct handover_sink_events *events,
        void *arg)
{
        struct handover_sink *sink = calloc(1, sizeof *sink);

        if (!sink)
                return NULL;
        sink->socket = sink->fd = -1;
        sink->events = *events;
        sink->arg = arg;
        sink->readable = event_new(base, take_socket, EV_READ | EV_PERSIST, on_sink_readable, sink);
        if (!sink->readable || event_add(sink->readable, NULL) < 0)
                return handover_sink_free(sink);
        sink->socket = take_socket;
        say(take_socket, sink->packet, OPEN, NULL, 0, -1);
        return sink;
}

bool handover_sink_busy(const struct handover_sink *sink)
{
        return sink->data;
}

struct handover_sink *handover_sink_free(struct handover_sink *sink)
{
        if (!sink)
                return NULL;
        forget(sink);
        if (sink->readable)
                event_free(sink->readable);
        fd_close(sink->socket);
        free(sink);
        return NULL;
}
