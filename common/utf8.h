/* Characters of UTF-8 text (RFC 3629), well formed or not: nothing here trusts its input. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H
#include <stdbool.h>
#include <stddef.h>

#define UTF8_ESCAPE_SIZE 7 /* the longest form, \u00XX, and the NUL */

/* Bytes of the character at p (p < end), 0 when it is malformed or cut off by end. */
size_t utf8_length(const char *p, const char *end);
/* Bytes of the byte order mark that text begins with: editors put one there, and it means nothing. */
size_t utf8_mark(const char *text, size_t len);
/* It begins with the byte order mark of UTF-16. */
bool utf8_is_utf16(const char *text, size_t len);
/* The longest beginning of text, at most max bytes, that cuts no character in two. */
size_t utf8_cut(const char *text, size_t len, size_t max);
/* Whether all of it is well formed. */
bool utf8_valid(const char *text, size_t len);
/* A copy with U+FFFD for each byte that is not: NUL-terminated, the caller's to free(). NULL when out of memory. */
char *utf8_repair(const char *text, size_t len, size_t *ret_len);
/* The character at p (p < end) as it stands in a JSON string, NUL-terminated; a malformed byte becomes U+FFFD.
 * Returns the bytes of p that it stands for. */
size_t utf8_escape(const char *p, const char *end, char escape[UTF8_ESCAPE_SIZE]);
#endif
