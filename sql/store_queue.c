#include "sql/store_queue.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_BYTES (64u * 1024 * 1024)
#define PATIENCE_MS 100 /* so long a read waits for writes submitted before it, and for none that takes longer already */

int store_queue_init(struct store_queue *queue, int wait_ms, unsigned limit)
{
        *queue = (struct store_queue){ .wait_ms = wait_ms, .limit = limit, .expire_at = INT64_MAX };
        TAILQ_INIT(&queue->writes);
        TAILQ_INIT(&queue->steps);
        TAILQ_INIT(&queue->reads);
        TAILQ_INIT(&queue->done);
        pthread_mutex_init(&queue->mutex, NULL);
        pthread_cond_init(&queue->cond, NULL);
        pthread_cond_init(&queue->read_cond, NULL);
        queue->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return queue->wake_fd < 0 ? -errno : 0;
}

void store_queue_done(struct store_queue *queue)
{
        queue->wake_fd = fd_close(queue->wake_fd);
        pthread_cond_destroy(&queue->cond);
        pthread_cond_destroy(&queue->read_cond);
        pthread_mutex_destroy(&queue->mutex);
}

static struct store_op_list *list_of(struct store_queue *queue, const struct store_op *op)
{
        return op->kind ? &queue->writes : op->writers ? &queue->steps : &queue->reads;
}

static void signal_for(struct store_queue *queue, const struct store_op *op)
{
        pthread_cond_signal(list_of(queue, op) == &queue->reads ? &queue->read_cond : &queue->cond);
}

static void signal_both(struct store_queue *queue)
{
        pthread_cond_signal(&queue->cond);
        pthread_cond_signal(&queue->read_cond);
}

void store_queue_wake(struct store_queue *queue)
{
        uint64_t one = 1;

        /* An eventfd that cannot take 1 is readable already. */
        if (write(queue->wake_fd, &one, sizeof one) < 0)
                errno = 0;
}

static void put_done(struct store_queue *queue, struct store_op *op)
{
        if (TAILQ_EMPTY(&queue->done))
                store_queue_wake(queue);
        TAILQ_INSERT_TAIL(&queue->done, op, link);
}

void store_queue_finish(struct store_queue *queue, struct store_op *op, int error)
{
        op->error = error;
        queue->count--;
        queue->bytes -= op->size;
        queue->operations += !error && op->kind;
        queue->refused += error == -EINVAL && op->kind;
        if (queue->closing && queue->count == 0)
                signal_both(queue);
        put_done(queue, op);
}

static void enqueue(struct store_queue *queue, struct store_op *op, bool first)
{
        bool waited_for = op->reader || op->kind->promise || op->cb.write;

        op->deadline = waited_for ? clock_mono_ms() + queue->wait_ms : INT64_MAX;
        if (op->deadline < queue->expire_at)
                queue->expire_at = op->deadline;
        queue->count++;
        queue->bytes += op->size;
        if (first) {
                TAILQ_INSERT_HEAD(list_of(queue, op), op, link);
        } else {
                op->number = ++queue->number;
                TAILQ_INSERT_TAIL(list_of(queue, op), op, link);
        }
}

int store_queue_submit(struct store_queue *queue, struct store_op *take_op)
{
        bool history = take_op->kind && take_op->kind->history;
        int error = 0;

        pthread_mutex_lock(&queue->mutex);
        if (queue->closing || queue->count >= queue->limit / (history ? 2 : 1) ||
                queue->bytes + take_op->size > QUEUE_BYTES / (history ? 2 : 1)) {
                queue->dropped += history;
                error = -EAGAIN;
        } else {
                enqueue(queue, take_op, false);
                if (queue->count >= queue->wanted || !take_op->kind)
                        signal_for(queue, take_op);
        }
        pthread_mutex_unlock(&queue->mutex);
        if (error)
                store_op_free(take_op);
        return error;
}

void store_queue_again(struct store_queue *queue, struct store_op *take_op)
{
        pthread_mutex_lock(&queue->mutex);
        take_op->writers = take_op->reader->writers;
        enqueue(queue, take_op, true);
        signal_for(queue, take_op);
        pthread_mutex_unlock(&queue->mutex);
}

struct store_op *store_queue_take_done(struct store_queue *queue)
{
        struct store_op *op;

        pthread_mutex_lock(&queue->mutex);
        op = TAILQ_FIRST(&queue->done);
        if (op)
                TAILQ_REMOVE(&queue->done, op, link);
        pthread_mutex_unlock(&queue->mutex);
        return op;
}

void store_queue_close(struct store_queue *queue, int64_t close_at)
{
        pthread_mutex_lock(&queue->mutex);
        queue->close_at = close_at;
        queue->closing = true;
        signal_both(queue);
        pthread_mutex_unlock(&queue->mutex);
}

void store_queue_give_up(struct store_queue *queue)
{
        struct store_op_list *const lists[] = { &queue->writes, &queue->steps, &queue->reads };
        struct store_op *op;

        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
                while ((op = TAILQ_FIRST(lists[i]))) {
                        TAILQ_REMOVE(lists[i], op, link);
                        store_queue_finish(queue, op, -EAGAIN);
                }
}

bool store_queue_ended(const struct store_queue *queue, int64_t now)
{
        return queue->closing && (queue->count == 0 || now >= queue->close_at);
}

bool store_queue_wait(struct store_queue *queue, pthread_cond_t *cond, int64_t us)
{
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        us = us > 0 ? us + until.tv_nsec / 1000 : 0;
        until.tv_sec += us / 1000000;
        until.tv_nsec = us % 1000000 * 1000;
        return pthread_cond_clockwait(cond, &queue->mutex, CLOCK_MONOTONIC, &until) == 0;
}

size_t store_queue_take_writes(struct store_queue *queue, struct store_op **ret_ops)
{
        struct store_op *op;
        size_t count = 0;

        while (count < STORE_BATCH_MAX && (op = TAILQ_FIRST(&queue->writes))) {
                TAILQ_REMOVE(&queue->writes, op, link);
                ret_ops[count++] = op;
        }
        queue->writing = count ? ret_ops[0]->number : 0;
        queue->writing_since = clock_mono_ms();
        return count;
}

void store_queue_written(struct store_queue *queue)
{
        queue->writing = 0;
        if (!TAILQ_EMPTY(&queue->reads))
                pthread_cond_signal(&queue->read_cond);
}

/* What was answered is on the disk. What was submitted without waiting for the answer (the end of a message) a client may
 * expect to read, too, unless the disk is slow. */
static bool is_early(const struct store_queue *queue, const struct store_op *read)
{
        const struct store_op *write = TAILQ_FIRST(&queue->writes);
        uint64_t first = queue->writing ? queue->writing : write ? write->number : read->number;

        return !queue->away && first < read->number;
}

struct store_op *store_queue_take_read(struct store_queue *queue, int64_t now, int64_t *ret_at)
{
        struct store_op *op = TAILQ_FIRST(&queue->reads);

        *ret_at = INT64_MAX;
        if (!op)
                return NULL;
        if (is_early(queue, op)) {
                int64_t since = op->deadline - queue->wait_ms;

                if (queue->writing && queue->writing_since < since)
                        since = queue->writing_since;
                *ret_at = since + PATIENCE_MS;
                if (now < *ret_at)
                        return NULL;
        }
        TAILQ_REMOVE(&queue->reads, op, link);
        return op;
}

void store_queue_hand_over(struct store_queue *queue, struct store_op *op)
{
        op->writers = true;
        store_queue_put_back(queue, &op, 1);
        signal_for(queue, op);
}

void store_queue_put_back(struct store_queue *queue, struct store_op *const *ops, size_t count)
{
        for (size_t i = count; i-- > 0;)
                TAILQ_INSERT_HEAD(list_of(queue, ops[i]), ops[i], link);
        queue->expire_at = 0; /* they may be late */
}

/* Answers op's callback now while op itself stays queued. False: out of memory, later then. */
static bool answer_early(struct store_queue *queue, struct store_op *op, int error)
{
        struct store_op *notice = store_op_new(op->kind, NULL, NULL, NULL, op->values);

        if (!notice)
                return false;
        notice->cb = op->cb;
        notice->arg = op->arg;
        notice->error = error;
        op->cb.write = NULL;
        op->deadline = INT64_MAX;
        put_done(queue, notice);
        return true;
}

/* op waited too long. What nobody promised yet is given up. If it may be written all the same, it stays queued (so that it
 * certainly is) and what takes it back is queued behind it. */
static void expire(struct store_queue *queue, struct store_op *op)
{
        int error = queue->away ? queue->away : -EAGAIN;
        struct store_op *undo = NULL;

        if (!op->kind || (op->kind->promise && !op->unknown)) {
                TAILQ_REMOVE(list_of(queue, op), op, link);
                store_queue_finish(queue, op, error);
                return;
        }
        if (op->kind->promise && op->kind->undo) {
                undo = store_op_new(op->kind->undo, NULL, NULL, NULL, op->values);
                if (!undo)
                        return;
        }
        if (answer_early(queue, op, undo ? error : -EINPROGRESS) && undo)
                enqueue(queue, undo, false);
        else
                store_op_free(undo);
}

void store_queue_expire(struct store_queue *queue, int64_t now)
{
        struct store_op_list *const lists[] = { &queue->writes, &queue->steps };
        struct store_op *op, *next;

        if (now < queue->expire_at)
                return;
        queue->expire_at = INT64_MAX;
        for (size_t i = 0; i < 2; i++)
                for (op = TAILQ_FIRST(lists[i]); op; op = next) {
                        next = TAILQ_NEXT(op, link);
                        if (op->deadline <= now)
                                expire(queue, op); /* may free it, or add to writes' end */
                        else if (op->deadline < queue->expire_at)
                                queue->expire_at = op->deadline;
                }
}

int store_thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *arg), void *arg)
{
        sigset_t all, before;
        int error;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(ret_thread, NULL, run, arg);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (error)
                return -error;
        pthread_setname_np(*ret_thread, name);
        return 0;
}
