/* Which route a path and a method mean, and which methods a path knows. */
#include "common/utf8.h"
#include "master/http/http_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SEGMENTS_MAX 8

struct segment {
        const char *text; /* into a path; without braces */
        size_t len;
        bool param;
};

struct path {
        unsigned count;
        struct segment segments[PATH_SEGMENTS_MAX];
};

struct compiled {
        const struct http_route *route;
        unsigned rank; /* one bit a segment, the first one highest, set when it is literal */
        struct path path;
};

struct http_router {
        size_t count;
        unsigned all; /* methods of any route */
        struct compiled routes[];
};

static const char *const method_names[HTTP_METHOD_COUNT] = {
        [HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD", [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
};

enum http_method http_method_parse(const char *name)
{
        for (unsigned m = HTTP_GET; m < HTTP_METHOD_COUNT; m++)
                if (strcmp(name, method_names[m]) == 0)
                        return (enum http_method)m;
        return 0;
}

static unsigned method_bit(enum http_method method)
{
        return 1u << method;
}

const char *http_allow_text(unsigned allowed, char text[64])
{
        char *end = text;

        allowed |= method_bit(HTTP_OPTIONS);
        if (allowed & method_bit(HTTP_GET))
                allowed |= method_bit(HTTP_HEAD);
        for (unsigned m = HTTP_GET; m < HTTP_METHOD_COUNT; m++)
                if (allowed & (1u << m))
                        end = stpcpy(stpcpy(end, end == text ? "" : ", "), method_names[m]);
        return text;
}

/* False when it has more segments than any route may have. */
static bool path_split(const char *text, struct path *ret_path)
{
        ret_path->count = 0;
        while (*text == '/') {
                const char *end = strchrnul(text + 1, '/');

                if (ret_path->count == PATH_SEGMENTS_MAX)
                        return false;
                ret_path->segments[ret_path->count++] =
                        (struct segment){ .text = text + 1, .len = (size_t)(end - text) - 1 };
                text = end;
        }
        return true;
}

static void compile(const struct http_route *route, struct compiled *compiled)
{
        bool fits = path_split(route->path, &compiled->path);
        unsigned params = 0;

        assert(fits && compiled->path.count > 0);
        (void)fits;
        compiled->route = route;
        for (unsigned i = 0; i < compiled->path.count; i++) {
                struct segment *segment = &compiled->path.segments[i];

                compiled->rank <<= 1;
                if (segment->len < 2 || segment->text[0] != '{') {
                        compiled->rank |= 1;
                        continue;
                }
                segment->param = true;
                segment->text++;
                segment->len -= 2;
                params++;
        }
        assert(params <= HTTP_SEGMENTS_MAX);
        (void)params;
}

struct http_router *http_router_new(const struct http_route *routes)
{
        size_t count = 0;

        while (routes[count].path)
                count++;
        struct http_router *router = calloc(1, sizeof *router + count * sizeof router->routes[0]);
        if (!router)
                return NULL;
        router->count = count;
        for (size_t i = 0; i < count; i++) {
                compile(&routes[i], &router->routes[i]);
                router->all |= method_bit(routes[i].method);
        }
        return router;
}

struct http_router *http_router_free(struct http_router *router)
{
        free(router);
        return NULL;
}

static bool path_matches(const struct path *pattern, const struct path *path)
{
        if (pattern->count != path->count)
                return false;
        /* From the end: routes share their beginnings. */
        for (unsigned i = path->count; i-- > 0;) {
                const struct segment *want = &pattern->segments[i], *have = &path->segments[i];

                if (want->param ? have->len == 0
                                : want->len != have->len || memcmp(want->text, have->text, have->len) != 0)
                        return false;
        }
        return true;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = (char)(c | 0x20);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Letters, digits, "-", ".", "_" and "~" mean the same encoded or not (RFC 3986 6.2.2.2). */
void http_path_normalize(char *path)
{
        char *to = path;

        for (const char *from = path; *from; from++, to++) {
                int high = *from == '%' ? hex_value(from[1]) : -1, low = high >= 0 ? hex_value(from[2]) : -1;
                int c = low >= 0 ? high << 4 | low : -1;

                *to = *from;
                if (c < 0x80 && c > 0 && (isalnum(c) || strchr("-._~", c))) {
                        *to = (char)c;
                        from += 2;
                }
        }
        *to = '\0';
}

/* Percent-decodes into out, which has room for len bytes and a NUL and may be text itself. Returns the end, or NULL:
 * wrongly encoded, a control character, or no UTF-8. */
static char *decode(const char *text, size_t len, bool plus_is_space, char *out)
{
        char *to = out;

        for (size_t i = 0; i < len; i++) {
                char c = text[i];

                if (c == '+' && plus_is_space) {
                        c = ' ';
                } else if (c == '%') {
                        int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
                        int low = i + 2 < len ? hex_value(text[i + 2]) : -1;

                        if (high < 0 || low < 0)
                                return NULL;
                        c = (char)(high << 4 | low);
                        i += 2;
                }
                if ((unsigned char)c < 0x20 || c == 0x7f)
                        return NULL;
                *to++ = c;
        }
        *to = '\0';
        for (const char *p = out; p < to;) {
                size_t bytes = utf8_length(p, to);

                if (bytes == 0)
                        return NULL;
                p += bytes;
        }
        return to;
}

static int read_params(const struct compiled *match, const struct path *path, struct http_request *request,
        const char **ret_detail)
{
        for (unsigned i = 0; i < path->count; i++) {
                const struct segment *name = &match->path.segments[i], *value = &path->segments[i];

                if (!name->param)
                        continue;
                char *end = decode(value->text, value->len, false, request->spare);
                if (!end) {
                        *ret_detail = "a segment of the path is not percent-encoded UTF-8";
                        return 400;
                }
                request->params[request->param_count++] = (struct http_param){
                        .name = name->text, .name_len = name->len, .value = request->spare
                };
                request->spare = end + 1;
        }
        return 0;
}

/* Of the routes that match, those with the most literal beginning. */
static const struct compiled *router_find(const struct http_router *router, const struct path *path,
        struct http_request *request)
{
        enum http_method method = request->method == HTTP_HEAD ? HTTP_GET : request->method;
        const struct compiled *best = NULL;

        for (size_t i = 0; i < router->count; i++) {
                const struct compiled *at = &router->routes[i];

                if ((best && at->rank < best->rank) || !path_matches(&at->path, path))
                        continue;
                if (!best || at->rank > best->rank) {
                        best = at;
                        request->allowed = 0;
                        request->route = NULL;
                }
                request->allowed |= method_bit(at->route->method);
                if (at->route->method == method)
                        request->route = at->route;
        }
        return best;
}

int http_router_match(const struct http_router *router, struct http_request *request, const char **ret_detail)
{
        struct path path;

        if (*request->path == '*') {
                request->allowed = router->all;
                return 0;
        }
        const struct compiled *match = path_split(request->path, &path) ? router_find(router, &path, request) : NULL;
        if (!match) {
                *ret_detail = "there is nothing at this path";
                return 404;
        }
        if (!request->route && request->method != HTTP_OPTIONS) {
                *ret_detail = "this path does not take the method; see the Allow header";
                return 405;
        }
        return read_params(match, &path, request, ret_detail);
}

static int read_one_query(struct http_request *request, char *text, size_t len, const char **ret_detail)
{
        char *equals = memchr(text, '=', len);
        size_t name_len = equals ? (size_t)(equals - text) : len;
        char *value = equals ? equals + 1 : text + len;
        struct http_param *query = &request->queries[request->query_count];

        if (request->query_count == HTTP_QUERIES_MAX) {
                *ret_detail = "more than 32 query parameters";
                return 400;
        }
        /* The value first: the name's NUL takes the place of "=". */
        char *value_end = decode(value, (size_t)(text + len - value), true, value);
        char *name_end = decode(text, name_len, true, text);
        if (!value_end || !name_end) {
                *ret_detail = "the query is not percent-encoded UTF-8";
                return 400;
        }
        *query = (struct http_param){ .name = text, .name_len = (size_t)(name_end - text), .value = value };
        request->query_count++;
        return 0;
}

int http_query_read(struct http_request *request, const char **ret_detail)
{
        char *text = request->query;

        while (text && *text) {
                char *end = strchrnul(text, '&');
                bool last = *end == '\0';
                int status = end > text ? read_one_query(request, text, (size_t)(end - text), ret_detail) : 0;

                if (status)
                        return status;
                text = last ? end : end + 1;
        }
        return 0;
}
