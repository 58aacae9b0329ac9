#include "sql/store.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "sql/store_op.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 5000
#define QUEUE_MAX 32768
#define QUEUE_BYTES (64u * 1024 * 1024)
#define PING_MS 5000      /* a quiet connection is asked whether it is there */
#define RETRY_MS 50       /* the first pause when the database is away … */
#define RETRY_MAX_MS 2000 /* … and the longest */
#define DELIVER_MAX 256   /* callbacks per turn of the loop */
#define GATHER_MIN 8      /* so many writes in flight are worth gathering … */
#define GATHER_MAX_US 1000 /* … for a quarter of a commit's time, and at most this */

struct store {
        struct store_backend *backend; /* the thread's */
        struct store_batch *batch;     /* the thread's */
        struct event *event;           /* the loop's: wake_fd was written */
        int wake_fd;
        int wait_ms;
        unsigned queue_max;
        int64_t sequence_at; /* the loop's: of the last event */
        unsigned sequence;
        bool thread_runs;
        pthread_t thread;

        pthread_mutex_t mutex; /* guards the rest */
        pthread_cond_t cond;   /* there is work, or closing */
        struct store_op_list writes, reads, done;
        uint64_t number;       /* of the last submission */
        size_t queued_bytes;
        int64_t expire_at;     /* mono ms: no deadline in writes and reads is earlier */
        int64_t retry_at;      /* while not available */
        int64_t used_at;       /* mono ms: the database answered or was asked */
        struct backoff backoff;
        bool closing, read_last;
        int64_t close_at;
        unsigned wanted;       /* a submission wakes the thread when so many are queued */
        unsigned in_flight;    /* the last batch and what was queued when it was done */
        int64_t commit_us;     /* what the last batch took */
        int away;              /* why not available: -errno */
        struct store_status status;
};

/* With the mutex. */
static void put_done(struct store *store, struct store_op *op)
{
        uint64_t one = 1;

        /* An eventfd that cannot take 1 is readable already. */
        if (TAILQ_EMPTY(&store->done) && write(store->wake_fd, &one, sizeof one) < 0)
                errno = 0;
        TAILQ_INSERT_TAIL(&store->done, op, link);
}

/* With the mutex: op is out of its queue and will be delivered. */
static void finish(struct store *store, struct store_op *op, int error)
{
        op->error = error;
        store->status.queued--;
        store->queued_bytes -= op->size;
        store->status.operations += !error && op->kind;
        store->status.refused += error == -EINVAL && op->kind;
        put_done(store, op);
}

/* With the mutex. */
static void enqueue(struct store *store, struct store_op *op, bool first)
{
        struct store_op_list *queue = op->kind ? &store->writes : &store->reads;
        bool waited_for = op->reader || op->kind->promise || op->cb.write;

        op->deadline = waited_for ? clock_mono_ms() + store->wait_ms : INT64_MAX;
        if (op->deadline < store->expire_at)
                store->expire_at = op->deadline;
        store->status.queued++;
        store->queued_bytes += op->size;
        if (first) {
                TAILQ_INSERT_HEAD(queue, op, link);
        } else {
                op->number = ++store->number;
                TAILQ_INSERT_TAIL(queue, op, link);
        }
}

int store_submit(struct store *store, struct store_op *take_op)
{
        struct store_status *status = &store->status;
        int error = 0;
        bool history;

        if (!take_op)
                return -ENOMEM;
        history = take_op->kind && take_op->kind->history;
        pthread_mutex_lock(&store->mutex);
        if (store->closing || status->queued >= store->queue_max / (history ? 2 : 1) ||
                store->queued_bytes + take_op->size > QUEUE_BYTES / (history ? 2 : 1)) {
                status->dropped += history;
                error = -EAGAIN;
        } else {
                enqueue(store, take_op, false);
                if (status->queued >= store->wanted)
                        pthread_cond_signal(&store->cond);
        }
        pthread_mutex_unlock(&store->mutex);
        if (error)
                store_op_free(take_op);
        return error;
}

unsigned store_next_sequence(struct store *store, int64_t at)
{
        store->sequence = at == store->sequence_at && store->sequence < 0xfff ? store->sequence + 1 :
                at == store->sequence_at                                      ? 0xfff :
                                                                                0;
        store->sequence_at = at;
        return store->sequence;
}

/* With the mutex: answers op's callback now while op itself stays queued. False: out of memory, later then. */
static bool answer_early(struct store *store, struct store_op *op, int error)
{
        struct store_op *notice = store_op_new(op->kind, NULL, NULL, NULL, op->values);

        if (!notice)
                return false;
        notice->cb = op->cb;
        notice->arg = op->arg;
        notice->error = error;
        op->cb.write = NULL;
        op->deadline = INT64_MAX;
        put_done(store, notice);
        return true;
}

/* With the mutex: op waited too long. What nobody promised yet is given up. If it may be written all the same, it stays
 * queued (so that it certainly is) and what takes it back is queued behind it. */
static void expire(struct store *store, struct store_op *op)
{
        int error = store->away ? store->away : -EAGAIN;
        struct store_op *undo = NULL;

        if (!op->kind || (op->kind->promise && !op->unknown)) {
                TAILQ_REMOVE(op->kind ? &store->writes : &store->reads, op, link);
                finish(store, op, error);
                return;
        }
        if (op->kind->promise && op->kind->undo) {
                undo = store_op_new(op->kind->undo, NULL, NULL, NULL, op->values);
                if (!undo)
                        return;
        }
        if (answer_early(store, op, undo ? error : -EINPROGRESS) && undo)
                enqueue(store, undo, false);
        else
                store_op_free(undo);
}

/* With the mutex. */
static void expire_all(struct store *store, int64_t now)
{
        struct store_op_list *const queues[] = { &store->writes, &store->reads };
        struct store_op *op, *next;

        if (now < store->expire_at)
                return;
        store->expire_at = INT64_MAX;
        for (size_t i = 0; i < 2; i++)
                for (op = TAILQ_FIRST(queues[i]); op; op = next) {
                        next = TAILQ_NEXT(op, link);
                        if (op->deadline <= now)
                                expire(store, op);
                        else if (op->deadline < store->expire_at)
                                store->expire_at = op->deadline;
                }
}

/* With the mutex. What errors are shown as: the three that mean "nothing was written, try later". */
static void go_away(struct store *store, int error)
{
        struct store_status *status = &store->status;

        store->away = error == -ENOSPC || error == -EROFS ? error : -EAGAIN;
        memcpy(status->reason, store->backend->reason, sizeof status->reason);
        if (status->available)
                log_warn("store.away", "backend=%s reason=%s queued=%u", status->backend, LOG_Q(status->reason),
                        status->queued);
        /* The first retry comes at once: most often only the connection was lost. */
        store->retry_at = clock_mono_ms() + (store->backoff.tries++ ? backoff_next(&store->backoff, arc4random()) : 0);
        status->available = false;
}

/* With the mutex. */
static void come_back(struct store *store)
{
        struct store_status *status = &store->status;

        if (!status->available)
                log_info("store.available", "backend=%s queued=%u", status->backend, status->queued);
        status->available = true;
        status->reason[0] = '\0';
        store->away = 0;
}

/* Connected, with our tables, and writable. */
static int connect_backend(struct store_backend *backend)
{
        struct store_rows rows;
        int error = backend->class->connect(backend);

        if (!error)
                error = store_migrate(backend);
        if (!error && backend->class->find_schema) {
                error = backend->class->query(
                        backend, "UPDATE schema_migrations SET version = version WHERE version = 1", "", NULL, &rows);
                if (!error)
                        store_rows_done(&rows);
        }
        if (error == -EPROTO)
                backend->class->disconnect(backend);
        return error;
}

/* The functions of the thread below are called with the mutex and give it up while they wait for the database. */

static void reconnect(struct store *store)
{
        int error;

        pthread_mutex_unlock(&store->mutex);
        error = connect_backend(store->backend);
        pthread_mutex_lock(&store->mutex);
        if (error)
                go_away(store, error);
        else
                come_back(store);
}

static void ping(struct store *store)
{
        struct store_rows rows = { 0 };
        int error;

        pthread_mutex_unlock(&store->mutex);
        error = store->backend->class->query(store->backend, "SELECT 1", "", NULL, &rows);
        pthread_mutex_lock(&store->mutex);
        store_rows_done(&rows);
        if (error)
                go_away(store, error);
}

static int64_t now_us(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Those who were just answered are likely to ask again: without a short wait for them, half of all who are at it would share a
 * commit and the other half the next. */
static void gather(struct store *store)
{
        int64_t us = store->commit_us / 4 < GATHER_MAX_US ? store->commit_us / 4 : GATHER_MAX_US;
        int64_t end = now_us() + us;
        struct timespec until = { .tv_sec = end / 1000000, .tv_nsec = end % 1000000 * 1000 };

        if (store->in_flight < GATHER_MIN || store->closing)
                return;
        store->wanted = store->in_flight < STORE_BATCH_MAX ? store->in_flight : STORE_BATCH_MAX;
        while (store->status.queued < store->wanted &&
                pthread_cond_clockwait(&store->cond, &store->mutex, CLOCK_MONOTONIC, &until) == 0)
                ;
        store->wanted = 0;
}

static void run_writes(struct store *store)
{
        struct store_op *ops[STORE_BATCH_MAX];
        size_t count = 0, done;
        int64_t start;
        int error = 0;

        gather(store);
        start = now_us();

        while (count < STORE_BATCH_MAX && !TAILQ_EMPTY(&store->writes)) {
                ops[count] = TAILQ_FIRST(&store->writes);
                TAILQ_REMOVE(&store->writes, ops[count], link);
                count++;
        }
        pthread_mutex_unlock(&store->mutex);
        done = store_batch_run(store->batch, ops, count, &error);
        pthread_mutex_lock(&store->mutex);
        for (size_t i = 0; i < done; i++)
                finish(store, ops[i], ops[i]->error);
        store->commit_us = now_us() - start;
        store->in_flight = (unsigned)done + store->status.queued;
        for (; count > done; count--)
                TAILQ_INSERT_HEAD(&store->writes, ops[count - 1], link);
        if (done > 0) {
                store->status.commits++;
                backoff_reset(&store->backoff);
        }
        store->expire_at = 0; /* what came back may be late */
        if (error)
                go_away(store, error);
}

static void run_read(struct store *store)
{
        struct store_op *op = TAILQ_FIRST(&store->reads);
        int error;

        TAILQ_REMOVE(&store->reads, op, link);
        pthread_mutex_unlock(&store->mutex);
        error = op->reader->run(op, store->backend);
        pthread_mutex_lock(&store->mutex);
        if (error == 1) {
                op->deadline = clock_mono_ms() + store->wait_ms;
        } else if (error && !store->backend->connected) {
                go_away(store, error);
        } else {
                finish(store, op, error);
                return;
        }
        TAILQ_INSERT_HEAD(&store->reads, op, link);
        store->expire_at = 0;
}

/* Writes go first, but after each batch comes a read if one waits, and none before the writes submitted before it (those
 * that can be written: a full disk can still be read). */
static bool run_next(struct store *store)
{
        const struct store_op *op = TAILQ_FIRST(&store->writes), *read = TAILQ_FIRST(&store->reads);
        bool writes = op && store->status.available, reads = read && store->backend->connected;

        if (!writes && !reads)
                return false;
        if (writes && (!reads || store->read_last || op->number < read->number)) {
                store->read_last = false;
                run_writes(store);
        } else {
                store->read_last = true;
                run_read(store);
        }
        store->used_at = clock_mono_ms();
        return true;
}

/* Until the mono ms at, or a submission. */
static void wait_until(struct store *store, int64_t at, int64_t now)
{
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (at - now) % 1000 * 1000000;
        until.tv_sec += (at - now) / 1000 + until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_clockwait(&store->cond, &store->mutex, CLOCK_MONOTONIC, &until);
}

static void idle(struct store *store, int64_t now)
{
        int64_t at = store->status.available ? store->used_at + PING_MS : store->retry_at;

        if (store->status.available && now >= at) {
                store->used_at = now;
                ping(store);
                return;
        }
        if (store->expire_at < at)
                at = store->expire_at;
        if (store->closing && store->close_at < at)
                at = store->close_at;
        wait_until(store, at, now);
}

static void *run_thread(void *arg)
{
        struct store *store = arg;

        pthread_mutex_lock(&store->mutex);
        for (;;) {
                int64_t now = clock_mono_ms();
                bool nothing = TAILQ_EMPTY(&store->writes) && TAILQ_EMPTY(&store->reads);

                expire_all(store, now);
                if (store->closing && (nothing || now >= store->close_at))
                        break;
                if (!store->status.available && now >= store->retry_at)
                        reconnect(store);
                else if (!run_next(store))
                        idle(store, now);
        }
        pthread_mutex_unlock(&store->mutex);
        return NULL;
}

/* On the loop: the first of the done; NULL: none. */
static struct store_op *take_done(struct store *store)
{
        struct store_op *op;

        pthread_mutex_lock(&store->mutex);
        op = TAILQ_FIRST(&store->done);
        if (op)
                TAILQ_REMOVE(&store->done, op, link);
        pthread_mutex_unlock(&store->mutex);
        return op;
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
        struct store *store = arg;
        struct store_op *op;
        uint64_t count;

        (void)what;
        if (read(fd, &count, sizeof count) < 0)
                errno = 0; /* woken by event_active below */
        for (unsigned i = 0; i < DELIVER_MAX && (op = take_done(store)); i++) {
                if (!store_op_deliver(op)) {
                        store_op_free(op);
                        continue;
                }
                pthread_mutex_lock(&store->mutex);
                enqueue(store, op, true);
                pthread_cond_signal(&store->cond);
                pthread_mutex_unlock(&store->mutex);
        }
        pthread_mutex_lock(&store->mutex);
        if (!TAILQ_EMPTY(&store->done))
                event_active(store->event, EV_READ, 0);
        pthread_mutex_unlock(&store->mutex);
}

static int start_thread(struct store *store)
{
        sigset_t all, before;
        int error;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&store->thread, NULL, run_thread, store);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (error)
                return -error;
        pthread_setname_np(store->thread, "sql");
        store->thread_runs = true;
        return 0;
}

static struct store *store_new(const struct store_options *options, struct event_base *base)
{
        struct store *store = calloc(1, sizeof *store);

        if (!store)
                return NULL;
        TAILQ_INIT(&store->writes);
        TAILQ_INIT(&store->reads);
        TAILQ_INIT(&store->done);
        pthread_mutex_init(&store->mutex, NULL);
        pthread_cond_init(&store->cond, NULL);
        store->wait_ms = options && options->wait_ms ? options->wait_ms : WAIT_MS;
        store->queue_max = options && options->queue_max ? options->queue_max : QUEUE_MAX;
        store->backoff = (struct backoff){ .base_ms = RETRY_MS, .cap_ms = RETRY_MAX_MS };
        store->expire_at = INT64_MAX;
        store->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (store->wake_fd >= 0)
                store->event = event_new(base, store->wake_fd, EV_READ | EV_PERSIST, on_done, store);
        if (!store->event || event_add(store->event, NULL) < 0)
                return store_close(store, 0);
        return store;
}

static int first_connect(struct store *store, const struct store_options *options, char *reason, size_t size)
{
        struct store_backend *backend = store->backend;
        int error = connect_backend(backend);

        if (!error) {
                store->status.available = true;
                return 0;
        }
        snprintf(reason, size, "%s", backend->reason);
        if (!options || !options->start_away || (error != -EAGAIN && error != -EROFS && error != -ENOSPC))
                return error;
        store->status.available = true; /* so that go_away says so once */
        go_away(store, error);
        return 0;
}

int store_open(const char *url, const struct store_options *options, struct event_base *base, struct store **ret_store,
        char *reason, size_t size)
{
        struct store *store = store_new(options, base);
        int error = -ENOMEM;

        snprintf(reason, size, "out of memory");
        if (store)
                error = store_backend_new(url, &store->backend, reason, size);
        if (!error) {
                store->batch = store_batch_new(store->backend);
                error = store->batch ? 0 : -ENOMEM;
        }
        if (!error) {
                store->backend->give_up_at = INT64_MAX;
                store->status.backend = store->backend->class->name;
                error = first_connect(store, options, reason, size);
        }
        if (!error) {
                error = start_thread(store);
                if (error)
                        snprintf(reason, size, "cannot start a thread: %s", strerror(-error));
        }
        if (error) {
                store_close(store, 0);
                return error;
        }
        *ret_store = store;
        return 0;
}

static void end_thread(struct store *store, int timeout_ms)
{
        pthread_mutex_lock(&store->mutex);
        store->closing = true;
        store->close_at = clock_mono_ms() + timeout_ms;
        store->backend->give_up_at = store->close_at;
        pthread_cond_signal(&store->cond);
        pthread_mutex_unlock(&store->mutex);
        pthread_join(store->thread, NULL);
}

struct store *store_close(struct store *store, int timeout_ms)
{
        struct store_op *op;

        if (!store)
                return NULL;
        if (store->thread_runs)
                end_thread(store, timeout_ms);
        store->closing = true;
        while ((op = TAILQ_FIRST(&store->writes)) || (op = TAILQ_FIRST(&store->reads))) {
                TAILQ_REMOVE(op->kind ? &store->writes : &store->reads, op, link);
                finish(store, op, -EAGAIN);
        }
        while ((op = take_done(store))) {
                while (store_op_deliver(op))
                        op->error = -EAGAIN; /* no next page */
                store_op_free(op);
        }
        if (store->event)
                event_free(store->event);
        fd_close(store->wake_fd);
        store_batch_free(store->batch);
        if (store->backend)
                store->backend->class->free(store->backend);
        pthread_cond_destroy(&store->cond);
        pthread_mutex_destroy(&store->mutex);
        free(store);
        return NULL;
}

void store_status(struct store *store, struct store_status *ret_status)
{
        pthread_mutex_lock(&store->mutex);
        *ret_status = store->status;
        pthread_mutex_unlock(&store->mutex);
}
