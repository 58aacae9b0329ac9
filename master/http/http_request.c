/* What a handler sees of a request. */
#include "master/http/http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_request *http_request_new(struct http_connection *connection, const char *head, size_t head_len)
{
        struct http_request *request = malloc(sizeof *request + 3 * (head_len + 1));

        if (!request)
                return NULL;
        memset(request, 0, offsetof(struct http_request, head.fields));
        request->connection = connection;
        request->body.max = (size_t)connection->server->config.max_body_bytes;
        memcpy(request->peer, connection->peer, sizeof request->peer);
        memcpy(request->text, head, head_len);
        request->text[head_len] = '\0';
        request->spare = request->text + head_len + 1;
        request->raw = request->spare + head_len + 1;
        request->raw_len = head_len;
        memcpy(request->raw, head, head_len);
        request->path = request->text + head_len; /* "" until the head is read */
        return request;
}

void http_request_free(struct http_request *request)
{
        if (!request)
                return;
        free(request->body.bytes);
        free(request->extra);
        free(request->note);
        free(request->before);
        free(request);
}

const char *http_request_path(const struct http_request *request)
{
        return request->path;
}

static const char *param_find(const struct http_param *params, size_t count, const char *name)
{
        size_t len = strlen(name);

        for (size_t i = 0; i < count; i++)
                if (params[i].name_len == len && memcmp(params[i].name, name, len) == 0)
                        return params[i].value;
        return NULL;
}

const char *http_request_param(const struct http_request *request, const char *name)
{
        return param_find(request->params, request->param_count, name);
}

const char *http_request_query(const struct http_request *request, const char *name)
{
        return param_find(request->queries, request->query_count, name);
}

const char *http_request_query_name(const struct http_request *request, size_t i)
{
        return i < request->query_count ? request->queries[i].name : NULL;
}

bool http_request_query_once(const struct http_request *request, size_t i)
{
        return http_request_query(request, request->queries[i].name) == request->queries[i].value;
}

const char *http_request_header(const struct http_request *request, const char *name)
{
        size_t len = strlen(name);

        for (size_t i = 0; i < request->head.field_count; i++) {
                const struct http_field *field = &request->head.fields[i];

                if (field->name_len == len && memcmp(field->name, name, len) == 0)
                        return field->value;
        }
        return NULL;
}

const char *http_request_host(const struct http_request *request)
{
        return request->host;
}

const char *http_request_body(const struct http_request *request, size_t *ret_len)
{
        *ret_len = request->body.len;
        return request->body.bytes ? request->body.bytes : "";
}

const struct in6_addr *http_request_address(const struct http_request *request)
{
        return &request->connection->from;
}

bool http_request_over_loopback(const struct http_request *request)
{
        return request->connection->loopback;
}

const struct id *http_request_id(struct http_request *request)
{
        if (id_is_zero(&request->id))
                request->id = id_new();
        return &request->id;
}

void http_request_raise_body_max(struct http_request *request, int64_t bytes)
{
        if (request->body.max < (size_t)bytes)
                request->body.max = (size_t)bytes;
}

void http_request_set_user(struct http_request *request, const char *name)
{
        snprintf(request->user, sizeof request->user, "%s", name);
}

const char *http_request_user(const struct http_request *request)
{
        return request->user;
}

const char *http_request_peer(const struct http_request *request)
{
        return request->peer;
}

bool http_request_alive(const struct http_request *request)
{
        return request->connection != NULL;
}

void http_request_on_gone(struct http_request *request, void (*on_gone)(struct http_request *request))
{
        request->on_gone = on_gone;
        if (request->connection && request->connection->peer_done)
                http_connection_look(request->connection);
}

void http_request_leave_note(struct http_request *request, const char *note)
{
        free(request->note);
        request->note = strdup(note); /* without memory for it: as if nobody could go on with it */
}

bool http_request_may_move(const struct http_request *request)
{
        const struct http_config *config = &request->connection->server->config;

        return request->method == HTTP_GET || request->method == HTTP_HEAD ||
               (config->resumes && config->resumes(request->route));
}

const char *http_request_note(const struct http_request *request)
{
        return request->before;
}

void http_request_set_context(struct http_request *request, void *context)
{
        request->context = context;
}

void *http_request_context(const struct http_request *request)
{
        return request->context;
}
