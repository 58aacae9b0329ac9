/* cJSON behind a strict door (RFC 8259, I-JSON RFC 7493): valid UTF-8, no NUL inside strings, no duplicate keys, no
 * trailing bytes, depth at most JSON_DEPTH, integers exact to 2^53. Trees are the caller's: cJSON_Delete. */
#ifndef COMMON_JSON_JSON_H
#define COMMON_JSON_JSON_H
#include "common/json/json_scan.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH 32


struct json_error {
        size_t line, column; /* from 1, in characters; where the text stops being acceptable */
        char detail[160];    /* what is wrong, in words, without the position */
};

/* 0; -EINVAL with *ret_error filled; -ENOMEM. text need not end in NUL. */
int json_parse(const char *text, size_t len, unsigned flags, cJSON **ret_tree, struct json_error *ret_error);
/* Where the value that an RFC 6901 pointer names begins (for an object's member: its key), in a text that json_parse
 * accepted with the same flags. 0, -ENOENT or -ENOMEM. */
int json_locate(const char *text, size_t len, unsigned flags, const char *pointer, size_t *ret_line, size_t *ret_column);
/* Compact, one line, NUL-terminated, the caller's to free(); NULL when out of memory. Numbers keep their exact value
 * (cJSON's own printer rounds the 16th digit); malformed UTF-8 becomes U+FFFD; raw items are copied as they are. */
char *json_print(const cJSON *tree);

/* The same made piece by piece, for hot paths that need no tree. Begins zeroed. */
struct json_text {
        char *data;
        size_t len, size;
        bool failed; /* out of memory; data is kept for the one free() */
};
void json_text_put(struct json_text *text, const char *bytes, size_t len); /* as they are */
void json_text_string(struct json_text *text, const char *value);          /* quoted; what is no UTF-8 becomes U+FFFD */
void json_text_tree(struct json_text *text, const cJSON *tree);
/* Ends it: NUL-terminated, the caller's to free(); NULL when memory ran out on the way. */
char *json_text_take(struct json_text *text);

/* The member's string, or NULL when absent or no string. Borrowed. */
const char *json_string(const cJSON *object, const char *name);
/* -ENOENT when absent, -EINVAL when no integer within ±2^53. */
int json_integer(const cJSON *object, const char *name, int64_t *ret_value);
/* The same for an item at hand. */
int json_item_integer(const cJSON *item, int64_t *ret_value);
bool json_bool(const cJSON *object, const char *name, bool fallback);

/* Additions that report failure: 0 or -ENOMEM. take_item is consumed even on failure. */
int json_add_string(cJSON *object, const char *name, const char *value);
int json_add_integer(cJSON *object, const char *name, int64_t value);
int json_add_bool(cJSON *object, const char *name, bool value);
int json_add_time(cJSON *object, const char *name, int64_t wall_ms);
int json_add_item(cJSON *object, const char *name, cJSON *take_item);
/* The same for an array, which is deleted on failure and NULL from then on: half a list is never shown. */
int json_append(cJSON **array, cJSON *take_item);
/* For trees of many members: whether all additions by this thread since json_watch succeeded. */
void json_watch(void);
bool json_whole(void);
#endif
