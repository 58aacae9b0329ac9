#include "common/json/json_scan.h"

#include "common/utf8.h"

#include <string.h>

/* cJSON reads at most this much of a number and takes what follows for something else. */
#define NUMBER_MAX 63

static bool scan_value(struct json_scan *s, unsigned depth);

static bool refuse(struct json_scan *s, const char *why)
{
        s->why = s->p < s->end ? why : "the text ends too early";
        return false;
}

static bool at(const struct json_scan *s, char c)
{
        return s->p < s->end && *s->p == c;
}

static bool at_digit(const struct json_scan *s)
{
        return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static void count_node(struct json_scan *s)
{
        if (++s->nodes == s->wanted)
                s->mark = s->p;
}

/* At "//" or a block comment. */
static bool scan_comment(struct json_scan *s)
{
        const char *start = s->p, *stop;
        bool block = s->p[1] == '*';

        if (block)
                stop = memmem(s->p + 2, (size_t)(s->end - s->p - 2), "*/", 2);
        else
                stop = memchr(s->p, '\n', (size_t)(s->end - s->p));
        if (!stop && block)
                return refuse(s, "this comment is not closed");
        s->p = stop ? stop + (block ? 2 : 0) : s->end;
        for (const char *q = start; s->blank && q < s->p; q++)
                if (*q != '\n')
                        s->blank[q - s->text] = ' ';
        return true;
}

static bool scan_space(struct json_scan *s)
{
        for (;;) {
                while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
                        s->p++;
                if (!(s->flags & JSON_COMMENTS) || s->end - s->p < 2 || *s->p != '/' ||
                        (s->p[1] != '/' && s->p[1] != '*'))
                        return true;
                if (!scan_comment(s))
                        return false;
        }
}

int json_scan_unicode(const char *p, const char *end)
{
        int code = 0;

        if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
                return -1;
        for (const char *q = p + 2; q < p + 6; q++) {
                if (*q >= '0' && *q <= '9')
                        code = code * 16 + (*q - '0');
                else if ((*q | 0x20) >= 'a' && (*q | 0x20) <= 'f')
                        code = code * 16 + ((*q | 0x20) - 'a' + 10);
                else
                        return -1;
        }
        return code;
}

static bool scan_escape(struct json_scan *s)
{
        int code, low;

        if (s->end - s->p < 2) {
                s->p = s->end;
                return refuse(s, "");
        }
        if (s->p[1] != 'u') {
                if (!memchr("\"\\/bfnrt", s->p[1], 8))
                        return refuse(s, "unknown escape in a string");
                s->p += 2;
                return true;
        }
        code = json_scan_unicode(s->p, s->end);
        if (code < 0)
                return refuse(s, "\\u needs four hexadecimal digits");
        if (s->flags & JSON_ANY_VALUE) {
                s->p += 6;
                return true;
        }
        if (code == 0)
                return refuse(s, "a NUL character in a string is refused");
        if (code >= 0xd800 && code <= 0xdfff) {
                low = json_scan_unicode(s->p + 6, s->end);
                if (code >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
                        return refuse(s, "half of a surrogate pair in a string");
                s->p += 6;
        }
        s->p += 6;
        return true;
}

static bool scan_string(struct json_scan *s)
{
        size_t n;

        for (s->p++; s->p < s->end; s->p += n) {
                unsigned char c = (unsigned char)*s->p;

                n = 1;
                if (c == '"') {
                        s->p++;
                        return true;
                }
                if (c == '\\') {
                        if (!scan_escape(s))
                                return false;
                        n = 0;
                } else if (c < 0x20) {
                        return refuse(s, "a control character in a string must be written as an escape");
                } else if (c >= 0x80) {
                        n = utf8_length(s->p, s->end);
                        if (n == 0)
                                return refuse(s, "this is not UTF-8");
                }
        }
        return refuse(s, "");
}

static bool scan_digits(struct json_scan *s, uint64_t *ret_value)
{
        uint64_t value = 0;

        if (!at_digit(s))
                return refuse(s, "expected a digit");
        for (; at_digit(s); s->p++)
                if (value <= (uint64_t)JSON_INTEGER_MAX)
                        value = value * 10 + (uint64_t)(*s->p - '0');
        *ret_value = value;
        return true;
}

static bool scan_number(struct json_scan *s)
{
        const char *start = s->p, *digits;
        uint64_t value, ignored;
        bool integer = true;

        s->p += *s->p == '-';
        digits = s->p;
        if (!scan_digits(s, &value))
                return false;
        if (*digits == '0' && s->p > digits + 1) {
                s->p = start;
                return refuse(s, "a number must not begin with 0");
        }
        if (at(s, '.')) {
                integer = false;
                s->p++;
                if (!scan_digits(s, &ignored))
                        return false;
        }
        if (at(s, 'e') || at(s, 'E')) {
                integer = false;
                s->p++;
                s->p += at(s, '+') || at(s, '-');
                if (!scan_digits(s, &ignored))
                        return false;
        }
        if (!(s->flags & JSON_ANY_VALUE) &&
                ((integer && value > (uint64_t)JSON_INTEGER_MAX) || s->p - start > NUMBER_MAX)) {
                s->p = start;
                return refuse(s, integer ? "an integer beyond 2^53 would lose digits; send it as a string" :
                                           "a number of more than 63 characters");
        }
        return true;
}

static bool scan_word(struct json_scan *s, const char *word)
{
        size_t n = strlen(word);

        if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
                return refuse(s, "expected a value");
        s->p += n;
        return true;
}

static bool scan_member(struct json_scan *s, unsigned depth)
{
        if (!at(s, '"'))
                return refuse(s, "expected a name in double quotes");
        count_node(s);
        if (!scan_string(s) || !scan_space(s))
                return false;
        if (!at(s, ':'))
                return refuse(s, "expected a colon after the name");
        s->p++;
        return scan_space(s) && scan_value(s, depth);
}

/* At the opening brace or bracket of a container that lies depth deep. */
static bool scan_container(struct json_scan *s, unsigned depth)
{
        bool object = *s->p == '{';
        char close = object ? '}' : ']';

        if (depth > s->depth)
                return refuse(s, s->flags & JSON_ANY_VALUE ? "nested deeper than the pool's runtime.max_depth" :
                                                          "nested more than 32 levels deep");
        s->p++;
        if (!scan_space(s))
                return false;
        if (at(s, close)) {
                s->p++;
                return true;
        }
        for (;;) {
                if (!object)
                        count_node(s);
                if (!(object ? scan_member(s, depth + 1) : scan_value(s, depth + 1)) || !scan_space(s))
                        return false;
                if (at(s, close)) {
                        s->p++;
                        return true;
                }
                if (!at(s, ','))
                        return refuse(s, object ? "expected a comma or }" : "expected a comma or ]");
                s->p++;
                if (!scan_space(s))
                        return false;
        }
}

static bool scan_value(struct json_scan *s, unsigned depth)
{
        if (s->p == s->end)
                return refuse(s, "");
        switch (*s->p) {
        case '{':
        case '[':
                return scan_container(s, depth);
        case '"':
                return scan_string(s);
        case 't':
                return scan_word(s, "true");
        case 'f':
                return scan_word(s, "false");
        case 'n':
                return scan_word(s, "null");
        default:
                return *s->p == '-' || at_digit(s) ? scan_number(s) : refuse(s, "expected a value");
        }
}

bool json_scan_value(struct json_scan *s)
{
        return scan_value(s, 1);
}

bool json_scan(struct json_scan *s)
{
        s->p = s->text;
        s->nodes = 0;
        if (!scan_space(s))
                return false;
        count_node(s);
        if (!scan_value(s, 1) || !scan_space(s))
                return false;
        return s->p == s->end || refuse(s, "more text after the end of the value");
}

void json_scan_position(const char *text, const char *p, size_t *ret_line, size_t *ret_column)
{
        size_t line = 1, column = 1;

        for (; text < p; text++) {
                if (*text == '\n') {
                        line++;
                        column = 1;
                } else if (((unsigned char)*text & 0xc0) != 0x80) {
                        column++;
                }
        }
        *ret_line = line;
        *ret_column = column;
}
