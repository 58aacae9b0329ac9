/* Reads the text that says where to listen or to connect. */
#include "master/http/listen_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool after(const char **text, const char *prefix)
{
        size_t len = strlen(prefix);

        if (strncmp(*text, prefix, len) != 0)
                return false;
        *text += len;
        return true;
}

int listen_address_parse(const char *text, struct listen_address *ret_address)
{
        struct listen_address listen = { .is_tls = after(&text, "tls://") };
        size_t len, digits;
        const char *port;
        bool bracket;

        listen.is_unix = !listen.is_tls && after(&text, "unix:");
        bracket = !listen.is_unix && *text == '[';
        text += bracket;
        len = listen.is_unix ? strlen(text) : strcspn(text, bracket ? "]" : ":");
        port = text + len + bracket;
        if (listen.is_unix && len > LISTEN_PATH_MAX)
                return -ENAMETOOLONG;
        if (len == 0 || len >= sizeof listen.host)
                return -EINVAL;
        memcpy(listen.host, text, len);
        if (!listen.is_unix) {
                if (strpbrk(listen.host, " \t/") || !text[len] || *port++ != ':')
                        return -EINVAL;
                digits = strspn(port, "0123456789");
                if (digits == 0 || digits > 5 || port[digits] || strtoul(port, NULL, 10) > UINT16_MAX)
                        return -EINVAL;
                listen.port = (uint16_t)strtoul(port, NULL, 10);
        }
        *ret_address = listen;
        return 0;
}

bool listen_address_is_local(const struct listen_address *listen)
{
        struct in6_addr in6;
        struct in_addr in;

        if (listen->is_unix || strcmp(listen->host, "localhost") == 0)
                return true;
        if (inet_pton(AF_INET, listen->host, &in) == 1)
                return ntohl(in.s_addr) >> 24 == 127;
        if (inet_pton(AF_INET6, listen->host, &in6) != 1)
                return false;
        return IN6_IS_ADDR_LOOPBACK(&in6) || (IN6_IS_ADDR_V4MAPPED(&in6) && in6.s6_addr[12] == 127);
}
