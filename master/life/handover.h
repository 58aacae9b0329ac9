/* What a master that retires gives to the next one: its clients' connections as master/http packs them, and notifications
 * that wait for their agent, over a packet socket of which whoever is master has the other end. Each is one packet, with the
 * connection's socket, then its bytes in pieces; what an earlier reader left in the middle is passed over. */
#ifndef MASTER_LIFE_HANDOVER_H
#define MASTER_LIFE_HANDOVER_H
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

/* The end of the one that retires. */
struct handover_source;
struct handover_source_events {
        void (*on_open)(void *arg); /* the next one lets clients in; again for each that follows it */
        void (*on_gone)(void *arg); /* none follows: nobody takes anything any more */
        void (*on_sent)(void *arg); /* nothing waits */
};
/* Takes over the socket on success. NULL when out of memory. */
struct handover_source *handover_source_new(struct event_base *base, int take_socket, const struct handover_source_events *events,
        void *arg);
struct handover_source *handover_source_free(struct handover_source *source); /* NULL is fine; what waits is closed */
void handover_give(struct handover_source *source, const char *data, size_t len, int take_fd);
void handover_notify(struct handover_source *source, const char *data, size_t len); /* a notification */
/* All that was begun was given. */
void handover_listed(struct handover_source *source);
bool handover_waits(const struct handover_source *source);

/* The end of the one that goes on. */
struct handover_sink;
struct handover_sink_events {
        void (*on_connection)(void *arg, const char *data, size_t len, int take_fd);
        void (*on_notification)(void *arg, const char *data, size_t len);
        void (*on_listed)(void *arg); /* once: all that was begun has come, or the other end is gone */
};
/* The same. It says that clients are let in here. */
struct handover_sink *handover_sink_new(struct event_base *base, int take_socket, const struct handover_sink_events *events,
        void *arg);
bool handover_sink_busy(const struct handover_sink *sink); /* in the middle of one */
struct handover_sink *handover_sink_free(struct handover_sink *sink);
#endif
