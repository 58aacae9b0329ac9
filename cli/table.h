/* Lists of JSON objects as aligned columns. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H
#include <cjson/cJSON.h>

/* columns: member names, NULL-terminated; headings are the same in upper case. Absent and null members print as "-". */
void table_print(const cJSON *list, const char *const *columns);
#endif
