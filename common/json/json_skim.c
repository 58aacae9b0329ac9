#include "common/json/json_skim.h"

#include <string.h>

static void keep(char *text, size_t size, size_t *len, char c)
{
        if (*len < size - 1)
                text[*len] = c;
        ++*len;
}

static bool is_name(const struct json_skim *skim, const char *name)
{
        return skim->name_len == strlen(name) && memcmp(skim->name, name, skim->name_len) == 0;
}

static void end_member(struct json_skim *skim)
{
        if (skim->in_value && is_name(skim, "id") && skim->value_len < sizeof skim->value) {
                memcpy(skim->id, skim->value, skim->value_len);
                skim->id[skim->value_len] = '\0';
        }
        skim->in_value = false;
        skim->name_len = skim->value_len = 0;
}

static void begin_value(struct json_skim *skim)
{
        skim->in_value = true;
        skim->versioned = skim->versioned || is_name(skim, "jsonrpc");
        skim->called = skim->called || is_name(skim, "method");
}

static void in_string(struct json_skim *skim, char c)
{
        if (!skim->escaped && c == '"')
                skim->in_string = false;
        else if (skim->depth == 1 && !skim->in_value)
                keep(skim->name, sizeof skim->name, &skim->name_len, c);
        skim->escaped = !skim->escaped && c == '\\';
}

static void outside(struct json_skim *skim, char c)
{
        bool digit = c >= '0' && c <= '9';

        if (c == '{' || c == '[')
                skim->depth++;
        if (skim->depth == 1 && c == ':' && !skim->in_value)
                begin_value(skim);
        else if (skim->depth == 1 && (c == ',' || c == '}'))
                end_member(skim);
        else if (skim->depth == 1 && skim->in_value && (digit || strchr(".eE+-", c)))
                keep(skim->value, sizeof skim->value, &skim->value_len, c);
        if ((c == '}' || c == ']') && skim->depth > 0)
                skim->depth--;
        skim->in_string = c == '"';
}

void json_skim(struct json_skim *skim, const char *text, size_t len)
{
        for (size_t i = 0; i < len && !skim->strange; i++) {
                char c = text[i];

                if (skim->in_string) {
                        in_string(skim, c);
                } else if (!skim->begun && c != ' ' && c != '\t' && c != '\r') {
                        skim->begun = true;
                        skim->strange = c != '{';
                        skim->depth = 1;
                } else if (skim->begun) {
                        outside(skim, c);
                }
        }
}
