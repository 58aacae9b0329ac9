/* One submission on its way through the store: made on the event loop, carried out in the thread, delivered on the loop.
 * Between submission and delivery only the thread touches it. */
#ifndef SQL_STORE_OP_H
#define SQL_STORE_OP_H
#include "sql/store_model.h"
#include "sql/store_backend.h"

#include <sys/queue.h>

struct store_op;
TAILQ_HEAD(store_op_list, store_op);

/* A kind of read, or of work in steps. */
struct store_reader {
        /* In the thread: 0 with the result in op; 1: another step later; -errno as of a backend. */
        int (*run)(struct store_op *op, struct store_backend *backend);
        /* On the loop: calls the callback; true: more is to come, run it again. */
        bool (*deliver)(struct store_op *op);
        bool writers; /* it changes rows, or must see every write submitted before it: on the writer's connection */
};

struct store_op {
        TAILQ_ENTRY(store_op) link;
        const struct store_kind *kind;     /* of a write; NULL: a read */
        const struct store_reader *reader; /* NULL: a write */
        uint64_t number;                   /* of submission */
        int64_t deadline;                  /* mono ms; INT64_MAX: waits for ever */
        size_t size;
        int error;
        unsigned broken; /* rows that were left out, not yet counted */
        bool unknown; /* a commit with it was sent and not answered */
        bool writers; /* a read: on the writer's connection */
        union {
                store_cb write;
                store_agent_cb agents;
                store_pool_cb pools;
                store_key_cb key;
                store_count_cb counts;
                store_json_cb json;
        } cb;
        void *arg;
        /* A read's */
        const char *sql;
        unsigned limit;       /* rows asked for */
        const char *word;     /* static: the metric_type */
        int64_t number_value; /* bucket_ms */
        struct store_rows rows;
        char *json;
        /* Values, as kind->types or types says; texts are in the same allocation (a load's: in rows). */
        const char *types;
        struct store_value values[STORE_VALUES_MAX];
};

/* A copy of all it is given; NULL when out of memory. sql and types: of a read, NULL for a write. */
struct store_op *store_op_new(const struct store_kind *kind, const struct store_reader *reader, const char *sql,
        const char *types, const struct store_value *values);
void store_op_free(struct store_op *op);
/* Calls the callback on the loop: for a write also with cb.write NULL. True: run it again. */
bool store_op_deliver(struct store_op *op);
/* Takes op, may be NULL (-ENOMEM). 0 or -EAGAIN: the queue is full or the store closes. */
int store_submit(struct store *store, struct store_op *take_op);
/* Delivers rows of a pool's name and a number to cb.counts. */
bool store_deliver_counts(struct store_op *op);
/* Logs that a row is left out, and counts it. */
void store_op_leave_out(struct store_op *op, const char *table, const char *key, const char *column);
/* A number that grows with every event of the same millisecond. */
unsigned store_next_sequence(struct store *store, int64_t at);

/* Runs writes in one transaction, at most STORE_BATCH_MAX. Returns how many of the first are done (op->error says
 * how); when fewer than count, *ret_error says why: nothing of the rest is written, but op->unknown. */
#define STORE_BATCH_MAX 1024
struct store_batch *store_batch_new(struct store_backend *backend); /* its working memory; NULL when out of memory */
struct store_batch *store_batch_free(struct store_batch *batch);    /* NULL is fine; returns NULL */
size_t store_batch_run(struct store_batch *batch, struct store_op *const *ops, size_t count, int *ret_error);

/* A version 7 UUID (RFC 9562): its order is that of at, then of sequence; random fills the rest (zero: a lower bound). */
struct id store_time_id(int64_t at, unsigned sequence, const struct id *random);
#endif
