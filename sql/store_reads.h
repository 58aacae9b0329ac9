/* Reads on a connection and a thread of their own: a commit that takes long holds none of them up. What cannot be read there,
 * because there is no connection, is handed over to the writer. */
#ifndef SQL_STORE_READS_H
#define SQL_STORE_READS_H
#include "sql/store_queue.h"

struct store_reads;

/* Nothing is opened yet; url and schema as for store_open. queue is borrowed. 0, -EINVAL with reason, -ENOMEM. */
int store_reads_new(const char *url, const char *schema, struct store_queue *queue, struct store_reads **ret_reads,
        char *reason, size_t size);
int store_reads_start(struct store_reads *reads); /* the thread; 0 or -errno */
/* With the queue's mutex: the writer has just connected, to that database (zero: nobody's). Reads follow it there; before the
 * first time, and while they cannot, all are handed over. */
void store_reads_follow(struct store_reads *reads, const struct id *database_id);
/* The queue is closing: waits for the thread's end. */
void store_reads_end(struct store_reads *reads);
struct store_reads *store_reads_free(struct store_reads *reads); /* ended; NULL is fine; returns NULL */
#endif
