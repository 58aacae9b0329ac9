/* What an agent's program wrote last to its standard error before it ended, from the files that its worker kept. */
#include "common/capture.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/utf8.h"
#include "master/api/api.h"

#include <stdlib.h>
#include <string.h>

#define LINES_MAX 20
#define LINES_LOOKED_AT 2000
#define LINE_BYTES 1024
#define TIME_LEN (CLOCK_TEXT_SIZE - 1) /* each line begins with its time and a blank */

static bool is_end(const char *event)
{
        static const char *const ends[] = { "agent_crashed", "agent_stopped", "agent_failed", "agent_terminated" };

        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
                if (strcmp(event, ends[i]) == 0)
                        return true;
        return false;
}

/* When the life ended that its last exit is of, as text; NULL: nothing was written since. history: newest first. */
static const char *find_end(const cJSON *tree, const cJSON *history)
{
        const char *spawned = NULL;
        const cJSON *item;

        if (!json_string(tree, "process_id"))
                return NULL;
        cJSON_ArrayForEach(item, history) {
                const char *event = json_string(item, "event"), *at = json_string(item, "at");

                if (!event || !at)
                        continue;
                if (spawned && is_end(event))
                        return at;
                if (strcmp(event, "agent_spawned") != 0)
                        continue;
                if (spawned)
                        return spawned;
                spawned = at;
        }
        return spawned ? spawned : "";
}

/* Whole lines from the end, newest first, of those that were written by then. Returns how many. */
static size_t pick_lines(const char *text, size_t len, const char *end, const char *lines[LINES_MAX], size_t lengths[LINES_MAX])
{
        const char *stop = text + len;
        size_t count = 0;

        while (stop > text && count < LINES_MAX) {
                const char *newline = memrchr(text, '\n', (size_t)(stop - 1 - text)), *line = newline ? newline + 1 : text;
                size_t line_len = (size_t)(stop - line) - (stop[-1] == '\n');

                if (line_len > TIME_LEN && line[TIME_LEN] == ' ' && (!end || strncmp(line, end, TIME_LEN) <= 0)) {
                        lines[count] = line + TIME_LEN + 1;
                        lengths[count++] = line_len - TIME_LEN - 1;
                }
                stop = line;
        }
        return count;
}

static cJSON *print_lines(const char *text, size_t len, const char *end)
{
        const char *lines[LINES_MAX];
        char quoted[LINE_BYTES + 64];
        size_t lengths[LINES_MAX], count = pick_lines(text, len, end, lines, lengths);
        cJSON *list = cJSON_CreateArray();

        while (list && count-- > 0) {
                cJSON *line = cJSON_CreateRaw(log_quote(lines[count], utf8_cut(lines[count], lengths[count], LINE_BYTES), quoted,
                        sizeof quoted));

                if (!cJSON_AddItemToArray(list, line)) {
                        cJSON_Delete(line);
                        cJSON_Delete(list);
                        list = NULL;
                }
        }
        return list;
}

void api_add_last_words(const struct master *master, const struct id *agent_id, cJSON *tree)
{
        cJSON *last_exit = cJSON_GetObjectItemCaseSensitive(tree, "last_exit");
        const cJSON *history = cJSON_GetObjectItemCaseSensitive(tree, "history");
        const char *end = cJSON_IsObject(last_exit) ? find_end(tree, history) : "";
        struct capture_position from;
        char *text = NULL;
        size_t len;

        if ((end && !*end) || !config_keeps_agent_files(&master->config->log) ||
                capture_tail(master->config->log.agents_dir, agent_id, LINES_LOOKED_AT, &text, &len, &from) < 0)
                return;
        json_add_item(last_exit, "stderr", print_lines(text, len, end));
        free(text);
}
