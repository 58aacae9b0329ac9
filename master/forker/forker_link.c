#include "master/forker/forker_link.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define RETRY_MS 100

void forker_link_open(struct forker_link *link, int take_fd, struct forker_table *table)
{
        *link = (struct forker_link){ .fd = take_fd, .can_go_back = link->can_go_back, .upgraded_at = link->upgraded_at };
        forker_table_owe_all(table);
}

void forker_link_close(struct forker_link *link)
{
        *link = (struct forker_link){ .fd = fd_close(link->fd), .can_go_back = link->can_go_back,
                .upgraded_at = link->upgraded_at };
}

/* 0 or as fd_send: then nothing was told. */
static int tell(const struct forker_link *link, struct forker_message message, int fd)
{
        message.version = FORKER_PROTOCOL;
        return fd_send(link->fd, &message, sizeof message, fd);
}

static int tell_signal(struct forker_link *link)
{
        int number = ffs((int)link->signals) - 1;
        int r = tell(link, (struct forker_message){ .type = FORKER_SIGNAL, .number = number }, -1);

        if (r == 0)
                link->signals &= ~(1u << number);
        return r;
}

static int tell_refusal(struct forker_link *link)
{
        int r = tell(link, link->refusal, -1);

        if (r == 0)
                link->refusal.type = 0;
        return r;
}

static int tell_listener(struct forker_link *link, const struct forker_config *config)
{
        unsigned i = link->listeners_told;
        struct forker_message message = { .type = FORKER_LISTENER, .number = (int)i, .adopted = config->listeners_lent };
        int r = tell(link, message, config->listeners[i]);

        if (r == 0)
                link->listeners_told++;
        return r;
}

/* The next of them by pid, -1: all were told. */
static int next_retired(const struct forker_link *link, const struct forker_retired *retired)
{
        int next = -1;

        for (unsigned i = 0; i < retired->count; i++)
                if (retired->pids[i] > link->retired_told && (next < 0 || retired->pids[i] < retired->pids[next]))
                        next = (int)i;
        return next;
}

static int tell_retired(struct forker_link *link, const struct forker_retired *retired, int i)
{
        struct forker_message message = { .type = FORKER_RETIRED, .pid = retired->pids[i] };
        int r = tell(link, message, retired->sockets[i]);

        if (r == 0)
                link->retired_told = retired->pids[i];
        return r;
}

static int tell_worker(const struct forker_link *link, struct forker_table *table, const struct forker_worker *worker)
{
        struct forker_message message = { .process_id = worker->process_id, .pid = worker->pid,
                .adopted = worker->adopted, .started_at = worker->started_at };
        unsigned due = worker->tell & TELL_WORKER ? TELL_WORKER : TELL_EXITED;
        int r;

        memcpy(message.pool_name, worker->pool_name, sizeof message.pool_name);
        message.type = due == TELL_WORKER ? FORKER_WORKER : FORKER_EXITED;
        message.number = due == TELL_WORKER ? 0 : worker->status;
        r = tell(link, message, due == TELL_WORKER ? worker->control : -1);
        if (r == 0)
                forker_table_told(table, due);
        return r;
}

static int tell_synced(struct forker_link *link)
{
        int r = tell(link, (struct forker_message){ .type = FORKER_SYNCED, .number = link->can_go_back,
                .started_at = link->upgraded_at }, -1);

        link->synced = r == 0;
        return r;
}

/* 0, -ENODATA when nothing is owed, or as fd_send. */
static int tell_next(struct forker_link *link, struct forker_table *table, const struct forker_retired *retired,
        const struct forker_config *config)
{
        const struct forker_worker *worker = forker_table_owed(table);
        int next = link->synced ? -1 : next_retired(link, retired);

        if (link->listeners_told < config->listener_count)
                return tell_listener(link, config);
        if (next >= 0)
                return tell_retired(link, retired, next);
        if (link->signals) /* whoever is to retire must know whose answers come to it */
                return tell_signal(link);
        if (link->refusal.type)
                return tell_refusal(link);
        if (worker)
                return tell_worker(link, table, worker);
        return link->synced ? -ENODATA : tell_synced(link);
}

void forker_link_tell(struct forker_link *link, struct forker_table *table, const struct forker_retired *retired,
        const struct forker_config *config)
{
        int r;

        if (link->fd < 0 || link->retry_at > clock_mono_ms())
                return;
        do
                r = tell_next(link, table, retired, config);
        while (r == 0);
        link->blocked = r == -EAGAIN;
        /* -EPIPE: the end of file is read soon. Else, as -ETOOMANYREFS, poll would not tell when it is over. */
        link->retry_at = link->blocked || r == -ENODATA || r == -EPIPE ? 0 : clock_mono_ms() + RETRY_MS;
}

int forker_link_read(struct forker_link *link, struct forker_message *ret_request, int *ret_fd)
{
        struct forker_message request;
        int fd;
        ssize_t n;

        if (link->fd < 0 || link->refusal.type)
                return -EAGAIN;
        do
                n = fd_receive(link->fd, &request, sizeof request, &fd);
        while (n == -ECONNRESET); /* said once when the master died with messages unread, before its own last words */
        if (n == -EAGAIN)
                return -EAGAIN;
        if (n <= 0 && n != -EMSGSIZE)
                return -EPIPE;
        if (n != (ssize_t)sizeof request || request.version != FORKER_PROTOCOL ||
                request.pool_name[FORKER_NAME_SIZE - 1])
                request = (struct forker_message){ .type = FORKER_MESSAGE_TYPE_COUNT };
        *ret_request = request;
        *ret_fd = fd;
        return 0;
}
