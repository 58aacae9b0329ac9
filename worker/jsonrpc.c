#include "worker/jsonrpc.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_SIZE_MIN 8
/* A table that grew beyond this gives its memory back when it is empty. */
#define PENDING_SIZE_KEPT 16

struct envelope {
        const cJSON *version, *id, *method, *params, *result, *error;
};

static void read_envelope(const cJSON *message, struct envelope *envelope)
{
        const struct {
                const char *name;
                const cJSON **ret_item;
        } members[] = {
                { "jsonrpc", &envelope->version }, { "id", &envelope->id },         { "method", &envelope->method },
                { "params", &envelope->params },   { "result", &envelope->result }, { "error", &envelope->error },
        };

        for (const cJSON *child = message->child; child; child = child->next)
                for (size_t i = 0; i < sizeof members / sizeof *members; i++)
                        if (strcmp(child->string, members[i].name) == 0)
                                *members[i].ret_item = child;
}

static bool is_error(const cJSON *error)
{
        int64_t code;

        return cJSON_IsObject(error) && json_integer(error, "code", &code) == 0 && json_string(error, "message");
}

static const char *why_no_response(const struct envelope *e)
{
        if (!e->id)
                return "it has neither \"method\" nor \"id\"";
        if (!e->result == !e->error)
                return "an answer needs exactly one of \"result\" and \"error\"";
        if (e->error && !is_error(e->error))
                return "\"error\" needs an integer \"code\" and a string \"message\"";
        return NULL;
}

static const char *why_no_call(const struct envelope *e)
{
        if (!cJSON_IsString(e->method))
                return "\"method\" must be a string";
        if (e->params && !cJSON_IsObject(e->params) && !cJSON_IsArray(e->params))
                return "\"params\" must be an object or an array";
        if (e->result || e->error)
                return "it has a \"method\" and a \"result\" or \"error\"";
        return NULL;
}

enum jsonrpc_kind jsonrpc_classify(const cJSON *message, const char **ret_why)
{
        struct envelope e = { 0 };
        const char *why;

        *ret_why = cJSON_IsArray(message) ? "batches are not supported" : "it is no object";
        if (!cJSON_IsObject(message))
                return JSONRPC_INVALID;
        read_envelope(message, &e);
        if (!cJSON_IsString(e.version) || strcmp(e.version->valuestring, "2.0") != 0)
                why = "it lacks \"jsonrpc\": \"2.0\"";
        else if (e.id && !cJSON_IsString(e.id) && !cJSON_IsNumber(e.id) && !cJSON_IsNull(e.id))
                why = "\"id\" must be a string or a number";
        else
                why = e.method ? why_no_call(&e) : why_no_response(&e);
        if (why) {
                *ret_why = why;
                return JSONRPC_INVALID;
        }
        if (!e.method)
                return JSONRPC_RESPONSE;
        return e.id ? JSONRPC_REQUEST : JSONRPC_NOTIFICATION;
}

void jsonrpc_id_done(struct jsonrpc_id *id)
{
        cJSON_free(id->text);
        *id = (struct jsonrpc_id){ 0 };
}

void jsonrpc_id_rewrite(cJSON *message, uint64_t number, struct jsonrpc_id *ret_id)
{
        cJSON *item = cJSON_GetObjectItemCaseSensitive(message, "id");

        *ret_id = (struct jsonrpc_id){ item->type & 0xff, item->valuedouble, item->valuestring };
        item->type = (item->type & ~0xff) | cJSON_Number;
        item->valuestring = NULL;
        cJSON_SetNumberHelper(item, (double)number);
}

void jsonrpc_id_restore(cJSON *message, struct jsonrpc_id *take_id)
{
        cJSON *item = cJSON_GetObjectItemCaseSensitive(message, "id");

        cJSON_free(item->valuestring);
        cJSON_SetNumberHelper(item, take_id->number);
        item->type = (item->type & ~0xff) | take_id->type;
        item->valuestring = take_id->text;
        *take_id = (struct jsonrpc_id){ 0 };
}

int jsonrpc_id_number(const cJSON *message, uint64_t *ret_number)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(message, "id");

        if (!cJSON_IsNumber(item) || item->valuedouble < 1 || item->valuedouble > (double)JSON_INTEGER_MAX ||
                floor(item->valuedouble) < item->valuedouble)
                return -EINVAL;
        *ret_number = (uint64_t)item->valuedouble;
        return 0;
}

static bool add(cJSON *object, const char *constant_name, cJSON *take_item)
{
        if (!take_item || !cJSON_AddItemToObjectCS(object, constant_name, take_item)) {
                cJSON_Delete(take_item);
                return false;
        }
        return true;
}

static cJSON *envelope_new(void)
{
        cJSON *message = cJSON_CreateObject();

        if (message && !add(message, "jsonrpc", cJSON_CreateStringReference("2.0"))) {
                cJSON_Delete(message);
                message = NULL;
        }
        return message;
}

static cJSON *response_new(const char *constant_name, cJSON *take_item)
{
        cJSON *message = envelope_new();

        if (!message) {
                cJSON_Delete(take_item);
                return NULL;
        }
        if (!add(message, constant_name, take_item) || !add(message, "id", cJSON_CreateNull())) {
                cJSON_Delete(message);
                return NULL;
        }
        return message;
}

cJSON *jsonrpc_result(cJSON *take_result)
{
        return response_new("result", take_result);
}

cJSON *jsonrpc_error(int code, const char *message)
{
        cJSON *error = cJSON_CreateObject();

        if (error && (!add(error, "code", cJSON_CreateNumber(code)) ||
                             !add(error, "message", cJSON_CreateString(message)))) {
                cJSON_Delete(error);
                error = NULL;
        }
        return response_new("error", error);
}

cJSON *jsonrpc_call(uint64_t id, const char *method, cJSON *take_params)
{
        cJSON *message = envelope_new();

        if (!message || (id > 0 && !add(message, "id", cJSON_CreateNumber((double)id))) ||
                !add(message, "method", cJSON_CreateString(method))) {
                cJSON_Delete(take_params);
                cJSON_Delete(message);
                return NULL;
        }
        if (take_params && !add(message, "params", take_params)) {
                cJSON_Delete(message);
                return NULL;
        }
        return message;
}

void jsonrpc_pending_init(struct jsonrpc_pending *pending)
{
        *pending = (struct jsonrpc_pending){ .earliest = INT64_MAX };
}

void jsonrpc_pending_done(struct jsonrpc_pending *pending)
{
        for (unsigned i = 0; i < pending->size; i++)
                jsonrpc_id_done(&pending->requests[i].client);
        free(pending->requests);
        jsonrpc_pending_init(pending);
}

static struct jsonrpc_request *place(const struct jsonrpc_pending *pending, uint64_t number)
{
        return &pending->requests[number & (pending->size - 1)];
}

/* Numbers that differ modulo size differ modulo 2 * size, so each finds its new place free. */
static int grow(struct jsonrpc_pending *pending)
{
        struct jsonrpc_pending grown = *pending;

        grown.size = pending->size > 0 ? pending->size * 2 : PENDING_SIZE_MIN;
        grown.requests = calloc(grown.size, sizeof *grown.requests);
        if (!grown.requests)
                return -ENOMEM;
        for (unsigned i = 0; i < pending->size; i++)
                if (pending->requests[i].number > 0)
                        *place(&grown, pending->requests[i].number) = pending->requests[i];
        free(pending->requests);
        *pending = grown;
        return 0;
}

int jsonrpc_pending_add(struct jsonrpc_pending *pending, int64_t deadline, struct jsonrpc_request **ret_request)
{
        struct jsonrpc_request *request;
        int r;

        if (pending->count == JSONRPC_PENDING_MAX)
                return -EAGAIN;
        if ((pending->count + 1) * 2 > pending->size) {
                r = grow(pending);
                if (r < 0)
                        return r;
        }
        do {
                request = place(pending, ++pending->last);
        } while (request->number > 0);
        *request = (struct jsonrpc_request){ .number = pending->last, .deadline = deadline };
        pending->count++;
        if (deadline < pending->earliest)
                pending->earliest = deadline;
        *ret_request = request;
        return 0;
}

static void take(struct jsonrpc_pending *pending, struct jsonrpc_request *request, struct jsonrpc_request *ret_request)
{
        *ret_request = *request;
        *request = (struct jsonrpc_request){ 0 };
        if (--pending->count > 0)
                return;
        pending->earliest = INT64_MAX;
        if (pending->size > PENDING_SIZE_KEPT) {
                free(pending->requests);
                pending->requests = NULL;
                pending->size = 0;
        }
}

int jsonrpc_pending_take(struct jsonrpc_pending *pending, uint64_t number, struct jsonrpc_request *ret_request)
{
        struct jsonrpc_request *request;

        if (pending->count == 0 || number == 0)
                return -ENOENT;
        request = place(pending, number);
        if (request->number != number)
                return -ENOENT;
        take(pending, request, ret_request);
        return 0;
}

int jsonrpc_pending_expire(struct jsonrpc_pending *pending, int64_t now, struct jsonrpc_request *ret_request)
{
        int64_t earliest = INT64_MAX;

        if (pending->earliest > now)
                return -ENOENT;
        for (unsigned i = 0; i < pending->size; i++) {
                struct jsonrpc_request *request = place(pending, pending->cursor + i);

                if (request->number == 0)
                        continue;
                if (request->deadline <= now) {
                        pending->cursor += i;
                        take(pending, request, ret_request);
                        return 0;
                }
                if (request->deadline < earliest)
                        earliest = request->deadline;
        }
        pending->earliest = earliest;
        return -ENOENT;
}
