#include "cli/table.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define CELL_SIZE 128
#define COLUMNS_MAX 16

static const char *cell_text(const cJSON *item, char buffer[CELL_SIZE])
{
        if (cJSON_IsString(item))
                return item->valuestring;
        if (cJSON_IsBool(item))
                return cJSON_IsTrue(item) ? "yes" : "no";
        if (!cJSON_IsNumber(item))
                return "-";
        snprintf(buffer, CELL_SIZE, "%.15g", item->valuedouble);
        return buffer;
}

static void measure(const cJSON *list, const char *const *columns, int *widths)
{
        char buffer[CELL_SIZE];
        const cJSON *row;

        for (size_t i = 0; columns[i]; i++)
                widths[i] = (int)strlen(columns[i]);
        cJSON_ArrayForEach(row, list)
        {
                for (size_t i = 0; columns[i]; i++) {
                        int n = (int)strlen(cell_text(cJSON_GetObjectItemCaseSensitive(row, columns[i]), buffer));

                        if (n > widths[i])
                                widths[i] = n;
                }
        }
}

void table_print(const cJSON *list, const char *const *columns)
{
        int widths[COLUMNS_MAX];
        char buffer[CELL_SIZE];
        const cJSON *row;

        measure(list, columns, widths);
        for (size_t i = 0; columns[i]; i++) {
                for (const char *p = columns[i]; *p; p++)
                        putchar(toupper((unsigned char)*p));
                printf("%*s", columns[i + 1] ? widths[i] - (int)strlen(columns[i]) + 2 : 0, "");
        }
        putchar('\n');
        cJSON_ArrayForEach(row, list)
        {
                for (size_t i = 0; columns[i]; i++)
                        printf("%-*s", columns[i + 1] ? widths[i] + 2 : 0,
                                cell_text(cJSON_GetObjectItemCaseSensitive(row, columns[i]), buffer));
                putchar('\n');
        }
}
