/* JSON that is passed on as the bytes it came in, whatever its values: nothing is converted, so nothing is lost (integers
 * beyond 2^53, 1e400, "\u0000", half surrogates, a name twice). What reads or changes members works on a text that
 * json_raw_check accepted, and touches no byte beside them. Pure. */
#ifndef COMMON_JSON_JSON_RAW_H
#define COMMON_JSON_JSON_RAW_H
#include "common/json/json.h"

#define JSON_RAW_DEPTH_MAX 4096 /* a pool's runtime.max_depth at most */

/* A piece of a text, borrowed. text NULL: it is absent. */
struct json_raw {
        const char *text;
        size_t len;
};

struct json_raw json_raw_of(const char *text); /* all of a C string; NULL: absent */

/* Whether it is one value of RFC 8259 in UTF-8, at most depth levels deep. 0, or -EINVAL with *ret_error filled. */
int json_raw_check(const char *text, size_t len, unsigned depth, struct json_error *ret_error);
/* Line breaks in an accepted text stand between tokens: they become blanks, so that it is one line. */
void json_raw_one_line(char *text, size_t len);
/* Takes the white space between tokens out; returns the length that is left. */
size_t json_raw_compact(char *text, size_t len);

/* The value of the last member of that name, and in how many members it is. *ret_value is absent when object is none, or
 * has none. Names are compared without their escapes. */
unsigned json_raw_member(struct json_raw object, const char *name, struct json_raw *ret_value);
/* The same for many names at once, each counted: counts[i] and values[i] are zeroed by the caller. */
void json_raw_members(struct json_raw object, const char *const *names, unsigned *counts, struct json_raw *values);
/* Whether it is a string that says just that. */
bool json_raw_says(struct json_raw value, const char *text);
/* Whether two are the same id: strings that say the same, else the same bytes. */
bool json_raw_same(struct json_raw a, struct json_raw b);
/* What a string says, the caller's to free(): NUL characters and half surrogates become U+FFFD. NULL when it is no string,
 * or out of memory. */
char *json_raw_string(struct json_raw value);
/* What begins it: '{', '[', '"', 't', 'f', 'n', '-', '0' for any digit; '\0': absent. */
char json_raw_kind(struct json_raw value);

/* with takes the place of what, a piece of the text (of no length: it comes in there). */
struct json_edit {
        struct json_raw what, with;
};
/* The text with its edits, which are sorted by place: NUL-terminated, the caller's to free(). NULL when out of memory. */
char *json_raw_edit(struct json_raw text, const struct json_edit *edits, size_t count, size_t *ret_len);
#endif
