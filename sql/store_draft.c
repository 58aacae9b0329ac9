#include "sql/store_draft.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

void store_draft_add(struct store_draft *draft, const char *format, ...)
{
        va_list args;
        int len;

        va_start(args, format);
        len = vsnprintf(draft->sql + draft->len, sizeof draft->sql - draft->len, format, args);
        va_end(args);
        assert(len >= 0 && (size_t)len < sizeof draft->sql - draft->len);
        draft->len += (size_t)len;
}

static void add_value(struct store_draft *draft, char type, struct store_value value)
{
        draft->types[draft->count] = type;
        draft->values[draft->count++] = value;
        store_draft_add(draft, "$%u", draft->count);
}

void store_draft_value_text(struct store_draft *draft, const char *text)
{
        add_value(draft, 't', (struct store_value){ .text = text });
}

void store_draft_value_integer(struct store_draft *draft, int64_t integer)
{
        add_value(draft, 'i', (struct store_value){ .integer = integer });
}

void store_draft_value_id(struct store_draft *draft, const struct id *id)
{
        add_value(draft, 'u', (struct store_value){ .text = id_format(id, draft->ids[draft->count]) });
}

void store_draft_text(struct store_draft *draft, const char *condition, const char *text)
{
        if (!text)
                return;
        store_draft_add(draft, " AND %s ", condition);
        store_draft_value_text(draft, text);
}

void store_draft_integer(struct store_draft *draft, const char *condition, int64_t integer)
{
        if (!integer)
                return;
        store_draft_add(draft, " AND %s ", condition);
        store_draft_value_integer(draft, integer);
}

void store_draft_id(struct store_draft *draft, const char *condition, const struct id *id)
{
        if (id_is_zero(id))
                return;
        store_draft_add(draft, " AND %s ", condition);
        store_draft_value_id(draft, id);
}

struct store_op *store_draft_op(const struct store_draft *draft, const struct store_reader *reader, void *arg)
{
        struct store_op *op = store_op_new(NULL, reader, draft->sql, draft->types, draft->values);

        if (op)
                op->arg = arg;
        return op;
}

int store_run_query(struct store_op *op, struct store_backend *backend)
{
        struct store_rows rows;
        int error = backend->class->query(backend, op->sql, op->types, op->values, &rows);

        if (error)
                return error;
        store_rows_done(&op->rows); /* of the page before: the values pointed there */
        op->rows = rows;
        return 0;
}
