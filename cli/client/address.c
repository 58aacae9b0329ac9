#include "cli/client/address.h"

#include "cli/client/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define API "/api/v1"

static int refuse(const char *text, const char *why)
{
        fprintf(stderr, "agentpool: %s: %s; a URL is http://HOST:PORT, https://HOST:PORT or unix:PATH\n", text, why);
        return -1;
}

static char *copy(const char *text)
{
        return memory_need(strdup(text));
}

/* A part of the URL; curl_free. NULL: there is none. */
static char *part(CURLU *url, CURLUPart what)
{
        char *text = NULL;

        return curl_url_get(url, what, &text, 0) == CURLUE_OK ? text : NULL;
}

/* In bytes of the network's order. Who connects to the unspecified address comes out here, too. */
static bool is_loopback_v4(const unsigned char address[4])
{
        return address[0] == 127 || memcmp(address, "\0\0\0", 4) == 0;
}

/* As libcurl writes it: IPv6 in brackets, IPv4 in four numbers. */
static bool is_loopback(const char *host)
{
        char name[256];
        struct in_addr v4;
        struct in6_addr v6;
        size_t len;

        snprintf(name, sizeof name, "%s", *host == '[' ? host + 1 : host);
        name[strcspn(name, "]")] = '\0';
        if (inet_pton(AF_INET, name, &v4) == 1)
                return is_loopback_v4((const unsigned char *)&v4);
        if (inet_pton(AF_INET6, name, &v6) == 1)
                return IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_UNSPECIFIED(&v6) ||
                       (IN6_IS_ADDR_V4MAPPED(&v6) && is_loopback_v4(v6.s6_addr + 12));
        len = strlen(name);
        if (len > 0 && name[len - 1] == '.')
                name[--len] = '\0';
        return strcasecmp(name, "localhost") == 0 || (len > 10 && strcasecmp(name + len - 10, ".localhost") == 0);
}

/* The path that stands before ours, as behind a proxy: without slashes at its end, and without ours, which people copy too. */
static void strip_path(char *path)
{
        size_t len = strlen(path);

        while (len > 0 && path[len - 1] == '/')
                path[--len] = '\0';
        if (len >= strlen(API) && strcmp(path + len - strlen(API), API) == 0)
                path[len - strlen(API)] = '\0';
}

static int read_parts(CURLU *url, const char *text, struct address *address)
{
        char *scheme = part(url, CURLUPART_SCHEME), *host = part(url, CURLUPART_HOST), *port = part(url, CURLUPART_PORT);
        char *path = part(url, CURLUPART_PATH), *user = part(url, CURLUPART_USER), *query = part(url, CURLUPART_QUERY);
        int r = 0;

        address->tls = scheme && strcmp(scheme, "https") == 0;
        if (!scheme || (!address->tls && strcmp(scheme, "http") != 0))
                r = refuse(text, "no such scheme");
        else if (user)
                r = refuse(text, "a token does not go into the URL but into a file: -t FILE");
        else if (query)
                r = refuse(text, "it has a query");
        else if (host && path) {
                strip_path(path);
                address->loopback = is_loopback(host);
                if (asprintf(&address->base, "%s://%s%s%s%s", scheme, host, port ? ":" : "", port ? port : "", path) < 0)
                        memory_exhausted();
        }
        curl_free(scheme);
        curl_free(host);
        curl_free(port);
        curl_free(path);
        curl_free(user);
        curl_free(query);
        return r;
}

static int parse_unix(const char *text, struct address *address)
{
        const char *path = text + strlen("unix:");

        if (strncmp(path, "//", 2) == 0)
                path += 2;
        if (!*path || strlen(path) >= sizeof ((struct sockaddr_un *)0)->sun_path)
                return refuse(text, *path ? "the socket's name is too long" : "it names no socket");
        address->base = copy("http://localhost");
        address->socket = copy(path);
        address->loopback = true;
        return 0;
}

int address_parse(const char *text, struct address *ret_address)
{
        struct address address = { 0 };
        char *whole = NULL;
        CURLUcode code;
        CURLU *url;
        int r;

        if (strncmp(text, "unix:", 5) == 0) {
                r = parse_unix(text, &address);
        } else {
                url = curl_url();
                if (!url || asprintf(&whole, "%s%s", strstr(text, "://") ? "" : "http://", text) < 0)
                        memory_exhausted();
                code = curl_url_set(url, CURLUPART_URL, whole, CURLU_NON_SUPPORT_SCHEME);
                r = code == CURLUE_OK ? read_parts(url, text, &address) : refuse(text, curl_url_strerror(code));
                curl_url_cleanup(url);
                free(whole);
        }
        if (r == 0)
                *ret_address = address;
        return r;
}

void address_done(struct address *address)
{
        free(address->base);
        free(address->socket);
}

/* libcurl does not say why a unix socket refuses. */
static int socket_error(const char *path)
{
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

        memcpy(to.sun_path, path, strlen(path) + 1);
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
                error = errno;
        if (fd >= 0)
                close(fd);
        return error;
}

static const char *remedy(const struct address *address, CURLcode code, int error, const char *details)
{
        bool tls = address->tls;

        if (error == EACCES || error == EPERM)
                return "your user may not use this socket; its mode and group are the daemon's server.unix settings";
        if (error == ECONNREFUSED || error == ENOENT)
                return "is agentpoold running there? (-u URL, AGENTPOOL_URL, agentpool context)";
        if (code == CURLE_PEER_FAILED_VERIFICATION)
                return "-c FILE names the certificates to trust";
        /* One that does not speak it may also wait for more of what it takes for a request. */
        if (code == CURLE_SSL_CONNECT_ERROR || (tls && code == CURLE_OPERATION_TIMEDOUT && strncmp(details, "SSL", 3) == 0))
                return "does it speak TLS at all? http:// is without";
        if (!tls && (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY))
                return "does it want TLS? https:// is with";
        return "is agentpoold running there? (-u URL, AGENTPOOL_URL, agentpool context)";
}

void address_explain(const struct address *address, const char *text, CURLcode code, long os_errno, const char *details)
{
        int error = address->socket && code == CURLE_COULDNT_CONNECT ? socket_error(address->socket) : (int)os_errno;
        const char *what = *details ? details : curl_easy_strerror(code);

        if (code == CURLE_COULDNT_CONNECT && error)
                what = strerror(error);
        else
                error = 0;
        fprintf(stderr, "agentpool: %s: %s; %s\n", text, what, remedy(address, code, error, what));
}
