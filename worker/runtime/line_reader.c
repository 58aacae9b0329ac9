#include "worker/runtime/line_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_SIZE_MIN 256
/* A larger buffer is given back as soon as its line is out. */
#define KEPT_SIZE_IDLE 4096

void line_reader_init(struct line_reader *reader, size_t max_line_bytes)
{
        *reader = (struct line_reader){ .max_line_bytes = max_line_bytes };
}

void line_reader_done(struct line_reader *reader)
{
        free(reader->kept);
        line_reader_init(reader, reader->max_line_bytes);
}

void line_reader_push(struct line_reader *reader, const char *data, size_t len)
{
        reader->data = data;
        reader->len = len;
}

static void forget_kept(struct line_reader *reader)
{
        reader->kept_is_out = false;
        if (reader->tail > 0)
                memmove(reader->kept, reader->kept + reader->kept_len - reader->tail, reader->tail);
        reader->kept_len = reader->tail;
        reader->tail = 0;
        if (reader->kept_len == 0 && reader->kept_size > KEPT_SIZE_IDLE) {
                free(reader->kept);
                reader->kept = NULL;
                reader->kept_size = 0;
        }
}

/* Moves len bytes of data to the end of kept. */
static int keep(struct line_reader *reader, size_t len)
{
        size_t needed = reader->kept_len + len, size = reader->kept_size;
        char *kept;

        if (needed > size) {
                size = size * 2 > KEPT_SIZE_MIN ? size * 2 : KEPT_SIZE_MIN;
                size = size < reader->max_line_bytes ? size : reader->max_line_bytes;
                size = size > needed ? size : needed;
                kept = realloc(reader->kept, size);
                if (!kept)
                        return -ENOMEM;
                reader->kept = kept;
                reader->kept_size = size;
        }
        memcpy(reader->kept + reader->kept_len, reader->data, len);
        reader->kept_len += len;
        reader->data += len;
        reader->len -= len;
        return 0;
}

/* The next len bytes end a line. */
static int hand_out(struct line_reader *reader, size_t len, const char **ret_line, size_t *ret_len)
{
        int r, kind = reader->in_long ? LINE_LAST : LINE_WHOLE;

        if (reader->kept_len == 0) {
                *ret_line = reader->data;
                *ret_len = len;
                reader->data += len;
                reader->len -= len;
        } else {
                r = keep(reader, len);
                if (r < 0)
                        return r;
                *ret_line = reader->kept;
                *ret_len = reader->kept_len;
                reader->kept_is_out = true;
        }
        reader->data++; /* the newline */
        reader->len--;
        reader->in_long = false;
        return kind;
}

/* How much of a text that goes on with next ends between two characters. */
static size_t whole_characters(const char *text, size_t len, char next)
{
        size_t n = len;

        if (((unsigned char)next & 0xc0) != 0x80)
                return len;
        while (n > 0 && len - n < 3 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
                n--;
        return n > 1 && (unsigned char)text[n - 1] >= 0xc0 ? n - 1 : len;
}

/* The line has more than room bytes more. */
static int hand_out_part(struct line_reader *reader, size_t room, const char **ret_line, size_t *ret_len)
{
        size_t len;
        int r;

        reader->in_long = true;
        if (reader->kept_len == 0) {
                len = whole_characters(reader->data, room, reader->data[room]);
                *ret_line = reader->data;
                reader->data += len;
                reader->len -= len;
        } else {
                r = keep(reader, room);
                if (r < 0)
                        return r;
                len = whole_characters(reader->kept, reader->kept_len, *reader->data);
                *ret_line = reader->kept;
                reader->tail = reader->kept_len - len;
                reader->kept_is_out = true;
        }
        *ret_len = len;
        return LINE_PART;
}

int line_reader_next(struct line_reader *reader, const char **ret_line, size_t *ret_len)
{
        const char *newline;
        size_t len, room;

        if (reader->kept_is_out)
                forget_kept(reader);
        if (reader->len == 0)
                return 0;
        newline = memchr(reader->data, '\n', reader->len);
        len = newline ? (size_t)(newline - reader->data) : reader->len;
        room = reader->max_line_bytes - reader->kept_len;
        if (len > room)
                return hand_out_part(reader, room, ret_line, ret_len);
        if (newline)
                return hand_out(reader, len, ret_line, ret_len);
        return keep(reader, len);
}

int line_reader_rest(const struct line_reader *reader, const char **ret_line, size_t *ret_len)
{
        if (reader->kept_len == 0 || reader->kept_is_out)
                return 0;
        *ret_line = reader->kept;
        *ret_len = reader->kept_len;
        return 1;
}
