/* Submissions between the event loop and the store's thread: in, out, back, and what becomes of those that wait too long. */
#ifndef SQL_STORE_QUEUE_H
#define SQL_STORE_QUEUE_H
#include "sql/store_op.h"

#include <pthread.h>

struct store_queue {
        int wake_fd;           /* an eventfd: readable when something is done; -1: none */
        int wait_ms;
        unsigned limit;        /* of count */
        pthread_mutex_t mutex; /* guards the rest */
        pthread_cond_t cond;   /* something was submitted, or closing */
        struct store_op_list writes, reads, done;
        uint64_t number;       /* of the last submission */
        unsigned count;        /* submitted, not done */
        unsigned wanted;       /* a submission signals cond when count is so much */
        size_t bytes;
        int64_t expire_at;     /* mono ms: no deadline in writes and reads is earlier */
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
/* In the thread, with the mutex. */
bool store_queue_empty(const struct store_queue *queue);
/* At most STORE_BATCH_MAX writes leave the queue. */
size_t store_queue_take_writes(struct store_queue *queue, struct store_op **ret_ops);
void store_queue_put_back(struct store_queue *queue, struct store_op *const *ops, size_t count);
void store_queue_finish(struct store_queue *queue, struct store_op *op, int error); /* op was taken */
void store_queue_expire(struct store_queue *queue, int64_t now);
void store_queue_wake(struct store_queue *queue); /* the loop, for something else */
#endif
