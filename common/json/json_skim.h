/* What a text that cannot be read as JSON (broken, too deep, longer than what is kept) still says of itself: whether it looks
 * like a JSON-RPC message, and which. Fed in pieces of any size, keeps a few bytes. Pure. */
#ifndef COMMON_JSON_JSON_SKIM_H
#define COMMON_JSON_JSON_SKIM_H
#include <stdbool.h>
#include <stddef.h>

/* Begins zeroed. */
struct json_skim {
        unsigned depth;
        bool begun, strange;     /* something was seen; it is no object */
        bool in_string, escaped;
        bool in_value;           /* of the outermost object: behind a colon */
        char name[16], value[32]; /* of the member at hand; what is longer is no name of ours */
        size_t name_len, value_len;
        /* results */
        bool versioned, called;  /* it has "jsonrpc", "method" */
        char id[32];             /* its "id" when that is a number; "": none yet */
};
void json_skim(struct json_skim *skim, const char *text, size_t len);
#endif
