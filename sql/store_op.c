/* A submission's memory: made with copies of all it is given, delivered, freed. */
#include "sql/store_op.h"

#include "common/log.h"

#include <stdlib.h>
#include <string.h>

static bool is_text(char type)
{
        return type == 'u' || type == 't';
}

/* Copies text to *end and moves that; NULL stays NULL. */
static const char *keep(char **end, const char *text)
{
        char *copy = *end;
        size_t size = text ? strlen(text) + 1 : 0;

        if (!text)
                return NULL;
        memcpy(copy, text, size);
        *end += size;
        return copy;
}

struct store_op *store_op_new(const struct store_kind *kind, const struct store_reader *reader, const char *sql,
        const char *types, const struct store_value *values)
{
        const char *given = kind ? kind->types : types;
        size_t size = sizeof(struct store_op) + (kind ? 0 : strlen(sql) + strlen(types) + 2);
        struct store_op *op;
        char *end;

        for (size_t i = 0; given[i]; i++)
                if (is_text(given[i]) && values[i].text)
                        size += strlen(values[i].text) + 1;
        op = malloc(size);
        if (!op)
                return NULL;
        *op = (struct store_op){ .kind = kind, .reader = reader, .size = size, .writers = reader && reader->writers };
        end = (char *)(op + 1);
        op->types = kind ? kind->types : keep(&end, types);
        op->sql = kind ? NULL : keep(&end, sql);
        for (size_t i = 0; given[i]; i++)
                op->values[i] = is_text(given[i]) ? (struct store_value){ .text = keep(&end, values[i].text) } : values[i];
        return op;
}

void store_op_free(struct store_op *op)
{
        if (!op)
                return;
        store_rows_done(&op->rows);
        free(op->json);
        free(op);
}

void store_op_leave_out(struct store_op *op, const char *table, const char *key, const char *column)
{
        op->broken++;
        log_error("store.row_broken", "table=%s key=%s column=%s detail=\"the row is left out; mend or delete it\"", table,
                LOG_Q(key ? key : ""), column);
}

bool store_op_deliver(struct store_op *op)
{
        if (op->reader)
                return op->reader->deliver(op);
        if (op->cb.write)
                op->cb.write(op->arg, op->error);
        return false;
}

struct id store_time_id(int64_t at, unsigned sequence, const struct id *random)
{
        struct id id = *random;

        for (int i = 0; i < 6; i++)
                id.b[i] = (uint8_t)(at >> (40 - 8 * i));
        id.b[6] = (uint8_t)(0x70 | ((sequence >> 8) & 0x0f));
        id.b[7] = (uint8_t)sequence;
        id.b[8] = (uint8_t)(0x80 | (id.b[8] & 0x3f));
        return id;
}
