/* Identifiers: UUIDs (RFC 9562), 16 bytes in memory, 36 characters of text outside. Source: libuuid. */
#ifndef COMMON_ID_H
#define COMMON_ID_H
#include <stdbool.h>
#include <stdint.h>

#define ID_TEXT_SIZE 37 /* 36 characters and the NUL */

struct id {
        uint8_t b[16];
};

/* A random (version 4) identifier. */
struct id id_new(void);
/* 0, or -EINVAL unless text is exactly the 36-character form; any letter case. */
int id_parse(const char *text, struct id *ret_id);
/* Writes the lower-case form to text and returns text. */
char *id_format(const struct id *id, char text[ID_TEXT_SIZE]);
bool id_equal(const struct id *a, const struct id *b);
bool id_is_zero(const struct id *id);

/* The text of id for one expression, as in log_info("…", "agent=%s", ID_TEXT(id)). */
#define ID_TEXT(id) id_format((id), (char[ID_TEXT_SIZE]){ 0 })
#endif
