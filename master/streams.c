#include "master/streams.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct listener {
        struct streams *streams;
        struct http_stream *stream;
        struct id agent_id; /* zero: all pools */
        TAILQ_ENTRY(listener) link;
};

struct streams {
        TAILQ_HEAD(, listener) listeners;
};

struct streams *streams_new(void)
{
        struct streams *streams = malloc(sizeof *streams);

        if (streams)
                TAILQ_INIT(&streams->listeners);
        return streams;
}

static void listener_free(struct listener *listener)
{
        TAILQ_REMOVE(&listener->streams->listeners, listener, link);
        free(listener);
}

struct streams *streams_free(struct streams *streams)
{
        struct listener *listener;

        if (!streams)
                return NULL;
        while ((listener = TAILQ_FIRST(&streams->listeners))) {
                http_stream_close(listener->stream);
                listener_free(listener);
        }
        free(streams);
        return NULL;
}

static void on_gone(void *arg)
{
        listener_free(arg);
}

void streams_add(struct streams *streams, struct http_request *request, const struct id *agent_id)
{
        struct listener *listener = malloc(sizeof *listener);

        if (!listener) {
                http_answer_problem(request, 503, "out of memory; try again");
                return;
        }
        *listener = (struct listener){ .streams = streams, .agent_id = *agent_id };
        TAILQ_INSERT_TAIL(&streams->listeners, listener, link);
        listener->stream = http_answer_stream(request, on_gone, listener);
        if (!listener->stream)
                listener_free(listener); /* answered, or the client has gone */
}

void streams_event(struct streams *streams, const char *event, const struct id *agent_id, const char *data)
{
        struct listener *listener;

        TAILQ_FOREACH(listener, &streams->listeners, link)
                if (id_is_zero(&listener->agent_id) || id_equal(&listener->agent_id, agent_id))
                        http_stream_event(listener->stream, event, data, strlen(data));
}

void streams_emitted(struct streams *streams, const struct id *agent_id, const char *data)
{
        struct listener *listener;

        TAILQ_FOREACH(listener, &streams->listeners, link)
                if (id_equal(&listener->agent_id, agent_id))
                        http_stream_event(listener->stream, "message", data, strlen(data));
}
