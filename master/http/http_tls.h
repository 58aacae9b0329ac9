/* TLS 1.2 and later for listeners, by OpenSSL. */
#ifndef MASTER_HTTP_HTTP_TLS_H
#define MASTER_HTTP_HTTP_TLS_H
#include <event2/bufferevent.h>
#include <openssl/ssl.h>
#include <stddef.h>

/* PEM files. */
struct http_tls_files {
        const char *certificate; /* with those of the authorities in between */
        const char *key;
        const char *client_ca;   /* every client must show a certificate that one of these signed; NULL: none need to */
};

#define HTTP_TLS_REASON_SIZE 256
/* The context (SSL_CTX_free), or NULL: reason names the file and what is wrong with it. */
SSL_CTX *http_tls_new(const struct http_tls_files *files, char reason[HTTP_TLS_REASON_SIZE]);
/* A connection that waits for its handshake; fd is closed with it. NULL: out of memory, fd stays the caller's. */
struct bufferevent *http_tls_transport(struct event_base *base, evutil_socket_t fd, SSL_CTX *context);
#endif
