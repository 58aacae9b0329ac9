#include "common/json/jsonrpc.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_TEXT_MAX 63

static bool is_present(struct json_raw value)
{
        return value.text && json_raw_kind(value) != 'n';
}

static const char *why_no_response(const struct jsonrpc *m)
{
        if (!m->id.text)
                return "it has neither \"method\" nor \"id\"";
        /* A null beside the other is what some serializers make of an absent one. */
        if (is_present(m->error) ? is_present(m->result) : !m->result.text)
                return "an answer needs exactly one of \"result\" and \"error\"";
        return NULL;
}

static const char *why_no_call(const struct jsonrpc *m)
{
        char params = json_raw_kind(m->params);

        if (json_raw_kind(m->method) != '"')
                return "\"method\" must be a string";
        if (is_present(m->params) && params != '{' && params != '[')
                return "\"params\" must be an object or an array";
        if (m->result.text || is_present(m->error))
                return "it has a \"method\" and a \"result\" or \"error\"";
        return NULL;
}

static const char *judge(const struct jsonrpc *m)
{
        char id = json_raw_kind(m->id);

        if (!json_raw_says(m->version, "2.0"))
                return "it lacks \"jsonrpc\": \"2.0\"";
        if (id && !strchr("\"-0n", id))
                return "\"id\" must be a string or a number";
        return m->method.text ? why_no_call(m) : why_no_response(m);
}

void jsonrpc_read(const char *text, size_t len, struct jsonrpc *ret_message)
{
        static const char *const names[] = { "jsonrpc", "id", "method", "params", "result", "error", NULL };
        static const char *const twice[] = { "the name \"jsonrpc\" appears twice", "the name \"id\" appears twice",
                "the name \"method\" appears twice", "the name \"params\" appears twice",
                "the name \"result\" appears twice", "the name \"error\" appears twice" };
        struct json_raw values[6] = { { 0 } };
        unsigned counts[6] = { 0 };
        size_t space = strspn(text, " \t\r\n");
        struct jsonrpc m = { .kind = JSONRPC_INVALID, .text = { text, len } };

        json_raw_members(m.text, names, counts, values);
        m.version = values[0];
        m.id = values[1];
        m.method = values[2];
        m.params = values[3];
        m.result = values[4];
        m.error = values[5];
        if (space == len || text[space] != '{')
                m.why = space < len && text[space] == '[' ? "batches are not supported" : "it is no object";
        for (size_t i = 0; i < 6 && !m.why; i++)
                if (counts[i] > 1)
                        m.why = twice[i];
        if (!m.why)
                m.why = judge(&m);
        if (!m.why)
                m.kind = !m.method.text ? JSONRPC_RESPONSE : m.id.text ? JSONRPC_REQUEST : JSONRPC_NOTIFICATION;
        *ret_message = m;
}

int jsonrpc_number(struct json_raw id, uint64_t *ret_number)
{
        char text[NUMBER_TEXT_MAX + 1];
        double value;

        if (json_raw_kind(id) != '0' || id.len > NUMBER_TEXT_MAX)
                return -EINVAL;
        memcpy(text, id.text, id.len);
        text[id.len] = '\0';
        value = strtod(text, NULL);
        if (!(value >= 1 && value <= (double)JSON_INTEGER_MAX) || floor(value) < value)
                return -EINVAL;
        *ret_number = (uint64_t)value;
        return 0;
}

const char *jsonrpc_cancel_member(const char *method)
{
        return strcmp(method, "$/cancelRequest") == 0 ? "id" : "requestId";
}

enum jsonrpc_named jsonrpc_named(const struct jsonrpc *message, const char *cancel_method, struct json_raw *ret_value)
{
        static const struct {
                const char *method, *member;
                enum jsonrpc_named named;
        } methods[] = {
                { "notifications/cancelled", "requestId", JSONRPC_NAMES_REQUEST },
                { "$/cancelRequest", "id", JSONRPC_NAMES_REQUEST },
                { "$/cancel_request", "requestId", JSONRPC_NAMES_REQUEST },
                { "notifications/progress", "progressToken", JSONRPC_NAMES_TOKEN },
        };

        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
                if (!json_raw_says(message->method, methods[i].method))
                        continue;
                if (json_raw_member(message->params, methods[i].member, ret_value) != 1)
                        *ret_value = (struct json_raw){ 0 };
                return methods[i].named;
        }
        if (!*cancel_method || !json_raw_says(message->method, cancel_method))
                return JSONRPC_NAMES_NOTHING;
        switch (json_raw_member(message->params, jsonrpc_cancel_member(cancel_method), ret_value)) {
        case 0:
                return JSONRPC_NAMES_NOTHING;
        case 1:
                return JSONRPC_NAMES_REQUEST;
        default:
                *ret_value = (struct json_raw){ 0 };
                return JSONRPC_NAMES_REQUEST;
        }
}

struct json_raw jsonrpc_token(const struct jsonrpc *request)
{
        struct json_raw meta, token;
        char kind;

        if (json_raw_member(request->params, "_meta", &meta) != 1 || json_raw_member(meta, "progressToken", &token) != 1)
                return (struct json_raw){ 0 };
        kind = json_raw_kind(token);
        return kind == '"' || kind == '0' || kind == '-' ? token : (struct json_raw){ 0 };
}

char *jsonrpc_with_id(const struct jsonrpc *message, struct json_raw id, size_t *ret_len)
{
        struct json_edit edit = { message->id, id };

        return json_raw_edit(message->text, &edit, 1, ret_len);
}

static void put(struct json_text *text, const char *bytes)
{
        json_text_put(text, bytes, strlen(bytes));
}

static char *response(struct json_text *text, struct json_raw id)
{
        put(text, ",\"id\":");
        json_text_put(text, id.text, id.len);
        put(text, "}");
        return json_text_take(text);
}

char *jsonrpc_result(struct json_raw result, struct json_raw id)
{
        struct json_text text = { 0 };

        put(&text, "{\"jsonrpc\":\"2.0\",\"result\":");
        json_text_put(&text, result.text, result.len);
        return response(&text, id);
}

char *jsonrpc_error(int code, const char *message, struct json_raw id)
{
        struct json_text text = { 0 };
        char begin[64];

        snprintf(begin, sizeof begin, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":%d,\"message\":", code);
        put(&text, begin);
        json_text_string(&text, message);
        put(&text, "}");
        return response(&text, id);
}

char *jsonrpc_call(uint64_t id, const char *method, struct json_raw params)
{
        struct json_text text = { 0 };
        char number[32];

        put(&text, "{\"jsonrpc\":\"2.0\"");
        snprintf(number, sizeof number, ",\"id\":%" PRIu64, id);
        if (id > 0)
                put(&text, number);
        put(&text, ",\"method\":");
        json_text_string(&text, method);
        if (params.text)
                put(&text, ",\"params\":");
        json_text_put(&text, params.text, params.len);
        put(&text, "}");
        return json_text_take(&text);
}
