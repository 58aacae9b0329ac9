#include "cli/client/sse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keeps a NUL at the end. */
static int append(char **text, size_t *len, const char *bytes, size_t count)
{
        char *grown = realloc(*text, *len + count + 1);

        if (!grown)
                return -ENOMEM;
        memcpy(grown + *len, bytes, count);
        *text = grown;
        *len += count;
        grown[*len] = '\0';
        return 0;
}

static void dispatch(struct sse *sse)
{
        if (sse->data)
                sse->on_event(sse->arg, sse->event[0] ? sse->event : "message", sse->data);
        free(sse->data);
        sse->data = NULL;
        sse->data_len = 0;
        sse->event[0] = '\0';
}

static int take_line(struct sse *sse)
{
        char *line = sse->line, *value = strchr(line, ':');

        if (!*line) {
                dispatch(sse);
                return 0;
        }
        if (!value || value == line) /* a comment, or a field without a value: none of ours */
                return 0;
        *value++ = '\0';
        value += *value == ' ';
        if (strcmp(line, "event") == 0)
                snprintf(sse->event, sizeof sse->event, "%s", value);
        if (strcmp(line, "data") != 0)
                return 0;
        if (sse->data && append(&sse->data, &sse->data_len, "\n", 1) < 0)
                return -ENOMEM;
        return append(&sse->data, &sse->data_len, value, strlen(value));
}

int sse_feed(struct sse *sse, const char *bytes, size_t len)
{
        const char *end = bytes + len, *newline;
        int r = 0;

        while (r == 0 && (newline = memchr(bytes, '\n', (size_t)(end - bytes)))) {
                r = append(&sse->line, &sse->line_len, bytes, (size_t)(newline - bytes));
                r = r ? r : take_line(sse);
                sse->line_len = 0;
                bytes = newline + 1;
        }
        return r ? r : append(&sse->line, &sse->line_len, bytes, (size_t)(end - bytes));
}

void sse_done(struct sse *sse)
{
        free(sse->line);
        free(sse->data);
}
