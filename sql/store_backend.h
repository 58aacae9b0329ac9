/* One database as the store sees it: SQLite, PostgreSQL or none. Blocking; one thread at a time. SQL is written once, in
 * what both dialects share: $1 for values, @agents for our table agents wherever it is, and %s where the rows to write
 * stand as a table named v. */
#ifndef SQL_STORE_BACKEND_H
#define SQL_STORE_BACKEND_H
#include "common/id.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_VALUES_MAX 16
#define STORE_REASON_SIZE 256
#define STORE_PREFIX_SIZE 136
/* By them our schema_migrations is told from another application's table of that name. */
#define STORE_MIGRATION_COLUMNS "('version', 'name', 'sha256', 'applied_at')"
#define STORE_MIGRATION_COLUMN_COUNT 4

struct store_value {
        const char *text; /* types u (a UUID's text) and t; NULL is SQL NULL */
        int64_t integer;  /* types i and z; z: 0 is SQL NULL */
};

/* A kind of write: many rows in one statement. The order of columns is the order of an operation's values. */
struct store_kind {
        const char *name;
        const char *sql;         /* with %s for the rows */
        const char *columns;     /* "agent_id, epoch, …" */
        const char *types;       /* a letter per column: u, t, i, z */
        unsigned key_values;     /* the leading values (all u or t) that identify the row; 0: rows never collide */
        /* When fewer rows were touched than given: asked per row with the leading values, gives 0 (written, now or
         * earlier) or 1 (refused), or no row (absent). NULL: a row less is no error. */
        const char *probe;
        unsigned probe_values;
        int refused, absent;
        bool promise;            /* given up after wait_ms; else kept until the database is back */
        bool history;
        const struct store_kind *undo; /* takes the leading values: what takes back a promise that may be written */
        unsigned index;          /* its place among all kinds, for prepared statements */
};
#define STORE_KINDS_MAX 16

/* The rows of a result. */
struct store_rows {
        size_t count, columns;
        uint64_t affected; /* by a statement that changes rows */
        size_t *cells;     /* offsets in text; SIZE_MAX: NULL */
        size_t cells_used, cells_size;
        char *text;
        size_t text_used, text_size;
};
const char *store_cell(const struct store_rows *rows, size_t row, size_t column); /* NULL: SQL NULL */
int64_t store_cell_integer(const struct store_rows *rows, size_t row, size_t column); /* NULL: 0 */
int store_rows_add(struct store_rows *rows, const char *cell); /* 0 or -ENOMEM */
void store_rows_done(struct store_rows *rows);

struct store_backend {
        const struct store_backend_class *class;
        bool connected;
        bool reads_only;                /* of two connections the one that only reads: SQLite's does not lock the file */
        bool migrating;                 /* waits a minute for an answer; what is not as it expects is not ours: -EPROTO */
        bool leaves;                    /* another process of ours opens it next: what is only tidying up is left to that */
        bool brief;                     /* in store_query_briefly */
        bool lost;                      /* the last statement's answer never came: it may have been carried out */
        char reason[STORE_REASON_SIZE]; /* of the last failure, with the remedy */
        char prefix[STORE_PREFIX_SIZE]; /* stands for @ in SQL: "" or a quoted schema with its dot */
        _Atomic int64_t give_up_at;     /* mono ms: no statement waits longer; set from any thread */
};

/* Functions return 0; -EINVAL: the statement's own fault; -ENOSPC: disk full; -EROFS: read-only; -EBUSY: another daemon
 * has it; -ETIME: the lock on a row was not had in time (store_query_briefly); -EPROTO: the tables there are another
 * application's; -ENOMEM; -EAGAIN: anything else that may pass.
 * backend->connected tells whether the connection survived. */
struct store_backend_class {
        const char *name;
        /* Where our tables are, or will be: sets prefix. *ret_ours: they are there. NULL: a back end without tables. */
        int (*find_tables)(struct store_backend *backend, bool *ret_ours);
        /* Opens a transaction that only one process can be in, where names without @ are of our schema, too. */
        int (*begin_migration)(struct store_backend *backend);
        const char *begin_briefly;   /* of a transaction that waits a moment only for another session's lock; NULL: none ever does */
        bool exclusive;              /* whoever is connected has it alone */
        bool one_statement;          /* write is one statement: needs no transaction of its own */
        int (*connect)(struct store_backend *backend);
        void (*disconnect)(struct store_backend *backend);
        void (*free)(struct store_backend *backend);
        int (*exec)(struct store_backend *backend, const char *script);
        void (*rollback)(struct store_backend *backend); /* keeps reason */
        /* values: count rows. */
        int (*write)(struct store_backend *backend, const struct store_kind *kind, const struct store_value *const *values,
                size_t count, uint64_t *ret_affected);
        int (*query)(struct store_backend *backend, const char *sql, const char *types, const struct store_value *values,
                struct store_rows *ret_rows); /* store_rows_done */
};

/* url and schema as for store_open; nothing is opened yet. 0, -EINVAL with reason, -ENOMEM. */
int store_backend_new(const char *url, const char *schema, struct store_backend **ret_backend, char *reason, size_t size);
int store_sqlite_new(const char *path, struct store_backend **ret_backend, char *reason, size_t size);
int store_postgres_new(const char *url, const char *schema, struct store_backend **ret_backend, char *reason, size_t size);
/* printf into backend->reason, one line; returns error. */
int store_backend_fail(struct store_backend *backend, int error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
#define STORE_PING_MS 5000 /* a connection that was quiet for so long is asked whether it is there */
int store_backend_ping(struct store_backend *backend);
/* A query that changes one row; gives up with -ETIME when that row is locked: perhaps by an earlier session of ours, whose server
 * process stands still. Always sets *ret_rows. */
int store_query_briefly(struct store_backend *backend, const char *sql, const char *types, const struct store_value *values,
        struct store_rows *ret_rows);
struct store_owner;
/* The tables, if absent or older, and that they can be written; -EPROTO: newer, changed or another application's, or absent
 * although the owner knows that there are some. Connected. (migrations.c) */
int store_migrate(struct store_backend *backend, const struct store_owner *owner);
#define STORE_NOT_KNOWN                                                                                      \
        "the database is empty or another than the one that is known; put that one back, or accept the loss: remove %s/database_id"

/* A growing text; failed: out of memory, data then unusable. */
struct store_text {
        char *data;
        size_t len, size;
        bool failed;
};
void store_text_add(struct store_text *text, const char *data, size_t len);
void store_text_puts(struct store_text *text, const char *string);
/* SQL for the database itself: the prefix for each @. */
void store_text_sql(struct store_text *text, const struct store_backend *backend, const char *sql, size_t len);
#endif
