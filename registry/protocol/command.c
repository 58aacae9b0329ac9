#include "registry/protocol/command.h"

#include "common/json/jsonrpc.h"
#include "common/utf8.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const command_names[COMMAND_TYPE_COUNT] = {
        [COMMAND_SPAWN] = "spawn",
        [COMMAND_TERMINATE] = "terminate",
        [COMMAND_MESSAGE] = "message",
        [COMMAND_CANCEL] = "cancel",
        [COMMAND_DRAIN] = "drain",
        [COMMAND_SHUTDOWN] = "shutdown",
};
static const char *const reply_names[REPLY_TYPE_COUNT] = {
        [REPLY_SPAWNED] = "spawned",
        [REPLY_SPAWN_FAILED] = "spawn_failed",
        [REPLY_EXITED] = "exited",
        [REPLY_ANSWER] = "answer",
        [REPLY_MESSAGE_FAILED] = "message_failed",
        [REPLY_EVENT] = "event",
        [REPLY_ACTIVITY] = "activity",
};

const char *command_type_name(enum command_type type)
{
        return type > 0 && type < COMMAND_TYPE_COUNT ? command_names[type] : NULL;
}

const char *reply_type_name(enum reply_type type)
{
        return type > 0 && type < REPLY_TYPE_COUNT ? reply_names[type] : NULL;
}

/* Envelopes are written straight as text: a tree would cost dozens of allocations for each of the tens of thousands a
 * second. Member names and types come from this file: nothing in them needs escaping. */
static void write_text(struct json_text *text, const char *bytes)
{
        json_text_put(text, bytes, strlen(bytes));
}

static void add_name(struct json_text *text, const char *name)
{
        json_text_put(text, text->len ? ",\"" : "{\"", 2);
        write_text(text, name);
        json_text_put(text, "\":", 2);
}

static void add_string(struct json_text *text, const char *name, const char *value)
{
        assert(value);
        add_name(text, name);
        json_text_string(text, value);
}

static void add_id(struct json_text *text, const char *name, const struct id *id)
{
        char value[ID_TEXT_SIZE];

        add_name(text, name);
        json_text_put(text, "\"", 1);
        json_text_put(text, id_format(id, value), ID_TEXT_SIZE - 1);
        json_text_put(text, "\"", 1);
}

static void add_integer(struct json_text *text, const char *name, int64_t value)
{
        char digits[24];

        add_name(text, name);
        json_text_put(text, digits, (size_t)snprintf(digits, sizeof digits, "%" PRId64, value));
}

static void add_tree(struct json_text *text, const char *name, const cJSON *tree)
{
        add_name(text, name);
        json_text_tree(text, tree);
}

/* As it is: it may hold what no tree can (common/json/json_raw.h). */
static void add_message(struct json_text *text, const char *message)
{
        assert(message);
        add_name(text, "message");
        write_text(text, message);
}

static char *finish(struct json_text *text)
{
        json_text_put(text, "}", 1);
        return json_text_take(text);
}

static void add_spawn(struct json_text *text, const struct command *command)
{
        add_string(text, "role_type", command->role_type);
        add_string(text, "start_reason", command->start_reason);
        add_id(text, "project_id", &command->project_id);
        add_integer(text, "heartbeat_interval", command->heartbeat_interval);
        add_integer(text, "max_idle_time", command->max_idle_time);
        add_integer(text, "created_at", command->created_at);
        add_integer(text, "restarts", command->restarts);
        if (command->trace[0])
                add_string(text, "traceparent", command->trace);
        if (command->labels)
                add_tree(text, "labels", command->labels);
        if (command->args)
                add_tree(text, "args", command->args);
}

char *command_encode(const struct command *command)
{
        struct json_text text = { 0 };

        add_string(&text, "type", command_type_name(command->type));
        add_id(&text, "command_id", &command->command_id);
        add_id(&text, "master_id", &command->master_id);
        add_string(&text, "pool_name", command->pool_name);
        if (command->type == COMMAND_DRAIN || command->type == COMMAND_SHUTDOWN)
                return finish(&text);
        add_id(&text, "agent_id", &command->agent_id);
        add_integer(&text, "epoch", (int64_t)command->epoch);
        if (command->type == COMMAND_SPAWN) {
                add_spawn(&text, command);
        } else if (command->type == COMMAND_TERMINATE) {
                add_name(&text, "graceful");
                write_text(&text, command->graceful ? "true" : "false");
        } else if (command->type == COMMAND_CANCEL) {
                add_id(&text, "message_id", &command->message_id);
                add_string(&text, "reason", command->reason);
        } else {
                add_message(&text, command->message);
                add_string(&text, "client", command->client);
                add_integer(&text, "timeout_ms", command->timeout_ms);
        }
        return finish(&text);
}

static bool has_command(enum reply_type type)
{
        return type != REPLY_EXITED && type != REPLY_EVENT && type != REPLY_ACTIVITY;
}

static void add_activity(struct json_text *text, const struct reply *reply)
{
        add_integer(text, "noise", reply->noise);
        add_integer(text, "dropped", reply->dropped);
        add_name(text, "unanswered");
        write_text(text, reply->unanswered ? "true" : "false");
}

char *reply_encode(const struct reply *reply)
{
        struct json_text text = { 0 };

        add_string(&text, "type", reply_type_name(reply->type));
        if (has_command(reply->type))
                add_id(&text, "command_id", &reply->command_id);
        add_id(&text, "agent_id", &reply->agent_id);
        add_id(&text, "process_id", &reply->process_id);
        add_integer(&text, "epoch", (int64_t)reply->epoch);
        if (reply->type == REPLY_SPAWN_FAILED || reply->type == REPLY_MESSAGE_FAILED) {
                add_string(&text, "detail", reply->detail);
                if (reply->refused) {
                        add_name(&text, "refused");
                        write_text(&text, "true");
                }
                if (reply->exhausted) {
                        add_name(&text, "exhausted");
                        write_text(&text, "true");
                }
        } else if (reply->type == REPLY_EXITED) {
                add_integer(&text, "code", reply->exit.code);
                add_integer(&text, "signal", reply->exit.signal);
                add_string(&text, "reason", reply->exit.reason);
        } else if (reply->type == REPLY_ACTIVITY) {
                add_activity(&text, reply);
        } else if (reply->type != REPLY_SPAWNED) {
                add_message(&text, reply->message);
                if (reply->client)
                        add_string(&text, "client", reply->client);
        }
        return finish(&text);
}

/* An envelope being read. A missing or wrong member makes it wrong; members that we do not know are passed over, because
 * during an upgrade the other side may be newer. Strings and trees are moved out, not copied. */
struct reader {
        cJSON *tree; /* "message" in it is null: */
        struct json_raw message;
        bool wrong;
};

static int parse_envelope(const char *text, size_t len, struct reader *ret_reader)
{
        struct json_edit edit = { .with = json_raw_of("null") };
        struct json_raw rest = { text, len };
        struct json_error error;
        char *without = NULL;
        int r = json_raw_check(text, len, COMMAND_DEPTH_MAX, &error);

        if (r < 0)
                return r;
        if (json_raw_member(rest, "message", &ret_reader->message) == 1) {
                edit.what = ret_reader->message;
                without = json_raw_edit(rest, &edit, 1, &rest.len);
                if (!without)
                        return -ENOMEM;
                rest.text = without;
        }
        r = json_parse(rest.text, rest.len, JSON_STRICT, &ret_reader->tree, &error);
        free(without);
        if (r == 0 && !cJSON_IsObject(ret_reader->tree)) {
                cJSON_Delete(ret_reader->tree);
                r = -EINVAL;
        }
        return r;
}

static char *read_message(struct reader *reader)
{
        char *message = json_raw_kind(reader->message) == '{' ? strndup(reader->message.text, reader->message.len) : NULL;

        if (!message)
                reader->wrong = true;
        return message;
}

static cJSON *member(const struct reader *reader, const char *name)
{
        return cJSON_GetObjectItemCaseSensitive(reader->tree, name);
}

static int read_type(struct reader *reader, const char *const *names, int count)
{
        const char *name = json_string(reader->tree, "type");

        for (int i = 1; name && i < count; i++)
                if (strcmp(names[i], name) == 0)
                        return i;
        reader->wrong = true;
        return 0;
}

static void read_id(struct reader *reader, const char *name, struct id *ret_id)
{
        const char *text = json_string(reader->tree, name);

        if (!text || id_parse(text, ret_id) < 0)
                reader->wrong = true;
}

static int64_t read_integer(struct reader *reader, const char *name, int64_t min, int64_t max)
{
        int64_t value = 0;

        if (json_integer(reader->tree, name, &value) < 0 || value < min || value > max)
                reader->wrong = true;
        return value;
}

static char *read_string(struct reader *reader, const char *name)
{
        cJSON *item = member(reader, name);
        char *text = NULL;

        if (cJSON_IsString(item)) {
                text = item->valuestring;
                item->valuestring = NULL;
        } else {
                reader->wrong = true;
        }
        return text;
}

static cJSON *read_object(struct reader *reader, const char *name)
{
        cJSON *item = member(reader, name);

        if (!cJSON_IsObject(item)) {
                reader->wrong = true;
                return NULL;
        }
        cJSON_DetachItemViaPointer(reader->tree, item);
        free(item->string); /* its name here, which no tree of its own has */
        item->string = NULL;
        return item;
}

/* An object of strings, or NULL when absent. */
static cJSON *read_map(struct reader *reader, const char *name)
{
        cJSON *map = member(reader, name) ? read_object(reader, name) : NULL;
        const cJSON *item;

        cJSON_ArrayForEach(item, map)
                if (!cJSON_IsString(item))
                        reader->wrong = true;
        return map;
}

static void read_spawn(struct reader *reader, struct command *command)
{
        const char *trace = json_string(reader->tree, "traceparent");

        command->role_type = read_string(reader, "role_type");
        command->start_reason = read_string(reader, "start_reason");
        read_id(reader, "project_id", &command->project_id);
        command->heartbeat_interval = read_integer(reader, "heartbeat_interval", 0, INT32_MAX);
        command->max_idle_time = read_integer(reader, "max_idle_time", 0, INT32_MAX);
        command->created_at = read_integer(reader, "created_at", 0, JSON_INTEGER_MAX);
        command->restarts = read_integer(reader, "restarts", 0, JSON_INTEGER_MAX);
        command->labels = read_map(reader, "labels");
        command->args = read_map(reader, "args");
        if (trace_valid(trace))
                snprintf(command->trace, sizeof command->trace, "%s", trace);
        if (command->epoch == 0)
                reader->wrong = true;
}

static void read_command(struct reader *reader, struct command *command)
{
        const cJSON *graceful = member(reader, "graceful");

        command->type = (enum command_type)read_type(reader, command_names, COMMAND_TYPE_COUNT);
        read_id(reader, "command_id", &command->command_id);
        read_id(reader, "master_id", &command->master_id);
        command->pool_name = read_string(reader, "pool_name");
        if (command->type == COMMAND_DRAIN || command->type == COMMAND_SHUTDOWN)
                return;
        read_id(reader, "agent_id", &command->agent_id);
        command->epoch = (uint64_t)read_integer(reader, "epoch", 0, JSON_INTEGER_MAX);
        if (command->type == COMMAND_SPAWN) {
                read_spawn(reader, command);
        } else if (command->type == COMMAND_TERMINATE) {
                command->graceful = cJSON_IsTrue(graceful);
                if (!cJSON_IsBool(graceful))
                        reader->wrong = true;
        } else if (command->type == COMMAND_CANCEL) {
                read_id(reader, "message_id", &command->message_id);
                command->reason = read_string(reader, "reason");
        } else if (command->type == COMMAND_MESSAGE) {
                command->message = read_message(reader);
                command->client = read_string(reader, "client");
                command->timeout_ms = read_integer(reader, "timeout_ms", 0, JSON_INTEGER_MAX);
        }
}

int command_decode(const char *text, size_t len, struct command *ret_command)
{
        struct command command = { 0 };
        struct reader reader = { 0 };
        int r = parse_envelope(text, len, &reader);

        if (r < 0)
                return r;
        read_command(&reader, &command);
        cJSON_Delete(reader.tree);
        if (reader.wrong) {
                command_done(&command);
                return -EINVAL;
        }
        *ret_command = command;
        return 0;
}

void command_done(struct command *command)
{
        free(command->pool_name);
        free(command->role_type);
        free(command->start_reason);
        cJSON_Delete(command->labels);
        cJSON_Delete(command->args);
        free(command->message);
        free(command->client);
        free(command->reason);
        *command = (struct command){ 0 };
}

static void read_exit(struct reader *reader, struct agent_exit *exit)
{
        const char *reason = json_string(reader->tree, "reason");

        exit->code = (int)read_integer(reader, "code", -1, INT_MAX);
        exit->signal = (int)read_integer(reader, "signal", 0, INT_MAX);
        if (reason)
                memcpy(exit->reason, reason, utf8_cut(reason, strlen(reason), sizeof exit->reason - 1));
        else
                reader->wrong = true;
}

static void read_activity(struct reader *reader, struct reply *reply)
{
        reply->noise = read_integer(reader, "noise", 0, JSON_INTEGER_MAX);
        reply->dropped = read_integer(reader, "dropped", 0, JSON_INTEGER_MAX);
        reply->unanswered = json_bool(reader->tree, "unanswered", false);
}

static void read_reply(struct reader *reader, struct reply *reply)
{
        reply->type = (enum reply_type)read_type(reader, reply_names, REPLY_TYPE_COUNT);
        if (has_command(reply->type))
                read_id(reader, "command_id", &reply->command_id);
        read_id(reader, "agent_id", &reply->agent_id);
        read_id(reader, "process_id", &reply->process_id);
        reply->epoch = (uint64_t)read_integer(reader, "epoch", 0, JSON_INTEGER_MAX);
        reply->exhausted = json_bool(reader->tree, "exhausted", false);
        reply->refused = json_bool(reader->tree, "refused", false);
        if (reply->type == REPLY_SPAWN_FAILED || reply->type == REPLY_MESSAGE_FAILED)
                reply->detail = read_string(reader, "detail");
        else if (reply->type == REPLY_EXITED)
                read_exit(reader, &reply->exit);
        else if (reply->type == REPLY_ANSWER || reply->type == REPLY_EVENT)
                reply->message = read_message(reader);
        else if (reply->type == REPLY_ACTIVITY)
                read_activity(reader, reply);
        if (reply->type == REPLY_EVENT && member(reader, "client"))
                reply->client = read_string(reader, "client");
}

int reply_decode(const char *text, size_t len, struct reply *ret_reply)
{
        struct reply reply = { 0 };
        struct reader reader = { 0 };
        int r = parse_envelope(text, len, &reader);

        if (r < 0)
                return r;
        read_reply(&reader, &reply);
        cJSON_Delete(reader.tree);
        if (reader.wrong) {
                reply_done(&reply);
                return -EINVAL;
        }
        *ret_reply = reply;
        return 0;
}

void reply_done(struct reply *reply)
{
        free(reply->detail);
        free(reply->message);
        free(reply->client);
        *reply = (struct reply){ 0 };
}
