/* An agent as a program: newline-delimited JSON-RPC 2.0 on stdin and stdout, an MCP server (revision 2025-06-18) with
 * four tools. It knows nothing of agentpool but the environment variables it is started with, ends when its stdin is
 * closed, and writes anything that is no message to stderr, which agentpool takes into its log.
 *
 *     cc -o example-agent agent.c -lcjson
 *     {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}} */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTES_MAX 100
#define PROTOCOL "2025-06-18"
#define PARSE_ERROR (-32700)
#define INVALID_REQUEST (-32600)
#define METHOD_NOT_FOUND (-32601)
#define INVALID_PARAMS (-32602)

extern char **environ;

/* What this agent remembers: for as long as it lives, for nobody else. */
static char *notes[NOTES_MAX];
static int note_count;

static const char tools[] =
        "{\"tools\":["
        "{\"name\":\"echo\",\"description\":\"Gives the text back\",\"inputSchema\":{\"type\":\"object\","
        "\"properties\":{\"text\":{\"type\":\"string\"}},\"required\":[\"text\"]}},"
        "{\"name\":\"remember\",\"description\":\"Keeps a note\",\"inputSchema\":{\"type\":\"object\","
        "\"properties\":{\"note\":{\"type\":\"string\"}},\"required\":[\"note\"]}},"
        "{\"name\":\"recall\",\"description\":\"Lists the notes\",\"inputSchema\":{\"type\":\"object\"}},"
        "{\"name\":\"whoami\",\"description\":\"Tells which agent this is\",\"inputSchema\":{\"type\":\"object\"}}]}";

static void send_message(cJSON *take_message)
{
        char *text = cJSON_PrintUnformatted(take_message);

        if (!text || puts(text) < 0 || fflush(stdout) != 0)
                exit(EXIT_FAILURE);
        free(text);
        cJSON_Delete(take_message);
}

static void answer(const cJSON *id, const char *member, cJSON *take_item)
{
        cJSON *message = cJSON_CreateObject();

        cJSON_AddStringToObject(message, "jsonrpc", "2.0");
        cJSON_AddItemToObject(message, "id", id ? cJSON_Duplicate(id, 1) : cJSON_CreateNull());
        cJSON_AddItemToObject(message, member, take_item);
        send_message(message);
}

static void answer_error(const cJSON *id, int code, const char *text)
{
        cJSON *error = cJSON_CreateObject();

        cJSON_AddNumberToObject(error, "code", code);
        cJSON_AddStringToObject(error, "message", text);
        answer(id, "error", error);
}

/* A tool's result: as text for a language model, as structure for a program. */
static void answer_tool(const cJSON *id, const char *text, cJSON *take_structure)
{
        cJSON *result = cJSON_CreateObject(), *part = cJSON_CreateObject();
        char *printed = text ? NULL : cJSON_PrintUnformatted(take_structure);

        cJSON_AddStringToObject(part, "type", "text");
        cJSON_AddStringToObject(part, "text", text ? text : printed ? printed : "");
        cJSON_AddItemToArray(cJSON_AddArrayToObject(result, "content"), part);
        if (take_structure)
                cJSON_AddItemToObject(result, "structuredContent", take_structure);
        cJSON_AddBoolToObject(result, "isError", 0);
        free(printed);
        answer(id, "result", result);
}

static void add_variable(cJSON *object, const char *name, const char *variable)
{
        const char *value = getenv(variable);

        if (value)
                cJSON_AddStringToObject(object, name, value);
}

/* Arguments of the spawn come as AGENTPOOL_ARG_<NAME>. */
static cJSON *spawn_args(void)
{
        static const char prefix[] = "AGENTPOOL_ARG_";
        cJSON *args = cJSON_CreateObject();

        for (char **p = environ; *p; p++) {
                const char *name = *p + sizeof prefix - 1, *value = strchr(*p, '=');
                char key[128];

                if (strncmp(*p, prefix, sizeof prefix - 1) != 0 || !value)
                        continue;
                snprintf(key, sizeof key, "%.*s", (int)(value - name), name);
                cJSON_AddStringToObject(args, key, value + 1);
        }
        return args;
}

static void tool_whoami(const cJSON *id)
{
        cJSON *me = cJSON_CreateObject();
        const char *epoch = getenv("AGENTPOOL_EPOCH");

        add_variable(me, "agent_id", "AGENTPOOL_AGENT_ID");
        cJSON_AddNumberToObject(me, "pid", getpid());
        cJSON_AddNumberToObject(me, "epoch", epoch ? strtod(epoch, NULL) : 0);
        add_variable(me, "start_reason", "AGENTPOOL_START_REASON");
        add_variable(me, "pool", "AGENTPOOL_POOL");
        add_variable(me, "role", "AGENTPOOL_ROLE");
        add_variable(me, "project_id", "AGENTPOOL_PROJECT_ID");
        cJSON_AddItemToObject(me, "args", spawn_args());
        answer_tool(id, NULL, me);
}

static void tool_remember(const cJSON *id, const char *note)
{
        char text[64];

        if (note_count == NOTES_MAX) { /* the oldest makes room */
                free(notes[0]);
                memmove(notes, notes + 1, sizeof *notes * (NOTES_MAX - 1));
                note_count--;
        }
        notes[note_count] = strdup(note);
        if (!notes[note_count])
                exit(EXIT_FAILURE);
        note_count++;
        snprintf(text, sizeof text, "notes: %d", note_count);
        answer_tool(id, text, NULL);
}

static void tool_recall(const cJSON *id)
{
        cJSON *structure = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(structure, "notes");

        for (int i = 0; i < note_count; i++)
                cJSON_AddItemToArray(list, cJSON_CreateString(notes[i]));
        answer_tool(id, NULL, structure);
}

static const char *text_of(const cJSON *object, const char *name)
{
        return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static void call_tool(const cJSON *id, const cJSON *params)
{
        const cJSON *arguments = cJSON_GetObjectItemCaseSensitive(params, "arguments");
        const char *name = text_of(params, "name"), *text = text_of(arguments, "text");
        const char *note = text_of(arguments, "note");

        if (!name)
                answer_error(id, INVALID_PARAMS, "params.name must be a string: the tool to call");
        else if (strcmp(name, "echo") == 0 && text)
                answer_tool(id, text, NULL);
        else if (strcmp(name, "remember") == 0 && note)
                tool_remember(id, note);
        else if (strcmp(name, "recall") == 0)
                tool_recall(id);
        else if (strcmp(name, "whoami") == 0)
                tool_whoami(id);
        else if (strcmp(name, "echo") == 0 || strcmp(name, "remember") == 0)
                answer_error(id, INVALID_PARAMS, "an argument is missing or no string; see tools/list");
        else
                answer_error(id, INVALID_PARAMS, "unknown tool; see tools/list");
}

static void initialize(const cJSON *id)
{
        cJSON *result = cJSON_CreateObject(), *server;

        cJSON_AddStringToObject(result, "protocolVersion", PROTOCOL);
        cJSON_AddObjectToObject(cJSON_AddObjectToObject(result, "capabilities"), "tools");
        server = cJSON_AddObjectToObject(result, "serverInfo");
        cJSON_AddStringToObject(server, "name", "agentpool-example");
        cJSON_AddStringToObject(server, "version", "1.0");
        answer(id, "result", result);
}

static void handle(const cJSON *message)
{
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(message, "id");
        const char *method = text_of(message, "method");

        if (!method)
                answer_error(id, INVALID_REQUEST, "this is no request: \"method\" is missing");
        else if (!id)
                return; /* notifications/initialized and others: nothing to do, nothing to answer */
        else if (strcmp(method, "initialize") == 0)
                initialize(id);
        else if (strcmp(method, "ping") == 0)
                answer(id, "result", cJSON_CreateObject());
        else if (strcmp(method, "tools/list") == 0)
                answer(id, "result", cJSON_Parse(tools));
        else if (strcmp(method, "tools/call") == 0)
                call_tool(id, cJSON_GetObjectItemCaseSensitive(message, "params"));
        else
                answer_error(id, METHOD_NOT_FOUND, "unknown method");
}

int main(void)
{
        char *line = NULL;
        size_t size = 0;

        while (getline(&line, &size, stdin) > 0) {
                cJSON *message = cJSON_Parse(line);

                if (message)
                        handle(message);
                else
                        answer_error(NULL, PARSE_ERROR, "this line is not JSON");
                cJSON_Delete(message);
        }
        free(line);
        while (note_count > 0)
                free(notes[--note_count]);
        return EXIT_SUCCESS;
}
