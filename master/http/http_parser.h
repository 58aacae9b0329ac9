/* One request's bytes: llhttp behind the strict checks that it lacks. llhttp.h and http.h name the same enumerators, so
 * http_parser.c alone sees llhttp. Pure: bytes in, a head or a body out. Source: RFC 9112. */
#ifndef MASTER_HTTP_HTTP_PARSER_H
#define MASTER_HTTP_HTTP_PARSER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 16384
#define HTTP_FIELDS_MAX 64

struct http_field {
        char *name, *value; /* into the head's text; value without white space around it */
        size_t name_len, value_len;
};

struct http_head {
        const char *method; /* static; any that llhttp knows, in upper case */
        char *target;       /* into the head's text, as target_len tells */
        size_t target_len;
        uint64_t content_length; /* 0 when absent */
        unsigned minor;          /* of the version: 0 or 1 */
        bool keep_alive, chunked;
        bool complete; /* no body follows */
        size_t field_count;
        struct http_field fields[HTTP_FIELDS_MAX];
};

struct http_body {
        char *bytes; /* owned, NUL-terminated; NULL until the first byte */
        size_t len, size;
        size_t max;     /* len never exceeds it */
        size_t framing; /* bytes of chunk sizes, extensions and trailers */
};

enum http_parsed { HTTP_PARSED_MORE = 1, HTTP_PARSED_ALL };

struct http_parser;
struct http_parser *http_parser_new(void);
struct http_parser *http_parser_free(struct http_parser *parser);
/* The length of the head that text begins with (through its empty line, of whatever line ends), 0 while it is not all
 * there. *searched: where to go on, 0 at first. */
size_t http_head_length(const char *text, size_t len, size_t *searched);
/* A head of exactly len bytes, into which ret_head points. 0, or the status to refuse it with and a static detail. */
int http_parser_head(struct http_parser *parser, char *text, size_t len, struct http_head *ret_head,
        const char **ret_detail);
/* Bytes after that head, of which *ret_taken belonged to the body. An enum http_parsed, or the status to refuse it with
 * and a static detail. */
int http_parser_body(struct http_parser *parser, const char *data, size_t len, struct http_body *body,
        size_t *ret_taken, const char **ret_detail);
/* RFC 9110 5.6.2. */
bool http_is_token(const char *text, size_t len);
#endif
