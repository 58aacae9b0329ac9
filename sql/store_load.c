/* Rows of the store as structs, in pages. */
#include "common/json/json.h"
#include "sql/store.h"
#include "sql/store_draft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 1000
#define POOLS_MAX "10000"

static struct id cell_id(const struct store_rows *rows, size_t row, size_t column)
{
        const char *cell = store_cell(rows, row, column);
        struct id id = { { 0 } };

        if (cell && id_parse(cell, &id) < 0)
                id = (struct id){ { 0 } };
        return id;
}

#define AGENT_SELECT                                                                                         \
        "SELECT pool_name, created_at, agent_id, project_id, role_type, state, labels, args, last_exit, master_id, " \
        "epoch, heartbeat_interval, max_idle_time, restarts, updated_at FROM @agents WHERE "

static void read_agent(const struct store_rows *rows, size_t i, struct store_agent *agent)
{
        *agent = (struct store_agent){
                .pool_name = store_cell(rows, i, 0),
                .created_at = store_cell_integer(rows, i, 1),
                .agent_id = cell_id(rows, i, 2),
                .project_id = cell_id(rows, i, 3),
                .role_type = store_cell(rows, i, 4),
                .state = store_cell(rows, i, 5),
                .labels = store_cell(rows, i, 6),
                .args = store_cell(rows, i, 7),
                .last_exit = store_cell(rows, i, 8),
                .master_id = store_cell(rows, i, 9),
                .epoch = (uint64_t)store_cell_integer(rows, i, 10),
                .heartbeat_interval = store_cell_integer(rows, i, 11),
                .max_idle_time = store_cell_integer(rows, i, 12),
                .restarts = store_cell_integer(rows, i, 13),
                .updated_at = store_cell_integer(rows, i, 14),
        };
}

/* Absent, or an object; with_strings: of nothing but strings, as labels and args are. */
static bool is_object(const char *text, bool with_strings)
{
        struct json_error why;
        const cJSON *item;
        cJSON *tree;
        bool good;

        if (!text)
                return true;
        if (json_parse(text, strlen(text), JSON_STRICT, &tree, &why) < 0)
                return false;
        good = cJSON_IsObject(tree);
        cJSON_ArrayForEach(item, tree) good = good && (!with_strings || cJSON_IsString(item));
        cJSON_Delete(tree);
        return good;
}

/* Also none at all, and the nil one. */
static bool is_id(const char *text)
{
        struct id id;

        return !text || id_parse(text, &id) == 0;
}

static bool is_number(const struct store_rows *rows, size_t row, size_t column, int64_t max)
{
        const char *cell = store_cell(rows, row, column);
        char *end = NULL;
        int64_t number = cell ? strtoll(cell, &end, 10) : -1;

        return number >= 0 && number <= max && end > cell && !*end;
}

static const char *wrong_number(const struct store_rows *rows, size_t i)
{
        static const struct {
                size_t column;
                const char *name;
                int64_t max;
        } numbers[] = {
                { 1, "created_at", STORE_TIME_MAX }, { 10, "epoch", STORE_EPOCH_MAX }, { 11, "heartbeat_interval", INT32_MAX },
                { 12, "max_idle_time", INT32_MAX }, { 13, "restarts", UINT32_MAX }, { 14, "updated_at", STORE_TIME_MAX },
        };

        for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
                if (!is_number(rows, i, numbers[n].column, numbers[n].max))
                        return numbers[n].name;
        return NULL;
}

/* Written by somebody else: what the rest of the program may rely on does not hold. */
static bool read_good_agent(struct store_op *op, size_t i, struct store_agent *agent)
{
        const char *key = store_cell(&op->rows, i, 2), *wrong;

        read_agent(&op->rows, i, agent);
        wrong = id_is_zero(&agent->agent_id)          ? "agent_id"
                : !is_id(store_cell(&op->rows, i, 3)) ? "project_id"
                : !agent->pool_name                   ? "pool_name"
                : !agent->role_type                   ? "role_type"
                : !agent->state                       ? "state"
                : !is_object(agent->labels, true)     ? "labels"
                : !is_object(agent->args, true)       ? "args"
                : !is_object(agent->last_exit, false) ? "last_exit"
                                                      : wrong_number(&op->rows, i);
        if (wrong)
                store_op_leave_out(op, "agents", key, wrong);
        return !wrong;
}

/* once: called even when no row is good, which otherwise says that this was the end. False when there are no rows. */
static bool hand_out(struct store_op *op, bool once)
{
        struct store_rows *rows = &op->rows;
        struct store_agent *agents = op->error || !rows->count ? NULL : calloc(rows->count, sizeof *agents);
        size_t good = 0;

        if (!op->error && rows->count && !agents)
                op->error = -ENOMEM;
        for (size_t i = 0; agents && i < rows->count; i++)
                good += read_good_agent(op, i, &agents[good]);
        if (!agents || good > 0 || once)
                op->cb.agents(op->arg, op->error, agents, good);
        free(agents);
        return agents;
}

/* Whether what the row says of its place is what the database has there. */
static bool has_place(const struct store_rows *rows, size_t i)
{
        return store_cell(rows, i, 0) && is_number(rows, i, 1, INT64_MAX) && store_cell(rows, i, 2);
}

/* The next page begins after the last row whose place can be told: the others stand behind it, and come again. */
static bool deliver_agents(struct store_op *op)
{
        struct store_rows *rows = &op->rows;
        size_t last = rows->count;

        if (!hand_out(op, false))
                return false;
        while (last > 0 && !has_place(rows, last - 1))
                last--;
        if (rows->count < PAGE_ROWS || last == 0) {
                op->cb.agents(op->arg, rows->count < PAGE_ROWS ? 0 : -EBADMSG, NULL, 0);
                return false;
        }
        op->values[0].text = store_cell(rows, last - 1, 0);
        op->values[1].integer = store_cell_integer(rows, last - 1, 1);
        op->values[2].text = store_cell(rows, last - 1, 2);
        return true;
}

static bool deliver_once(struct store_op *op)
{
        hand_out(op, true);
        return false;
}

static void begin_after(struct store_draft *draft, const struct store_place *after)
{
        store_draft_add(draft, AGENT_SELECT "(pool_name, created_at, agent_id) > (");
        store_draft_value_text(draft, after->pool_name);
        store_draft_add(draft, ", ");
        store_draft_value_integer(draft, after->created_at);
        store_draft_add(draft, ", ");
        store_draft_value_id(draft, &after->agent_id);
        store_draft_add(draft, ")");
}

static int submit_agents(struct store *store, struct store_draft *draft, const struct store_reader *reader, unsigned limit,
        store_agent_cb cb, void *arg)
{
        struct store_op *op;

        store_draft_add(draft, " ORDER BY pool_name, created_at, agent_id LIMIT %u", limit);
        op = store_draft_op(draft, reader, arg);
        if (op)
                op->cb.agents = cb;
        return store_submit(store, op);
}

int store_agents_load(struct store *store, const char *pool_name, bool all, store_agent_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = store_run_query, .deliver = deliver_agents };
        struct store_draft draft = { .len = 0 };

        begin_after(&draft, &(struct store_place){ .pool_name = "", .created_at = INT64_MIN });
        store_draft_add(&draft, "%s", all ? "" : " AND state <> 'terminated'");
        store_draft_text(&draft, "pool_name =", pool_name);
        return submit_agents(store, &draft, &reader, PAGE_ROWS, cb, arg);
}

int store_agents_ended(struct store *store, const char *pool_name, const struct id *project_id,
        const struct store_place *after, unsigned limit, store_agent_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = store_run_query, .deliver = deliver_once };
        struct store_draft draft = { .len = 0 };

        begin_after(&draft, after);
        store_draft_add(&draft, " AND state = 'terminated'");
        store_draft_text(&draft, "pool_name =", pool_name);
        if (project_id) {
                store_draft_add(&draft, " AND project_id = ");
                store_draft_value_id(&draft, project_id);
        }
        return submit_agents(store, &draft, &reader, limit < PAGE_ROWS ? limit : PAGE_ROWS, cb, arg);
}

static bool deliver_agent(struct store_op *op)
{
        struct store_agent agent;

        if (!op->error && op->rows.count == 0)
                op->error = -ENOENT;
        if (!op->error && !read_good_agent(op, 0, &agent))
                op->error = -EBADMSG;
        op->cb.agents(op->arg, op->error, op->error ? NULL : &agent, op->error ? 0 : 1);
        return false;
}

int store_agent_get(struct store *store, const struct id *agent_id, store_agent_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = store_run_query, .deliver = deliver_agent };
        struct store_draft draft = { .len = 0 };
        struct store_op *op;

        store_draft_add(&draft, AGENT_SELECT "agent_id = ");
        store_draft_value_id(&draft, agent_id);
        op = store_draft_op(&draft, &reader, arg);
        if (op)
                op->cb.agents = cb;
        return store_submit(store, op);
}

bool store_deliver_counts(struct store_op *op)
{
        struct store_count *counts = op->rows.count ? calloc(op->rows.count, sizeof *counts) : NULL;
        size_t count = counts ? op->rows.count : 0;

        if (op->rows.count && !counts && !op->error)
                op->error = -ENOMEM;
        for (size_t i = 0; i < count; i++)
                counts[i] = (struct store_count){ store_cell(&op->rows, i, 0), store_cell_integer(&op->rows, i, 1) };
        if (op->cb.counts)
                op->cb.counts(op->arg, op->error, counts, count);
        free(counts);
        return false;
}

int store_agents_count_ended(struct store *store, store_count_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = store_run_query, .deliver = store_deliver_counts };
        struct store_op *op = store_op_new(NULL, &reader,
                "SELECT pool_name, COUNT(*) FROM @agents WHERE state = 'terminated' GROUP BY pool_name", "", NULL);

        if (op) {
                op->cb.counts = cb;
                op->arg = arg;
        }
        return store_submit(store, op);
}

static bool deliver_pools(struct store_op *op)
{
        size_t count = op->error ? 0 : op->rows.count;
        struct store_pool *pools = count ? calloc(count, sizeof *pools) : NULL;

        if (count && !pools) {
                op->error = -ENOMEM;
                count = 0;
        }
        for (size_t i = 0; i < count; i++)
                pools[i] = (struct store_pool){ store_cell(&op->rows, i, 0), store_cell(&op->rows, i, 1),
                        store_cell_integer(&op->rows, i, 2) };
        op->cb.pools(op->arg, op->error, pools, count);
        free(pools);
        return false;
}

int store_pools_load(struct store *store, store_pool_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = store_run_query, .deliver = deliver_pools };
        struct store_op *op = store_op_new(NULL, &reader,
                "SELECT pool_name, settings, updated_at FROM @pools ORDER BY pool_name LIMIT " POOLS_MAX, "", NULL);

        if (op) {
                op->cb.pools = cb;
                op->arg = arg;
        }
        return store_submit(store, op);
}

static bool deliver_key(struct store_op *op)
{
        const struct store_rows *rows = &op->rows;
        struct store_key key;

        if (!op->error && rows->count == 0)
                op->error = -ENOENT;
        if (op->error) {
                op->cb.key(op->arg, op->error, NULL);
                return false;
        }
        key = (struct store_key){
                .scope = store_cell(rows, 0, 0),
                .key = store_cell(rows, 0, 1),
                .body_sha256 = store_cell(rows, 0, 2),
                .answer = is_object(store_cell(rows, 0, 3), false) ? store_cell(rows, 0, 3) : NULL,
                .status = (int)store_cell_integer(rows, 0, 4),
                .created_at = store_cell_integer(rows, 0, 5),
                .expires_at = store_cell_integer(rows, 0, 6),
        };
        op->cb.key(op->arg, 0, &key);
        return false;
}

int store_key_get(struct store *store, const char *scope, const char *key, store_key_cb cb, void *arg)
{
        static const struct store_reader reader = { .run = store_run_query, .deliver = deliver_key, .writers = true };
        struct store_op *op = store_op_new(NULL, &reader,
                "SELECT scope, key, body_sha256, answer, status, created_at, expires_at FROM @idempotency_keys "
                "WHERE scope = $1 AND key = $2",
                "tt", (const struct store_value[]){ { .text = scope }, { .text = key } });

        if (op) {
                op->cb.key = cb;
                op->arg = arg;
        }
        return store_submit(store, op);
}
