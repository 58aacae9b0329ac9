/* The half of common/json/json.h for trees at hand: reading members, adding some, printing. */
#include "common/clock.h"
#include "common/json/json.h"
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

static _Thread_local bool lacking; /* an addition failed since json_watch */

void json_watch(void)
{
        lacking = false;
}

bool json_whole(void)
{
        return !lacking;
}

int json_add_item(cJSON *object, const char *name, cJSON *take_item)
{
        if (take_item && cJSON_AddItemToObject(object, name, take_item))
                return 0;
        cJSON_Delete(take_item);
        lacking = true;
        return -ENOMEM;
}

int json_append(cJSON **array, cJSON *take_item)
{
        if (take_item && cJSON_AddItemToArray(*array, take_item))
                return 0;
        cJSON_Delete(take_item);
        cJSON_Delete(*array);
        *array = NULL;
        lacking = true;
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

void json_text_put(struct json_text *p, const char *bytes, size_t len)
{
        if (p->failed || len == 0)
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

static void put_text(struct json_text *p, const char *text)
{
        json_text_put(p, text, strlen(text));
}

static bool is_plain(char c)
{
        return (unsigned char)c >= 0x20 && (unsigned char)c < 0x7f && c != '"' && c != '\\';
}

void json_text_string(struct json_text *p, const char *value)
{
        const char *end = value + strlen(value), *start;
        char escape[UTF8_ESCAPE_SIZE];

        json_text_put(p, "\"", 1);
        while (value < end) {
                for (start = value; value < end && is_plain(*value);)
                        value++;
                json_text_put(p, start, (size_t)(value - start));
                if (value < end) {
                        value += utf8_escape(value, end, escape);
                        put_text(p, escape);
                }
        }
        json_text_put(p, "\"", 1);
}

/* The fewest digits that read back as the same double; json_parse takes the result, so beyond 2^53 never without
 * an exponent. */
static void print_number(struct json_text *p, const cJSON *node)
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

void json_text_tree(struct json_text *p, const cJSON *node)
{
        bool object = cJSON_IsObject(node);

        if (cJSON_IsString(node)) {
                json_text_string(p, node->valuestring);
        } else if (cJSON_IsNumber(node)) {
                print_number(p, node);
        } else if (object || cJSON_IsArray(node)) {
                json_text_put(p, object ? "{" : "[", 1);
                for (const cJSON *child = node->child; child; child = child->next) {
                        if (object) {
                                json_text_string(p, child->string);
                                json_text_put(p, ":", 1);
                        }
                        json_text_tree(p, child);
                        if (child->next)
                                json_text_put(p, ",", 1);
                }
                json_text_put(p, object ? "}" : "]", 1);
        } else if (cJSON_IsRaw(node)) {
                put_text(p, node->valuestring);
        } else {
                put_text(p, cJSON_IsTrue(node) ? "true" : cJSON_IsFalse(node) ? "false" : "null");
        }
}

char *json_text_take(struct json_text *p)
{
        char *text;

        json_text_put(p, "", 1);
        if (p->failed) {
                free(p->data);
                p->data = NULL;
        }
        text = p->data;
        *p = (struct json_text){ 0 };
        return text;
}

char *json_print(const cJSON *tree)
{
        struct json_text text = { 0 };

        json_text_tree(&text, tree);
        return json_text_take(&text);
}
