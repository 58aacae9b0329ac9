#include "common/json/schema.h"

#include "common/id.h"
#include "common/json/json.h"
#include "common/utf8.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX 64
#define NEAREST_LENGTH_MAX 48
#define EXCERPT_SIZE 64 /* of names and words from outside in our messages */
#define EXCERPT(text) excerpt((text), (char[EXCERPT_SIZE]){ 0 })

/* The value at hand, as the way to it; made into a pointer only for a message. */
struct place {
        const struct place *parent;
        const char *name; /* without a parent: the pointer of the whole */
        struct schema_errors *errors;
};
#define FAIL(place, ...) schema_fail((place)->errors, place_pointer((place), (char[128]){ 0 }), __VA_ARGS__)
/* The same where the shape is right. */
#define FAIL_RULE(place, ...)                                                                                \
        do {                                                                                                 \
                unsigned from = (place)->errors->count;                                                      \
                FAIL(place, __VA_ARGS__);                                                                    \
                mark_rule((place)->errors, from);                                                            \
        } while (0)

static const char *excerpt(const char *text, char buffer[EXCERPT_SIZE])
{
        size_t len = strlen(text), n = utf8_cut(text, len, EXCERPT_SIZE - 4);

        snprintf(buffer, EXCERPT_SIZE, "%.*s%s", (int)n, text, n < len ? "…" : "");
        return buffer;
}

void schema_fail(struct schema_errors *errors, const char *pointer, const char *format, ...)
{
        struct schema_error *error;
        va_list args;

        if (errors->count == SCHEMA_ERRORS_MAX)
                return;
        error = &errors->errors[errors->count++];
        error->rule = false;
        error->pointer[0] = '\0';
        strncat(error->pointer, pointer, utf8_cut(pointer, strlen(pointer), sizeof error->pointer - 1));
        va_start(args, format);
        vsnprintf(error->detail, sizeof error->detail, format, args);
        va_end(args);
}

char *schema_pointer(const char *pointer, const char *name, char *buffer, size_t size)
{
        size_t n = utf8_cut(pointer, strlen(pointer), size - 2);
        const char *end = name + strlen(name);

        memmove(buffer, pointer, n);
        buffer[n++] = '/';
        while (name < end) {
                size_t length = utf8_length(name, end);
                bool special = *name == '~' || *name == '/';

                length = length ? length : 1;
                if (n + length + special >= size)
                        break;
                memcpy(buffer + n, name, length);
                if (special)
                        memcpy(buffer + n, *name == '~' ? "~0" : "~1", 2);
                n += length + special;
                name += length;
        }
        buffer[n] = '\0';
        return buffer;
}

static const char *place_pointer(const struct place *place, char buffer[128])
{
        if (!place->parent)
                return place->name;
        return schema_pointer(place_pointer(place->parent, buffer), place->name, buffer, 128);
}

static void mark_rule(struct schema_errors *errors, unsigned from)
{
        if (from < errors->count)
                errors->errors[from].rule = true;
}

static size_t smallest(size_t a, size_t b, size_t c)
{
        size_t least = a < b ? a : b;

        return least < c ? least : c;
}

static char lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Levenshtein's distance, letter case aside. b has at most NEAREST_LENGTH_MAX bytes. */
static size_t edit_cost(const char *a, const char *b)
{
        size_t row[NEAREST_LENGTH_MAX + 1], b_len = strlen(b);

        for (size_t j = 0; j <= b_len; j++)
                row[j] = j;
        for (size_t i = 0; a[i]; i++) {
                size_t diagonal = row[0];

                row[0] = i + 1;
                for (size_t j = 0; j < b_len; j++) {
                        size_t swap = lower(a[i]) != lower(b[j]);
                        size_t cost = smallest(diagonal + swap, row[j] + 1, row[j + 1] + 1);

                        diagonal = row[j + 1];
                        row[j + 1] = cost;
                }
        }
        return row[b_len];
}

const char *schema_nearest(const char *name, const char *const *candidates)
{
        size_t len = strlen(name), best = len < 4 ? 2 : len / 3 + 2; /* the first cost that is too much */
        const char *nearest = NULL;

        if (len > NEAREST_LENGTH_MAX)
                return NULL;
        for (; *candidates; candidates++) {
                size_t cost = strlen(*candidates) <= NEAREST_LENGTH_MAX ? edit_cost(name, *candidates) : best;

                if (cost < best) {
                        best = cost;
                        nearest = *candidates;
                }
        }
        return nearest;
}

static const char *kind_of(const cJSON *item)
{
        if (cJSON_IsString(item))
                return "a string";
        if (cJSON_IsNumber(item))
                return "a number";
        if (cJSON_IsBool(item))
                return "a boolean";
        if (cJSON_IsArray(item))
                return "an array";
        return cJSON_IsObject(item) ? "an object" : "null";
}

static bool bounded(const struct schema_field *field)
{
        return field->min < 0 || field->min > 0 || field->max < 0 || field->max > 0;
}

/* " from 1 to 9", " of at least 1": what follows "an integer" in messages. Numbers up to 2^53 are written out. */
static const char *bounds(const struct schema_field *field, const char *unit, char buffer[96])
{
        buffer[0] = '\0';
        if (bounded(field) && field->max < field->min)
                snprintf(buffer, 96, " of at least %.16g%s", field->min, unit);
        else if (bounded(field))
                snprintf(buffer, 96, " from %.16g to %.16g%s", field->min, field->max, unit);
        return buffer;
}
#define BOUNDS(field, unit) bounds((field), (unit), (char[96]){ 0 })

static bool within(const struct schema_field *field, double value)
{
        return !bounded(field) || (value >= field->min && (field->max < field->min || value <= field->max));
}

static int wrong_kind(const struct place *place, const char *expected, const cJSON *item)
{
        FAIL(place, "expected %s, found %s", expected, kind_of(item));
        return -EINVAL;
}

static int check_count(const struct place *place, const struct schema_field *field, size_t count, const char *unit)
{
        if (within(field, (double)count))
                return 0;
        FAIL_RULE(place, "must have%s, has %zu", BOUNDS(field, unit), count);
        return -EINVAL;
}

static int copy_string(const char *text, char **ret_text)
{
        char *copy = strdup(text);

        if (!copy)
                return -ENOMEM;
        *ret_text = copy;
        return 0;
}

static int read_string(const struct place *place, const struct schema_field *field, const cJSON *item, void *out)
{
        if (!cJSON_IsString(item))
                return wrong_kind(place, "a string", item);
        if (check_count(place, field, strlen(item->valuestring), " bytes") < 0)
                return -EINVAL;
        return copy_string(item->valuestring, out);
}

static int read_name(const struct place *place, const cJSON *item, void *out)
{
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
        const char *text = cJSON_GetStringValue(item);
        size_t len;

        if (!text)
                return wrong_kind(place, "a name (a string)", item);
        len = strlen(text);
        if (len == 0 || len > NAME_BYTES_MAX || strspn(text, letters) != len || strchr("_.-", text[0])) {
                FAIL_RULE(place,
                        "\"%s\" is no name: 1 to 64 letters, digits, '_', '.', '-', beginning with a letter or digit",
                        EXCERPT(text));
                return -EINVAL;
        }
        return copy_string(text, out);
}

static int read_id(const struct place *place, const cJSON *item, void *out)
{
        const char *text = cJSON_GetStringValue(item);

        if (!text)
                return wrong_kind(place, "a UUID (a string)", item);
        if (id_parse(text, out) == 0)
                return 0;
        FAIL_RULE(place,
                        "\"%s\" is no UUID, as 6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11 is one", EXCERPT(text));
        return -EINVAL;
}

static int read_integer(const struct place *place, const struct schema_field *field, const cJSON *item, void *out)
{
        int64_t value;

        if (!cJSON_IsNumber(item)) {
                FAIL(place, "expected an integer%s, found %s", BOUNDS(field, ""),
                        kind_of(item));
                return -EINVAL;
        }
        if (json_item_integer(item, &value) < 0 || !within(field, (double)value)) {
                FAIL_RULE(place, "must be an integer%s, is %.16g",
                        bounded(field) ? BOUNDS(field, "") : " within 2^53", item->valuedouble);
                return -EINVAL;
        }
        *(int64_t *)out = value;
        return 0;
}

static int read_number(const struct place *place, const struct schema_field *field, const cJSON *item, void *out)
{
        if (!cJSON_IsNumber(item)) {
                FAIL(place, "expected a number%s, found %s", BOUNDS(field, ""),
                        kind_of(item));
                return -EINVAL;
        }
        if (!within(field, item->valuedouble)) {
                FAIL_RULE(place, "must be a number%s, is %.16g", BOUNDS(field, ""),
                        item->valuedouble);
                return -EINVAL;
        }
        *(double *)out = item->valuedouble;
        return 0;
}

static int read_bool(const struct place *place, const cJSON *item, void *out)
{
        if (!cJSON_IsBool(item))
                return wrong_kind(place, "true or false", item);
        *(bool *)out = cJSON_IsTrue(item);
        return 0;
}

static int read_enum(const struct place *place, const struct schema_field *field, const cJSON *item, void *out)
{
        const char *text = cJSON_GetStringValue(item), *nearest;
        char list[160] = "";
        size_t n = 0;

        for (int i = 0; text && field->words[i]; i++) {
                if (strcmp(text, field->words[i]) == 0) {
                        *(int *)out = i + 1;
                        return 0;
                }
        }
        for (size_t i = 0; field->words[i] && n < sizeof list; i++)
                n += (size_t)snprintf(list + n, sizeof list - n, "%s\"%s\"", i ? ", " : "", field->words[i]);
        nearest = text ? schema_nearest(text, field->words) : NULL;
        if (!text)
                FAIL(place, "expected one of %s, found %s", list, kind_of(item));
        else
                FAIL_RULE(place, "must be one of %s, is \"%s\"%s%s%s", list,
                        EXCERPT(text), nearest ? "; did you mean \"" : "", nearest ? nearest : "",
                        nearest ? "\"?" : "");
        return -EINVAL;
}

/* Every member or element must be a string; reports each that is none. */
static int check_strings(const struct place *place, const cJSON *item)
{
        char index[24];
        size_t i = 0;
        int r = 0;

        for (const cJSON *child = item->child; child; child = child->next, i++) {
                if (cJSON_IsString(child))
                        continue;
                snprintf(index, sizeof index, "%zu", i);
                r = wrong_kind(&(struct place){ place, child->string ? child->string : index, place->errors },
                        "a string", child);
        }
        return r;
}

static int read_strings(const struct place *place, const struct schema_field *field, const cJSON *item, void *out)
{
        size_t count = (size_t)cJSON_GetArraySize(item), i = 0;
        char **strings;

        if (!cJSON_IsArray(item))
                return wrong_kind(place, "an array of strings", item);
        if (check_strings(place, item) < 0 || check_count(place, field, count, " elements") < 0)
                return -EINVAL;
        strings = calloc(count + 1, sizeof *strings);
        if (!strings)
                return -ENOMEM;
        *(char ***)out = strings; /* from here on schema_done's */
        for (const cJSON *child = item->child; child; child = child->next) {
                if (copy_string(child->valuestring, &strings[i++]) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int read_tree(const struct place *place, const struct schema_field *field, const cJSON *item, void *out)
{
        cJSON *copy;

        if (field->type == SCHEMA_MAP) {
                if (!cJSON_IsObject(item))
                        return wrong_kind(place, "an object of strings", item);
                if (check_strings(place, item) < 0 ||
                        check_count(place, field, (size_t)cJSON_GetArraySize(item), " members") < 0)
                        return -EINVAL;
        }
        copy = cJSON_Duplicate(item, true);
        if (!copy)
                return -ENOMEM;
        /* A duplicate keeps its name, which no tree of its own has. */
        free(copy->string);
        copy->string = NULL;
        *(cJSON **)out = copy;
        return 0;
}

static int read_object(const struct place *place, const struct schema_field *fields, const cJSON *object, void *out);

static int read_value(const struct place *place, const struct schema_field *field, const cJSON *item, void *out)
{
        switch (field->type) {
        case SCHEMA_STRING:
                return read_string(place, field, item, out);
        case SCHEMA_NAME:
                return read_name(place, item, out);
        case SCHEMA_ID:
                return read_id(place, item, out);
        case SCHEMA_INTEGER:
                return read_integer(place, field, item, out);
        case SCHEMA_NUMBER:
                return read_number(place, field, item, out);
        case SCHEMA_BOOL:
                return read_bool(place, item, out);
        case SCHEMA_ENUM:
                return read_enum(place, field, item, out);
        case SCHEMA_STRINGS:
                return read_strings(place, field, item, out);
        case SCHEMA_OBJECT:
                return read_object(place, field->fields, item, out);
        case SCHEMA_MAP:
        case SCHEMA_TREE:
                return read_tree(place, field, item, out);
        }
        assert(false); /* a field without a type */
        return -EINVAL;
}

static int read_fallback(const struct schema_field *field, void *out)
{
        struct schema_errors errors = { 0 };
        struct json_error error;
        cJSON *item;
        int r;

        if (!field->fallback)
                return field->type == SCHEMA_OBJECT ? schema_defaults(field->fields, out) : 0;
        r = json_parse(field->fallback, strlen(field->fallback), JSON_STRICT, &item, &error);
        assert(r != -EINVAL);
        if (r < 0)
                return r;
        r = read_value(&(struct place){ NULL, "", &errors }, field, item, out);
        assert(r != -EINVAL);
        cJSON_Delete(item);
        return r;
}

static const struct schema_field *find_field(const struct schema_field *fields, const char *name)
{
        for (; fields->name; fields++)
                if (strcmp(fields->name, name) == 0)
                        return fields;
        return NULL;
}

static void unknown_field(const struct place *place, const struct schema_field *fields, const char *name)
{
        struct place inner = { place, name, place->errors };
        const char *names[64], *nearest;
        size_t n = 0;

        for (; fields->name && n < sizeof names / sizeof *names - 1; fields++)
                names[n++] = fields->name;
        names[n] = NULL;
        nearest = schema_nearest(name, names);
        FAIL(&inner, "unknown field \"%s\"%s%s%s", EXCERPT(name),
                nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

static int read_field(const struct place *place, const struct schema_field *field, const cJSON *object, void *out)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field->name);
        struct place inner = { place, field->name, place->errors };

        if (item && !(field->nullable && cJSON_IsNull(item)))
                return read_value(&inner, field, item, out);
        if (!field->required)
                return read_fallback(field, out);
        FAIL(&inner, "the field \"%s\" is required", field->name);
        return -EINVAL;
}

static int read_object(const struct place *place, const struct schema_field *fields, const cJSON *object, void *out)
{
        int result = 0;

        if (!cJSON_IsObject(object))
                return wrong_kind(place, "an object", object);
        for (const cJSON *child = object->child; child; child = child->next) {
                if (!find_field(fields, child->string)) {
                        unknown_field(place, fields, child->string);
                        result = -EINVAL;
                }
        }
        for (; fields->name; fields++) {
                int r = read_field(place, fields, object, (char *)out + fields->offset);

                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        result = r;
        }
        return result;
}

int schema_read(const cJSON *object, const char *prefix, const struct schema_field *fields, void *out,
        struct schema_errors *errors)
{
        int r = read_object(&(struct place){ NULL, prefix, errors }, fields, object, out);

        if (r < 0)
                schema_done(fields, out);
        return r;
}

int schema_defaults(const struct schema_field *fields, void *out)
{
        const struct schema_field *first = fields;

        for (; fields->name; fields++) {
                if (read_fallback(fields, (char *)out + fields->offset) < 0) {
                        schema_done(first, out);
                        return -ENOMEM;
                }
        }
        return 0;
}
