#include "master/http/http_tls.h"

#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20" /* of TLS 1.2; those of 1.3 are all sound */

static SSL_CTX *refuse(SSL_CTX *context, const char *file, const char *what, char reason[HTTP_TLS_REASON_SIZE])
{
        unsigned long error = ERR_get_error();
        const char *why = error ? ERR_reason_error_string(error) : NULL;

        /* What the system says reads better than "system lib". */
        if (error && ERR_SYSTEM_ERROR(error))
                why = strerror(ERR_GET_REASON(error));
        snprintf(reason, HTTP_TLS_REASON_SIZE, "%s: %s%s%s", file, what, why ? ": " : "", why ? why : "");
        ERR_clear_error();
        SSL_CTX_free(context);
        return NULL;
}

static void set_rules(SSL_CTX *context)
{
        SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
        SSL_CTX_set_cipher_list(context, CIPHERS);
        SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION |
                SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets resume, without memory of ours */
        SSL_CTX_set_session_id_context(context, (const unsigned char *)"agentpool", 9);
}

SSL_CTX *http_tls_new(const struct http_tls_files *files, char reason[HTTP_TLS_REASON_SIZE])
{
        SSL_CTX *context = SSL_CTX_new(TLS_server_method());

        if (!context)
                return refuse(context, "TLS", "OpenSSL cannot begin", reason);
        ERR_clear_error();
        set_rules(context);
        if (SSL_CTX_use_certificate_chain_file(context, files->certificate) != 1)
                return refuse(context, files->certificate, "no usable certificate (PEM)", reason);
        if (SSL_CTX_use_PrivateKey_file(context, files->key, SSL_FILETYPE_PEM) != 1)
                return refuse(context, files->key, "no usable key (PEM, without a passphrase) of the certificate", reason);
        if (SSL_CTX_check_private_key(context) != 1)
                return refuse(context, files->key, "the key is not that of the certificate", reason);
        if (!files->client_ca)
                return context;
        if (SSL_CTX_load_verify_locations(context, files->client_ca, NULL) != 1)
                return refuse(context, files->client_ca, "no usable certificates (PEM)", reason);
        SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(files->client_ca));
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        return context;
}

struct bufferevent *http_tls_transport(struct event_base *base, evutil_socket_t fd, SSL_CTX *context)
{
        SSL *ssl = SSL_new(context);
        struct bufferevent *bev;

        if (!ssl)
                return NULL;
        bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
        if (!bev) {
                SSL_free(ssl);
                return NULL;
        }
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1); /* a close without goodbye is an end, as without TLS */
        return bev;
}
