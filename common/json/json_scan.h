/* One pass over a JSON text that decides what is acceptable: RFC 8259 in strict UTF-8 and, unless JSON_ANY_VALUE says that
 * values are only passed on, what a tree of cJSON can hold (I-JSON, RFC 7493). Pure. */
#ifndef COMMON_JSON_JSON_SCAN_H
#define COMMON_JSON_JSON_SCAN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_INTEGER_MAX INT64_C(9007199254740992) /* 2^53 */
enum json_flags {
        JSON_STRICT = 0,
        JSON_COMMENTS = 1, /* // and block comments count as white space */
        JSON_ENVELOPE = 2, /* two levels more: what wraps a value that was accepted before */
        JSON_ANY_VALUE = 4, /* whatever RFC 8259 allows, for common/json/json_raw.h alone: cJSON cannot hold it */
};

/* Nodes count in the order of the tree (a value before its members), so that a node found there has a place in the text. */
struct json_scan {
        const char *text, *end;
        unsigned flags, depth; /* enum json_flags; levels of nesting at most */
        char *blank;           /* writable copy of text whose comments become spaces; NULL: leave it */
        size_t wanted;         /* number of the node to find */
        /* results */
        const char *p;    /* where it ended */
        const char *why;  /* what is wrong at p */
        const char *mark; /* where node number wanted begins */
        size_t nodes;
};

/* Whether the whole text is one acceptable value. */
bool json_scan(struct json_scan *scan);
/* Whether an acceptable value begins at p; p is then behind it. */
bool json_scan_value(struct json_scan *scan);
/* line and column (from 1, in characters) of p in text. */
void json_scan_position(const char *text, const char *p, size_t *ret_line, size_t *ret_column);
/* The four hexadecimal digits after "\u" at p, or -1. */
int json_scan_unicode(const char *p, const char *end);
#endif
