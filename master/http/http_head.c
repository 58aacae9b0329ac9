/* A request's head as the parser read it: fields, path and query, in one piece of memory. */
#include "master/http/http_internal.h"

#include <string.h>
#include <strings.h>

static int refuse(int status, const char *detail, const char **ret_detail)
{
        *ret_detail = detail;
        return status;
}

static void fields_terminate(struct http_head *head)
{
        for (size_t i = 0; i < head->field_count; i++) {
                struct http_field *field = &head->fields[i];

                for (size_t k = 0; k < field->name_len; k++)
                        if (field->name[k] >= 'A' && field->name[k] <= 'Z')
                                field->name[k] = (char)(field->name[k] | 0x20);
                field->name[field->name_len] = '\0';
                field->value[field->value_len] = '\0';
        }
}

/* How many fields have the name; *ret_value is the last one's value. */
static size_t field_count(const struct http_head *head, const char *name, const char **ret_value)
{
        size_t len = strlen(name), count = 0;

        for (size_t i = 0; i < head->field_count; i++) {
                if (head->fields[i].name_len != len || memcmp(head->fields[i].name, name, len) != 0)
                        continue;
                *ret_value = head->fields[i].value;
                count++;
        }
        return count;
}

/* Makes the first of several fields hold the values of all; the others lose their names. */
static void fields_join(struct http_request *request)
{
        struct http_head *head = &request->head;

        for (size_t i = 0; i + 1 < head->field_count; i++) {
                struct http_field *first = &head->fields[i];
                char *end = NULL;

                for (size_t k = i + 1; k < head->field_count && first->name_len; k++) {
                        struct http_field *other = &head->fields[k];

                        if (other->name_len != first->name_len ||
                                memcmp(other->name, first->name, first->name_len) != 0)
                                continue;
                        if (!end) {
                                end = stpcpy(request->spare, first->value);
                                first->value = request->spare;
                        }
                        end = stpcpy(stpcpy(end, ", "), other->value);
                        other->name_len = 0;
                }
                if (end) {
                        first->value_len = (size_t)(end - first->value);
                        request->spare = end + 1;
                }
        }
}

/* RFC 3986 3.2 without userinfo; a host that is not empty. */
static bool is_authority(const char *text, size_t len)
{
        static const char ip6[] = "0123456789abcdefABCDEF:.";
        static const char name[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+,;=%";
        size_t host = 0;

        if (len > 0 && text[0] == '[') {
                size_t inside = strspn(text + 1, ip6);

                if (inside == 0 || inside + 2 > len || text[inside + 1] != ']')
                        return false;
                host = inside + 2;
        } else {
                host = strspn(text, name);
        }
        if (host > len)
                host = len;
        if (host == 0)
                return false;
        if (host == len)
                return true;
        return text[host] == ':' && strspn(text + host + 1, "0123456789") >= len - host - 1;
}

static int check_fields(struct http_request *request, const char **ret_detail)
{
        const struct http_head *head = &request->head;
        const char *value = NULL;
        size_t hosts = field_count(head, "host", &value);

        if (hosts > 1 || (hosts == 0 && head->minor > 0))
                return refuse(400, "exactly one Host header is needed", ret_detail);
        if (hosts == 1 && !is_authority(value, strlen(value)))
                return refuse(400, "the Host header is not host or host:port", ret_detail);
        size_t lengths = field_count(head, "content-length", &value);
        if (lengths > 1 || (lengths == 1 && (!*value || value[strspn(value, "0123456789")])))
                return refuse(400, "Content-Length must be one number", ret_detail);
        size_t codings = field_count(head, "transfer-encoding", &value);
        if (codings > 0 && head->minor == 0)
                return refuse(400, "HTTP/1.0 has no Transfer-Encoding", ret_detail);
        if (codings > 0 && lengths > 0)
                return refuse(400, "Transfer-Encoding and Content-Length exclude each other", ret_detail);
        if (codings > 1 || (codings == 1 && strcasecmp(value, "chunked") != 0))
                return refuse(501, "the only Transfer-Encoding served is chunked", ret_detail);
        if (head->minor > 0 && field_count(head, "expect", &value) > 0) {
                if (strcasecmp(value, "100-continue") != 0)
                        return refuse(417, "the only expectation served is 100-continue", ret_detail);
                request->expects_continue = true;
        }
        return 0;
}

/* RFC 9112 3.2: sets path, query and host. */
static int read_target(struct http_request *request, const char **ret_detail)
{
        char *target = request->head.target, *path = target;

        request->host = http_request_header(request, "host");
        for (const char *p = target; *p; p++)
                if (*p < 0x21 || *p > 0x7e || *p == '#')
                        return refuse(400, "the target holds bytes that must be percent-encoded", ret_detail);
        if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
                char *authority = strchr(target, ':') + 3;

                path = authority + strcspn(authority, "/?");
                if (!is_authority(authority, (size_t)(path - authority)))
                        return refuse(400, "the target's authority is not host or host:port", ret_detail);
                request->host = memmove(authority - 1, authority, (size_t)(path - authority));
                path[-1] = '\0';
        } else if (strcmp(target, "*") == 0 ? request->method != HTTP_OPTIONS : *target != '/') {
                return refuse(400, "the target is no absolute path", ret_detail);
        }
        request->query = strchr(path, '?');
        if (request->query)
                *request->query++ = '\0';
        http_path_normalize(path);
        request->path = *path ? path : "/";
        return 0;
}

/* application/json, with no parameter but charset=utf-8. */
static bool is_json(const char *type)
{
        size_t len = strcspn(type, " \t;");

        if (len != 16 || strncasecmp(type, "application/json", len) != 0)
                return false;
        type += len + strspn(type + len, " \t");
        if (!*type)
                return true;
        type += 1 + strspn(type + 1, " \t");
        return strcasecmp(type, "charset=utf-8") == 0 || strcasecmp(type, "charset=\"utf-8\"") == 0;
}

static int check_body(const struct http_request *request, const char **ret_detail)
{
        const struct http_head *head = &request->head;
        bool takes_body = request->method == HTTP_POST || request->method == HTTP_PUT;

        if (takes_body && head->minor == 0 && !http_request_header(request, "content-length"))
                return refuse(411, "an HTTP/1.0 request with a body needs Content-Length", ret_detail);
        if (head->content_length > request->body.max)
                return refuse(413, "the body is too large", ret_detail);
        if (head->complete)
                return 0;
        const char *type = http_request_header(request, "content-type");
        if (takes_body && (!type || !is_json(type)))
                return refuse(415, "the body must be Content-Type: application/json", ret_detail);
        const char *coding = http_request_header(request, "content-encoding");
        if (coding && *coding && strcasecmp(coding, "identity") != 0)
                return refuse(415, "no Content-Encoding is served", ret_detail);
        return 0;
}

/* A stranger does not even hear what is there. */
static int admit(struct http_request *request, const char **ret_detail)
{
        const struct http_config *config = &request->connection->server->config;
        const char *detail = "";
        int status = config->admit && !request->begun ? config->admit(request, request->route, config->arg, &detail) : 0;

        return status ? refuse(status, detail, ret_detail) : 0;
}

int http_head_read(struct http_parser *parser, struct http_request *request, size_t head_len, const char **ret_detail)
{
        struct http_head *head = &request->head;
        int status = http_parser_head(parser, request->text, head_len, head, ret_detail);

        if (status)
                return status;
        head->target[head->target_len] = '\0';
        request->method = http_method_parse(head->method);
        fields_terminate(head);
        if ((status = check_fields(request, ret_detail)) != 0)
                return status;
        fields_join(request);
        if ((status = read_target(request, ret_detail)) != 0)
                return status;
        status = http_router_match(request->connection->server->router, request, ret_detail);
        int refused = admit(request, ret_detail);
        if (refused || status)
                return refused ? refused : status;
        if ((status = http_query_read(request, ret_detail)) != 0)
                return status;
        return check_body(request, ret_detail);
}
