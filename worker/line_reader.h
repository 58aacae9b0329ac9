/* Newline-delimited text out of a byte stream. Complete lines are handed out where they were read; only the beginning
 * of an unfinished one is kept, so that an idle stream costs no buffer. Never holds more than max_line_bytes. */
#ifndef WORKER_LINE_READER_H
#define WORKER_LINE_READER_H
#include <stdbool.h>
#include <stddef.h>

struct line_reader {
        const char *data; /* borrowed; what was pushed and not handed out yet */
        size_t len;
        char *kept; /* owned; the beginning of the line that data goes on with */
        size_t kept_len, kept_size;
        size_t max_line_bytes; /* without the newline */
        bool cut;              /* a longer line is handed out in pieces instead of being refused */
        bool kept_is_out;      /* kept was handed out whole: empty it before going on */
};

void line_reader_init(struct line_reader *reader, size_t max_line_bytes, bool cut);
void line_reader_done(struct line_reader *reader);
/* Call line_reader_next until it returns 0 before data goes away and before pushing again. */
void line_reader_push(struct line_reader *reader, const char *data, size_t len);
/* 1 and a line without its newline, valid until the next call; 0: no more for now; -EMSGSIZE: a line is too long, the
 * stream cannot go on; -ENOMEM. */
int line_reader_next(struct line_reader *reader, const char **ret_line, size_t *ret_len);
/* What came after the last newline: 1 and the rest (valid until line_reader_done), 0 when there is none. */
int line_reader_rest(const struct line_reader *reader, const char **ret_line, size_t *ret_len);
#endif
