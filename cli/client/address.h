/* Where a daemon listens, as people write it. Sources: RFC 3986, libcurl's URL API. */
#ifndef CLI_CLIENT_ADDRESS_H
#define CLI_CLIENT_ADDRESS_H
#include <curl/curl.h>
#include <stdbool.h>

struct address {
        char *base;     /* "http://host:port" and a path before ours, without a slash at the end; owned */
        char *socket;   /* path of a unix socket, or NULL; owned */
        bool tls, loopback;
};

/* 0, or -1 with the reason on stderr. */
int address_parse(const char *text, struct address *ret_address);
void address_done(struct address *address);
/* Why nobody answered at text, and what may help, in one line on stderr. details: libcurl's own words. */
void address_explain(const struct address *address, const char *text, CURLcode code, long os_errno, const char *details);
#endif
