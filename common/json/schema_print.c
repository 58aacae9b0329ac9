/* The half of common/json/schema.h that starts from the struct: back to JSON, and to nothing. */
#include "common/id.h"
#include "common/json/json.h"
#include "common/json/schema.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static cJSON *print_strings(char *const *strings)
{
        cJSON *array = cJSON_CreateArray();

        for (; array && *strings; strings++) {
                cJSON *item = cJSON_CreateString(*strings);

                if (item && cJSON_AddItemToArray(array, item))
                        continue;
                cJSON_Delete(item);
                cJSON_Delete(array);
                return NULL;
        }
        return array;
}

static bool is_set(const struct schema_field *field, const void *in)
{
        switch (field->type) {
        case SCHEMA_STRING:
        case SCHEMA_NAME:
        case SCHEMA_STRINGS:
        case SCHEMA_MAP:
        case SCHEMA_TREE:
                return *(void *const *)in != NULL;
        case SCHEMA_ID:
                return !id_is_zero(in);
        case SCHEMA_ENUM:
                return *(const int *)in != 0;
        case SCHEMA_INTEGER:
        case SCHEMA_NUMBER:
        case SCHEMA_BOOL:
        case SCHEMA_OBJECT:
                return true;
        }
        return false;
}

/* A field that is set, in the clear (but for secrets inside an object). */
static cJSON *print_value(const struct schema_field *field, const void *in, bool mask)
{
        switch (field->type) {
        case SCHEMA_STRING:
        case SCHEMA_NAME:
                return cJSON_CreateString(*(char *const *)in);
        case SCHEMA_ID:
                return cJSON_CreateString(ID_TEXT((const struct id *)in));
        case SCHEMA_INTEGER:
                return cJSON_CreateNumber((double)*(const int64_t *)in);
        case SCHEMA_NUMBER:
                return cJSON_CreateNumber(*(const double *)in);
        case SCHEMA_BOOL:
                return cJSON_CreateBool(*(const bool *)in);
        case SCHEMA_ENUM:
                return cJSON_CreateString(field->words[*(const int *)in - 1]);
        case SCHEMA_STRINGS:
                return print_strings(*(char *const *const *)in);
        case SCHEMA_OBJECT:
                return schema_print(field->fields, in, mask);
        case SCHEMA_MAP:
        case SCHEMA_TREE:
                return cJSON_Duplicate(*(cJSON *const *)in, true);
        }
        assert(false); /* a field without a type */
        return NULL;
}

cJSON *schema_print(const struct schema_field *fields, const void *in, bool mask)
{
        cJSON *object = cJSON_CreateObject();

        for (; object && fields->name; fields++) {
                const void *value = (const char *)in + fields->offset;
                cJSON *item;

                if (!is_set(fields, value))
                        continue;
                item = mask && fields->secret ? cJSON_CreateString("***") : print_value(fields, value, mask);
                if (json_add_item(object, fields->name, item) < 0) {
                        cJSON_Delete(object);
                        return NULL;
                }
        }
        return object;
}

static void free_strings(char **strings)
{
        for (size_t i = 0; strings && strings[i]; i++)
                free(strings[i]);
        free(strings);
}

static void done_field(const struct schema_field *field, void *out)
{
        switch (field->type) {
        case SCHEMA_STRING:
        case SCHEMA_NAME:
                free(*(char **)out);
                *(char **)out = NULL;
                return;
        case SCHEMA_STRINGS:
                free_strings(*(char ***)out);
                *(char ***)out = NULL;
                return;
        case SCHEMA_MAP:
        case SCHEMA_TREE:
                cJSON_Delete(*(cJSON **)out);
                *(cJSON **)out = NULL;
                return;
        case SCHEMA_OBJECT:
                schema_done(field->fields, out);
                return;
        case SCHEMA_ID:
                memset(out, 0, sizeof(struct id));
                return;
        case SCHEMA_INTEGER:
                *(int64_t *)out = 0;
                return;
        case SCHEMA_NUMBER:
                *(double *)out = 0;
                return;
        case SCHEMA_BOOL:
                *(bool *)out = false;
                return;
        case SCHEMA_ENUM:
                *(int *)out = 0;
                return;
        }
}

void schema_done(const struct schema_field *fields, void *out)
{
        for (; fields->name; fields++)
                done_field(fields, (char *)out + fields->offset);
}
