#include "cli/table.h"

#include "cli/client/client.h"
#include "cli/client/memory.h"
#include "cli/client/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELL_SIZE 512
#define COLUMNS_MAX 24
#define GAP 2
#define NARROW 8 /* no text is cut to less */

struct table {
        const struct column *columns[COLUMNS_MAX];
        int widths[COLUMNS_MAX];
        size_t count, rows;
        char **cells; /* rows * count, cleaned */
        bool color;
};

static void write_map(const cJSON *map, char *buffer, size_t size)
{
        size_t len = 0;
        const cJSON *item;

        snprintf(buffer, size, "-");
        cJSON_ArrayForEach(item, map)
        {
                int n = snprintf(buffer + len, size - len, "%s%s=%s", len ? "," : "", item->string, cJSON_IsString(item) ? item->valuestring : "?");

                len += (size_t)n;
                if (len >= size)
                        return;
        }
}

static void write_cell(const struct column *column, const cJSON *row, char *buffer, size_t size)
{
        const cJSON *item = column->member ? cJSON_GetObjectItemCaseSensitive(row, column->member) : NULL;
        char text[TEXT_SIZE];

        if (column->make)
                column->make(row, buffer, size);
        else if (column->kind == COLUMN_MAP)
                write_map(item, buffer, size);
        else if (cJSON_IsString(item))
                snprintf(buffer, size, "%s", column->kind == COLUMN_AGE ? text_age(item->valuestring, text) : item->valuestring);
        else if (cJSON_IsBool(item))
                snprintf(buffer, size, "%s", cJSON_IsTrue(item) ? "yes" : "no");
        else if (!item || !cJSON_IsNumber(item))
                snprintf(buffer, size, "-");
        else if (column->kind == COLUMN_BYTES)
                snprintf(buffer, size, "%s", text_bytes(item->valuedouble, text));
        else if (column->kind == COLUMN_MS && item->valuedouble >= 10000)
                snprintf(buffer, size, "%s", text_duration(item->valuedouble / 1000, text));
        else if (column->kind == COLUMN_MS)
                snprintf(buffer, size, item->valuedouble < 1000 ? "%.0fms" : "%.1fs",
                        item->valuedouble < 1000 ? item->valuedouble : item->valuedouble / 1000);
        else
                snprintf(buffer, size, "%.15g", item->valuedouble);
}

static void fill(struct table *table, const cJSON *list)
{
        char buffer[CELL_SIZE];
        size_t at = 0;
        const cJSON *row;

        cJSON_ArrayForEach(row, list)
        {
                for (size_t i = 0; i < table->count; i++) {
                        int width;

                        write_cell(table->columns[i], row, buffer, sizeof buffer);
                        table->cells[at] = text_clean(buffer, strlen(buffer), false);
                        width = text_width(table->cells[at++]);
                        if (width > table->widths[i])
                                table->widths[i] = width;
                }
        }
}

/* The column to cut next: the widest one; ids, which can be named by their beginning, last of all. */
static int widest(const struct table *table, bool ids)
{
        int found = -1;

        for (size_t i = 0; i < table->count; i++) {
                bool id = table->columns[i]->kind == COLUMN_ID;

                if (id == ids && table->widths[i] > NARROW && (found < 0 || table->widths[i] > table->widths[found]))
                        found = (int)i;
        }
        return found;
}

static void fit(struct table *table, int width)
{
        int total = -GAP, at;

        for (size_t i = 0; i < table->count; i++)
                total += table->widths[i] + GAP;
        while (total > width) {
                at = widest(table, false);
                if (at < 0 && (at = widest(table, true)) < 0)
                        return;
                table->widths[at]--;
                total--;
        }
        for (size_t i = 0; i < table->rows * table->count; i++)
                text_cut(table->cells[i], table->widths[i % table->count]);
}

static const char *color_of(const char *state)
{
        static const char *const colors[][2] = { { "idle", "32" }, { "ready", "32" }, { "ok", "32" }, { "completed", "32" },
                { "busy", "36" }, { "running", "36" }, { "starting", "33" }, { "stopping", "33" }, { "DRAINING", "33" },
                { "draining", "33" }, { "timeout", "31" }, { "failed", "31" }, { "stale", "31" }, { "DEGRADED", "31" } };

        for (size_t i = 0; i < sizeof colors / sizeof *colors; i++)
                if (strncmp(state, colors[i][0], strlen(colors[i][0])) == 0)
                        return colors[i][1];
        return NULL;
}

static void print_cell(const struct table *table, size_t column, const char *text)
{
        const char *color = table->color && table->columns[column]->kind == COLUMN_STATE ? color_of(text) : NULL;

        printf(color ? "\033[%sm%s\033[m" : "%s%s", color ? color : "", text);
        if (column + 1 < table->count)
                printf("%*s", table->widths[column] - text_width(text) + GAP, "");
        else
                putchar('\n');
}

void table_print(const cJSON *list, const struct column *columns, bool wide, bool color, int width)
{
        struct table table = { .rows = (size_t)cJSON_GetArraySize(list), .color = color };
        char heading[TEXT_SIZE];

        for (; columns->heading && table.count < COLUMNS_MAX; columns++) {
                if (columns->wide && !wide)
                        continue;
                table.columns[table.count] = columns;
                table.widths[table.count++] = (int)strlen(columns->heading);
        }
        table.cells = memory_need(calloc(table.rows * table.count + 1, sizeof *table.cells));
        fill(&table, list);
        if (width > 0)
                fit(&table, width);
        for (size_t i = 0; i < table.count; i++) {
                snprintf(heading, sizeof heading, "%s", table.columns[i]->heading);
                print_cell(&table, i, heading);
        }
        for (size_t i = 0; i < table.rows * table.count; i++) {
                print_cell(&table, i % table.count, table.cells[i]);
                free(table.cells[i]);
        }
        free(table.cells);
}
