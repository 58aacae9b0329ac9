#include "master/http/http_origin.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* text begins with prefix: what follows it; NULL: it does not. */
static const char *after(const char *text, const char *prefix)
{
        size_t len = strlen(prefix);

        return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static bool is_port_or_end(const char *text)
{
        return !*text || (*text == ':' && text[1] && !text[1 + strspn(text + 1, "0123456789")]);
}

static bool is_of_this_machine(const char *origin)
{
        static const char *const hosts[] = { "localhost", "127.0.0.1", "[::1]" };
        const char *host = after(origin, "http://"), *rest;

        host = host ? host : after(origin, "https://");
        for (size_t i = 0; host && i < sizeof hosts / sizeof *hosts; i++)
                if ((rest = after(host, hosts[i])) && is_port_or_end(rest))
                        return true;
        return false;
}

bool http_origin_is_allowed(const char *origin, char *const *allowed, bool loopback)
{
        for (; *allowed; allowed++)
                if (strcmp(*allowed, "*") == 0 || strcmp(*allowed, origin) == 0)
                        return true;
        return loopback && is_of_this_machine(origin);
}

/* Nobody can bend a numeric address to another machine. */
static bool is_numeric(const char *host, size_t len)
{
        unsigned char address[sizeof(struct in6_addr)];
        char text[INET6_ADDRSTRLEN];
        bool bracket = len > 1 && host[0] == '[' && host[len - 1] == ']';

        host += bracket;
        len -= bracket ? 2 : 0;
        if (len >= sizeof text)
                return false;
        memcpy(text, host, len);
        text[len] = '\0';
        return inet_pton(bracket ? AF_INET6 : AF_INET, text, address) == 1;
}

static bool is_name(const char *host, size_t len, const char *name)
{
        return strlen(name) == len && strncasecmp(host, name, len) == 0;
}

bool http_host_is_allowed(const char *host, char *const *allowed)
{
        size_t len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

        if (is_numeric(host, len))
                return true;
        len -= len > 1 && host[len - 1] == '.'; /* the root that every name ends in */
        for (; *allowed; allowed++)
                if (is_name(host, len, *allowed))
                        return true;
        return is_name(host, len, "localhost");
}

const char *http_origin_flaw(const char *text)
{
        const char *host = strstr(text, "://"), *port;

        if (strcmp(text, "*") == 0)
                return NULL;
        if (strcmp(text, "null") == 0)
                return "is what every page without an origin of its own sends; \"*\" lets all in";
        if (!host || host == text || !host[3] || host[3 + strcspn(host + 3, "/?#@ \t")])
                return "must be SCHEME://HOST or SCHEME://HOST:PORT, without a path, or \"*\"";
        for (const char *c = text; *c; c++)
                if (*c >= 'A' && *c <= 'Z')
                        return "must be in lower case, as browsers send it";
        port = strrchr(host + 3, ':');
        if (port && ((after(text, "http://") && strcmp(port, ":80") == 0) || (after(text, "https://") && strcmp(port, ":443") == 0)))
                return "must be without its scheme's own port, as browsers send it";
        return NULL;
}
