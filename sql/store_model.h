/* What the store takes and gives: options, status, rows, queries, callbacks. */
#ifndef SQL_STORE_MODEL_H
#define SQL_STORE_MODEL_H
#include "common/histogram.h"
#include "common/id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_EPOCH_MAX (INT64_C(1) << 52) /* of a row that is read or imported: it leaves room for all that may follow */

struct store;

/* Whose the database is to be: one daemon at a time. Borrowed by the store. */
struct store_daemon {
        struct id daemon_id;      /* the same in each of its lives; with host and run_dir it tells a daemon from its copy */
        const char *host, *run_dir, *url; /* url: where it listens */
        int pid;
        struct id database_id;    /* another database under this url is refused with -EPROTO; zero: any is right */
        /* On the loop, once: another daemon has the database, and lives; nothing is written any more. */
        void (*on_taken)(void *arg, const char *reason);
        void *arg;
};

struct store_options {
        const struct store_daemon *daemon; /* NULL: the database is nobody's */
        int lease_ms;          /* a daemon whose row stands still for so long is dead; 0: 15000 */
        const char *schema;    /* PostgreSQL: of our tables; NULL: the one of the search path that has them, else "agentpool" */
        int wait_ms;           /* 0: 5000 */
        unsigned queue_max;    /* submissions not yet durable; 0: 32768; history takes at most half */
        bool start_away;       /* store_open succeeds while the database cannot be reached or written */
        bool start_anyhow;     /* … or used at all (newer schema, no database): it is away until that is mended */
};

struct store_status {
        bool available;      /* the last transaction succeeded */
        bool taken;          /* for good not: another daemon has it */
        const char *backend; /* "sqlite", "postgresql", "none" */
        char reason[256];    /* why not available, in words with the remedy ("disk full …"), passwords masked */
        unsigned queued;     /* submitted, not yet durable */
        uint64_t commits, operations; /* transactions; submissions that became durable */
        uint64_t dropped;    /* history that found its half of the queue full */
        struct histogram commit_times;
        uint64_t broken;     /* rows met that somebody else has written and nobody can read: left out, logged */
        uint64_t refused;    /* rows that the database refused for their own fault (-EINVAL): a bug, logged */
};

/* One agent as a row. NULL texts are SQL NULL. Times are wall ms. What is read has a valid id and valid JSON, or is left out. */
struct store_agent {
        struct id agent_id, project_id;
        const char *pool_name, *role_type, *state;
        const char *labels, *args;     /* JSON objects */
        const char *last_exit;         /* JSON object */
        const char *master_id;         /* who placed it last */
        uint64_t epoch;
        int64_t heartbeat_interval, max_idle_time, restarts, created_at, updated_at;
};

/* error: 0; -EAGAIN: not available, nothing was written, try later; -ENOSPC: the same, disk full; -EROFS: the same,
 * read-only; -EINPROGRESS: not durable yet, stays queued; -EEXIST: a key is taken; -ESTALE: a higher epoch is stored;
 * -ENOENT; -EINVAL: the database refused the row (logged); -EBADMSG: the row that was asked for is broken (logged). */
typedef void (*store_cb)(void *arg, int error);
typedef void (*store_agent_cb)(void *arg, int error, const struct store_agent *agents, size_t count);
/* One JSON value (owned by the store, valid until return): rows of a query. */
typedef void (*store_json_cb)(void *arg, int error, const char *json);

struct store_place {
        const char *pool_name;
        int64_t created_at;
        struct id agent_id;
};

struct store_count {
        const char *pool_name;
        int64_t count;
};
typedef void (*store_count_cb)(void *arg, int error, const struct store_count *counts, size_t count);

/* Pools made or changed over the API; settings is a JSON object. */
struct store_pool {
        const char *pool_name, *settings;
        int64_t updated_at;
};
typedef void (*store_pool_cb)(void *arg, int error, const struct store_pool *pools, size_t count);

/* Idempotency keys: insert says -EEXIST while an unexpired key is there. One key covers one scope ("spawn", …). */
struct store_key {
        const char *scope, *key;
        const char *body_sha256; /* 64 hex digits */
        const char *answer;      /* JSON, NULL until known */
        int status;              /* HTTP status of answer, 0 until known */
        int64_t created_at, expires_at;
};
typedef void (*store_key_cb)(void *arg, int error, const struct store_key *key);

/* History, append only; never waited for, dropped (and counted) when the store is away too long. */
struct store_event {
        int64_t at;
        const char *pool_name, *event, *detail; /* detail: words or NULL */
        struct id agent_id, process_id;         /* zero: NULL */
        uint64_t epoch;
        const char *who;                        /* asked for it; NULL: nobody did */
        struct id request_id;                   /* … with this request; zero: NULL */
};
/* Added again with the same id when it has ended: status, error, completed_at and duration_ms are then written. */
struct store_execution {
        struct id execution_id, agent_id, project_id;
        const char *pool_name, *method, *status, *error; /* status: running, completed, failed, timeout */
        int64_t started_at, completed_at, duration_ms;   /* completed_at 0: NULL */
};
/* One pool at one moment; executions and executions_ok count since the pool's snapshot before. */
struct store_metric {
        int64_t at;
        const char *pool_name;
        int64_t capacity, used, agents, workers, executions, executions_ok;
};

/* Queries for the API. NULL or zero filters mean any. -EINVAL: a cursor that is none of ours, an unknown metric_type. */
struct store_query {
        const char *pool_name, *status, *metric_type;
        const char *event, *not_event;
        struct id agent_id, execution_id; /* zero: any */
        const struct id *project_id;      /* NULL: any */
        int64_t since, until; /* wall ms; 0: open; until is exclusive */
        int64_t bucket_ms;    /* timeseries; 0: one minute */
        unsigned limit;       /* 0: 100; at most 1000 */
        const char *cursor;   /* next_cursor of the page before */
};
#endif
