#include "sql/store.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "sql/store_owner.h"
#include "sql/store_reads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 5000
#define QUEUE_MAX 32768
#define RETRY_MS 50        /* the first pause when the database is away … */
#define RETRY_MAX_MS 2000  /* … and the longest */
#define DELIVER_MAX 256    /* callbacks per turn of the loop */
#define GATHER_MIN 8       /* so many writes in flight are worth gathering … */
#define GATHER_MAX_US 1000 /* … for a quarter of a commit's time, and at most this */

struct store {
        struct store_queue queue; /* its mutex guards status, too */
        struct store_status status;
        /* The loop's. */
        struct event *event; /* something is done */
        int64_t sequence_at; /* of the last event */
        unsigned sequence;
        bool thread_runs;
        pthread_t thread;
        bool told_taken;
        struct store_reads *reads;
        /* The thread's. */
        struct store_owner owner;
        struct store_backend *backend;
        struct store_batch *batch;
        struct backoff backoff;
        int64_t retry_at;   /* mono ms; while not available */
        int64_t used_at;    /* mono ms: the database was asked */
        int64_t commit_us;  /* what the last batch took */
        unsigned in_flight; /* the last batch and what was queued when it was done */
        bool read_last;     /* the last turn was a read's */
};

int store_submit(struct store *store, struct store_op *take_op)
{
        return take_op ? store_queue_submit(&store->queue, take_op) : -ENOMEM;
}

unsigned store_next_sequence(struct store *store, int64_t at)
{
        if (at != store->sequence_at)
                store->sequence = 0;
        else if (store->sequence < 0xfff) /* 12 bits; more in one millisecond lose their order, nothing else */
                store->sequence++;
        store->sequence_at = at;
        return store->sequence;
}

/* The functions of the thread are called with the mutex and give it up while they wait for the database. */

static void go_away(struct store *store, int error)
{
        struct store_status *status = &store->status;

        /* What waiters are told: one of the three that mean "nothing was written, try later". */
        store->queue.away = error == -ENOSPC || error == -EROFS ? error : -EAGAIN;
        memcpy(status->reason, store->backend->reason, sizeof status->reason);
        if (status->available)
                log_warn("store.away", "backend=%s reason=%s queued=%u", status->backend, LOG_Q(status->reason),
                        store->queue.count);
        status->available = false;
        if (store->owner.taken && !status->taken) {
                status->taken = true;
                store_queue_wake(&store->queue);
        }
        /* The first retry comes at once: most often only the connection was lost. */
        store->retry_at = clock_mono_ms() + (store->backoff.tries++ ? backoff_next(&store->backoff, arc4random()) : 0);
}

static void come_back(struct store *store)
{
        struct store_status *status = &store->status;

        store_reads_follow(store->reads, &store->owner.database_id);
        log_info("store.available", "backend=%s queued=%u", status->backend, store->queue.count);
        status->available = true;
        status->reason[0] = '\0';
        store->queue.away = 0;
}

/* Connected, with our tables, writable, and ours. */
static int connect_backend(struct store *store)
{
        struct store_backend *backend = store->backend;
        int error = FAULT_POINT("store.connect");

        if (!error)
                error = backend->class->connect(backend);
        if (!error)
                error = store_migrate(backend, &store->owner);
        if (!error)
                error = store_owner_claim(&store->owner, backend);
        if (error && error != -EBUSY)
                store_owner_look_away(&store->owner);
        if (error == -EPROTO)
                backend->class->disconnect(backend);
        return error;
}

static void reconnect(struct store *store)
{
        int error;

        pthread_mutex_unlock(&store->queue.mutex);
        error = connect_backend(store);
        pthread_mutex_lock(&store->queue.mutex);
        if (error)
                go_away(store, error);
        else
                come_back(store);
}

static bool renews(const struct store *store)
{
        return store->owner.held && !store->backend->class->exclusive;
}

static void ping(struct store *store)
{
        int error;

        pthread_mutex_unlock(&store->queue.mutex);
        error = renews(store) ? store_owner_renew(&store->owner, store->backend) : store_backend_ping(store->backend);
        pthread_mutex_lock(&store->queue.mutex);
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
        struct store_queue *queue = &store->queue;

        if (store->in_flight < GATHER_MIN || queue->closing)
                return;
        queue->wanted = store->in_flight < STORE_BATCH_MAX ? store->in_flight : STORE_BATCH_MAX;
        if (queue->count < queue->wanted)
                store_queue_wait(queue, &queue->cond,
                        store->commit_us / 4 < GATHER_MAX_US ? store->commit_us / 4 : GATHER_MAX_US);
        queue->wanted = 0;
}

static void run_writes(struct store *store)
{
        struct store_op *ops[STORE_BATCH_MAX];
        size_t count, done;
        int64_t start;
        int error = 0;

        gather(store);
        start = now_us();
        count = store_queue_take_writes(&store->queue, ops);
        pthread_mutex_unlock(&store->queue.mutex);
        done = store_batch_run(store->batch, ops, count, &error);
        pthread_mutex_lock(&store->queue.mutex);
        store_queue_written(&store->queue);
        for (size_t i = 0; i < done; i++)
                store_queue_finish(&store->queue, ops[i], ops[i]->error);
        store->commit_us = now_us() - start;
        store->in_flight = (unsigned)done + store->queue.count;
        if (done > 0) {
                store->status.commits++;
                histogram_add(&store->status.commit_times, store->commit_us);
                backoff_reset(&store->backoff);
        }
        if (error) {
                store_queue_put_back(&store->queue, ops + done, count - done);
                go_away(store, error);
        }
}

static void run_read(struct store *store)
{
        struct store_op *op = TAILQ_FIRST(&store->queue.steps);
        int error;

        TAILQ_REMOVE(&store->queue.steps, op, link);
        pthread_mutex_unlock(&store->queue.mutex);
        error = op->reader->run(op, store->backend);
        pthread_mutex_lock(&store->queue.mutex);
        if (error == 1) {
                op->deadline = clock_mono_ms() + store->queue.wait_ms;
        } else if (error && !store->backend->connected) {
                go_away(store, error);
        } else {
                store_queue_finish(&store->queue, op, error);
                return;
        }
        store_queue_put_back(&store->queue, &op, 1);
}

/* Writes go first, but after each batch comes a read if one waits, and none before the writes submitted before it (those
 * that can be written: a full disk can still be read). */
static bool run_next(struct store *store)
{
        const struct store_op *op = TAILQ_FIRST(&store->queue.writes), *read = TAILQ_FIRST(&store->queue.steps);
        bool writes = op && store->status.available, reads = read && store->backend->connected;

        if (!writes && !reads)
                return false;
        store->read_last = !writes || (reads && !store->read_last && read->number < op->number);
        if (store->read_last)
                run_read(store);
        else
                run_writes(store);
        store->used_at = clock_mono_ms();
        return true;
}

static int64_t ping_at(const struct store *store)
{
        return renews(store) ? store->owner.renewed_at + store->owner.renew_ms : store->used_at + STORE_PING_MS;
}

static void idle(struct store *store, int64_t now)
{
        int64_t at = store->status.available ? ping_at(store) : store->retry_at;

        if (store->queue.expire_at < at)
                at = store->queue.expire_at;
        if (store->queue.closing && store->queue.close_at < at)
                at = store->queue.close_at;
        store_queue_wait(&store->queue, &store->queue.cond, (at - now) * 1000);
}

static void *run_thread(void *arg)
{
        struct store *store = arg;

        pthread_mutex_lock(&store->queue.mutex);
        for (;;) {
                int64_t now = clock_mono_ms();

                store_queue_expire(&store->queue, now);
                if (store_queue_ended(&store->queue, now))
                        break;
                /* Before anything is written after a standstill: another daemon may have taken the database meanwhile. */
                if (store->status.available && now >= ping_at(store)) {
                        store->used_at = now;
                        ping(store);
                } else if (!store->status.available && now >= store->retry_at)
                        reconnect(store);
                else if (!run_next(store))
                        idle(store, now);
        }
        pthread_mutex_unlock(&store->queue.mutex);
        return NULL;
}

static void tell_taken(struct store *store)
{
        const struct store_daemon *daemon = store->owner.daemon;
        struct store_status status;

        if (store->told_taken || !daemon || !daemon->on_taken)
                return;
        store_status(store, &status);
        if (!status.taken)
                return;
        store->told_taken = true;
        daemon->on_taken(daemon->arg, status.reason);
}

static void count_broken(struct store *store, struct store_op *op)
{
        if (!op->broken)
                return;
        pthread_mutex_lock(&store->queue.mutex);
        store->status.broken += op->broken;
        pthread_mutex_unlock(&store->queue.mutex);
        op->broken = 0;
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
        struct store *store = arg;
        struct store_op *op = NULL;
        uint64_t count;
        bool more;

        (void)what;
        if (read(fd, &count, sizeof count) < 0)
                errno = 0; /* woken by event_active below */
        tell_taken(store);
        for (unsigned i = 0; i < DELIVER_MAX; i++) {
                op = store_queue_take_done(&store->queue);
                if (!op)
                        return;
                more = store_op_deliver(op);
                count_broken(store, op);
                if (more)
                        store_queue_again(&store->queue, op);
                else
                        store_op_free(op);
        }
        event_active(store->event, EV_READ, 0); /* there may be more: after the others' events */
}

static int start_threads(struct store *store)
{
        int error = store_thread_start(&store->thread, "sql", run_thread, store);

        store->thread_runs = error == 0;
        return error ? error : store_reads_start(store->reads);
}

static int store_init(struct store *store, const struct store_options *options, struct event_base *base)
{
        int wait_ms = options && options->wait_ms ? options->wait_ms : WAIT_MS;
        unsigned limit = options && options->queue_max ? options->queue_max : QUEUE_MAX;
        int error = store_queue_init(&store->queue, wait_ms, limit);

        if (error)
                return error;
        store->backoff = (struct backoff){ .base_ms = RETRY_MS, .cap_ms = RETRY_MAX_MS };
        store->event = event_new(base, store->queue.wake_fd, EV_READ | EV_PERSIST, on_done, store);
        return store->event && event_add(store->event, NULL) == 0 ? 0 : -ENOMEM;
}

static int first_connect(struct store *store, const struct store_options *options, char *reason, size_t size)
{
        bool start_anyhow = options && options->start_anyhow, start_away = start_anyhow || (options && options->start_away);
        struct store_backend *backend = store->backend;
        int error;

        store_owner_init(&store->owner, options ? options->daemon : NULL, options ? options->lease_ms : 0);
        backend->give_up_at = INT64_MAX;
        store->batch = store_batch_new(backend);
        if (!store->batch)
                return -ENOMEM;
        store->status.backend = backend->class->name;
        store->status.available = true;
        error = connect_backend(store);
        if (!error)
                store_reads_follow(store->reads, &store->owner.database_id);
        if (!error)
                return 0;
        snprintf(reason, size, "%s", backend->reason);
        if (!start_away || (!start_anyhow && error != -EAGAIN && error != -EROFS && error != -ENOSPC && !store->owner.seen_at))
                return error;
        go_away(store, error);
        return 0;
}

int store_open(const char *url, const struct store_options *options, struct event_base *base, struct store **ret_store,
        char *reason, size_t size)
{
        struct store *store = calloc(1, sizeof *store);
        int error = -ENOMEM;

        snprintf(reason, size, "out of memory or descriptors");
        if (!store)
                return error;
        error = store_init(store, options, base);
        if (!error)
                error = store_backend_new(url, options ? options->schema : NULL, &store->backend, reason, size);
        if (!error)
                error = store_reads_new(url, options ? options->schema : NULL, &store->queue, &store->reads, reason, size);
        if (!error)
                error = first_connect(store, options, reason, size);
        if (!error)
                error = start_threads(store);
        if (error) {
                store_close(store, 0);
                return error;
        }
        *ret_store = store;
        return 0;
}

static void end_threads(struct store *store, int timeout_ms)
{
        int64_t close_at = clock_mono_ms() + timeout_ms;

        store->backend->give_up_at = close_at;
        store_queue_close(&store->queue, close_at);
        store_reads_end(store->reads);
        pthread_join(store->thread, NULL);
}

/* Calls every callback that is left. */
static void drain(struct store_queue *queue)
{
        struct store_op *op;

        store_queue_give_up(queue);
        while ((op = store_queue_take_done(queue))) {
                while (store_op_deliver(op))
                        op->error = -EAGAIN; /* no next page */
                store_op_free(op);
        }
}

static struct store *end(struct store *store, int timeout_ms, bool leaves)
{
        if (!store)
                return NULL;
        if (store->thread_runs)
                end_threads(store, timeout_ms);
        if (store->backend && !leaves)
                store_owner_release(&store->owner, store->backend);
        if (store->backend)
                store->backend->leaves = leaves;
        drain(&store->queue);
        if (store->event)
                event_free(store->event);
        store_batch_free(store->batch);
        store_reads_free(store->reads); /* before the other: SQLite's last connection tidies up */
        if (store->backend)
                store->backend->class->free(store->backend);
        store_queue_done(&store->queue);
        free(store);
        return NULL;
}

struct store *store_close(struct store *store, int timeout_ms)
{
        return end(store, timeout_ms, false);
}

struct store *store_leave(struct store *store, int timeout_ms)
{
        return end(store, timeout_ms, true);
}

bool store_database_id(struct store *store, struct id *ret_id)
{
        pthread_mutex_lock(&store->queue.mutex);
        *ret_id = store->status.available ? store->owner.database_id : (struct id){ { 0 } };
        pthread_mutex_unlock(&store->queue.mutex);
        return !id_is_zero(ret_id);
}

void store_status(struct store *store, struct store_status *ret_status)
{
        pthread_mutex_lock(&store->queue.mutex);
        *ret_status = store->status;
        ret_status->queued = store->queue.count;
        ret_status->operations = store->queue.operations;
        ret_status->dropped = store->queue.dropped;
        ret_status->refused = store->queue.refused;
        pthread_mutex_unlock(&store->queue.mutex);
}
