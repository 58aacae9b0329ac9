#include "sql/store_backend.h"

#include "sql/store_url.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void store_text_add(struct store_text *text, const char *data, size_t len)
{
        if (text->len + len + 1 > text->size && !text->failed) {
                size_t size = (text->len + len + 1) * 2;
                char *grown = realloc(text->data, size);

                text->failed = !grown;
                if (grown) {
                        text->data = grown;
                        text->size = size;
                }
        }
        if (text->failed)
                return;
        memcpy(text->data + text->len, data, len);
        text->len += len;
        text->data[text->len] = '\0';
}

void store_text_puts(struct store_text *text, const char *string)
{
        store_text_add(text, string, strlen(string));
}

void store_text_sql(struct store_text *text, const struct store_backend *backend, const char *sql, size_t len)
{
        const char *end = sql + len, *at;

        for (; (at = memchr(sql, '@', (size_t)(end - sql))); sql = at + 1) {
                store_text_add(text, sql, (size_t)(at - sql));
                store_text_puts(text, backend->prefix);
        }
        store_text_add(text, sql, (size_t)(end - sql));
}

const char *store_cell(const struct store_rows *rows, size_t row, size_t column)
{
        size_t offset = rows->cells[row * rows->columns + column];

        return offset == SIZE_MAX ? NULL : rows->text + offset;
}

int64_t store_cell_integer(const struct store_rows *rows, size_t row, size_t column)
{
        const char *cell = store_cell(rows, row, column);

        return cell ? strtoll(cell, NULL, 10) : 0;
}

/* Room for used + more elements of the given size. */
static void *grow(void *array, size_t used, size_t more, size_t element, size_t *size)
{
        size_t wanted = (used + more) * 2;
        void *grown;

        if (used + more <= *size)
                return array;
        grown = reallocarray(array, wanted, element);
        if (grown)
                *size = wanted;
        return grown;
}

int store_rows_add(struct store_rows *rows, const char *cell)
{
        size_t len = cell ? strlen(cell) + 1 : 0;
        size_t *cells = grow(rows->cells, rows->cells_used, 1, sizeof *cells, &rows->cells_size);
        char *text;

        if (!cells)
                return -ENOMEM;
        rows->cells = cells;
        text = len ? grow(rows->text, rows->text_used, len, 1, &rows->text_size) : rows->text;
        if (len && !text)
                return -ENOMEM;
        rows->text = text;
        rows->cells[rows->cells_used++] = len ? rows->text_used : SIZE_MAX;
        if (len)
                memcpy(rows->text + rows->text_used, cell, len);
        rows->text_used += len;
        return 0;
}

void store_rows_done(struct store_rows *rows)
{
        free(rows->cells);
        free(rows->text);
        *rows = (struct store_rows){ 0 };
}

int store_backend_fail(struct store_backend *backend, int error, const char *format, ...)
{
        va_list args;
        char *end;

        va_start(args, format);
        vsnprintf(backend->reason, sizeof backend->reason, format, args);
        va_end(args);
        for (char *p = backend->reason; *p; p++)
                if (*p == '\n' || *p == '\t')
                        *p = ' ';
        end = backend->reason + strlen(backend->reason);
        while (end > backend->reason && end[-1] == ' ')
                *--end = '\0';
        return error;
}

int store_backend_ping(struct store_backend *backend)
{
        struct store_rows rows;
        int error = backend->class->query(backend, "SELECT 1", "", NULL, &rows);

        if (error)
                return error;
        store_rows_done(&rows);
        return 0;
}

int store_query_briefly(struct store_backend *backend, const char *sql, const char *types, const struct store_value *values,
        struct store_rows *ret_rows)
{
        const char *begin = backend->class->begin_briefly;
        int error = begin ? backend->class->exec(backend, begin) : 0;

        *ret_rows = (struct store_rows){ 0 };
        backend->brief = true;
        if (!error)
                error = backend->class->query(backend, sql, types, values, ret_rows);
        backend->brief = false;
        if (!error && begin)
                error = backend->class->exec(backend, "COMMIT");
        if (error && begin)
                backend->class->rollback(backend);
        return error;
}

static int none_connect(struct store_backend *backend)
{
        backend->connected = true;
        return 0;
}

static void none_nothing(struct store_backend *backend)
{
        (void)backend;
}

static void none_free(struct store_backend *backend)
{
        free(backend);
}

static int none_exec(struct store_backend *backend, const char *script)
{
        (void)backend;
        (void)script;
        return 0;
}

static int none_write(struct store_backend *backend, const struct store_kind *kind,
        const struct store_value *const *values, size_t count, uint64_t *ret_affected)
{
        (void)backend;
        (void)kind;
        (void)values;
        *ret_affected = count;
        return 0;
}

static int none_query(struct store_backend *backend, const char *sql, const char *types,
        const struct store_value *values, struct store_rows *ret_rows)
{
        (void)backend;
        (void)sql;
        (void)types;
        (void)values;
        *ret_rows = (struct store_rows){ 0 };
        return 0;
}

static const struct store_backend_class none_class = {
        .name = "none",
        .one_statement = true,
        .connect = none_connect,
        .disconnect = none_nothing,
        .free = none_free,
        .exec = none_exec,
        .rollback = none_nothing,
        .write = none_write,
        .query = none_query,
};

int store_backend_new(const char *url, const char *schema, struct store_backend **ret_backend, char *reason, size_t size)
{
        if (strncmp(url, "sqlite:", 7) == 0)
                return store_sqlite_new(strncmp(url + 7, "//", 2) == 0 ? url + 9 : url + 7, ret_backend, reason, size);
        if (store_postgres_address(url))
                return store_postgres_new(store_postgres_address(url), schema, ret_backend, reason, size);
        if (strcmp(url, "none:") != 0) {
                snprintf(reason, size, "the database's URL must begin with sqlite:, postgresql:// or none:");
                return -EINVAL;
        }
        *ret_backend = calloc(1, sizeof **ret_backend);
        if (!*ret_backend)
                return -ENOMEM;
        (*ret_backend)->class = &none_class;
        return 0;
}
