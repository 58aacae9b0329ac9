#include "worker/runtime/agent_pipes.h"

#include "common/fd.h"

#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One wake-up reads this much at most, so that an agent that floods delays its neighbours by microseconds. */
#define READ_SIZE 16384
/* What is read of a dead program's pipes at most: a pipe holds 64 KiB, a privileged program may have made it 1 MiB. */
#define DRAIN_READS 80
#define PART_MARK "\xe2\x80\xa6"
/* While its lines are dropped, stderr is read this seldom: it neither stops the agent nor heats the loop. */
static const struct timeval stderr_pause = { .tv_usec = 20000 };

/* Of every read in this process: reads never nest, and what they leave is copied. */
static char scratch[READ_SIZE];

static void close_pipe(int *fd, struct event *event)
{
        if (*fd < 0)
                return;
        event_del(event);
        *fd = fd_close(*fd);
}

static void take_lines(struct agent_pipes *pipes, size_t len)
{
        struct line_reader *reader = &pipes->out_lines;
        const char *line;
        size_t line_len;
        int r = 0;

        line_reader_push(reader, scratch, len);
        while (pipes->out >= 0 && (r = line_reader_next(reader, &line, &line_len)) > 0)
                pipes->events->on_line(pipes->arg, line, line_len, (enum line_kind)r);
        if (pipes->out < 0 || r == 0)
                return;
        pipes->events->on_failed(pipes->arg, "no memory for the line it wrote");
        agent_pipes_ignore(pipes);
}

/* Of its last line the newline may be missing. */
static void take_rest(struct agent_pipes *pipes)
{
        const char *line;
        size_t len;

        if (pipes->out >= 0 && line_reader_rest(&pipes->out_lines, &line, &len))
                pipes->events->on_line(pipes->arg, line, len, pipes->out_lines.in_long ? LINE_LAST : LINE_REST);
}

/* Returns whether there may be more. */
static bool read_out(struct agent_pipes *pipes)
{
        ssize_t n = read(pipes->out, scratch, sizeof scratch);

        if (n > 0) {
                take_lines(pipes, (size_t)n);
                return pipes->out >= 0;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        take_rest(pipes);
        if (pipes->out < 0)
                return false;
        agent_pipes_ignore(pipes);
        pipes->events->on_closed(pipes->arg, "closed its stdout");
        return false;
}

/* A part says so: "…" stands where the line goes on, or has begun. */
static bool log_part(struct agent_pipes *pipes, const char *line, size_t len, enum line_kind kind)
{
        char *marked = malloc(len + 2 * sizeof PART_MARK), *to = marked;
        bool dropping;

        if (!marked)
                return agent_log_line(&pipes->log, "agent.stderr", line, len);
        to = pipes->err_in_long ? stpcpy(to, PART_MARK) : to;
        to = mempcpy(to, line, len);
        to = kind == LINE_PART ? stpcpy(to, PART_MARK) : to;
        dropping = agent_log_line(&pipes->log, "agent.stderr", marked, (size_t)(to - marked));
        free(marked);
        return dropping;
}

static void log_line(struct agent_pipes *pipes, const char *line, size_t len, enum line_kind kind, bool *dropping)
{
        if (kind != LINE_PART && len > 0 && line[len - 1] == '\r')
                len--;
        if (kind != LINE_WHOLE)
                *dropping = log_part(pipes, line, len, kind) || *dropping;
        else if (len > 0)
                *dropping = agent_log_line(&pipes->log, "agent.stderr", line, len) || *dropping;
        pipes->err_in_long = kind == LINE_PART;
}

/* Returns whether there may be more; *dropping becomes true when lines were dropped. */
static bool read_err(struct agent_pipes *pipes, bool *dropping)
{
        ssize_t n = read(pipes->err, scratch, sizeof scratch);
        const char *line;
        size_t len;
        int kind;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        if (n <= 0) {
                close_pipe(&pipes->err, &pipes->err_event);
                return false;
        }
        line_reader_push(&pipes->err_lines, scratch, (size_t)n);
        while ((kind = line_reader_next(&pipes->err_lines, &line, &len)) > 0)
                log_line(pipes, line, len, (enum line_kind)kind, dropping);
        return true;
}

static void on_out(int fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        read_out(arg);
}

static void on_err(int fd, short what, void *arg)
{
        struct agent_pipes *pipes = arg;
        bool dropping = false;

        (void)fd;
        (void)what;
        read_err(pipes, &dropping);
        if (dropping && pipes->err >= 0) {
                event_del(&pipes->err_event);
                event_add(&pipes->err_pause, &stderr_pause);
        }
}

static void on_err_pause(int fd, short what, void *arg)
{
        struct agent_pipes *pipes = arg;

        (void)fd;
        (void)what;
        event_add(&pipes->err_event, NULL);
}

/* 0 or -EPIPE. */
static int flush(struct agent_pipes *pipes)
{
        int n = 0;

        if (evbuffer_get_length(pipes->queue) > 0)
                n = evbuffer_write(pipes->queue, pipes->in);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
                close_pipe(&pipes->in, &pipes->in_event);
                return -EPIPE;
        }
        if (evbuffer_get_length(pipes->queue) > 0)
                event_add(&pipes->in_event, NULL);
        else if (pipes->finishing)
                close_pipe(&pipes->in, &pipes->in_event);
        return 0;
}

static void on_in(int fd, short what, void *arg)
{
        struct agent_pipes *pipes = arg;

        (void)fd;
        (void)what;
        if (flush(pipes) < 0 && !pipes->finishing)
                pipes->events->on_closed(pipes->arg, "closed its stdin");
}

int agent_pipes_write(struct agent_pipes *pipes, const char *line, size_t len, size_t reserve)
{
        size_t waiting;

        if (pipes->in < 0 || pipes->finishing)
                return -EPIPE;
        waiting = evbuffer_get_length(pipes->queue);
        if (waiting > 0 && waiting + len > pipes->queue_max + reserve)
                return -EAGAIN;
        if (evbuffer_add(pipes->queue, line, len) < 0)
                return -ENOMEM;
        return waiting > 0 ? 0 : flush(pipes);
}

void agent_pipes_finish(struct agent_pipes *pipes)
{
        pipes->finishing = true;
        if (pipes->in >= 0)
                flush(pipes);
}

void agent_pipes_ignore(struct agent_pipes *pipes)
{
        close_pipe(&pipes->out, &pipes->out_event);
}

void agent_pipes_drain(struct agent_pipes *pipes)
{
        bool dropping = false;
        const char *line;
        size_t len;

        for (int i = 0; i < DRAIN_READS && pipes->out >= 0; i++)
                if (!read_out(pipes))
                        break;
        take_rest(pipes);
        for (int i = 0; i < DRAIN_READS && pipes->err >= 0; i++)
                if (!read_err(pipes, &dropping))
                        break;
        if (line_reader_rest(&pipes->err_lines, &line, &len))
                log_line(pipes, line, len, pipes->err_in_long ? LINE_LAST : LINE_WHOLE, &dropping);
}

void agent_pipes_close(struct agent_pipes *pipes)
{
        if (!pipes->queue)
                return;
        close_pipe(&pipes->in, &pipes->in_event);
        close_pipe(&pipes->out, &pipes->out_event);
        close_pipe(&pipes->err, &pipes->err_event);
        event_del(&pipes->err_pause);
        evbuffer_free(pipes->queue);
        pipes->queue = NULL;
        line_reader_done(&pipes->out_lines);
        line_reader_done(&pipes->err_lines);
        agent_log_report(&pipes->log);
}

/* *ret_ours does not block, the program's end does, as programs expect. */
static int open_pipe(bool to_program, int *ret_ours, int *ret_theirs)
{
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        r = fd_nonblock(fds[to_program]);
        if (r < 0) {
                fd_close(fds[0]);
                fd_close(fds[1]);
                return r;
        }
        *ret_ours = fds[to_program];
        *ret_theirs = fds[!to_program];
        return 0;
}

static int open_pipes(struct agent_pipes *pipes, int ret_fds[3])
{
        int r;

        r = open_pipe(true, &pipes->in, &ret_fds[0]);
        if (r == 0)
                r = open_pipe(false, &pipes->out, &ret_fds[1]);
        if (r == 0)
                r = open_pipe(false, &pipes->err, &ret_fds[2]);
        return r;
}

int agent_pipes_open(struct agent_pipes *pipes, struct event_base *base, const struct pool_runtime_config *config,
        const struct id *agent_id, const struct agent_pipes_events *events, void *arg, int ret_fds[3])
{
        int r;

        *pipes = (struct agent_pipes){ .events = events, .arg = arg, .in = -1, .out = -1, .err = -1,
                .queue_max = (size_t)config->queue_bytes };
        ret_fds[0] = ret_fds[1] = ret_fds[2] = -1;
        pipes->queue = evbuffer_new();
        if (!pipes->queue)
                return -ENOMEM;
        line_reader_init(&pipes->out_lines, (size_t)config->max_line_bytes);
        line_reader_init(&pipes->err_lines, (size_t)config->log_line_bytes);
        agent_log_init(&pipes->log, agent_id, config->log_bytes_per_second);
        r = open_pipes(pipes, ret_fds);
        event_assign(&pipes->in_event, base, pipes->in, EV_WRITE, on_in, pipes);
        event_assign(&pipes->out_event, base, pipes->out, EV_READ | EV_PERSIST, on_out, pipes);
        event_assign(&pipes->err_event, base, pipes->err, EV_READ | EV_PERSIST, on_err, pipes);
        event_assign(&pipes->err_pause, base, -1, 0, on_err_pause, pipes);
        if (r == 0 && (event_add(&pipes->out_event, NULL) < 0 || event_add(&pipes->err_event, NULL) < 0))
                r = -ENOMEM;
        if (r == 0)
                return 0;
        for (int i = 0; i < 3; i++)
                ret_fds[i] = fd_close(ret_fds[i]);
        agent_pipes_close(pipes);
        return r;
}
