#include "common/json/json_raw.h"

#include "common/json/json_scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct json_raw json_raw_of(const char *text)
{
        return (struct json_raw){ text, text ? strlen(text) : 0 };
}

int json_raw_check(const char *text, size_t len, unsigned depth, struct json_error *ret_error)
{
        struct json_scan scan = { .text = text, .end = text + len, .flags = JSON_ANY_VALUE, .depth = depth };

        if (json_scan(&scan))
                return 0;
        json_scan_position(text, scan.p, &ret_error->line, &ret_error->column);
        snprintf(ret_error->detail, sizeof ret_error->detail, "%s", scan.why);
        return -EINVAL;
}

void json_raw_one_line(char *text, size_t len)
{
        for (size_t i = 0; i < len; i++)
                if (text[i] == '\n' || text[i] == '\r')
                        text[i] = ' ';
}

/* All below walk texts that were accepted: they need not look for their end. */

static const char *skip_space(const char *p, const char *end)
{
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
                p++;
        return p;
}

static const char *skip_string(const char *p, const char *end)
{
        for (p++; p < end && *p != '"'; p++)
                p += *p == '\\';
        return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
        size_t depth = 0;

        do {
                if (*p == '"') {
                        p = skip_string(p, end);
                } else if (*p == '{' || *p == '[') {
                        depth++;
                        p++;
                } else if (*p == '}' || *p == ']') {
                        depth--;
                        p++;
                } else if (depth > 0) {
                        p++; /* of what is inside only strings and brackets count */
                } else {
                        while (p < end && !memchr(" \t\r\n,:]}", *p, 8))
                                p++;
                }
        } while (depth > 0 && p < end);
        return p;
}

size_t json_raw_compact(char *text, size_t len)
{
        const char *p = text, *end = text + len;
        char *to = text;

        while ((p = skip_space(p, end)) < end) {
                const char *next = *p == '"' ? skip_string(p, end) : p + 1;

                memmove(to, p, (size_t)(next - p));
                to += next - p;
                p = next;
        }
        return (size_t)(to - text);
}

struct walk {
        const char *p, *end;
        struct json_raw name, value;
};

static bool walk_begin(struct walk *walk, struct json_raw object)
{
        *walk = (struct walk){ .p = object.text, .end = object.text + object.len };
        if (!object.text)
                return false;
        walk->p = skip_space(walk->p, walk->end);
        if (walk->p == walk->end || *walk->p != '{')
                return false;
        walk->p++;
        return true;
}

static bool walk_next(struct walk *walk)
{
        const char *p = skip_space(walk->p, walk->end);

        if (p < walk->end && *p == ',')
                p = skip_space(p + 1, walk->end);
        if (p == walk->end || *p != '"')
                return false;
        walk->name.text = p;
        p = skip_string(p, walk->end);
        walk->name.len = (size_t)(p - walk->name.text);
        p = skip_space(p, walk->end);
        p = skip_space(p + 1, walk->end); /* the colon */
        walk->value.text = p;
        walk->p = skip_value(p, walk->end);
        walk->value.len = (size_t)(walk->p - p);
        return true;
}

/* One character of a string at *p: its code (a lone half of a pair stays that), *p behind it. */
static unsigned next_code(const char **p, const char *end)
{
        static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
        const char *q = *p;
        int high, low;

        if (*q != '\\') {
                *p = q + 1;
                return (unsigned char)*q;
        }
        if (q[1] != 'u') {
                *p = q + 2;
                return (unsigned char)codes[strchr(names, q[1]) - names];
        }
        high = json_scan_unicode(q, end);
        low = json_scan_unicode(q + 6 < end ? q + 6 : end, end);
        *p = q + 6;
        if (high < 0xd800 || high > 0xdbff || low < 0xdc00 || low > 0xdfff)
                return (unsigned)high;
        *p = q + 12;
        return 0x10000u + ((unsigned)high - 0xd800u) * 0x400u + ((unsigned)low - 0xdc00u);
}

/* Writes the code in UTF-8; returns how many bytes. */
static size_t put_code(char *to, unsigned code)
{
        if (code == 0 || (code >= 0xd800 && code <= 0xdfff))
                code = 0xfffd;
        if (code < 0x80) {
                to[0] = (char)code;
                return 1;
        }
        if (code < 0x800) {
                to[0] = (char)(0xc0 | code >> 6);
                to[1] = (char)(0x80 | (code & 0x3f));
                return 2;
        }
        if (code < 0x10000) {
                to[0] = (char)(0xe0 | code >> 12);
                to[1] = (char)(0x80 | (code >> 6 & 0x3f));
                to[2] = (char)(0x80 | (code & 0x3f));
                return 3;
        }
        to[0] = (char)(0xf0 | code >> 18);
        to[1] = (char)(0x80 | (code >> 12 & 0x3f));
        to[2] = (char)(0x80 | (code >> 6 & 0x3f));
        to[3] = (char)(0x80 | (code & 0x3f));
        return 4;
}

char json_raw_kind(struct json_raw value)
{
        if (!value.text || value.len == 0)
                return '\0';
        return *value.text >= '0' && *value.text <= '9' ? '0' : *value.text;
}

char *json_raw_string(struct json_raw value)
{
        const char *p, *end;
        char *text, *to;

        if (json_raw_kind(value) != '"')
                return NULL;
        p = value.text + 1;
        end = value.text + value.len - 1;
        text = to = malloc(value.len + 4); /* escapes only shrink */
        if (!text)
                return NULL;
        while (p < end) {
                if (*p == '\\')
                        to += put_code(to, next_code(&p, end)); /* cppcheck-suppress uninitdata */
                else
                        *to++ = *p++;
        }
        *to = '\0';
        return text;
}

bool json_raw_says(struct json_raw value, const char *text)
{
        const char *p, *end;
        char code[4];
        size_t n;

        if (json_raw_kind(value) != '"')
                return false;
        p = value.text + 1;
        end = value.text + value.len - 1;
        for (; p < end; text += n) {
                if (*p == '\\') {
                        n = put_code(code, next_code(&p, end));
                } else {
                        n = 1;
                        code[0] = *p++;
                }
                if (strncmp(text, code, n) != 0)
                        return false;
        }
        return *text == '\0';
}

bool json_raw_same(struct json_raw a, struct json_raw b)
{
        char *one, *other;
        bool same;

        if (!a.text || !b.text)
                return false;
        if (a.len == b.len && memcmp(a.text, b.text, a.len) == 0)
                return true;
        one = json_raw_string(a);
        other = json_raw_string(b);
        same = one && other && strcmp(one, other) == 0;
        free(one);
        free(other);
        return same;
}

void json_raw_members(struct json_raw object, const char *const *names, unsigned *counts, struct json_raw *values)
{
        struct walk walk;

        if (!walk_begin(&walk, object))
                return;
        while (walk_next(&walk)) {
                for (size_t i = 0; names[i]; i++) {
                        if (!json_raw_says(walk.name, names[i]))
                                continue;
                        counts[i]++;
                        values[i] = walk.value;
                }
        }
}

unsigned json_raw_member(struct json_raw object, const char *name, struct json_raw *ret_value)
{
        const char *const names[] = { name, NULL };
        unsigned count = 0;

        *ret_value = (struct json_raw){ 0 };
        json_raw_members(object, names, &count, ret_value);
        return count;
}

char *json_raw_edit(struct json_raw text, const struct json_edit *edits, size_t count, size_t *ret_len)
{
        const char *p = text.text;
        size_t len = text.len;
        char *bytes, *to;

        for (size_t i = 0; i < count; i++)
                len += edits[i].with.len - edits[i].what.len;
        bytes = to = malloc(len + 1);
        if (!bytes)
                return NULL;
        for (size_t i = 0; i < count; i++) {
                to = mempcpy(to, p, (size_t)(edits[i].what.text - p));
                to = mempcpy(to, edits[i].with.text, edits[i].with.len);
                p = edits[i].what.text + edits[i].what.len;
        }
        to = mempcpy(to, p, (size_t)(text.text + text.len - p));
        *to = '\0';
        *ret_len = len;
        return bytes;
}
