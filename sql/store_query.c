/* The queries whose answers are JSON, printed in the thread. Each looks at a bounded number of rows, because writes wait
 * meanwhile. */
#include "common/json/json.h"
#include "sql/store.h"
#include "sql/store_draft.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000
#define SUMMARY_ROWS 100000
#define METRIC_ROWS 200000

static unsigned limit_of(const struct store_query *query)
{
        return !query->limit ? LIMIT_DEFAULT : query->limit < LIMIT_MAX ? query->limit : LIMIT_MAX;
}

static bool deliver_json(struct store_op *op)
{
        op->cb.json(op->arg, op->error, op->error ? NULL : op->json);
        return false;
}

/* Prints take_object, NULL when an addition failed, as op's answer. */
static int answer(struct store_op *op, cJSON *take_object)
{
        op->json = take_object ? json_print(take_object) : NULL;
        cJSON_Delete(take_object);
        return op->json ? 0 : -ENOMEM;
}

/* A list's columns in the order of its SELECT; after them the row's cursor. */
struct field {
        const char *name;
        char type; /* s text, i integer, t time */
};

static int add_field(cJSON *object, const struct field *field, const char *cell)
{
        if (!cell)
                return json_add_item(object, field->name, cJSON_CreateNull());
        if (field->type == 's')
                return json_add_string(object, field->name, cell);
        if (field->type == 't')
                return json_add_time(object, field->name, strtoll(cell, NULL, 10));
        return json_add_integer(object, field->name, strtoll(cell, NULL, 10));
}


/* The column that no answer could hold; NULL: none. (Malformed UTF-8 is printed as U+FFFD.) */
static const char *broken_field(const struct store_rows *rows, size_t row, const struct field *fields)
{
        for (size_t i = 0; fields[i].name; i++) {
                int64_t number = fields[i].type == 't' ? store_cell_integer(rows, row, i) : 0;

                if (number < 0 || number > STORE_TIME_MAX)
                        return fields[i].name;
        }
        return NULL;
}

static cJSON *row_json(const struct store_rows *rows, size_t row, const struct field *fields)
{
        cJSON *object = cJSON_CreateObject();

        for (size_t i = 0; object && fields[i].name; i++)
                if (add_field(object, &fields[i], store_cell(rows, row, i)) < 0) {
                        cJSON_Delete(object);
                        return NULL;
                }
        return object;
}

/* {name: [rows], "next_cursor": the last row's, if one more row came}. */
static cJSON *page_json(struct store_op *op, const char *name, const struct field *fields)
{
        const struct store_rows *rows = &op->rows;
        size_t count = rows->count <= op->limit ? rows->count : op->limit;
        const char *cursor = rows->count > count ? store_cell(rows, count - 1, rows->columns - 1) : NULL;
        cJSON *page = cJSON_CreateObject(), *list = page ? cJSON_AddArrayToObject(page, name) : NULL;
        bool ok = list;

        for (size_t i = 0; ok && i < count; i++) {
                const char *broken = broken_field(rows, i, fields);

                if (broken)
                        store_op_leave_out(op, name, store_cell(rows, i, 0), broken);
                else
                        ok = cJSON_AddItemToArray(list, row_json(rows, i, fields));
        }
        if (ok && add_field(page, &(const struct field){ "next_cursor", 's' }, cursor) == 0)
                return page;
        cJSON_Delete(page);
        return NULL;
}

static const struct field execution_fields[] = {
        { "execution_id", 's' }, { "agent_id", 's' }, { "project_id", 's' }, { "pool_name", 's' },
        { "method", 's' }, { "status", 's' }, { "error", 's' }, { "started_at", 't' }, { "completed_at", 't' },
        { "duration_ms", 'i' }, { NULL, 0 },
};

static int run_executions(struct store_op *op, struct store_backend *backend)
{
        int error = store_run_query(op, backend);

        return error ? error : answer(op, page_json(op, "executions", execution_fields));
}

static int run_execution(struct store_op *op, struct store_backend *backend)
{
        const char *broken;
        int error = store_run_query(op, backend);

        if (!error && op->rows.count == 0)
                error = -ENOENT;
        broken = error ? NULL : broken_field(&op->rows, 0, execution_fields);
        if (broken) {
                store_op_leave_out(op, "executions", store_cell(&op->rows, 0, 0), broken);
                error = -EBADMSG;
        }
        return error ? error : answer(op, row_json(&op->rows, 0, execution_fields));
}

static int submit(struct store *store, const struct store_draft *draft, const struct store_reader *reader,
        const struct store_query *query, store_json_cb cb, void *arg)
{
        struct store_op *op = store_draft_op(draft, reader, arg);

        if (op) {
                op->limit = limit_of(query);
                op->cb.json = cb;
        }
        return store_submit(store, op);
}

static void filter_executions(struct store_draft *draft, const struct store_query *query)
{
        store_draft_id(draft, "execution_id =", &query->execution_id);
        store_draft_id(draft, "agent_id =", &query->agent_id);
        if (query->project_id) {
                store_draft_add(draft, " AND project_id = ");
                store_draft_value_id(draft, query->project_id);
        }
        store_draft_text(draft, "pool_name =", query->pool_name);
        store_draft_text(draft, "status =", query->status);
        store_draft_integer(draft, "started_at >=", query->since);
        store_draft_integer(draft, "started_at <", query->until);
}

/* "<started_at>.<execution_id>" */
static int parse_cursor(const char *cursor, int64_t *ret_at, struct id *ret_id)
{
        char *end;

        errno = 0;
        *ret_at = strtoll(cursor, &end, 10);
        if (errno || end == cursor || *end != '.')
                return -EINVAL;
        return id_parse(end + 1, ret_id);
}

int store_executions(struct store *store, const struct store_query *query, store_json_cb cb, void *arg)
{
        static const struct store_reader list = { .run = run_executions, .deliver = deliver_json };
        static const struct store_reader one = { .run = run_execution, .deliver = deliver_json };
        struct store_draft draft = { .len = 0 };
        struct id id;
        int64_t at;

        store_draft_add(&draft,
                "SELECT execution_id, agent_id, project_id, pool_name, method, status, error, started_at, completed_at, "
                "CASE WHEN completed_at IS NULL THEN NULL ELSE duration_ms END, started_at || '.' || execution_id "
                "FROM @agent_executions WHERE 1 = 1");
        filter_executions(&draft, query);
        if (query->cursor) {
                if (parse_cursor(query->cursor, &at, &id) < 0)
                        return -EINVAL;
                store_draft_add(&draft, " AND (started_at, execution_id) < (");
                store_draft_value_integer(&draft, at);
                store_draft_add(&draft, ", ");
                store_draft_value_id(&draft, &id);
                store_draft_add(&draft, ")");
        }
        store_draft_add(&draft, " ORDER BY started_at DESC, execution_id DESC LIMIT %u", limit_of(query) + 1);
        return submit(store, &draft, id_is_zero(&query->execution_id) ? &list : &one, query, cb, arg);
}

static const struct field event_fields[] = {
        { "event_id", 's' }, { "at", 't' }, { "pool_name", 's' }, { "event", 's' }, { "detail", 's' },
        { "agent_id", 's' }, { "process_id", 's' }, { "epoch", 'i' }, { "who", 's' },
        { "request_id", 's' }, { NULL, 0 },
};

static int run_events(struct store_op *op, struct store_backend *backend)
{
        int error = store_run_query(op, backend);

        return error ? error : answer(op, page_json(op, "events", event_fields));
}

int store_events(struct store *store, const struct store_query *query, store_json_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = run_events, .deliver = deliver_json };
        static const struct id zero;
        struct id since = query->since ? store_time_id(query->since, 0, &zero) : zero;
        struct id until = query->until ? store_time_id(query->until, 0, &zero) : zero;
        struct id cursor = zero;
        struct store_draft draft = { .len = 0 };

        if (query->cursor && id_parse(query->cursor, &cursor) < 0)
                return -EINVAL;
        store_draft_add(&draft,
                "SELECT event_id, at, pool_name, event, detail, agent_id, process_id, epoch, who, request_id, event_id "
                "FROM @agent_events WHERE 1 = 1");
        store_draft_id(&draft, "agent_id =", &query->agent_id);
        store_draft_text(&draft, "pool_name =", query->pool_name);
        store_draft_text(&draft, "event =", query->event);
        store_draft_text(&draft, "event <>", query->not_event);
        store_draft_id(&draft, "event_id >=", &since);
        store_draft_id(&draft, "event_id <", &until);
        store_draft_id(&draft, "event_id <", &cursor);
        store_draft_add(&draft, " ORDER BY event_id DESC LIMIT %u", limit_of(query) + 1);
        return submit(store, &draft, &reader, query, cb, arg);
}

/* Four decimals; null without a whole. */
static cJSON *ratio(int64_t part, int64_t whole)
{
        return whole ? cJSON_CreateNumber((double)((part * 10000 + whole / 2) / whole) / 1e4) : cJSON_CreateNull();
}

struct summary {
        int64_t total, running, completed, failed, timeout, duration, longest;
};

static void sum_row(struct summary *sum, const struct store_rows *rows, size_t row)
{
        const char *status = store_cell(rows, row, 0);
        int64_t count = store_cell_integer(rows, row, 1), longest = store_cell_integer(rows, row, 3);

        sum->total += count;
        sum->duration += store_cell_integer(rows, row, 2);
        if (longest > sum->longest)
                sum->longest = longest;
        if (strcmp(status, "running") == 0)
                sum->running = count;
        else if (strcmp(status, "completed") == 0)
                sum->completed = count;
        else if (strcmp(status, "failed") == 0)
                sum->failed = count;
        else if (strcmp(status, "timeout") == 0)
                sum->timeout = count;
}

static int run_summary(struct store_op *op, struct store_backend *backend)
{
        struct summary sum = { 0 };
        int64_t ended;
        cJSON *object;
        int error = store_run_query(op, backend);

        if (error)
                return error;
        for (size_t i = 0; i < op->rows.count; i++)
                sum_row(&sum, &op->rows, i);
        ended = sum.completed + sum.failed + sum.timeout;
        object = cJSON_CreateObject();
        if (!object || json_add_integer(object, "total_executions", sum.total) < 0 ||
                json_add_integer(object, "running_executions", sum.running) < 0 ||
                json_add_integer(object, "successful_executions", sum.completed) < 0 ||
                json_add_integer(object, "failed_executions", sum.failed) < 0 ||
                json_add_integer(object, "timed_out_executions", sum.timeout) < 0 ||
                json_add_item(object, "success_rate", ratio(sum.completed, ended)) < 0 ||
                json_add_item(object, "average_duration_ms", ratio(sum.duration, ended)) < 0 ||
                json_add_integer(object, "max_duration_ms", sum.longest) < 0 ||
                json_add_bool(object, "truncated", sum.total == SUMMARY_ROWS) < 0) {
                cJSON_Delete(object);
                return -ENOMEM;
        }
        return answer(op, object);
}

int store_executions_summary(struct store *store, const struct store_query *query, store_json_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = run_summary, .deliver = deliver_json };
        struct store_draft draft = { .len = 0 };

        store_draft_add(&draft, "SELECT status, COUNT(*), SUM(duration_ms), MAX(duration_ms) FROM "
                                "(SELECT status, duration_ms FROM @agent_executions WHERE 1 = 1");
        filter_executions(&draft, query);
        store_draft_add(
                &draft, " ORDER BY started_at DESC, execution_id DESC LIMIT %d) AS e GROUP BY status", SUMMARY_ROWS);
        return submit(store, &draft, &reader, query, cb, arg);
}

enum metric { METRIC_UTILIZATION = 1, METRIC_EXECUTIONS, METRIC_SUCCESS_RATE, METRIC_COUNT };
static const char *const metric_names[METRIC_COUNT] = { NULL, "utilization", "executions", "success_rate" };

static cJSON *metric_value(const struct store_op *op, size_t row)
{
        int64_t capacity = store_cell_integer(&op->rows, row, 1), used = store_cell_integer(&op->rows, row, 2);
        int64_t executions = store_cell_integer(&op->rows, row, 3), ok = store_cell_integer(&op->rows, row, 4);

        if (op->word == metric_names[METRIC_UTILIZATION])
                return capacity ? ratio(used, capacity) : cJSON_CreateNumber(0);
        if (op->word == metric_names[METRIC_SUCCESS_RATE])
                return ratio(ok, executions);
        return cJSON_CreateNumber((double)executions);
}

static cJSON *point_json(const struct store_op *op, size_t row)
{
        cJSON *point = cJSON_CreateObject();
        int64_t at = store_cell_integer(&op->rows, row, 0) * op->number_value;

        if (point && json_add_time(point, "at", at) == 0 && json_add_item(point, "value", metric_value(op, row)) == 0)
                return point;
        cJSON_Delete(point);
        return NULL;
}

static int run_timeseries(struct store_op *op, struct store_backend *backend)
{
        cJSON *object, *points;
        bool ok;
        int error = store_run_query(op, backend);

        if (error)
                return error;
        object = cJSON_CreateObject();
        ok = object && json_add_string(object, "metric_type", op->word) == 0 &&
                json_add_integer(object, "bucket_ms", op->number_value) == 0;
        points = ok ? cJSON_AddArrayToObject(object, "points") : NULL;
        ok = points;
        for (size_t i = op->rows.count; ok && i-- > 0;) /* the newest came first */
                ok = cJSON_AddItemToArray(points, point_json(op, i));
        if (!ok) {
                cJSON_Delete(object);
                return -ENOMEM;
        }
        return answer(op, object);
}

int store_timeseries(struct store *store, const struct store_query *query, store_json_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = run_timeseries, .deliver = deliver_json };
        struct store_draft draft = { .len = 0 };
        int64_t bucket = query->bucket_ms > 0 ? query->bucket_ms : 60000;
        const char *word = NULL;
        struct store_op *op;

        for (int i = METRIC_UTILIZATION; i < METRIC_COUNT; i++)
                if (query->metric_type && strcmp(query->metric_type, metric_names[i]) == 0)
                        word = metric_names[i];
        if (!word)
                return -EINVAL;
        store_draft_add(&draft,
                "SELECT at / %lld, SUM(capacity), SUM(used), SUM(executions), SUM(executions_ok) FROM "
                "(SELECT at, capacity, used, executions, executions_ok FROM @pool_metrics WHERE 1 = 1",
                (long long)bucket);
        store_draft_text(&draft, "pool_name =", query->pool_name);
        store_draft_integer(&draft, "at >=", query->since);
        store_draft_integer(&draft, "at <", query->until);
        store_draft_add(&draft, " ORDER BY at DESC LIMIT %d) AS m GROUP BY 1 ORDER BY 1 DESC LIMIT %u", METRIC_ROWS,
                limit_of(query));
        op = store_draft_op(&draft, &reader, arg);
        if (op) {
                op->word = word;
                op->number_value = bucket;
                op->cb.json = cb;
        }
        return store_submit(store, op);
}
