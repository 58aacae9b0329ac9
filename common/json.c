#include "common/json.h"

#include "common/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cJSON reads at most this much of a number and takes what follows for something else. */
#define NUMBER_MAX 63
/* Objects up to this many members are compared pairwise, larger ones sorted. */
#define PAIRWISE_MAX 16

/* One pass over the text that decides alone what is acceptable; cJSON, which is lenient, only builds the tree. Nodes
 * count in the order of the tree (a value before its members), so that a node found there has a place in the text. */
struct scan {
        const char *text, *p, *end;
        char *blank;     /* writable copy of text whose comments become spaces; NULL: leave it */
        const char *why; /* what is wrong at p */
        const char *mark; /* where node number wanted begins */
        size_t nodes, wanted;
        unsigned flags;
};

static bool scan_value(struct scan *s, unsigned depth);

static bool refuse(struct scan *s, const char *why)
{
        s->why = s->p < s->end ? why : "the text ends too early";
        return false;
}

static bool at(const struct scan *s, char c)
{
        return s->p < s->end && *s->p == c;
}

static bool at_digit(const struct scan *s)
{
        return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static void count_node(struct scan *s)
{
        if (++s->nodes == s->wanted)
                s->mark = s->p;
}

/* At "//" or a block comment. */
static bool scan_comment(struct scan *s)
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

static bool scan_space(struct scan *s)
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

/* The four digits after "\u" at p, or -1. */
static int unicode_escape(const char *p, const char *end)
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

static bool scan_escape(struct scan *s)
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
        code = unicode_escape(s->p, s->end);
        if (code < 0)
                return refuse(s, "\\u needs four hexadecimal digits");
        if (code == 0)
                return refuse(s, "a NUL character in a string is refused");
        if (code >= 0xd800 && code <= 0xdfff) {
                low = unicode_escape(s->p + 6, s->end);
                if (code >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
                        return refuse(s, "half of a surrogate pair in a string");
                s->p += 6;
        }
        s->p += 6;
        return true;
}

static bool scan_string(struct scan *s)
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

static bool scan_digits(struct scan *s, uint64_t *ret_value)
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

static bool scan_number(struct scan *s)
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
        if ((integer && value > (uint64_t)JSON_INTEGER_MAX) || s->p - start > NUMBER_MAX) {
                s->p = start;
                return refuse(s, integer ? "an integer beyond 2^53 would lose digits; send it as a string" :
                                           "a number of more than 63 characters");
        }
        return true;
}

static bool scan_word(struct scan *s, const char *word)
{
        size_t n = strlen(word);

        if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
                return refuse(s, "expected a value");
        s->p += n;
        return true;
}

static bool scan_member(struct scan *s, unsigned depth)
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
static bool scan_container(struct scan *s, unsigned depth)
{
        bool object = *s->p == '{';
        char close = object ? '}' : ']';

        if (depth > JSON_DEPTH + (s->flags & JSON_ENVELOPE ? 2U : 0U))
                return refuse(s, "nested more than 32 levels deep");
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

static bool scan_value(struct scan *s, unsigned depth)
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

static bool scan_text(struct scan *s)
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

static void position(const char *text, const char *p, size_t *ret_line, size_t *ret_column)
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

static bool count_until(const cJSON *node, const cJSON *wanted, size_t *count)
{
        ++*count;
        if (node == wanted)
                return true;
        for (const cJSON *child = node->child; child; child = child->next)
                if (count_until(child, wanted, count))
                        return true;
        return false;
}

/* Where a node of the tree that was made of an acceptable text begins there. */
static const char *place_of(const char *text, size_t len, unsigned flags, const cJSON *tree, const cJSON *node)
{
        struct scan s = { .text = text, .end = text + len, .flags = flags };

        count_until(tree, node, &s.wanted);
        scan_text(&s);
        return s.mark;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp((*(cJSON *const *)a)->string, (*(cJSON *const *)b)->string);
}

static int duplicate_among_many(const cJSON *object, size_t count, const cJSON **ret_item)
{
        const cJSON **items = calloc(count, sizeof *items);
        size_t n = 0;
        int r = 0;

        if (!items)
                return -ENOMEM;
        for (const cJSON *child = object->child; child; child = child->next)
                items[n++] = child;
        qsort(items, n, sizeof *items, compare_names);
        for (size_t i = 1; i < n && r == 0; i++) {
                if (compare_names(&items[i - 1], &items[i]) != 0)
                        continue;
                /* Which of the two is the later one the sort does not tell. */
                *ret_item = items[i];
                for (const cJSON *child = items[i]->next; child; child = child->next)
                        if (child == items[i - 1])
                                *ret_item = child;
                r = -EINVAL;
        }
        free(items);
        return r;
}

/* 0, -ENOMEM, or -EINVAL and the second of two members of one name. */
static int find_duplicate(const cJSON *object, const cJSON **ret_item)
{
        size_t count = 0;

        for (const cJSON *child = object->child; child; child = child->next, count++)
                if (count == PAIRWISE_MAX)
                        return duplicate_among_many(object, (size_t)cJSON_GetArraySize(object), ret_item);
        for (const cJSON *child = object->child; child; child = child->next) {
                for (const cJSON *other = object->child; other != child; other = other->next) {
                        if (strcmp(other->string, child->string) == 0) {
                                *ret_item = child;
                                return -EINVAL;
                        }
                }
        }
        return 0;
}

/* What only the finished tree shows: duplicate names (an escape may hide one) and numbers too large for a double. */
static int check_tree(const cJSON *node, const cJSON **ret_item)
{
        int r = 0;

        if (cJSON_IsNumber(node) && isinf(node->valuedouble)) {
                *ret_item = node;
                return -EINVAL;
        }
        if (cJSON_IsObject(node))
                r = find_duplicate(node, ret_item);
        for (const cJSON *child = node->child; child && r == 0; child = child->next)
                r = check_tree(child, ret_item);
        return r;
}

static void describe_item(const cJSON *item, struct json_error *ret_error)
{
        if (cJSON_IsNumber(item) && isinf(item->valuedouble))
                snprintf(ret_error->detail, sizeof ret_error->detail, "a number too large to be kept");
        else
                snprintf(ret_error->detail, sizeof ret_error->detail, "the name \"%.*s\" appears twice",
                        (int)utf8_cut(item->string, strlen(item->string), 100), item->string);
}

static int build_tree(const char *text, size_t len, unsigned flags, const char *clean, cJSON **ret_tree,
        struct json_error *ret_error)
{
        cJSON *tree = cJSON_ParseWithLength(clean, len);
        const cJSON *item = NULL;
        int r;

        if (!tree)
                return -ENOMEM;
        r = check_tree(tree, &item);
        if (r < 0) {
                if (r == -EINVAL) {
                        position(text, place_of(text, len, flags, tree, item), &ret_error->line,
                                &ret_error->column);
                        describe_item(item, ret_error);
                }
                cJSON_Delete(tree);
                return r;
        }
        *ret_tree = tree;
        return 0;
}

int json_parse(const char *text, size_t len, unsigned flags, cJSON **ret_tree, struct json_error *ret_error)
{
        struct scan s = { .text = text, .end = text + len, .flags = flags };
        int r;

        if (flags & JSON_COMMENTS) {
                s.blank = malloc(len + 1);
                if (!s.blank)
                        return -ENOMEM;
                memcpy(s.blank, text, len);
        }
        if (scan_text(&s)) {
                r = build_tree(text, len, flags, s.blank ? s.blank : text, ret_tree, ret_error);
        } else {
                position(text, s.p, &ret_error->line, &ret_error->column);
                snprintf(ret_error->detail, sizeof ret_error->detail, "%s", s.why);
                r = -EINVAL;
        }
        free(s.blank);
        return r;
}

/* True when the pointer's token (up to '/' or the end) spells name, with ~1 for '/' and ~0 for '~'. */
static bool token_is(const char *token, const char *name)
{
        for (; *token && *token != '/'; token++, name++) {
                char c = *token;

                if (c == '~') {
                        token++;
                        c = *token == '0' ? '~' : *token == '1' ? '/' : '\0';
                }
                if (c == '\0' || c != *name)
                        return false;
        }
        return *name == '\0';
}

static const cJSON *follow(const cJSON *node, const char *pointer)
{
        while (node && *pointer == '/') {
                const cJSON *child = node->child;
                char index[24];

                pointer++;
                for (size_t i = 0; child; child = child->next, i++) {
                        snprintf(index, sizeof index, "%zu", i);
                        if (token_is(pointer, cJSON_IsObject(node) ? child->string : index))
                                break;
                }
                node = child;
                pointer += strcspn(pointer, "/");
        }
        return *pointer ? NULL : node;
}

int json_locate(const char *text, size_t len, unsigned flags, const char *pointer, size_t *ret_line, size_t *ret_column)
{
        struct json_error ignored;
        cJSON *tree;
        const cJSON *node;
        int r = json_parse(text, len, flags, &tree, &ignored);

        if (r < 0)
                return r == -ENOMEM ? r : -ENOENT;
        node = follow(tree, pointer);
        if (node)
                position(text, place_of(text, len, flags, tree, node), ret_line, ret_column);
        cJSON_Delete(tree);
        return node ? 0 : -ENOENT;
}
