#include "master/control/streams.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct listener {
        struct streams *streams;
        struct http_stream *stream;
        struct id agent_id; /* zero: all pools */
        char *client;       /* owned */
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
        free(listener->client);
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

void streams_add(struct streams *streams, struct http_request *request, const struct id *agent_id, const char *client)
{
        struct listener *listener = malloc(sizeof *listener);
        char *copy = strdup(client);

        if (!listener || !copy) {
                free(listener);
                free(copy);
                http_answer_problem(request, 503, "out of memory; try again");
                return;
        }
        *listener = (struct listener){ .streams = streams, .agent_id = *agent_id, .client = copy };
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

static void tell_listeners(struct streams *streams, const char *event, const struct id *agent_id, const char *client,
        const char *data)
{
        size_t len = strlen(data);
        struct listener *listener;

        TAILQ_FOREACH(listener, &streams->listeners, link)
                if (id_equal(&listener->agent_id, agent_id) && (!client || strcmp(client, listener->client) == 0))
                        http_stream_event(listener->stream, event, data, len);
}

void streams_emitted(struct streams *streams, const struct id *agent_id, const char *client, const char *data)
{
        tell_listeners(streams, "message", agent_id, client, data);
}

void streams_dropped(struct streams *streams, const struct id *agent_id, int64_t count)
{
        char data[48];

        snprintf(data, sizeof data, "{\"count\":%" PRId64 "}", count);
        tell_listeners(streams, "dropped", agent_id, NULL, data);
}
