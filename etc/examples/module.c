/* An agent as a module: the same MCP server as agent.c, but inside the worker, so that an agent costs a kilobyte and no
 * process. Includes nothing of agentpool but its header, and links nothing:
 *
 *     cc -D_GNU_SOURCE -shared -fPIC -I/usr/local/include/agentpool -o example-module.so module.c
 *
 * The worker hands out compact, checked JSON and checks what it gets back, so there is no need for a JSON library: values
 * are taken from one text and put into another as they stand. */
#include "agentpool_module.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTES_MAX 100
#define METHOD_NOT_FOUND (-32601)
#define INVALID_PARAMS (-32602)
#define INTERNAL_ERROR (-32603)

static const struct agentpool_host *host;

/* One agent. */
struct state {
        char *whoami; /* JSON, made at the start */
        char **notes; /* JSON strings; only those who remember pay for it */
        int note_count;
};

/* A piece of JSON text. */
struct text {
        const char *p;
        size_t len;
};

static const char tools[] =
        "{\"tools\":["
        "{\"name\":\"echo\",\"description\":\"Gives the text back\",\"inputSchema\":{\"type\":\"object\","
        "\"properties\":{\"text\":{\"type\":\"string\"}},\"required\":[\"text\"]}},"
        "{\"name\":\"remember\",\"description\":\"Keeps a note\",\"inputSchema\":{\"type\":\"object\","
        "\"properties\":{\"note\":{\"type\":\"string\"}},\"required\":[\"note\"]}},"
        "{\"name\":\"recall\",\"description\":\"Lists the notes\",\"inputSchema\":{\"type\":\"object\"}},"
        "{\"name\":\"whoami\",\"description\":\"Tells which agent this is\",\"inputSchema\":{\"type\":\"object\"}}]}";

static const char identity[] = "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},"
                               "\"serverInfo\":{\"name\":\"agentpool-example-module\",\"version\":\"1.0\"}}";

/* The end of the string that begins at p with a quote. */
static const char *skip_string(const char *p)
{
        for (p++; *p != '"'; p++)
                if (*p == '\\')
                        p++;
        return p + 1;
}

/* The end of the value at p: the comma, brace or bracket that follows it at its own depth. */
static const char *skip_value(const char *p, const char *end)
{
        int depth = 0;

        while (p < end) {
                if (*p == '"') {
                        p = skip_string(p);
                        continue;
                }
                if (depth == 0 && (*p == ',' || *p == '}' || *p == ']'))
                        return p;
                depth += *p == '{' || *p == '[';
                depth -= *p == '}' || *p == ']';
                p++;
        }
        return end;
}

/* A member of a compact JSON object as it stands there; p is NULL when there is none. */
static struct text member(struct text object, const char *name)
{
        const char *p = object.p + 1, *end = object.p + object.len, *value, *stop;
        size_t len = strlen(name);

        if (!object.p || *object.p != '{')
                return (struct text){ 0 };
        for (; p < end && *p == '"'; p = stop + 1) {
                value = skip_string(p) + 1; /* behind the colon */
                stop = skip_value(value, end);
                if ((size_t)(value - p) == len + 3 && memcmp(p + 1, name, len) == 0)
                        return (struct text){ value, (size_t)(stop - value) };
        }
        return (struct text){ 0 };
}

static int is_string(struct text text)
{
        return text.p && *text.p == '"';
}

static int equals(struct text text, const char *word)
{
        return is_string(text) && text.len == strlen(word) + 2 && memcmp(text.p + 1, word, text.len - 2) == 0;
}

/* Writes JSON as the inside of a JSON string. */
static void write_escaped(FILE *out, const char *json)
{
        for (; *json; json++) {
                if (*json == '"' || *json == '\\')
                        fputc('\\', out);
                fputc(*json, out);
        }
}

/* A tool's result: text is a JSON string as it stands, or NULL: then structure is the text as well. */
static void answer_tool(struct agentpool_agent *agent, uint64_t request, const struct text *text, const char *structure)
{
        char *result = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&result, &len);

        if (!out)
                return;
        fputs("{\"content\":[{\"type\":\"text\",\"text\":", out);
        if (text) {
                fwrite(text->p, 1, text->len, out);
        } else {
                fputc('"', out);
                write_escaped(out, structure);
                fputc('"', out);
        }
        fputs("}]", out);
        if (structure)
                fprintf(out, ",\"structuredContent\":%s", structure);
        fputs(",\"isError\":false}", out);
        if (fclose(out) == 0 && host->reply(agent, request, result, len) == -EMSGSIZE)
                host->reply_error(agent, request, INTERNAL_ERROR, "the result is longer than the pool's max_line_bytes");
        free(result);
}

static void remember(struct agentpool_agent *agent, struct state *state, uint64_t request, struct text note)
{
        char text[64], *copy = strndup(note.p, note.len);

        if (!state->notes)
                state->notes = calloc(NOTES_MAX, sizeof *state->notes);
        if (!copy || !state->notes) {
                free(copy);
                host->reply_error(agent, request, INTERNAL_ERROR, "no memory for the note");
                return;
        }
        if (state->note_count == NOTES_MAX) { /* the oldest makes room */
                free(state->notes[0]);
                memmove(state->notes, state->notes + 1, sizeof *state->notes * (NOTES_MAX - 1));
                state->note_count--;
        }
        state->notes[state->note_count++] = copy;
        snprintf(text, sizeof text, "\"notes: %d\"", state->note_count);
        answer_tool(agent, request, &(struct text){ text, strlen(text) }, NULL);
}

static void recall(struct agentpool_agent *agent, const struct state *state, uint64_t request)
{
        char *list = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&list, &len);

        if (!out)
                return;
        fputs("{\"notes\":[", out);
        for (int i = 0; i < state->note_count; i++)
                fprintf(out, "%s%s", i > 0 ? "," : "", state->notes[i]);
        fputs("]}", out);
        if (fclose(out) == 0)
                answer_tool(agent, request, NULL, list);
        free(list);
}

static void call_tool(struct agentpool_agent *agent, struct state *state, uint64_t request, struct text params)
{
        struct text name = member(params, "name"), arguments = member(params, "arguments");
        struct text text = member(arguments, "text"), note = member(arguments, "note");

        if (equals(name, "echo") && is_string(text))
                answer_tool(agent, request, &text, NULL);
        else if (equals(name, "remember") && is_string(note))
                remember(agent, state, request, note);
        else if (equals(name, "recall"))
                recall(agent, state, request);
        else if (equals(name, "whoami"))
                answer_tool(agent, request, NULL, state->whoami);
        else if (equals(name, "echo") || equals(name, "remember"))
                host->reply_error(agent, request, INVALID_PARAMS,
                        "an argument is missing or no string; see tools/list");
        else
                host->reply_error(agent, request, INVALID_PARAMS, "unknown tool; see tools/list");
}

static void module_message(struct agentpool_agent *agent, void *state, uint64_t request, const char *method,
        const char *params_json, size_t params_len)
{
        if (request == 0)
                return; /* notifications/initialized and others: nothing to do, nothing to answer */
        if (strcmp(method, "initialize") == 0)
                host->reply(agent, request, identity, strlen(identity));
        else if (strcmp(method, "ping") == 0)
                host->reply(agent, request, "{}", 2);
        else if (strcmp(method, "tools/list") == 0)
                host->reply(agent, request, tools, strlen(tools));
        else if (strcmp(method, "tools/call") == 0)
                call_tool(agent, state, request, (struct text){ params_json, params_len });
        else
                host->reply_error(agent, request, METHOD_NOT_FOUND, "unknown method");
}

static int module_start(struct agentpool_agent *agent, const struct agentpool_start *start, void **ret_state, char *reason,
        size_t reason_size)
{
        struct state *state = calloc(1, sizeof *state);

        (void)agent;
        /* Names and ids need no escaping; args_json is JSON already. */
        if (!state || asprintf(&state->whoami,
                              "{\"agent_id\":\"%s\",\"pid\":%d,\"epoch\":%" PRIu64 ",\"start_reason\":\"%s\","
                              "\"pool\":\"%s\",\"role\":\"%s\",\"project_id\":\"%s\",\"args\":%s}",
                              start->agent_id, (int)getpid(), start->epoch, start->start_reason, start->pool_name,
                              start->role_type, start->project_id, start->args_json) < 0) {
                free(state);
                snprintf(reason, reason_size, "no memory for an agent");
                return -ENOMEM;
        }
        *ret_state = state;
        return 0;
}

static void module_stop(struct agentpool_agent *agent, void *arg)
{
        struct state *state = arg;

        (void)agent;
        while (state->note_count > 0)
                free(state->notes[--state->note_count]);
        free(state->notes);
        free(state->whoami);
        free(state);
}

static const struct agentpool_module module = {
        .abi = AGENTPOOL_MODULE_ABI,
        .name = "example",
        .start = module_start,
        .message = module_message,
        .stop = module_stop,
};

const struct agentpool_module *agentpool_module_init(const struct agentpool_host *the_host)
{
        host = the_host;
        return &module;
}
