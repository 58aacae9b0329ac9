#include "common/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_tail(const char *p, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (((unsigned char)p[i] & 0xc0) != 0x80)
                        return false;
        return true;
}

/* The second byte's limits exclude overlong forms, surrogates and what lies beyond U+10FFFF. */
size_t utf8_length(const char *p, const char *end)
{
        unsigned char c = (unsigned char)*p;
        unsigned char low = 0x80, high = 0xbf;
        size_t n;

        if (c < 0x80)
                return 1;
        if (c < 0xc2 || c > 0xf4)
                return 0;
        n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if ((size_t)(end - p) < n)
                return 0;
        if (c == 0xe0)
                low = 0xa0;
        else if (c == 0xed)
                high = 0x9f;
        else if (c == 0xf0)
                low = 0x90;
        else if (c == 0xf4)
                high = 0x8f;
        if ((unsigned char)p[1] < low || (unsigned char)p[1] > high)
                return 0;
        return is_tail(p + 2, n - 2) ? n : 0;
}

size_t utf8_mark(const char *text, size_t len)
{
        return len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

bool utf8_is_utf16(const char *text, size_t len)
{
        return len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0);
}

size_t utf8_cut(const char *text, size_t len, size_t max)
{
        if (len <= max)
                return len;
        while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
                max--;
        return max;
}

bool utf8_valid(const char *text, size_t len)
{
        const char *end = text + len;
        size_t n = 1;

        for (; text < end && n > 0; text += n)
                n = utf8_length(text, end);
        return n > 0;
}

char *utf8_repair(const char *text, size_t len, size_t *ret_len)
{
        const char *end = text + len;
        char *copy = malloc(3 * len + 1), *to = copy;

        while (copy && text < end) {
                size_t n = utf8_length(text, end);

                to = n ? mempcpy(to, text, n) : mempcpy(to, "\xef\xbf\xbd", 3);
                text += n ? n : 1;
        }
        if (copy) {
                *to = '\0';
                *ret_len = (size_t)(to - copy);
        }
        return copy;
}

size_t utf8_escape(const char *p, const char *end, char escape[UTF8_ESCAPE_SIZE])
{
        static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
        unsigned char c = (unsigned char)*p;
        const char *found = c ? strchr(from, c) : NULL;
        size_t n = utf8_length(p, end);

        if (found) {
                memcpy(escape, (char[]){ '\\', to[found - from], '\0' }, 3);
        } else if (c < 0x20 || c == 0x7f) {
                snprintf(escape, UTF8_ESCAPE_SIZE, "\\u%04x", c);
        } else if (n == 0) {
                memcpy(escape, "\\ufffd", 7);
        } else {
                memcpy(escape, p, n);
                escape[n] = '\0';
        }
        return n ? n : 1;
}
