/* Old rows go a few at a time: writes wait while a step runs. */
#include "sql/store.h"
#include "sql/store_op.h"

#include <errno.h>

#define PRUNE_ROWS 2000
#define ROWS "2000"

enum { CUTOFF_ID, CUTOFF, NOW, VALUE_COUNT };

static const struct prune {
        const char *sql, *type;
        unsigned value;
} prunes[] = {
        { "DELETE FROM @agent_events WHERE event_id IN "
          "(SELECT event_id FROM @agent_events WHERE event_id < $1 ORDER BY event_id LIMIT " ROWS ")", "u", CUTOFF_ID },
        { "DELETE FROM @agent_executions WHERE execution_id IN (SELECT execution_id FROM @agent_executions "
          "WHERE started_at < $1 ORDER BY started_at, execution_id LIMIT " ROWS ")", "i", CUTOFF },
        { "DELETE FROM @pool_metrics WHERE (pool_name, at) IN "
          "(SELECT pool_name, at FROM @pool_metrics WHERE at < $1 ORDER BY at LIMIT " ROWS ")", "i", CUTOFF },
        { "DELETE FROM @idempotency_keys WHERE (scope, key) IN (SELECT scope, key FROM @idempotency_keys "
          "WHERE expires_at <= $1 ORDER BY expires_at LIMIT " ROWS ")", "i", NOW },
        { "DELETE FROM @agents WHERE agent_id IN "
          "(SELECT agent_id FROM @agents WHERE state = 'terminated' AND updated_at < $1 LIMIT " ROWS ") RETURNING pool_name, 1", "i", CUTOFF },
};
#define PRUNE_COUNT (sizeof prunes / sizeof prunes[0])

/* What is returned of the rows that went, one after the other. */
static int keep_rows(struct store_op *op, const struct store_rows *rows)
{
        int error = 0;

        op->rows.columns = rows->columns;
        for (size_t i = 0; i < rows->count && !error; i++) {
                for (size_t column = 0; column < rows->columns && !error; column++)
                        error = store_rows_add(&op->rows, store_cell(rows, i, column));
                op->rows.count += !error;
        }
        return error;
}

/* One statement; op->limit counts the tables that are done. */
static int run_prune(struct store_op *op, struct store_backend *backend)
{
        const struct prune *prune = &prunes[op->limit];
        struct store_rows rows;
        int error = backend->class->query(backend, prune->sql, prune->type, &op->values[prune->value], &rows);
        bool table_done;

        if (error)
                return error;
        table_done = rows.affected < PRUNE_ROWS;
        error = keep_rows(op, &rows);
        store_rows_done(&rows);
        if (error)
                return error;
        op->limit += table_done;
        return op->limit < PRUNE_COUNT;
}

int store_prune(struct store *store, int64_t now_wall, int64_t keep_ms, store_count_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = run_prune, .deliver = store_deliver_counts, .writers = true };
        static const struct id zero;
        int64_t cutoff = now_wall > keep_ms ? now_wall - keep_ms : 0;
        struct id cutoff_id = store_time_id(cutoff, 0, &zero);
        const struct store_value values[VALUE_COUNT] = {
                [CUTOFF_ID] = { .text = ID_TEXT(&cutoff_id) },
                [CUTOFF] = { .integer = cutoff },
                [NOW] = { .integer = now_wall },
        };
        struct store_op *op = store_op_new(NULL, &reader, "", "uii", values);

        if (op) {
                op->cb.counts = cb;
                op->arg = arg;
        }
        return store_submit(store, op);
}
