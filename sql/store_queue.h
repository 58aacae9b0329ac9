/* Submissions between the event loop and the store's two threads, the writer's and that of reads (store_reads.h): in, out,
 * back, and what becomes of those that wait too long. */
#ifndef SQL_STORE_QUEUE_H
#define SQL_STORE_QUEUE_H
#include "sql/store_op.h"

#include <pthread.h>

struct store_queue {
        int wake_fd;           /* an eventfd: readable when something is done; -1: none */
        int wait_ms;
        unsigned limit;        /* of count */
        pthread_mutex_t mutex; /* guards the rest */
        pthread_cond_t cond;   /* for the writer: something was submitted, or closing */
        pthread_cond_t read_cond; /* for the reads' thread: one was submitted or need not wait any more, or closing */
        struct store_op_list writes, steps, reads, done; /* steps: reads on the writer's connection */
        uint64_t writing;      /* the number of the first write that is being carried out; 0: none is */
        int64_t writing_since; /* mono ms */
        uint64_t number;       /* of the last submission */
        unsigned count;        /* submitted, not done */
        unsigned wanted;       /* a submission signals cond when count is so much */
        size_t bytes;
        int64_t expire_at;     /* mono ms: no deadline in writes and steps is earlier */
        int64_t close_at;      /* mono ms: when closing ends, whatever is left */
        int away;              /* -errno: why the database is not available; 0: it is */
        bool closing;          /* takes nothing more */
        uint64_t operations, dropped, refused; /* as in store_status */
};

int store_queue_init(struct store_queue *queue, int wait_ms, unsigned limit); /* 0 or -errno */
void store_queue_done(struct store_queue *queue);                             /* emptied before */
/* On the loop. */
int store_queue_submit(struct store_queue *queue, struct store_op *take_op);  /* as store_submit */
void store_queue_again(struct store_queue *queue, struct store_op *take_op);  /* a read's next page, before the others */
struct store_op *store_queue_take_done(struct store_queue *queue);            /* NULL: none */
void store_queue_close(struct store_queue *queue, int64_t close_at);
void store_queue_give_up(struct store_queue *queue); /* all that is left; the threads have ended */
/* In a thread, with the mutex. */
bool store_queue_ended(const struct store_queue *queue, int64_t now); /* closing, and all is done or time is up */
/* Until cond is signalled (true) or us have passed. */
bool store_queue_wait(struct store_queue *queue, pthread_cond_t *cond, int64_t us);
/* At most STORE_BATCH_MAX writes leave the queue; store_queue_written then says that they need not be waited for. */
size_t store_queue_take_writes(struct store_queue *queue, struct store_op **ret_ops);
void store_queue_written(struct store_queue *queue);
void store_queue_put_back(struct store_queue *queue, struct store_op *const *ops, size_t count);
/* The next read that need not wait for a write submitted before it; NULL: none, *ret_at is when to ask again (mono ms). */
struct store_op *store_queue_take_read(struct store_queue *queue, int64_t now, int64_t *ret_at);
void store_queue_hand_over(struct store_queue *queue, struct store_op *op); /* a read that was taken: to the writer */
void store_queue_finish(struct store_queue *queue, struct store_op *op, int error); /* op was taken */
void store_queue_expire(struct store_queue *queue, int64_t now); /* in the writer's */
void store_queue_wake(struct store_queue *queue); /* the loop, for something else */
/* A thread that gets no signals. 0 or -errno. */
int store_thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *arg), void *arg);
#endif
