/* Writes and reads the packets of the control socket. */
#include "registry/protocol/control.h"

#include "common/json/json_raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CONTROL_TYPE_COUNT] = {
        [CONTROL_WELCOME] = "welcome",
        [CONTROL_COMMAND] = "command",
        [CONTROL_STOP] = "stop",
        [CONTROL_PING] = "ping",
        [CONTROL_REOPEN_LOGS] = "reopen_logs",
        [CONTROL_REGISTRY] = "registry",
        [CONTROL_USAGE] = "usage",
        [CONTROL_HOSTED] = "hosted",
        [CONTROL_READY] = "ready",
        [CONTROL_FAILED] = "failed",
        [CONTROL_PONG] = "pong",
        [CONTROL_REPLY] = "reply",
        [CONTROL_USED] = "used",
        [CONTROL_LINE] = "line",
        [CONTROL_REFUSED] = "refused",
};

/* [[agent id, epoch, cpu_ms, rss_bytes, processes], …] */
static cJSON *print_used(const struct control_used *used, size_t count)
{
        cJSON *list = cJSON_CreateArray();

        for (size_t i = 0; list && i < count; i++) {
                const double numbers[] = { (double)used[i].epoch, (double)used[i].usage.cpu_ms,
                        (double)used[i].usage.rss_bytes, used[i].usage.processes };
                cJSON *row = cJSON_CreateArray();

                json_append(&row, cJSON_CreateString(ID_TEXT(&used[i].agent_id)));
                for (size_t j = 0; j < sizeof numbers / sizeof *numbers; j++)
                        json_append(&row, cJSON_CreateNumber(numbers[j]));
                json_append(&list, row);
        }
        return list;
}

static int read_used_row(const cJSON *row, struct control_used *ret_used)
{
        const char *id = cJSON_GetStringValue(cJSON_GetArrayItem(row, 0));
        int64_t numbers[4];

        if (!id || id_parse(id, &ret_used->agent_id) < 0)
                return -EINVAL;
        for (int i = 0; i < 4; i++)
                if (json_item_integer(cJSON_GetArrayItem(row, i + 1), &numbers[i]) < 0 || numbers[i] < 0)
                        return -EINVAL;
        ret_used->epoch = (uint64_t)numbers[0];
        ret_used->usage = (struct usage){ .cpu_ms = (uint64_t)numbers[1], .rss_bytes = (uint64_t)numbers[2],
                .processes = numbers[3] > UINT32_MAX ? UINT32_MAX : (uint32_t)numbers[3] };
        return 0;
}

static int read_used(const cJSON *list, struct control *control)
{
        int count = cJSON_GetArraySize(list);
        const cJSON *row;

        if (!cJSON_IsArray(list) || count > HOSTED_MAX)
                return -EINVAL;
        control->used = calloc((size_t)count + 1, sizeof *control->used);
        if (!control->used)
                return -ENOMEM;
        cJSON_ArrayForEach(row, list)
                if (read_used_row(row, &control->used[control->used_count++]) < 0)
                        return -EINVAL;
        return 0;
}

/* Adds what this type carries besides its name. */
static int print_body(cJSON *tree, const struct control *control)
{
        int r;

        switch (control->type) {
        case CONTROL_WELCOME:
                return json_add_item(tree, "settings", cJSON_Duplicate(control->settings, true));
        case CONTROL_HOSTED:
                return json_add_item(tree, "hosted", hosted_print(control->hosted, control->hosted_count));
        case CONTROL_FAILED:
                return json_add_string(tree, "reason", control->reason);
        case CONTROL_PONG:
                r = json_add_integer(tree, "rss_bytes", (int64_t)control->rss_bytes);
                r = r ? r : json_add_integer(tree, "cpu_ms", (int64_t)control->cpu_ms);
                return r ? r : json_add_integer(tree, "number", control->number);
        case CONTROL_LINE:
                r = json_add_string(tree, "agent_id", ID_TEXT(&control->agent_id));
                r = r ? r : json_add_string(tree, "line", control->line);
                return r ? r : json_add_integer(tree, "number", control->number);
        case CONTROL_REFUSED:
                r = json_add_string(tree, "reason", control->reason);
                return r ? r : json_add_integer(tree, "generation", (int64_t)control->generation);
        case CONTROL_REGISTRY:
                r = json_add_bool(tree, "up", control->up);
                return r ? r : json_add_integer(tree, "generation", (int64_t)control->generation);
        case CONTROL_READY:
                r = json_add_bool(tree, "away", control->away);
                r = r ? r : json_add_integer(tree, "generation", (int64_t)control->generation);
                return r ? r : json_add_integer(tree, "number", control->number);
        case CONTROL_STOP:
                r = json_add_integer(tree, "drain_ms", control->drain_ms);
                return r ? r : json_add_integer(tree, "number", control->number);
        case CONTROL_PING:
        case CONTROL_USAGE:
                return json_add_integer(tree, "number", control->number);
        case CONTROL_USED:
                if (json_add_integer(tree, "number", control->number) < 0 || json_add_bool(tree, "more", control->more) < 0)
                        return -ENOMEM;
                return json_add_item(tree, "used", print_used(control->used, control->used_count));
        case CONTROL_COMMAND: /* control_wrap */
        case CONTROL_REPLY:
        case CONTROL_REOPEN_LOGS:
        case CONTROL_TYPE_COUNT:
                break;
        }
        return 0;
}

char *control_encode(const struct control *control)
{
        cJSON *tree = cJSON_CreateObject();
        char *text = NULL;

        if (tree && json_add_string(tree, "type", names[control->type]) == 0 && print_body(tree, control) == 0)
                text = json_print(tree);
        cJSON_Delete(tree);
        return text;
}

char *control_wrap(enum control_type type, const char *envelope)
{
        struct json_text text = { 0 };

        json_text_put(&text, "{\"type\":\"", 9);
        json_text_put(&text, names[type], strlen(names[type]));
        json_text_put(&text, "\",\"", 3);
        json_text_put(&text, names[type], strlen(names[type]));
        json_text_put(&text, "\":", 2);
        json_text_put(&text, envelope, strlen(envelope));
        json_text_put(&text, "}", 1);
        return json_text_take(&text);
}

/* Without figures from a worker of an earlier program. */
static int read_pong(const cJSON *tree, struct control *control)
{
        int64_t rss_bytes = 0, cpu_ms = 0;

        json_integer(tree, "rss_bytes", &rss_bytes);
        json_integer(tree, "cpu_ms", &cpu_ms);
        control->rss_bytes = rss_bytes > 0 ? (uint64_t)rss_bytes : 0;
        control->cpu_ms = cpu_ms > 0 ? (uint64_t)cpu_ms : 0;
        return json_integer(tree, "number", &control->number) == 0 ? 0 : -EINVAL;
}

static int read_line(const cJSON *tree, struct control *control)
{
        const char *line = json_string(tree, "line"), *id = json_string(tree, "agent_id");

        if (!line || !id || id_parse(id, &control->agent_id) < 0 || json_integer(tree, "number", &control->number) < 0)
                return -EINVAL;
        control->line = strdup(line);
        return control->line ? 0 : -ENOMEM;
}

static int read_body(cJSON *tree, struct control *control)
{
        const char *reason;
        int64_t generation;

        switch (control->type) {
        case CONTROL_WELCOME:
                control->settings = cJSON_DetachItemFromObjectCaseSensitive(tree, "settings");
                return cJSON_IsObject(control->settings) ? 0 : -EINVAL;
        case CONTROL_HOSTED:
                return hosted_read(cJSON_GetObjectItemCaseSensitive(tree, "hosted"), &control->hosted, &control->hosted_count);
        case CONTROL_FAILED:
                reason = json_string(tree, "reason");
                control->reason = reason ? strdup(reason) : NULL;
                return control->reason ? 0 : -EINVAL;
        case CONTROL_PONG:
                return read_pong(tree, control);
        case CONTROL_LINE:
                return read_line(tree, control);
        case CONTROL_REFUSED:
                reason = json_string(tree, "reason");
                control->reason = reason ? strdup(reason) : NULL;
                if (json_integer(tree, "generation", &generation) < 0 || generation < 0 || !control->reason)
                        return -EINVAL;
                control->generation = (uint64_t)generation;
                return 0;
        case CONTROL_REGISTRY:
        case CONTROL_READY:
                if (json_integer(tree, "generation", &generation) < 0 || generation < 0)
                        return -EINVAL;
                control->generation = (uint64_t)generation;
                control->up = json_bool(tree, "up", false);
                control->away = json_bool(tree, "away", false);
                if (control->type == CONTROL_REGISTRY)
                        return 0;
                return json_integer(tree, "number", &control->number) == 0 ? 0 : -EINVAL;
        case CONTROL_STOP:
                if (json_integer(tree, "drain_ms", &control->drain_ms) < 0)
                        control->drain_ms = INT32_MAX; /* of a master before it said so */
                return json_integer(tree, "number", &control->number) == 0 ? 0 : -EINVAL;
        case CONTROL_PING:
        case CONTROL_USAGE:
                return json_integer(tree, "number", &control->number) == 0 ? 0 : -EINVAL;
        case CONTROL_USED:
                control->more = json_bool(tree, "more", false);
                if (json_integer(tree, "number", &control->number) < 0)
                        return -EINVAL;
                return read_used(cJSON_GetObjectItemCaseSensitive(tree, "used"), control);
        case CONTROL_COMMAND: /* read_envelope */
        case CONTROL_REPLY:
        case CONTROL_REOPEN_LOGS:
        case CONTROL_TYPE_COUNT:
                break;
        }
        return 0;
}

static int read_tree(cJSON *tree, struct control *control)
{
        const char *name = json_string(tree, "type");

        for (unsigned i = 1; name && i < CONTROL_TYPE_COUNT; i++) {
                if (strcmp(name, names[i]) == 0) {
                        control->type = (enum control_type)i;
                        return read_body(tree, control);
                }
        }
        return -EINVAL;
}

/* A command or reply stays the text that it is: what it carries no tree may be able to hold. -ENOENT: it is neither. */
static int read_envelope(struct json_raw packet, struct control *control)
{
        struct json_raw type, envelope;

        json_raw_member(packet, "type", &type);
        if (json_raw_says(type, names[CONTROL_COMMAND])) {
                if (json_raw_member(packet, "command", &envelope) != 1)
                        return -EINVAL;
                control->type = CONTROL_COMMAND;
                return command_decode(envelope.text, envelope.len, &control->command);
        }
        if (json_raw_says(type, names[CONTROL_REPLY])) {
                if (json_raw_member(packet, "reply", &envelope) != 1)
                        return -EINVAL;
                control->type = CONTROL_REPLY;
                return reply_decode(envelope.text, envelope.len, &control->reply);
        }
        return -ENOENT;
}

int control_decode(const char *text, size_t len, struct control *ret_control)
{
        struct control control = { 0 };
        struct json_error error;
        cJSON *tree;
        int r = json_raw_check(text, len, COMMAND_DEPTH_MAX + 1, &error);

        r = r ? r : read_envelope((struct json_raw){ text, len }, &control);
        if (r == -ENOENT) {
                r = json_parse(text, len, JSON_ENVELOPE, &tree, &error);
                if (r < 0)
                        return r;
                r = read_tree(tree, &control);
                cJSON_Delete(tree);
        }
        if (r < 0)
                control_done(&control);
        else
                *ret_control = control;
        return r;
}

void control_done(struct control *control)
{
        free(control->reason);
        free(control->line);
        cJSON_Delete(control->settings);
        if (control->type == CONTROL_COMMAND)
                command_done(&control->command);
        if (control->type == CONTROL_REPLY)
                reply_done(&control->reply);
        free(control->hosted);
        free(control->used);
        *control = (struct control){ 0 };
}
