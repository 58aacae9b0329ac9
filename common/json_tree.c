/* The half of common/json.h for trees at hand: reading members, adding some, printing. */
#include "common/clock.h"
#include "common/json.h"
#include "common/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *json_string(const cJSON *object, const char *name)
{
        return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

int json_item_integer(const cJSON *item, int64_t *ret_value)
{
        const double max = (double)JSON_INTEGER_MAX;
        int64_t value;

        if (!cJSON_IsNumber(item) || !(item->valuedouble >= -max && item->valuedouble <= max))
                return -EINVAL;
        value = (int64_t)item->valuedouble;
        if ((double)value < item->valuedouble || (double)value > item->valuedouble)
                return -EINVAL;
        *ret_value = value;
        return 0;
}

int json_integer(const cJSON *object, const char *name, int64_t *ret_value)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

        return item ? json_item_integer(item, ret_value) : -ENOENT;
}

bool json_bool(const cJSON *object, const char *name, bool fallback)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

        return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

int json_add_item(cJSON *object, const char *name, cJSON *take_item)
{
        if (take_item && cJSON_AddItemToObject(object, name, take_item))
                return 0;
        cJSON_Delete(take_item);
        return -ENOMEM;
}

int json_add_string(cJSON *object, const char *name, const char *value)
{
        return json_add_item(object, name, cJSON_CreateString(value));
}

int json_add_integer(cJSON *object, const char *name, int64_t value)
{
        return json_add_item(object, name, cJSON_CreateNumber((double)value));
}

int json_add_bool(cJSON *object, const char *name, bool value)
{
        return json_add_item(object, name, cJSON_CreateBool(value));
}

int json_add_time(cJSON *object, const char *name, int64_t wall_ms)
{
        return json_add_string(object, name, CLOCK_TEXT(wall_ms));
}

struct print {
        char *data;
        size_t len, size;
        bool failed; /* out of memory; data is kept for the one free() */
};

static void put(struct print *p, const char *bytes, size_t len)
{
        if (p->failed)
                return;
        if (p->size - p->len < len) {
                size_t size = (p->len + len) * 2 + 256;
                char *data = realloc(p->data, size);

                if (!data) {
                        p->failed = true;
                        return;
                }
                p->data = data;
                p->size = size;
        }
        memcpy(p->data + p->len, bytes, len);
        p->len += len;
}

static void put_text(struct print *p, const char *text)
{
        put(p, text, strlen(text));
}

static bool is_plain(char c)
{
        return (unsigned char)c >= 0x20 && (unsigned char)c < 0x7f && c != '"' && c != '\\';
}

static void print_string(struct print *p, const char *text)
{
        const char *end = text + strlen(text), *start;
        char escape[UTF8_ESCAPE_SIZE];

        put(p, "\"", 1);
        while (text < end) {
                for (start = text; text < end && is_plain(*text);)
                        text++;
                put(p, start, (size_t)(text - start));
                if (text < end) {
                        text += utf8_escape(text, end, escape);
                        put_text(p, escape);
                }
        }
        put(p, "\"", 1);
}

/* The fewest digits that read back as the same double; json_parse takes the result, so beyond 2^53 never without
 * an exponent. */
static void print_number(struct print *p, const cJSON *node)
{
        char text[40];
        int64_t value;
        double back;

        if (json_item_integer(node, &value) == 0) {
                snprintf(text, sizeof text, "%" PRId64, value);
                put_text(p, text);
                return;
        }
        for (int digits = 15; digits <= 17; digits++) {
                snprintf(text, sizeof text, "%.*g", digits, node->valuedouble);
                back = strtod(text, NULL);
                if (back >= node->valuedouble && back <= node->valuedouble)
                        break;
        }
        if (!strpbrk(text, ".en"))
                snprintf(text, sizeof text, "%.16e", node->valuedouble);
        /* Infinity and NaN have no place in JSON; only a caller's own arithmetic can bring them here. */
        put_text(p, strchr(text, 'n') ? "null" : text);
}

static void print_value(struct print *p, const cJSON *node)
{
        bool object = cJSON_IsObject(node);

        if (cJSON_IsString(node)) {
                print_string(p, node->valuestring);
        } else if (cJSON_IsNumber(node)) {
                print_number(p, node);
        } else if (object || cJSON_IsArray(node)) {
                put(p, object ? "{" : "[", 1);
                for (const cJSON *child = node->child; child; child = child->next) {
                        if (object) {
                                print_string(p, child->string);
                                put(p, ":", 1);
                        }
                        print_value(p, child);
                        if (child->next)
                                put(p, ",", 1);
                }
                put(p, object ? "}" : "]", 1);
        } else if (cJSON_IsRaw(node)) {
                put_text(p, node->valuestring);
        } else {
                put_text(p, cJSON_IsTrue(node) ? "true" : cJSON_IsFalse(node) ? "false" : "null");
        }
}

char *json_print(const cJSON *tree)
{
        struct print p = { 0 };

        print_value(&p, tree);
        put(&p, "", 1);
        if (p.failed) {
                free(p.data);
                return NULL;
        }
        return p.data;
}
