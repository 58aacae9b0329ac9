#include "cli/show.h"

#include "cli/client/client.h"
#include "cli/client/memory.h"
#include "cli/client/text.h"
#include "cli/yaml.h"
#include "common/json/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_UNKNOWN 120
#define CLEAR "\033[H\033[2J"

int show_width(void)
{
        struct winsize size = { .ws_col = 0 };

        if (!isatty(STDOUT_FILENO))
                return 0;
        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : WIDTH_UNKNOWN;
}

bool show_frame(void)
{
        if (isatty(STDOUT_FILENO))
                fputs(CLEAR, stdout);
        return !ferror(stdout);
}

/* A string with its quotes, from text; what a terminal would obey is escaped as JSON allows. Returns its length. */
static size_t put_string(const char *text, size_t len)
{
        size_t i = 1;

        putchar('"');
        while (i < len) {
                unsigned char c = (unsigned char)text[i++];

                if (c == 0x7f)
                        fputs("\\u007f", stdout);
                else if (c == 0xc2 && i < len && (unsigned char)text[i] < 0xa0)
                        printf("\\u%04x", (unsigned char)text[i++]);
                else
                        putchar(c);
                if (c == '\\' && i < len)
                        putchar(text[i++]);
                if (c == '"')
                        break;
        }
        return i;
}

static void new_line(int depth)
{
        printf("\n%*s", 2 * depth, "");
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* What closes directly after it was opened. */
static size_t empty_length(const char *text, size_t len)
{
        size_t i = 1;

        while (i < len && is_blank(text[i]))
                i++;
        return i < len && (text[i] == '}' || text[i] == ']') ? i + 1 : 0;
}

static void put_json(const char *text, size_t len)
{
        int depth = 0;
        size_t n;

        for (size_t i = 0; i < len; i += n) {
                char c = text[i];

                n = 1;
                if (c == '"') {
                        n = put_string(text + i, len - i);
                } else if ((c == '{' || c == '[') && (n = empty_length(text + i, len - i)) > 0) {
                        fputs(c == '{' ? "{}" : "[]", stdout);
                } else if (c == '{' || c == '[') {
                        n = 1;
                        putchar(c);
                        new_line(++depth);
                } else if (c == '}' || c == ']') {
                        new_line(--depth);
                        putchar(c);
                } else if (c == ',') {
                        putchar(c);
                        new_line(depth);
                } else if (!is_blank(c)) {
                        fputs(c == ':' ? ": " : (char[]){ c, '\0' }, stdout);
                }
        }
        putchar('\n');
}

static size_t string_length(const char *text, size_t len)
{
        size_t i = 1;

        while (i < len && text[i] != '"')
                i += text[i] == '\\' ? 2 : 1;
        return i < len ? i + 1 : len;
}

bool show_has(const char *text, size_t len, const char *name)
{
        size_t wanted = strlen(name), n;
        int depth = 0;
        bool key = true;

        for (size_t i = 0; i < len; i += n) {
                char c = text[i];

                n = c == '"' ? string_length(text + i, len - i) : 1;
                depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
                if (c == '"' && depth == 1 && key && n == wanted + 2 && strncmp(text + i + 1, name, wanted) == 0) {
                        for (i += n; i < len && (is_blank(text[i]) || text[i] == ':'); i++)
                                ;
                        return i + 4 > len || strncmp(text + i, "null", 4) != 0;
                }
                key = depth == 1 ? c == ',' || c == '{' || (key && is_blank(c)) : key;
        }
        return false;
}

/* The numbers of item as they are spelled in text, which ends behind its last: 1.0 is not to become 1. Returns what is behind
 * them. */
static const char *keep_spelling(cJSON *item, const char *text, const char *end)
{
        cJSON *child;
        size_t n;

        if (cJSON_IsNumber(item)) {
                while (text < end && !strchr("-0123456789", *text))
                        text += *text == '"' ? string_length(text, (size_t)(end - text)) : 1;
                n = strspn(text, "+-.0123456789eE");
                item->valuestring = memory_need(strndup(text, n));
                text += n;
        }
        cJSON_ArrayForEach(child, item) text = keep_spelling(child, text, end);
        return text;
}

void show_json(const struct cli *cli, const char *text, size_t len)
{
        struct json_error why;
        cJSON *tree = NULL;

        if (cli->format == CLI_YAML && json_parse(text, len, JSON_STRICT, &tree, &why) == 0) {
                keep_spelling(tree, text, text + len);
                yaml_print(tree);
        } else {
                put_json(text, len);
        }
        cJSON_Delete(tree);
}

static void print_tree(const cJSON *tree)
{
        char *text = memory_need(json_print(tree));

        put_json(text, strlen(text));
        free(text);
}

static void print_name(const cJSON *row, const char *name)
{
        const char *text = json_string(row, name);

        if (text) {
                text_print(stdout, text);
                putchar('\n');
        }
}

void show_rows(const struct cli *cli, const cJSON *tree, const struct column *columns, const char *name)
{
        bool many = cJSON_IsArray(tree);
        cJSON *list = many ? NULL : cJSON_CreateArray();
        const cJSON *rows = many ? tree : list, *row;

        if (!many && tree)
                cJSON_AddItemReferenceToArray(list, (cJSON *)(uintptr_t)tree);
        if (cli->format == CLI_JSON)
                print_tree(tree);
        else if (cli->format == CLI_YAML)
                yaml_print(tree);
        else if (cli->format != CLI_NAME)
                table_print(rows, columns, cli->format == CLI_WIDE, cli->color, cli->format == CLI_WIDE ? 0 : show_width());
        else
                cJSON_ArrayForEach(row, rows) print_name(row, name);
        cJSON_Delete(list);
}

void show_object(const struct cli *cli, const cJSON *tree, const char *name)
{
        if (cli->format == CLI_JSON)
                print_tree(tree);
        else if (cli->format == CLI_NAME)
                print_name(tree, name);
        else
                yaml_print(tree);
}

void show_done(const struct cli *cli, const cJSON *answer, const char *message, const char *name)
{
        if (cli->format == CLI_JSON || cli->format == CLI_YAML || cli->format == CLI_NAME) {
                show_object(cli, answer, name);
                return;
        }
        text_print(stdout, message);
        putchar('\n');
}

void show_progress(const char *what, long long done, long long total)
{
        if (!isatty(STDERR_FILENO))
                return;
        if (total > 0)
                fprintf(stderr, "\r%s %lld of %lld", what, done, total);
        else
                fprintf(stderr, "\r%s %lld", what, done);
        if (done == total)
                fputc('\n', stderr);
        fflush(stderr);
}
