#include "sql/store_reads.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>

#define RETRY_MS 50       /* the first pause when there is no connection … */
#define RETRY_MAX_MS 2000 /* … and the longest */

struct store_reads {
        struct store_queue *queue; /* its mutex guards followed and database_id */
        bool thread_runs;
        pthread_t thread;
        uint64_t followed;     /* how often the writer connected */
        struct id database_id; /* where it did; zero: nobody's */
        /* The thread's. */
        struct store_backend *backend;
        uint64_t connected_to; /* followed, when the connection was made */
        struct backoff backoff;
        int64_t retry_at;      /* mono ms; while there is no connection */
        int64_t used_at;       /* mono ms: the database was asked */
        bool told_away;
};

void store_reads_follow(struct store_reads *reads, const struct id *database_id)
{
        reads->followed++;
        reads->database_id = *database_id;
}

/* The rest is called without the mutex. */

static int check_identity(struct store_backend *backend, const struct id *database_id)
{
        const struct store_value wanted = { .text = ID_TEXT(database_id) };
        struct store_rows rows;
        bool same;
        int error = backend->class->query(backend, "SELECT 1 FROM @store_owner WHERE database_id = $1", "u", &wanted, &rows);

        if (error)
                return error;
        same = rows.count > 0;
        store_rows_done(&rows);
        return same ? 0 : store_backend_fail(backend, -EAGAIN, "another database is there than the one that is written to");
}

/* Where the writer is. */
static int connect_backend(struct store_backend *backend, const struct id *database_id)
{
        bool ours = true;
        int error = backend->class->connect(backend);

        if (!error && backend->class->find_tables)
                error = backend->class->find_tables(backend, &ours);
        if (!error && !ours)
                error = store_backend_fail(backend, -EAGAIN, "the database has no tables of agentpool");
        if (!error && !id_is_zero(database_id))
                error = check_identity(backend, database_id);
        if (error)
                backend->class->disconnect(backend);
        return error;
}

static void go_away(struct store_reads *reads)
{
        if (!reads->told_away)
                log_warn("store.reads_away", "backend=%s reason=%s detail=\"reads wait for writes\"", reads->backend->class->name,
                        LOG_Q(reads->backend->reason));
        reads->told_away = true;
        reads->retry_at = clock_mono_ms() + backoff_next(&reads->backoff, arc4random());
}

static void come_back(struct store_reads *reads)
{
        if (reads->told_away)
                log_info("store.reads_available", "backend=%s", reads->backend->class->name);
        reads->told_away = false;
        backoff_reset(&reads->backoff);
}

/* followed 0: the writer has no connection either, and looks for one. */
static bool be_connected(struct store_reads *reads, uint64_t followed, const struct id *database_id)
{
        struct store_backend *backend = reads->backend;

        if (followed && reads->connected_to != followed) {
                backend->class->disconnect(backend);
                reads->connected_to = followed;
                reads->retry_at = 0;
        }
        if (backend->connected)
                return true;
        if (!followed || clock_mono_ms() < reads->retry_at)
                return false;
        if (connect_backend(backend, database_id) == 0)
                come_back(reads);
        else
                go_away(reads);
        return backend->connected;
}

/* With the mutex, given up while the database is asked. */
static void run_read(struct store_reads *reads, struct store_op *op)
{
        struct store_queue *queue = reads->queue;
        struct id database_id = reads->database_id;
        uint64_t followed = queue->away ? 0 : reads->followed;
        int error = 0;

        pthread_mutex_unlock(&queue->mutex);
        if (be_connected(reads, followed, &database_id))
                error = op->reader->run(op, reads->backend);
        pthread_mutex_lock(&queue->mutex);
        if (reads->backend->connected)
                store_queue_finish(queue, op, error);
        else
                store_queue_hand_over(queue, op);
        reads->used_at = clock_mono_ms();
}

/* A quiet connection. */
static void ping(struct store_reads *reads)
{
        pthread_mutex_unlock(&reads->queue->mutex);
        store_backend_ping(reads->backend); /* without an answer it is disconnected, and made anew for the next read */
        pthread_mutex_lock(&reads->queue->mutex);
        reads->used_at = clock_mono_ms();
}

static void idle(struct store_reads *reads, int64_t now, int64_t at)
{
        struct store_queue *queue = reads->queue;
        int64_t ping_at = (reads->backend->connected ? reads->used_at : now) + STORE_PING_MS;

        if (ping_at < at)
                at = ping_at;
        if (queue->closing && queue->close_at < at)
                at = queue->close_at;
        store_queue_wait(queue, &queue->read_cond, (at - now) * 1000);
}

static void *run_thread(void *arg)
{
        struct store_reads *reads = arg;
        struct store_queue *queue = reads->queue;

        pthread_mutex_lock(&queue->mutex);
        for (int64_t now = clock_mono_ms(), at; !store_queue_ended(queue, now); now = clock_mono_ms()) {
                struct store_op *op;

                op = store_queue_take_read(queue, now, &at);
                if (op)
                        run_read(reads, op);
                else if (reads->backend->connected && now >= reads->used_at + STORE_PING_MS)
                        ping(reads);
                else
                        idle(reads, now, at);
        }
        pthread_mutex_unlock(&queue->mutex);
        return NULL;
}

int store_reads_new(const char *url, const char *schema, struct store_queue *queue, struct store_reads **ret_reads,
        char *reason, size_t size)
{
        struct store_reads *reads = calloc(1, sizeof *reads);
        int error;

        if (!reads)
                return -ENOMEM;
        error = store_backend_new(url, schema, &reads->backend, reason, size);
        if (error) {
                free(reads);
                return error;
        }
        reads->queue = queue;
        reads->backend->reads_only = true;
        reads->backend->give_up_at = INT64_MAX;
        reads->backoff = (struct backoff){ .base_ms = RETRY_MS, .cap_ms = RETRY_MAX_MS };
        *ret_reads = reads;
        return 0;
}

int store_reads_start(struct store_reads *reads)
{
        int error = store_thread_start(&reads->thread, "sql-reads", run_thread, reads);

        reads->thread_runs = error == 0;
        return error;
}

void store_reads_end(struct store_reads *reads)
{
        if (!reads->thread_runs)
                return;
        reads->backend->give_up_at = reads->queue->close_at;
        pthread_join(reads->thread, NULL);
        reads->thread_runs = false;
}

struct store_reads *store_reads_free(struct store_reads *reads)
{
        if (!reads)
                return NULL;
        reads->backend->class->free(reads->backend);
        free(reads);
        return NULL;
}
