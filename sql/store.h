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
#include "sql/store_model.h"
#include "sql/store_url.h"

#include <event2/event.h>

struct store;

/* url: "sqlite:PATH" (its directory is created 0700, the file 0600; one daemon per file), "postgresql://…" (also through
 * PgBouncer in transaction pooling), "none:" (nothing is durable: every write succeeds at once, every read is empty).
 * Runs the migrations under a lock. options NULL: the defaults. Blocking; 0, or -errno with reason (at most size bytes)
 * in words with the remedy: -EPROTO the tables are newer than this program, were tampered with or are another
 * application's; -EINVAL the url. */
int store_open(const char *url, const struct store_options *options, struct event_base *base, struct store **ret_store,
        char *reason, size_t size);
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
int store_agents_ended(struct store *store, const char *pool_name, const struct id *project_id,
        const struct store_place *after, unsigned limit, store_agent_cb cb, void *arg);
/* How many terminated ones each pool has: a scan of the table. One call. */
int store_agents_count_ended(struct store *store, store_count_cb cb, void *arg);
int store_agent_get(struct store *store, const struct id *agent_id, store_agent_cb cb, void *arg);

int store_pool_put(struct store *store, const struct store_pool *pool, store_cb cb, void *arg);
int store_pool_delete(struct store *store, const char *pool_name, store_cb cb, void *arg);
int store_pools_load(struct store *store, store_pool_cb cb, void *arg); /* all, by name, at most 10000; one call */

int store_key_insert(struct store *store, const struct store_key *key, store_cb cb, void *arg);
int store_key_answer(struct store *store, const struct store_key *key, store_cb cb, void *arg); /* answer, status */
int store_key_get(struct store *store, const char *scope, const char *key, store_key_cb cb, void *arg);

int store_event_add(struct store *store, const struct store_event *event);
int store_execution_add(struct store *store, const struct store_execution *execution);
int store_metric_add(struct store *store, const struct store_metric *metric);

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
