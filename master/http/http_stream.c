/* An answer without end (Server-Sent Events): written as it comes, dropped when nobody reads it. */
#include "common/clock.h"
#include "master/http/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct evbuffer *stream_output(const struct http_stream *stream)
{
        return bufferevent_get_output(stream->connection->bev);
}

/* When the output must have been read; INT64_MAX: nothing waits. */
static int64_t unread_deadline(const struct http_stream *stream)
{
        int64_t timeout = stream->connection->server->config.write_timeout_ms;

        return stream->unread_since && timeout > 0 ? stream->unread_since + timeout : INT64_MAX;
}

static void set_deadline(struct http_stream *stream)
{
        int64_t unread = unread_deadline(stream);

        http_connection_set_deadline(stream->connection, unread < stream->ping_at ? unread : stream->ping_at);
}

struct http_stream *http_answer_stream(struct http_request *request, void (*on_gone)(void *arg), void *arg)
{
        struct http_connection *connection = request->connection;
        struct http_stream *stream = connection ? malloc(sizeof *stream) : NULL;

        if (!stream) {
                http_answer_problem(request, 503, "out of memory");
                return NULL;
        }
        *stream = (struct http_stream){
                .connection = connection,
                .on_gone = on_gone,
                .arg = arg,
                .ping_at = clock_mono_ms() + connection->server->ping_ms,
                .chunked = request->head.minor > 0 && request->method != HTTP_HEAD,
                .ending = request->method == HTTP_HEAD,
        };
        http_answer_header(request, "Cache-Control", "no-cache");
        if (request->head.minor > 0)
                http_answer_header(request, "Transfer-Encoding", "chunked");
        bool queued = http_answer_write(request, 200, "text/event-stream", NULL, -1, false) == 0;
        http_request_free(request);
        if (!queued) {
                free(stream);
                http_connection_answered(connection, false, false);
                return NULL;
        }
        http_connection_streams(connection, stream);
        set_deadline(stream);
        if (stream->ending)
                http_connection_wake(connection);
        return stream;
}

/* One chunk of what scratch holds. */
static int send_scratch(struct http_stream *stream)
{
        struct evbuffer *scratch = stream->connection->server->scratch, *output = stream_output(stream);
        size_t len = evbuffer_get_length(scratch);

        if (evbuffer_get_length(output) > 0 && evbuffer_get_length(output) + len > HTTP_STREAM_MAX)
                return -EPIPE;
        if (stream->chunked && evbuffer_add_printf(output, "%zx\r\n", len) < 0)
                return -ENOMEM;
        if (evbuffer_add_buffer(output, scratch) < 0 || (stream->chunked && evbuffer_add(output, "\r\n", 2) < 0))
                return -ENOMEM;
        if (!stream->unread_since)
                stream->unread_since = clock_mono_ms();
        return 0;
}

/* WHATWG HTML 9.2.5: each line of data is a field of its own. */
static int write_event(struct evbuffer *scratch, const char *event, const char *data, size_t len)
{
        const char *end = data + len;

        if (event && evbuffer_add_printf(scratch, "event: %s\n", event) < 0)
                return -ENOMEM;
        do {
                const char *line = data;

                while (data < end && *data != '\n' && *data != '\r')
                        data++;
                if (evbuffer_add(scratch, "data: ", 6) < 0 || evbuffer_add(scratch, line, (size_t)(data - line)) < 0 ||
                        evbuffer_add(scratch, "\n", 1) < 0)
                        return -ENOMEM;
                data += data + 1 < end && data[0] == '\r' && data[1] == '\n' ? 2 : 1;
        } while (data < end);
        return evbuffer_add(scratch, "\n", 1) < 0 ? -ENOMEM : 0;
}

int http_stream_event(struct http_stream *stream, const char *event, const char *data, size_t len)
{
        struct evbuffer *scratch = stream->connection->server->scratch;

        assert(!event || !event[strcspn(event, "\r\n")]);
        if (stream->ending || stream->dropped)
                return -EPIPE;
        int error = write_event(scratch, event, data, len);
        if (error == 0)
                error = send_scratch(stream);
        evbuffer_drain(scratch, evbuffer_get_length(scratch));
        if (error) {
                stream->dropped = true;
                http_connection_wake(stream->connection);
                return -EPIPE;
        }
        set_deadline(stream);
        return 0;
}

size_t http_stream_unread(const struct http_stream *stream)
{
        return stream->dropped ? SIZE_MAX : evbuffer_get_length(stream_output(stream));
}

void http_stream_close(struct http_stream *stream)
{
        struct http_connection *connection = stream->connection;
        bool queued = !stream->dropped;

        if (queued && stream->chunked)
                queued = evbuffer_add(stream_output(stream), "0\r\n\r\n", 5) == 0;
        free(stream);
        http_connection_answered(connection, queued, false);
}

void http_stream_gone(struct http_stream *stream)
{
        stream->on_gone(stream->arg);
        free(stream);
}

void http_stream_drained(struct http_stream *stream)
{
        stream->unread_since = 0;
        set_deadline(stream);
}

bool http_stream_tick(struct http_stream *stream, int64_t now)
{
        struct evbuffer *scratch = stream->connection->server->scratch;

        if (stream->ending) {
                stream->on_gone(stream->arg);
                http_stream_close(stream);
                return true;
        }
        if (stream->dropped || now >= unread_deadline(stream))
                return false;
        if (now >= stream->ping_at) {
                stream->ping_at = now + stream->connection->server->ping_ms;
                int error = evbuffer_add(scratch, ":\n\n", 3) < 0 ? -ENOMEM : send_scratch(stream);

                evbuffer_drain(scratch, evbuffer_get_length(scratch));
                if (error)
                        return false;
        }
        set_deadline(stream);
        return true;
}
