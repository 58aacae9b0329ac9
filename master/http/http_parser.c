#include "master/http/http_parser.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#define BODY_FIRST_SIZE 4096

struct http_parser {
        llhttp_t llhttp;
        struct http_head *head; /* being filled; NULL in a body */
        struct http_body *body; /* being filled; NULL in a head */
        const char *framed;     /* in a chunked body: framing before this was scanned */
        char *text;             /* the head */
        const char *detail;
        int status;    /* why a callback refused; 0: none did */
        size_t name_len; /* of the field being read */
        char last;     /* the byte before the next one to scan; '\n' where a line begins */
        bool chunked, complete;
};

static int refuse(struct http_parser *parser, int status, const char *detail)
{
        parser->status = status;
        parser->detail = detail;
        return -1;
}

/* What llhttp lets pass: controls, CR or LF alone, folded lines. *last lives on from call to call. */
static bool scan(char *last, const char *text, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)text[i];

                if ((c == '\n') != (*last == '\r'))
                        return false;
                if (*last == '\n' && (c == ' ' || c == '\t'))
                        return false;
                if (c == 0x7f || (c < 0x20 && c != '\t' && c != '\r' && c != '\n'))
                        return false;
                *last = (char)c;
        }
        return true;
}

bool http_is_token(const char *text, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                char c = text[i];
                bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

                if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
                        return false;
        }
        return len > 0;
}

/* A chunked body's bytes up to end that were not data. */
static int scan_framing(struct http_parser *parser, const char *end)
{
        size_t len = (size_t)(end - parser->framed);

        if (!scan(&parser->last, parser->framed, len))
                return refuse(parser, 400, "chunk framing holds a control character, CR or LF alone, or a folded line");
        parser->framed = end;
        parser->body->framing += len;
        /* Chunks of one byte without extensions pass. */
        if (parser->body->framing > HTTP_HEAD_MAX + 8 * parser->body->len)
                return refuse(parser, 413, "chunk sizes, extensions and trailers far outweigh the data");
        return 0;
}

static int body_append(struct http_parser *parser, const char *at, size_t len)
{
        struct http_body *body = parser->body;

        if (len > body->max - body->len)
                return refuse(parser, 413, "the body is too large");
        if (body->len + len >= body->size) {
                size_t size = body->size ? body->size : BODY_FIRST_SIZE;

                while (body->len + len >= size)
                        size *= 2;
                char *bytes = realloc(body->bytes, size);
                if (!bytes)
                        return refuse(parser, 503, "out of memory");
                body->bytes = bytes;
                body->size = size;
        }
        memcpy(body->bytes + body->len, at, len);
        body->len += len;
        body->bytes[body->len] = '\0';
        return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
        struct http_parser *parser = llhttp->data;

        if (parser->chunked && scan_framing(parser, at) < 0)
                return -1;
        parser->framed = at + len;
        parser->last = '\0'; /* inside a line: CR must come next */
        return body_append(parser, at, len);
}

static int on_chunk_header(llhttp_t *llhttp)
{
        struct http_parser *parser = llhttp->data;

        if (llhttp->content_length > parser->body->max - parser->body->len)
                return refuse(parser, 413, "the body is too large");
        return 0;
}

static int on_target(llhttp_t *llhttp, const char *at, size_t len)
{
        struct http_parser *parser = llhttp->data;

        parser->head->target = parser->text + (at - parser->text);
        parser->head->target_len = len;
        return 0;
}

/* A span is one call, as the whole head is there; trailers (head is NULL) come in pieces and are dropped. */
static int on_field_name(llhttp_t *llhttp, const char *at, size_t len)
{
        struct http_parser *parser = llhttp->data;
        struct http_head *head = parser->head;

        if (len > 0 && !http_is_token(at, len))
                return refuse(parser, 400, "a header's name is no token");
        parser->name_len += len;
        if (!head || len == 0)
                return 0;
        if (head->field_count == HTTP_FIELDS_MAX)
                return refuse(parser, 431, "more than 64 headers");
        char *name = parser->text + (at - parser->text);
        head->fields[head->field_count++] = (struct http_field){
                .name = name, .name_len = len, .value = name + len, .value_len = 0
        };
        return 0;
}

static int on_field_name_complete(llhttp_t *llhttp)
{
        struct http_parser *parser = llhttp->data;

        if (parser->name_len == 0)
                return refuse(parser, 400, "a header has no name");
        parser->name_len = 0;
        return 0;
}

static int on_field_value(llhttp_t *llhttp, const char *at, size_t len)
{
        struct http_parser *parser = llhttp->data;
        struct http_head *head = parser->head;

        if (!head || len == 0)
                return 0;
        struct http_field *field = &head->fields[head->field_count - 1];
        while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
                len--;
        field->value = parser->text + (at - parser->text);
        field->value_len = len;
        return 0;
}

static int on_head_complete(llhttp_t *llhttp)
{
        struct http_parser *parser = llhttp->data;
        struct http_head *head = parser->head;
        bool close = llhttp->flags & F_CONNECTION_CLOSE;

        head->method = llhttp_method_name((llhttp_method_t)llhttp->method);
        head->minor = llhttp->http_minor;
        head->keep_alive = !close && (head->minor > 0 || (llhttp->flags & F_CONNECTION_KEEP_ALIVE));
        head->chunked = llhttp->flags & F_CHUNKED;
        head->content_length = llhttp->flags & F_CONTENT_LENGTH ? llhttp->content_length : 0;
        llhttp->upgrade = 0; /* no upgrade is offered, so what follows is HTTP */
        return 0;
}

static int on_complete(llhttp_t *llhttp)
{
        struct http_parser *parser = llhttp->data;

        parser->complete = true;
        return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
        .on_url = on_target,
        .on_header_field = on_field_name,
        .on_header_field_complete = on_field_name_complete,
        .on_header_value = on_field_value,
        .on_headers_complete = on_head_complete,
        .on_chunk_header = on_chunk_header,
        .on_body = on_body,
        .on_message_complete = on_complete,
};

struct http_parser *http_parser_new(void)
{
        return calloc(1, sizeof(struct http_parser));
}

struct http_parser *http_parser_free(struct http_parser *parser)
{
        free(parser);
        return NULL;
}

size_t http_head_length(const char *text, size_t len, size_t *searched)
{
        size_t line = *searched; /* where the first line not yet seen whole begins */
        const char *end;

        while (line < len && (end = memchr(text + line, '\n', len - line))) {
                size_t next = (size_t)(end - text) + 1;

                if (next - line == 1 || (next - line == 2 && text[line] == '\r'))
                        return next;
                line = next;
        }
        *searched = line;
        return 0;
}

/* Exactly "method target HTTP/1.0" or 1.1: llhttp takes more spaces, other protocols and other versions. */
static int check_request_line(struct http_parser *parser, const char *line, size_t len)
{
        const char *target = memchr(line, ' ', len);
        const char *version = target ? memrchr(line, ' ', len) : NULL;

        if (!version || version == target || memchr(target + 1, ' ', (size_t)(version - target - 1)) ||
                version == target + 1)
                return refuse(parser, 400, "the request line is not \"method target HTTP/1.1\"");
        version++;
        if (line + len - version != 8 || memcmp(version, "HTTP/", 5) != 0 || version[6] != '.')
                return refuse(parser, 400, "the request line does not end in HTTP/1.1 or HTTP/1.0");
        if (version[5] != '1' || (version[7] != '0' && version[7] != '1'))
                return refuse(parser, 505, "this server speaks HTTP/1.1 and HTTP/1.0");
        if (!http_is_token(line, (size_t)(target - line)))
                return refuse(parser, 400, "the method is no token");
        return 0;
}

static int check_bytes(struct http_parser *parser, const char *text, size_t len)
{
        const char *line_end = memchr(text, '\r', len);

        if (!scan(&parser->last, text, len))
                return refuse(parser, 400, "the head holds a control character, CR or LF alone, or a folded line");
        return check_request_line(parser, text, (size_t)(line_end - text));
}

static int llhttp_refusal(struct http_parser *parser)
{
        llhttp_errno_t error = llhttp_get_errno(&parser->llhttp);

        if (error == HPE_INVALID_METHOD)
                return refuse(parser, 501, "this server does not know the method");
        return refuse(parser, 400, llhttp_get_error_reason(&parser->llhttp));
}

int http_parser_head(struct http_parser *parser, char *text, size_t len, struct http_head *ret_head,
        const char **ret_detail)
{
        *parser = (struct http_parser){ .text = text, .head = ret_head, .last = '\n' };
        llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
        parser->llhttp.data = parser;
        ret_head->method = NULL;
        ret_head->field_count = 0;
        if (check_bytes(parser, text, len) == 0) {
                llhttp_errno_t error = llhttp_execute(&parser->llhttp, text, len);

                if (parser->status == 0 && error != HPE_OK && !parser->complete)
                        llhttp_refusal(parser);
                else if (parser->status == 0 && !ret_head->method)
                        refuse(parser, 400, "the head is no request"); /* PRI of HTTP/2 waits for more */
        }
        ret_head->complete = parser->complete;
        parser->chunked = ret_head->chunked;
        parser->head = NULL;
        *ret_detail = parser->detail;
        return parser->status;
}

int http_parser_body(struct http_parser *parser, const char *data, size_t len, struct http_body *body,
        size_t *ret_taken, const char **ret_detail)
{
        parser->body = body;
        parser->framed = data;
        llhttp_errno_t error = llhttp_execute(&parser->llhttp, data, len);
        const char *end = error == HPE_OK ? data + len : llhttp_get_error_pos(&parser->llhttp);
        /* The bytes decide before their meaning does, so that the answer is the same however they arrive. */
        bool framed = !parser->chunked || parser->framed >= end || scan_framing(parser, end) == 0;

        if (framed && parser->status == 0 && error != HPE_OK && !parser->complete)
                llhttp_refusal(parser);
        *ret_taken = (size_t)(end - data);
        *ret_detail = parser->detail;
        if (parser->status)
                return parser->status;
        return parser->complete ? HTTP_PARSED_ALL : HTTP_PARSED_MORE;
}
