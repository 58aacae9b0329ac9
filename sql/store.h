/* Desired state: which agents should exist, and the history of what happened. One interface, SQLite and PostgreSQL
 * behind it, on a thread of its own. Everything that was submitted since the last commit goes into one transaction
 * (group commit); a callback with error 0 means: durable. Callbacks run on the event loop that store_open was given,
 * in the order of submission. Texts are copied at submission. */
#ifndef SQL_STORE_H
#define SQL_STORE_H
#include "common/id.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

struct store_status {
        bool available;      /* the last transaction succeeded */
        const char *backend; /* "sqlite", "postgresql", "none" */
        char reason[192];    /* why not available, in words with the remedy ("disk full …") */
        unsigned queued;     /* submitted, not yet durable */
        uint64_t commits, operations;
};

/* One agent as a row. NULL texts are SQL NULL. Times are wall ms. */
struct store_agent {
        struct id agent_id, project_id;
        const char *pool_name, *role_type, *state;
        const char *labels, *args;     /* JSON objects */
        const char *last_exit;         /* JSON object */
        const char *master_id;         /* who placed it last */
        uint64_t epoch;
        int64_t heartbeat_interval, max_idle_time, restarts, created_at, updated_at;
};

/* error: 0; -EAGAIN: not available, nothing was written, try later; -EEXIST: a key is taken; -ESTALE: a higher epoch is
 * stored; -ENOENT; -ENOSPC: disk full; -EROFS: read-only. */
typedef void (*store_cb)(void *arg, int error);
typedef void (*store_agent_cb)(void *arg, int error, const struct store_agent *agents, size_t count);
/* One JSON value (owned by the store, valid until return): rows of a query. */
typedef void (*store_json_cb)(void *arg, int error, const char *json);

/* url: "sqlite:PATH", "postgresql://…", "none:" (nothing is durable: every write succeeds at once, every read is empty).
 * pooled: behind PgBouncer in transaction pooling. Runs the migrations under a lock. Blocking; 0, or -errno with reason
 * (at most size bytes) in words with the remedy. -EPROTO: the schema is newer than this program. */
int store_open(const char *url, struct event_base *base, struct store **ret_store, char *reason, size_t size);
/* Commits what is queued (for at most timeout_ms), then ends the thread. NULL is fine; returns NULL. */
struct store *store_close(struct store *store, int timeout_ms);
void store_status(const struct store *store, struct store_status *ret_status);

/* Submissions: 0, or -EAGAIN when the queue is full (cb is then never called), -ENOMEM. cb may be NULL. */
int store_agent_insert(struct store *store, const struct store_agent *agent, store_cb cb, void *arg);
/* Writes state, epoch, restarts, last_exit, master_id, updated_at unless the stored epoch is higher (-ESTALE). */
int store_agent_update(struct store *store, const struct store_agent *agent, store_cb cb, void *arg);
int store_agent_delete(struct store *store, const struct id *agent_id, store_cb cb, void *arg);
/* All rows of the pool (NULL: of all pools) whose state is starting, idle, busy (wanted) or, if all, any. In batches of
 * at most 1000, oldest first; a last call with count 0. */
int store_agents_load(struct store *store, const char *pool_name, bool all, store_agent_cb cb, void *arg);
int store_agent_get(struct store *store, const struct id *agent_id, store_agent_cb cb, void *arg);

/* Idempotency keys: remember says -EEXIST when the key is there. One key covers one scope ("spawn", "terminate", …). */
struct store_key {
        const char *scope, *key;
        const char *body_sha256; /* 64 hex digits */
        const char *answer;      /* JSON, NULL until known */
        int status;              /* HTTP status of answer, 0 until known */
        int64_t created_at, expires_at;
};
typedef void (*store_key_cb)(void *arg, int error, const struct store_key *key);
int store_key_insert(struct store *store, const struct store_key *key, store_cb cb, void *arg);
int store_key_answer(struct store *store, const struct store_key *key, store_cb cb, void *arg);
int store_key_get(struct store *store, const char *scope, const char *key, store_key_cb cb, void *arg);

/* History, append only; never waited for, dropped (and counted) when the store is away too long. */
struct store_event {
        int64_t at;
        const char *pool_name, *event, *detail; /* detail: words or NULL */
        struct id agent_id, process_id;         /* zero: NULL */
        uint64_t epoch;
};
struct store_execution {
        struct id execution_id, agent_id, project_id;
        const char *pool_name, *method, *status, *error; /* status: running, completed, failed, timeout */
        int64_t started_at, completed_at, duration_ms;   /* completed_at 0: NULL */
};
struct store_metric {
        int64_t at;
        const char *pool_name;
        int64_t capacity, used, agents, workers, executions, executions_ok;
};
int store_event_add(struct store *store, const struct store_event *event);
int store_execution_add(struct store *store, const struct store_execution *execution);
int store_metric_add(struct store *store, const struct store_metric *metric);

/* Queries for the API; each answers one JSON array or object. NULL or zero filters mean any. */
struct store_query {
        const char *pool_name, *status, *metric_type;
        struct id agent_id, project_id, execution_id;
        int64_t since, until; /* wall ms; 0: open */
        int64_t bucket_ms;    /* timeseries */
        unsigned limit;       /* 0: 100 */
        const char *cursor;
};
int store_executions(struct store *store, const struct store_query *query, store_json_cb cb, void *arg);
int store_executions_summary(struct store *store, const struct store_query *query, store_json_cb cb, void *arg);
int store_events(struct store *store, const struct store_query *query, store_json_cb cb, void *arg);
int store_timeseries(struct store *store, const struct store_query *query, store_json_cb cb, void *arg);
/* Deletes expired keys and history older than keep_ms. */
int store_prune(struct store *store, int64_t now_wall, int64_t keep_ms, store_cb cb, void *arg);
#endif
