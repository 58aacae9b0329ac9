/* Any bytes: json_parse accepts or refuses with a position inside the text; what it accepts prints as text that it
 * accepts again and that prints the same; json_locate finds each member of the top. */
#include "common/json/json.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_position(const char *text, size_t len, size_t line, size_t column)
{
        size_t lines = 1;

        for (size_t i = 0; i < len; i++)
                lines += text[i] == '\n';
        assert(line >= 1 && line <= lines && column >= 1 && column <= len + 1);
}

static void check_locate(const char *text, size_t len, unsigned flags, const cJSON *tree)
{
        size_t line, column;
        char pointer[64];

        assert(json_locate(text, len, flags, "", &line, &column) == 0);
        check_position(text, len, line, column);
        if (!cJSON_IsObject(tree) || !tree->child || strpbrk(tree->child->string, "/~") ||
                strlen(tree->child->string) > sizeof pointer - 2)
                return;
        pointer[0] = '/';
        strcpy(pointer + 1, tree->child->string);
        assert(json_locate(text, len, flags, pointer, &line, &column) == 0);
        check_position(text, len, line, column);
}

static void check_round_trip(const cJSON *tree)
{
        struct json_error error;
        char *text = json_print(tree), *again;
        cJSON *second = NULL;

        assert(text && json_parse(text, strlen(text), JSON_STRICT, &second, &error) == 0);
        again = json_print(second);
        assert(again && strcmp(text, again) == 0);
        free(again);
        free(text);
        cJSON_Delete(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        unsigned flags = size > 0 && data[0] == '/' ? JSON_COMMENTS : JSON_STRICT;
        char *text = malloc(size ? size : 1); /* exact, so that a read past the end shows */
        struct json_error error = { 0 };
        cJSON *tree = NULL;
        int r;

        assert(text);
        if (size)
                memcpy(text, data, size);
        r = json_parse(text, size, flags, &tree, &error);
        assert(r == 0 || r == -EINVAL);
        if (r == 0) {
                check_locate(text, size, flags, tree);
                check_round_trip(tree);
                cJSON_Delete(tree);
        } else {
                assert(!tree && error.detail[0]);
                check_position(text, size, error.line, error.column);
        }
        free(text);
        return 0;
}
