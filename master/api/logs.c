/* GET /agents/{agent_id}/logs: what an agent printed, as its worker keeps it; with follow=true as it comes. */
#include "common/capture.h"
#include "master/api/api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINES_DEFAULT 100
#define LINES_MAX 10000
#define LOOK_MS 250
#define PART_BYTES 16384
#define UNREAD_MAX 65536 /* bytes of one look: the files wait for a slow reader */

/* Somebody who follows. */
struct follower {
        struct http_stream *stream;
        struct event *timer;
        const char *directory;
        struct id agent_id;
        struct capture_position position;
};

static void follower_free(struct follower *follower)
{
        if (follower->timer)
                event_free(follower->timer);
        free(follower);
}

static void on_gone(void *arg)
{
        follower_free(arg);
}

/* One event per line. */
static void send_lines(struct http_stream *stream, const char *text, size_t len)
{
        const char *end = text + len;
        int r = 0;

        while (text < end && r == 0) {
                const char *newline = memchr(text, '\n', (size_t)(end - text));
                const char *next = newline ? newline : end;

                r = http_stream_event(stream, "log", text, (size_t)(next - text)); /* on_gone follows when nobody reads */
                text = next + 1;
        }
}

static void send_more(struct follower *follower)
{
        char part[PART_BYTES];
        size_t len = 1;

        while (len > 0 && http_stream_unread(follower->stream) < UNREAD_MAX) {
                len = capture_read(&follower->position, follower->directory, &follower->agent_id, part, sizeof part);
                send_lines(follower->stream, part, len);
        }
}

/* Who has not read it all gets no more: so it is seen to read, however slowly, within the time that it has for that. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
        struct follower *follower = arg;

        (void)fd;
        (void)what;
        if (http_stream_unread(follower->stream) == 0)
                send_more(follower);
}

static struct follower *follower_new(const struct master *master, const struct id *agent_id)
{
        struct timeval interval = { .tv_usec = LOOK_MS * 1000 };
        struct follower *follower = calloc(1, sizeof *follower);

        if (!follower)
                return NULL;
        follower->directory = master->config->log.agents_dir;
        follower->agent_id = *agent_id;
        follower->timer = event_new(master->base, -1, EV_PERSIST, on_look, follower);
        if (follower->timer && event_add(follower->timer, &interval) == 0)
                return follower;
        follower_free(follower);
        return NULL;
}

static void follow(struct http_request *request, const struct master *master, const struct id *agent_id,
        const struct capture_position *from)
{
        struct follower *follower = follower_new(master, agent_id);

        if (!follower) {
                http_answer_problem(request, 503, "out of memory; try again");
                return;
        }
        follower->position = *from;
        follower->stream = http_answer_stream(request, on_gone, follower);
        if (follower->stream)
                send_more(follower);
        else
                follower_free(follower); /* answered, or the client has gone */
}

/* ?follow=true or false. False: answered already. */
static bool read_follow(struct http_request *request, bool *ret_follow)
{
        const char *text = http_request_query(request, "follow");

        *ret_follow = text && strcmp(text, "true") == 0;
        if (!text || *ret_follow || strcmp(text, "false") == 0)
                return true;
        http_answer_problem(request, 400, "query parameter \"follow\" must be true or false");
        return false;
}

static void answer(struct http_request *request, const struct master *master, const struct id *agent_id, unsigned lines,
        bool following)
{
        const char *directory = master->config->log.agents_dir;
        struct capture_position from;
        char *text = NULL;
        size_t len = 0;
        int r = capture_tail(directory, agent_id, lines, &text, &len, &from);

        if (r == -ENOENT && !pools_agent(master->pools, agent_id))
                http_answer_problem(request, 404, "nothing was kept of an agent %s", ID_TEXT(agent_id));
        else if (r < 0 && r != -ENOENT)
                http_answer_problem(request, 503, "its log cannot be read: %s", strerror(-r));
        else if (following)
                follow(request, master, agent_id, &from);
        else
                http_answer(request, 200, "text/plain; charset=utf-8", text ? text : "", len);
        free(text);
}

void api_agents_logs(struct http_request *request, void *arg)
{
        static const char *const names[] = { "lines", "follow", NULL };
        const struct master *master = arg;
        struct id agent_id;
        int64_t lines;
        bool following;

        if (!api_path_agent_id(request, &agent_id) || !api_check_query(request, names) ||
                !api_query_integer(request, "lines", LINES_DEFAULT, 1, LINES_MAX, &lines) || !read_follow(request, &following))
                return;
        if (config_keeps_agent_files(&master->config->log))
                answer(request, master, &agent_id, (unsigned)lines, following);
        else
                http_answer_problem(request, 404, "what agents print is not kept in files; the setting log.agents says so");
}
