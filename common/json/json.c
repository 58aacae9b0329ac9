#include "common/json/json.h"

#include "common/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Objects up to this many members are compared pairwise, larger ones sorted. */
#define PAIRWISE_MAX 16

/* What wraps a value that was accepted before has two levels more. */
static unsigned depth_of(unsigned flags)
{
        return JSON_DEPTH + (flags & JSON_ENVELOPE ? 2U : 0U);
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
        struct json_scan s = { .text = text, .end = text + len, .flags = flags,
                .depth = depth_of(flags) };

        count_until(tree, node, &s.wanted);
        json_scan(&s);
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
                        json_scan_position(text, place_of(text, len, flags, tree, item), &ret_error->line,
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
        struct json_scan s = { .text = text, .end = text + len, .flags = flags,
                .depth = depth_of(flags) };
        int r;

        if (flags & JSON_COMMENTS) {
                s.blank = malloc(len + 1);
                if (!s.blank)
                        return -ENOMEM;
                memcpy(s.blank, text, len);
        }
        if (json_scan(&s)) {
                r = build_tree(text, len, flags, s.blank ? s.blank : text, ret_tree, ret_error);
        } else {
                json_scan_position(text, s.p, &ret_error->line, &ret_error->column);
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
                json_scan_position(text, place_of(text, len, flags, tree, node), ret_line, ret_column);
        cJSON_Delete(tree);
        return node ? 0 : -ENOENT;
}
