/* Desired state: which agents should exist, and the history of what happened. One interface, SQLite and PostgreSQL
 * behind it, on a thread of its own. Everything that was submitted since the last commit goes into one transaction
 * (group commit); a callback with error 0 means: durable. Callbacks run on the event loop that store_open was given,
 * writes in the order of submission. Reads have a thread and a connection of their own: each sees every write that was
 * answered, waits for those submitted before it for a tenth of a second at most, and for no slow commit; but a key's (and
 * pruning) comes behind every write submitted before it. Texts are copied at submission.
 *
 * While the database is away, submissions wait in a bounded queue and are flushed exactly once when it is back. Each
 * callback comes within about options.wait_ms all the same: what would be a new promise (agent and key inserts, pools,
 * reads) is given up with -EAGAIN, -ENOSPC or -EROFS and nothing stays written, not even when the answer to a commit
 * was lost; what records a fact (updates, answers, deletes) says -EINPROGRESS and stays queued. */
#ifndef SQL_STORE_H
#define SQL_STORE_H
#include "common/histogram.h"
#include "common/id.h"

#include <event2/event.h>
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

/* url: "sqlite:PATH" (its directory is created 0700, the file 0600; one daemon per file), "postgresql://…" (also through
 * PgBouncer in transaction pooling), "none:" (nothing is durable: every write succeeds at once, every read is empty).
 * Runs the migrations under a lock. options NULL: the defaults. Blocking; 0, or -errno with reason (at most size bytes)
 * in words with the remedy: -EPROTO the tables are newer than this program, were tampered with or are another
 * application's; -EINVAL the url. */
int store_open(const char *url, const struct store_options *options, struct event_base *base, struct store **ret_store,
        char *reason, size_t size);
/* What follows "postgresql://", as other programs write it, too ("postgres://", "postgresql+psycopg://"); NULL: another kind
 * of URL. */
const char *store_postgres_address(const char *url);
/* Commits what is queued (for at most timeout_ms), ends the thread, runs the callbacks that are left (-EAGAIN for what
 * was not written). Not from inside a callback. NULL is fine; returns NULL. */
struct store *store_close(struct store *store, int timeout_ms);
/* The same where the next process of the same daemon opens it at once: its claim on the database stays, and no disk is waited
 * for to tidy up. */
struct store *store_leave(struct store *store, int timeout_ms);
void store_status(struct store *store, struct store_status *ret_status);
/* Which database it is: a random id that it has kept since it was made. False: not known yet, or nobody's. */
bool store_database_id(struct store *store, struct id *ret_id);

/* Submissions: 0, or -EAGAIN when the queue is full (cb is then never called), -ENOMEM. cb may be NULL. */
/* The same row again is success; the id of another agent -EEXIST. */
int store_agent_insert(struct store *store, const struct store_agent *agent, store_cb cb, void *arg);
/* Writes state, epoch, restarts, last_exit, master_id, updated_at unless the stored epoch is higher (-ESTALE). */
int store_agent_update(struct store *store, const struct store_agent *agent, store_cb cb, void *arg);
int store_agent_delete(struct store *store, const struct id *agent_id, store_cb cb, void *arg);
/* All rows of the pool (NULL: of all pools, one pool after the other) but, unless all, the terminated ones. In batches of
 * at most 1000, oldest first; a last call with count 0 or an error. */
int store_agents_load(struct store *store, const char *pool_name, bool all, store_agent_cb cb, void *arg);
/* One batch of the terminated ones after that place (in the order of its members), of one pool and one project when those
 * are not NULL; limit at most 1000. One call. */
struct store_place {
        const char *pool_name;
        int64_t created_at;
        struct id agent_id;
};
int store_agents_ended(struct store *store, const char *pool_name, const struct id *project_id,
        const struct store_place *after, unsigned limit, store_agent_cb cb, void *arg);
/* How many terminated ones each pool has: a scan of the table. One call. */
struct store_count {
        const char *pool_name;
        int64_t count;
};
typedef void (*store_count_cb)(void *arg, int error, const struct store_count *counts, size_t count);
int store_agents_count_ended(struct store *store, store_count_cb cb, void *arg);
int store_agent_get(struct store *store, const struct id *agent_id, store_agent_cb cb, void *arg);

/* Pools made or changed over the API; settings is a JSON object. */
struct store_pool {
        const char *pool_name, *settings;
        int64_t updated_at;
};
typedef void (*store_pool_cb)(void *arg, int error, const struct store_pool *pools, size_t count);
int store_pool_put(struct store *store, const struct store_pool *pool, store_cb cb, void *arg);
int store_pool_delete(struct store *store, const char *pool_name, store_cb cb, void *arg);
int store_pools_load(struct store *store, store_pool_cb cb, void *arg); /* all, by name, at most 10000; one call */

/* Idempotency keys: insert says -EEXIST while an unexpired key is there. One key covers one scope ("spawn", …). */
struct store_key {
        const char *scope, *key;
        const char *body_sha256; /* 64 hex digits */
        const char *answer;      /* JSON, NULL until known */
        int status;              /* HTTP status of answer, 0 until known */
        int64_t created_at, expires_at;
};
typedef void (*store_key_cb)(void *arg, int error, const struct store_key *key);
int store_key_insert(struct store *store, const struct store_key *key, store_cb cb, void *arg);
int store_key_answer(struct store *store, const struct store_key *key, store_cb cb, void *arg); /* answer, status */
int store_key_delete(struct store *store, const char *scope, const char *key, store_cb cb, void *arg);
int store_key_get(struct store *store, const char *scope, const char *key, store_key_cb cb, void *arg);

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
int store_event_add(struct store *store, const struct store_event *event);
int store_execution_add(struct store *store, const struct store_execution *execution);
int store_metric_add(struct store *store, const struct store_metric *metric);

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
/* {"executions":[…],"next_cursor":…}, newest first; with execution_id that one object alone, or -ENOENT. */
int store_executions(struct store *store, const struct store_query *query, store_json_cb cb, void *arg);
/* Counts by status, success_rate, durations, over the newest 100,000 that the filters leave ("truncated" says so). */
int store_executions_summary(struct store *store, const struct store_query *query, store_json_cb cb, void *arg);
/* {"events":[…],"next_cursor":…}, newest first. */
int store_events(struct store *store, const struct store_query *query, store_json_cb cb, void *arg);
/* {"metric_type":…,"bucket_ms":…,"points":[{"at","value"}]}, the newest limit buckets, oldest first. metric_type:
 * utilization, executions, success_rate (value null where nothing was executed). */
int store_timeseries(struct store *store, const struct store_query *query, store_json_cb cb, void *arg);
/* Deletes expired keys, history older than keep_ms, and terminated agents not changed for keep_ms; in small steps. Says how
 * many agents of which pools it deleted, also when it did not come to its end. */
int store_prune(struct store *store, int64_t now_wall, int64_t keep_ms, store_count_cb cb, void *arg);
#endif
