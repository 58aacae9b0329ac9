#include "registry/redis/redis_url.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define DEFAULT_PORT 6379
#define MASK "***"

struct span {
        const char *text;
        size_t len;
};

__attribute__((format(printf, 2, 3))) static int refuse(char *reason, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(reason, REDIS_URL_REASON_SIZE, format, args);
        va_end(args);
        return -EINVAL;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = (char)tolower((unsigned char)c);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 0, -EINVAL for a broken escape, a control byte or NUL, -ENOMEM. An empty span gives an empty text. */
static int span_decode(struct span span, char **ret_text)
{
        char *text = malloc(span.len + 1), *out = text;

        if (!text)
                return -ENOMEM;
        for (size_t i = 0; i < span.len; i++, out++) {
                int high, low;

                *out = span.text[i];
                if (*out == '%') {
                        high = i + 2 < span.len ? hex_value(span.text[i + 1]) : -1;
                        low = i + 2 < span.len ? hex_value(span.text[i + 2]) : -1;
                        if (high < 0 || low < 0)
                                goto broken;
                        *out = (char)(high << 4 | low);
                        i += 2;
                }
                if (iscntrl((unsigned char)*out))
                        goto broken;
        }
        *out = '\0';
        *ret_text = text;
        return 0;
broken:
        free(text);
        return -EINVAL;
}

/* Cuts the part before the first byte that is in stops off *rest. */
static struct span span_cut(struct span *rest, const char *stops)
{
        struct span part = { rest->text, 0 };

        while (part.len < rest->len && !strchr(stops, rest->text[part.len]))
                part.len++;
        rest->text += part.len;
        rest->len -= part.len;
        return part;
}

static bool span_skip(struct span *rest, char c)
{
        if (rest->len == 0 || *rest->text != c)
                return false;
        rest->text++;
        rest->len--;
        return true;
}

static int span_number(struct span span, unsigned max, unsigned *ret_value)
{
        unsigned value = 0;

        if (span.len == 0)
                return -EINVAL;
        for (size_t i = 0; i < span.len; i++) {
                unsigned digit = (unsigned)(span.text[i] - '0');

                if (digit > 9 || value > (max - digit) / 10)
                        return -EINVAL;
                value = value * 10 + digit;
        }
        *ret_value = value;
        return 0;
}

static int read_user(struct span userinfo, struct redis_url *url, char *reason)
{
        struct span user = span_cut(&userinfo, ":");
        int r = 0;

        if (user.len > 0)
                r = span_decode(user, &url->user);
        if (r == 0 && span_skip(&userinfo, ':') && userinfo.len > 0)
                r = span_decode(userinfo, &url->password);
        if (r == 0 && url->user && !url->password)
                return refuse(reason, "names a user without a password; write redis://USER:PASSWORD@HOST");
        if (r == -EINVAL)
                return refuse(reason, "user or password has a broken percent escape or a control byte");
        return r;
}

static int read_host(struct span *authority, struct redis_url *url, char *reason)
{
        bool bracket = span_skip(authority, '[');
        struct span host = span_cut(authority, bracket ? "]" : ":");
        unsigned port = DEFAULT_PORT;

        if (bracket && !span_skip(authority, ']'))
                return refuse(reason, "the IPv6 address lacks its closing \"]\"");
        if (host.len == 0)
                return refuse(reason, "has no host; write redis://HOST:PORT/DB");
        for (size_t i = 0; i < host.len; i++)
                if (!isgraph((unsigned char)host.text[i]) || strchr("%[]<>\"\\^`{|}", host.text[i]))
                        return refuse(reason, "the host has a character that no host has");
        if (span_skip(authority, ':')) {
                if (span_number(*authority, UINT16_MAX, &port) < 0 || port == 0)
                        return refuse(reason, "the port is no number from 1 to 65535");
        } else if (authority->len > 0) {
                return refuse(reason, "something other than \":PORT\" follows the host");
        }
        url->port = (uint16_t)port;
        return span_decode(host, &url->host);
}

static int read_db(struct span number, struct redis_url *url, char *reason)
{
        if (span_number(number, INT_MAX, &url->db) < 0)
                return refuse(reason, "the database is no number from 0");
        return 0;
}

static int read_query(struct span query, struct redis_url *url, char *reason)
{
        while (query.len > 0) {
                struct span value = span_cut(&query, "&");
                struct span name = span_cut(&value, "=");
                int r;

                span_skip(&query, '&');
                if (name.len != 2 || memcmp(name.text, "db", 2) != 0 || !span_skip(&value, '='))
                        return refuse(reason, "after \"?\" only db=N may stand");
                r = read_db(value, url, reason);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_path(struct span path, struct redis_url *url, char *reason)
{
        int r;

        if (path.len == 0 || *path.text != '/')
                return refuse(reason, "the socket's path must be absolute; write unix:///run/redis/redis.sock");
        r = span_decode(path, &url->path);
        if (r == -EINVAL)
                return refuse(reason, "the path has a broken percent escape or a control byte");
        if (r == 0 && strlen(url->path) >= sizeof((struct sockaddr_un *)0)->sun_path)
                return refuse(reason, "the socket's path is %zu bytes long; the system takes at most %zu",
                        strlen(url->path), sizeof((struct sockaddr_un *)0)->sun_path - 1);
        return r;
}

static int read_rest(struct span rest, bool is_unix, struct redis_url *url, char *reason)
{
        struct span authority = span_cut(&rest, "/?"), userinfo = authority;
        struct span path = span_cut(&rest, "?");
        int r = 0;

        while (userinfo.len > 0 && userinfo.text[userinfo.len - 1] != '@')
                userinfo.len--;
        if (userinfo.len > 0) {
                authority.text += userinfo.len;
                authority.len -= userinfo.len;
                userinfo.len--; /* the @ */
                r = read_user(userinfo, url, reason);
        }
        if (r < 0)
                return r;
        if (is_unix && authority.len > 0)
                return refuse(reason, "the socket's path must be absolute; write unix:///run/redis/redis.sock");
        r = is_unix ? read_path(path, url, reason) : read_host(&authority, url, reason);
        if (r == 0 && !is_unix && span_skip(&path, '/') && path.len > 0)
                r = read_db(path, url, reason);
        if (r == 0 && span_skip(&rest, '?'))
                r = read_query(rest, url, reason);
        return r;
}

int redis_url_parse(const char *text, struct redis_url *ret_url, char reason[REDIS_URL_REASON_SIZE])
{
        static const struct {
                const char *prefix;
                bool is_unix;
        } schemes[] = { { "redis://", false }, { "unix://", true }, { "redis+unix://", true } };
        struct redis_url url = { 0 };
        int r = -EINVAL;

        if (strcmp(text, "embedded:") == 0) {
                url.embedded = true;
                *ret_url = url;
                return 0;
        }
        if (strncmp(text, "rediss://", 9) == 0)
                return refuse(reason, "TLS is not spoken here; use redis:// through a TLS proxy such as stunnel");
        refuse(reason, "must be redis://HOST:PORT/DB, unix:///PATH?db=N or embedded:");
        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
                size_t len = strlen(schemes[i].prefix);

                if (strncmp(text, schemes[i].prefix, len) == 0)
                        r = read_rest((struct span){ text + len, strlen(text + len) }, schemes[i].is_unix, &url,
                                reason);
        }
        if (r < 0)
                redis_url_done(&url);
        else
                *ret_url = url;
        return r;
}

void redis_url_done(struct redis_url *url)
{
        free(url->path);
        free(url->host);
        free(url->user);
        free(url->password);
        *url = (struct redis_url){ 0 };
}

static void write_encoded(FILE *out, const char *text, const char *keep)
{
        for (; *text; text++)
                if (isalnum((unsigned char)*text) || strchr(keep, *text))
                        fputc(*text, out);
                else
                        fprintf(out, "%%%02X", (unsigned char)*text);
}

char *redis_url_format(const struct redis_url *url, bool mask)
{
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        if (!out)
                return NULL;
        fputs(url->embedded ? "embedded:" : url->path ? "unix://" : "redis://", out);
        if (url->user)
                write_encoded(out, url->user, "-._~");
        if (url->password) {
                fputc(':', out);
                write_encoded(out, mask ? MASK : url->password, mask ? MASK : "-._~");
                fputc('@', out);
        }
        if (url->path)
                write_encoded(out, url->path, "/-._~");
        else if (url->host)
                fprintf(out, strchr(url->host, ':') ? "[%s]:%u" : "%s:%u", url->host, (unsigned)url->port);
        if (url->db > 0)
                fprintf(out, url->path ? "?db=%u" : "/%u", url->db);
        if (fclose(out) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

int redis_url_copy(struct redis_url *ret_url, const struct redis_url *url)
{
        *ret_url = *url;
        ret_url->path = url->path ? strdup(url->path) : NULL;
        ret_url->host = url->host ? strdup(url->host) : NULL;
        ret_url->user = url->user ? strdup(url->user) : NULL;
        ret_url->password = url->password ? strdup(url->password) : NULL;
        if ((url->path && !ret_url->path) || (url->host && !ret_url->host) || (url->user && !ret_url->user)
                || (url->password && !ret_url->password))
                return -ENOMEM;
        return 0;
}

int redis_url_unix(const struct redis_url *url, struct sockaddr_un *ret_address)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (strlen(url->path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, url->path, strlen(url->path) + 1);
        *ret_address = address;
        return 0;
}
