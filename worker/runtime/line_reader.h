/* Newline-delimited text out of a byte stream. Complete lines are handed out where they were read; only the beginning
 * of an unfinished one is kept, so that an idle stream costs no buffer. Never holds more than max_line_bytes. */
#ifndef WORKER_RUNTIME_LINE_READER_H
#define WORKER_RUNTIME_LINE_READER_H
#include <stdbool.h>
#include <stddef.h>

struct line_reader {
        const char *data; /* borrowed; what was pushed and not handed out yet */
        size_t len;
        char *kept; /* owned; the beginning of the line that data goes on with */
        size_t kept_len, kept_size;
        size_t max_line_bytes; /* without the newline */
        bool kept_is_out;      /* kept was handed out but for its tail: empty it before going on */
        size_t tail;           /* bytes at its end that begin a character */
        bool in_long;          /* a part of this line was handed out */
};

enum line_kind {
        LINE_WHOLE = 1,
        LINE_PART, /* of a line over max_line_bytes, about so much of it; more follows */
        LINE_LAST, /* the last of its parts */
        LINE_REST, /* what came after the last newline: it may be cut off */
};

void line_reader_init(struct line_reader *reader, size_t max_line_bytes);
void line_reader_done(struct line_reader *reader);
/* Call line_reader_next until it returns 0 before data goes away and before pushing again. */
void line_reader_push(struct line_reader *reader, const char *data, size_t len);
/* An enum line_kind and a line without its newline, valid until the next call; 0: no more for now; -ENOMEM. Parts are cut
 * between characters. */
int line_reader_next(struct line_reader *reader, const char **ret_line, size_t *ret_len);
/* What came after the last newline: 1 and the rest (valid until line_reader_done), 0 when there is none. */
int line_reader_rest(const struct line_reader *reader, const char **ret_line, size_t *ret_len);
#endif
