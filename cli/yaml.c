#include "cli/yaml.h"

#include "cli/client/client.h"
#include "cli/client/memory.h"
#include "common/json/json.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether a string means itself without quotes: words that YAML 1.1 takes for something else have them. */
static bool is_plain(const char *text)
{
        static const char *const others[] = { "true", "false", "null", "yes", "no", "on", "off", "y", "n" };

        if (!isalpha((unsigned char)*text))
                return false;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
                if (strcasecmp(text, others[i]) == 0)
                        return false;
        return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") == strlen(text);
}

/* A JSON string is one of YAML; controls above 0x7e, which JSON leaves as they are, are escaped as well. */
static void print_quoted(const cJSON *item)
{
        char *text = memory_need(json_print(item));

        for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
                if (*c == 0x7f)
                        printf("\\u007f");
                else if (*c == 0xc2 && c[1] < 0xa0)
                        printf("\\u%04x", *++c);
                else
                        putchar(*c);
        }
        free(text);
}

static void print_name(const char *name)
{
        cJSON *text;

        if (is_plain(name)) {
                fputs(name, stdout);
                return;
        }
        text = cJSON_CreateString(name);
        print_quoted(text);
        cJSON_Delete(text);
}

static bool is_nested(const cJSON *item)
{
        return (cJSON_IsObject(item) || cJSON_IsArray(item)) && item->child;
}

static void print_scalar(const cJSON *item)
{
        if (cJSON_IsString(item) && is_plain(item->valuestring))
                fputs(item->valuestring, stdout);
        else if (cJSON_IsNumber(item) && item->valuestring)
                fputs(item->valuestring, stdout); /* as it was spelled */
        else
                print_quoted(item); /* numbers, true, null, {} and [] are the same in both */
        putchar('\n');
}

/* The first line continues one that has been begun, where begun. */
static void print_nested(const cJSON *item, int depth, bool begun)
{
        const cJSON *child;

        cJSON_ArrayForEach(child, item)
        {
                printf("%*s", begun ? 0 : 2 * depth, "");
                begun = false;
                if (cJSON_IsArray(item)) {
                        fputs("- ", stdout);
                } else {
                        print_name(child->string);
                        fputs(is_nested(child) ? ":\n" : ": ", stdout);
                }
                if (is_nested(child))
                        print_nested(child, depth + 1, cJSON_IsArray(item));
                else
                        print_scalar(child);
        }
}

void yaml_print(const cJSON *tree)
{
        if (is_nested(tree))
                print_nested(tree, 0, false);
        else if (tree)
                print_scalar(tree);
}
