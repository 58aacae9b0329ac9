/* The three pipes of a command agent's program: lines to its stdin, lines from its stdout, its stderr into the log.
 * Never blocks, never holds more than its bounds, does a bounded piece of work per wake-up. The program ignores SIGPIPE. */
#ifndef WORKER_RUNTIME_AGENT_PIPES_H
#define WORKER_RUNTIME_AGENT_PIPES_H
#include "registry/protocol/pool_config.h"
#include "worker/runtime/agent_log.h"
#include "worker/runtime/line_reader.h"

#include <event2/event.h>
#include <event2/event_struct.h>

/* Any of them may close the pipes, none may free what holds them. */
struct agent_pipes_events {
        void (*on_line)(void *arg, const char *line, size_t len, enum line_kind kind);
        void (*on_closed)(void *arg, const char *what); /* "closed its stdout": it may be dying */
        void (*on_failed)(void *arg, const char *reason);
};

/* Embedded in the agent; must not move while open. */
struct agent_pipes {
        const struct agent_pipes_events *events;
        void *arg;
        int in, out, err; /* our ends; -1: closed */
        struct event in_event, out_event, err_event, err_pause;
        struct evbuffer *queue; /* waits to be written to in */
        size_t queue_max;
        bool finishing; /* in closes as soon as queue is empty */
        struct line_reader out_lines, err_lines;
        bool err_in_long; /* the line at hand on stderr has been told in part */
        struct agent_log log;
};

/* ret_fds are the program's ends, in the order of their numbers there: the caller's to close. 0 or -errno. */
int agent_pipes_open(struct agent_pipes *pipes, struct event_base *base, const struct pool_runtime_config *config,
        const struct id *agent_id, const struct agent_pipes_events *events, void *arg, int ret_fds[3]);
/* Queues bytes for its stdin. 0; -EAGAIN: with these more than queue_bytes would wait (when nothing waits, any number may);
 * -EPIPE: it is closed; -ENOMEM. reserve: that much more than queue_bytes may wait. Never calls back. */
int agent_pipes_write(struct agent_pipes *pipes, const char *line, size_t len, size_t reserve);
/* Closes its stdin once all that is queued is written. */
void agent_pipes_finish(struct agent_pipes *pipes);
/* Takes no more from its stdout. */
void agent_pipes_ignore(struct agent_pipes *pipes);
/* It is dead: takes what it left in its pipes (a bounded amount: a child of it may still write). */
void agent_pipes_drain(struct agent_pipes *pipes);
/* Repeating is fine. */
void agent_pipes_close(struct agent_pipes *pipes);
#endif
