/* Lists of JSON objects as aligned columns. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

enum column_kind { COLUMN_TEXT = 1, COLUMN_ID, COLUMN_STATE, COLUMN_AGE, COLUMN_BYTES, COLUMN_MS, COLUMN_MAP };

struct column {
        const char *member, *heading;
        enum column_kind kind;
        bool wide; /* shown only when there is room for it */
        void (*make)(const cJSON *row, char *buffer, size_t size); /* the cell's text, instead of the member's */
};

/* columns end with a NULL heading. Absent and null members show as "-". width: columns of the terminal, texts are cut to fit
 * in; 0: nothing is cut. */
void table_print(const cJSON *list, const struct column *columns, bool wide, bool color, int width);
#endif
