/* The writes: what each puts into the database, and how it is submitted. */
#include "sql/store.h"
#include "sql/store_op.h"

#include <errno.h>

enum {
        AGENT_INSERT,
        AGENT_UPDATE,
        AGENT_DELETE,
        AGENT_UNDO,
        POOL_PUT,
        POOL_DELETE,
        KEY_INSERT,
        KEY_ANSWER,
        KEY_UNDO,
        EVENT_ADD,
        EXECUTION_ADD,
        METRIC_ADD,
        KIND_COUNT
};
_Static_assert(KIND_COUNT <= STORE_KINDS_MAX, "kinds fit the prepared statements");

/* WHERE true: else SQLite reads ON CONFLICT as a join's ON. */
#define INSERT(table, names) .columns = names, .sql = "INSERT INTO @" table " (" names ") SELECT " names " FROM %s WHERE true "
#define AGENT_COLUMNS                                                                                        \
        "agent_id, created_at, pool_name, role_type, project_id, state, labels, args, last_exit, master_id, "  \
        "epoch, heartbeat_interval, max_idle_time, restarts, updated_at"

static const struct store_kind kinds[KIND_COUNT] = {
        [AGENT_INSERT] = { .index = AGENT_INSERT, INSERT("agents", AGENT_COLUMNS) "ON CONFLICT (agent_id) DO NOTHING",
                .name = "agent_insert", .types = "uittutttttiiiii", .key_values = 1,
                .probe = "SELECT CASE WHEN created_at = $2 AND pool_name = $3 AND role_type = $4 THEN 0 ELSE 1 END "
                         "FROM @agents WHERE agent_id = $1",
                .probe_values = 4, .refused = -EEXIST, .absent = -EEXIST, .promise = true, .undo = &kinds[AGENT_UNDO] },
        [AGENT_UPDATE] = { .index = AGENT_UPDATE, .name = "agent_update", .columns = "agent_id, epoch, state, restarts, last_exit, master_id, updated_at",
                .types = "uititti", .key_values = 1,
                .sql = "UPDATE @agents SET epoch = v.epoch, state = v.state, restarts = v.restarts, "
                       "last_exit = v.last_exit, master_id = v.master_id, updated_at = v.updated_at FROM %s "
                       "WHERE agents.agent_id = v.agent_id AND agents.epoch <= v.epoch",
                .probe = "SELECT CASE WHEN epoch > $2 THEN 1 ELSE 0 END FROM @agents WHERE agent_id = $1",
                .probe_values = 2, .refused = -ESTALE, .absent = -ENOENT },
        [AGENT_DELETE] = { .index = AGENT_DELETE, .name = "agent_delete", .columns = "agent_id", .types = "u", .key_values = 1,
                .sql = "DELETE FROM @agents WHERE agent_id IN (SELECT agent_id FROM %s)" },
        [AGENT_UNDO] = { .index = AGENT_UNDO, .name = "agent_undo", .columns = "agent_id, created_at", .types = "ui", .key_values = 1,
                .sql = "DELETE FROM @agents WHERE (agent_id, created_at) IN (SELECT agent_id, created_at FROM %s)" },
        [POOL_PUT] = { .index = POOL_PUT, INSERT("pools", "pool_name, settings, updated_at")
                       "ON CONFLICT (pool_name) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at",
                .name = "pool_put", .types = "tti", .key_values = 1, .promise = true },
        [POOL_DELETE] = { .index = POOL_DELETE, .name = "pool_delete", .columns = "pool_name", .types = "t", .key_values = 1, .promise = true,
                .sql = "DELETE FROM @pools WHERE pool_name IN (SELECT pool_name FROM %s)" },
        [KEY_INSERT] = { .index = KEY_INSERT, INSERT("idempotency_keys",
                                 "scope, key, request_id, body_sha256, answer, status, created_at, expires_at")
                         "ON CONFLICT (scope, key) DO UPDATE SET request_id = excluded.request_id, "
                         "body_sha256 = excluded.body_sha256, answer = excluded.answer, status = excluded.status, "
                         "created_at = excluded.created_at, expires_at = excluded.expires_at "
                         "WHERE idempotency_keys.expires_at <= excluded.created_at",
                .name = "key_insert", .types = "ttuttiii", .key_values = 2,
                .probe = "SELECT CASE WHEN request_id = $3 THEN 0 ELSE 1 END FROM @idempotency_keys "
                         "WHERE scope = $1 AND key = $2",
                .probe_values = 3, .refused = -EEXIST, .absent = -EEXIST, .promise = true, .undo = &kinds[KEY_UNDO] },
        [KEY_ANSWER] = { .index = KEY_ANSWER, .name = "key_answer", .columns = "scope, key, answer, status", .types = "ttti", .key_values = 2,
                .sql = "UPDATE @idempotency_keys SET answer = v.answer, status = v.status FROM %s "
                       "WHERE idempotency_keys.scope = v.scope AND idempotency_keys.key = v.key",
                .probe = "SELECT 0 FROM @idempotency_keys WHERE scope = $1 AND key = $2", .probe_values = 2, .absent = -ENOENT },
        [KEY_UNDO] = { .index = KEY_UNDO, .name = "key_undo", .columns = "scope, key, request_id", .types = "ttu", .key_values = 2,
                .sql = "DELETE FROM @idempotency_keys WHERE (scope, key, request_id) IN "
                       "(SELECT scope, key, request_id FROM %s)" },
        [EVENT_ADD] = { .index = EVENT_ADD, INSERT("agent_events", "event_id, at, pool_name, event, detail, agent_id, process_id, epoch, who, "
                                                       "request_id")
                        "ON CONFLICT (event_id) DO NOTHING",
                .name = "event_add", .types = "uitttuuitu", .history = true },
        [EXECUTION_ADD] = { .index = EXECUTION_ADD, INSERT("agent_executions", "execution_id, agent_id, project_id, pool_name, method, status, "
                                                       "error, started_at, completed_at, duration_ms")
                            "ON CONFLICT (execution_id) DO UPDATE SET status = excluded.status, error = excluded.error, "
                            "completed_at = excluded.completed_at, duration_ms = excluded.duration_ms "
                            "WHERE agent_executions.completed_at IS NULL",
                .name = "execution_add", .types = "uuuttttizi", .key_values = 1, .history = true },
        [METRIC_ADD] = { .index = METRIC_ADD, INSERT("pool_metrics", "pool_name, at, capacity, used, agents, workers, executions, executions_ok")
                         "ON CONFLICT (pool_name, at) DO NOTHING",
                .name = "metric_add", .types = "tiiiiiii", .history = true },
};

static int write(struct store *store, unsigned kind, const struct store_value *values, store_cb cb, void *arg)
{
        struct store_op *op = store_op_new(&kinds[kind], NULL, NULL, NULL, values);

        if (op) {
                op->cb.write = cb;
                op->arg = arg;
        }
        return store_submit(store, op);
}

#define TEXT(string) { .text = (string) }
#define NUMBER(value) { .integer = (int64_t)(value) }
#define UUID(id) { .text = id_is_zero(id) ? NULL : ID_TEXT(id) }
#define PROJECT(id) { .text = ID_TEXT(id) } /* the zero one is one, too */

int store_agent_insert(struct store *store, const struct store_agent *agent, store_cb cb, void *arg)
{
        const struct store_value values[] = { UUID(&agent->agent_id), NUMBER(agent->created_at), TEXT(agent->pool_name),
                TEXT(agent->role_type), PROJECT(&agent->project_id), TEXT(agent->state), TEXT(agent->labels),
                TEXT(agent->args), TEXT(agent->last_exit), TEXT(agent->master_id), NUMBER(agent->epoch),
                NUMBER(agent->heartbeat_interval), NUMBER(agent->max_idle_time), NUMBER(agent->restarts),
                NUMBER(agent->updated_at) };

        return write(store, AGENT_INSERT, values, cb, arg);
}

int store_agent_update(struct store *store, const struct store_agent *agent, store_cb cb, void *arg)
{
        const struct store_value values[] = { UUID(&agent->agent_id), NUMBER(agent->epoch), TEXT(agent->state),
                NUMBER(agent->restarts), TEXT(agent->last_exit), TEXT(agent->master_id), NUMBER(agent->updated_at) };

        return write(store, AGENT_UPDATE, values, cb, arg);
}

int store_agent_delete(struct store *store, const struct id *agent_id, store_cb cb, void *arg)
{
        return write(store, AGENT_DELETE, (const struct store_value[]){ UUID(agent_id) }, cb, arg);
}

int store_pool_put(struct store *store, const struct store_pool *pool, store_cb cb, void *arg)
{
        const struct store_value values[] = { TEXT(pool->pool_name), TEXT(pool->settings), NUMBER(pool->updated_at) };

        return write(store, POOL_PUT, values, cb, arg);
}

int store_pool_delete(struct store *store, const char *pool_name, store_cb cb, void *arg)
{
        return write(store, POOL_DELETE, (const struct store_value[]){ TEXT(pool_name) }, cb, arg);
}

int store_key_insert(struct store *store, const struct store_key *key, store_cb cb, void *arg)
{
        struct id request_id = id_new();
        const struct store_value values[] = { TEXT(key->scope), TEXT(key->key), UUID(&request_id),
                TEXT(key->body_sha256), TEXT(key->answer), NUMBER(key->status), NUMBER(key->created_at),
                NUMBER(key->expires_at) };

        return write(store, KEY_INSERT, values, cb, arg);
}

int store_key_answer(struct store *store, const struct store_key *key, store_cb cb, void *arg)
{
        const struct store_value values[] = { TEXT(key->scope), TEXT(key->key), TEXT(key->answer), NUMBER(key->status) };

        return write(store, KEY_ANSWER, values, cb, arg);
}

int store_event_add(struct store *store, const struct store_event *event)
{
        struct id random = id_new(), event_id;

        event_id = store_time_id(event->at, store_next_sequence(store, event->at), &random);
        return write(store, EVENT_ADD,
                (const struct store_value[]){ UUID(&event_id), NUMBER(event->at), TEXT(event->pool_name),
                        TEXT(event->event), TEXT(event->detail), UUID(&event->agent_id), UUID(&event->process_id),
                        NUMBER(event->epoch), TEXT(event->who), UUID(&event->request_id) },
                NULL, NULL);
}

int store_execution_add(struct store *store, const struct store_execution *execution)
{
        const struct store_value values[] = { UUID(&execution->execution_id), UUID(&execution->agent_id),
                PROJECT(&execution->project_id), TEXT(execution->pool_name), TEXT(execution->method),
                TEXT(execution->status), TEXT(execution->error), NUMBER(execution->started_at),
                NUMBER(execution->completed_at), NUMBER(execution->duration_ms) };

        return write(store, EXECUTION_ADD, values, NULL, NULL);
}

int store_metric_add(struct store *store, const struct store_metric *metric)
{
        const struct store_value values[] = { TEXT(metric->pool_name), NUMBER(metric->at), NUMBER(metric->capacity),
                NUMBER(metric->used), NUMBER(metric->agents), NUMBER(metric->workers), NUMBER(metric->executions),
                NUMBER(metric->executions_ok) };

        return write(store, METRIC_ADD, values, NULL, NULL);
}
