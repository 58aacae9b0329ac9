/* The forker's workers: a table of fixed size, mapped at start-up. */
#ifndef MASTER_FORKER_FORKER_TABLE_H
#define MASTER_FORKER_FORKER_TABLE_H
#include "master/forker/forker_protocol.h"

#include <stdbool.h>
#include <sys/types.h>

enum forker_worker_state { FORKER_WORKER_FREE = 0, FORKER_WORKER_LIVE, FORKER_WORKER_GONE };
enum forker_tell { TELL_WORKER = 1, TELL_EXITED = 2 }; /* what its master is still owed, in this order */

struct forker_worker {
        struct id process_id;
        int64_t started_at; /* wall ms */
        pid_t pid;
        int control;        /* the master's end of its control socket; -1 once closed */
        int status;         /* as waitpid gave it, once gone */
        uint32_t next;      /* in the list of free slots, or in the queue of those whose master is owed something */
        uint32_t next_pid;  /* in the list of those whose pid has the same remainder */
        uint8_t state, tell;
        bool adopted;
        char pool_name[FORKER_NAME_SIZE];
};

struct forker_table {
        struct forker_worker *workers;
        uint32_t *by_pid;   /* capacity lists of live workers, by pid modulo capacity */
        uint32_t capacity, live;
        uint32_t free, head, tail; /* TABLE_NONE: empty */
        size_t size;        /* bytes mapped at workers */
};
#define TABLE_NONE UINT32_MAX

/* The children do not get the table. 0 or -errno. */
int forker_table_init(struct forker_table *table, uint32_t capacity);
void forker_table_done(struct forker_table *table);
/* A slot that is no one's yet, NULL when all are taken: fill it, then forker_table_add or forker_table_release. */
struct forker_worker *forker_table_take(struct forker_table *table);
void forker_table_add(struct forker_table *table, struct forker_worker *worker);
/* It was reaped: found by pid no more. */
void forker_table_gone(struct forker_table *table, struct forker_worker *worker, int status);
/* Closes its control socket; the slot is free again. Not while it is queued. */
void forker_table_release(struct forker_table *table, struct forker_worker *worker);
/* Live ones only; NULL when there is none. */
struct forker_worker *forker_table_by_pid(const struct forker_table *table, pid_t pid);
struct forker_worker *forker_table_by_id(const struct forker_table *table, const struct id *process_id);
/* The queue of those whose master is owed something. */
void forker_table_owe(struct forker_table *table, struct forker_worker *worker, unsigned tell);
struct forker_worker *forker_table_owed(const struct forker_table *table); /* the first; NULL: none */
/* What was due to the first was told. */
void forker_table_told(struct forker_table *table, unsigned tell);
/* A new master: all live ones are to be told to it, the others are dropped. */
void forker_table_owe_all(struct forker_table *table);
#endif
