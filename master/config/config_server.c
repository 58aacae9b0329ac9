#include "master/config/config_server.h"

#include "master/config/tokens.h"
#include "master/http/http_origin.h"
#include "master/http/http_tls.h"
#include "master/http/listen_address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_one(const struct config_server *server, const struct listen_address *listen, const char *pointer,
        struct schema_errors *errors)
{
        if (listen->is_tls && (!server->tls.certificate || !server->tls.key))
                schema_fail(errors, pointer, "tls:// takes server.tls.certificate and server.tls.key");
        if (!server->tokens_file && !listen_address_is_local(listen))
                schema_fail(errors, pointer, "may be reached from other machines, and without tokens anybody there could do "
                        "anything: set server.tokens_file, or listen on 127.0.0.1, [::1] or unix:PATH");
}

static void check_listen(const struct config_server *server, struct schema_errors *errors)
{
        struct listen_address listen;
        char pointer[40];

        for (size_t i = 0; server->listen[i]; i++) {
                int r = listen_address_parse(server->listen[i], &listen);

                snprintf(pointer, sizeof pointer, "/server/listen/%zu", i);
                if (r == -ENAMETOOLONG)
                        schema_fail(errors, pointer, "the path of the socket is longer than %zu bytes, the most that the system takes",
                                LISTEN_PATH_MAX);
                else if (r < 0)
                        schema_fail(errors, pointer, "must be HOST:PORT, [IPV6]:PORT, *:PORT, one of these after tls://, "
                                "or unix:PATH");
                else
                        check_one(server, &listen, pointer, errors);
                for (size_t j = 0; j < i; j++)
                        if (strcmp(server->listen[i], server->listen[j]) == 0)
                                schema_fail(errors, pointer, "appears twice");
        }
}

static void check_browsers(const struct config_server *server, struct schema_errors *errors)
{
        char pointer[48];

        for (size_t i = 0; server->allowed_origins[i]; i++) {
                const char *flaw = http_origin_flaw(server->allowed_origins[i]);

                snprintf(pointer, sizeof pointer, "/server/allowed_origins/%zu", i);
                if (flaw)
                        schema_fail(errors, pointer, "%s", flaw);
        }
        for (size_t i = 0; server->allowed_hosts[i]; i++) {
                snprintf(pointer, sizeof pointer, "/server/allowed_hosts/%zu", i);
                if (!*server->allowed_hosts[i] || strpbrk(server->allowed_hosts[i], ":/*@ \t"))
                        schema_fail(errors, pointer, "must be a host's name, without a scheme and without a port");
        }
}

static void check_tls(const struct config_tls *tls, struct schema_errors *errors)
{
        struct http_tls_files files = { tls->certificate, tls->key, tls->client_ca };
        char reason[HTTP_TLS_REASON_SIZE];
        SSL_CTX *context;

        if (!tls->certificate != !tls->key || (tls->client_ca && !tls->key)) {
                schema_fail(errors, "/server/tls", "takes both certificate and key");
        } else if (tls->key) {
                context = http_tls_new(&files, reason);
                if (!context)
                        schema_fail(errors, "/server/tls", "%s", reason);
                SSL_CTX_free(context);
        }
}

int config_server_check_files(const struct config_server *server, struct tokens **ret_tokens, struct schema_errors *errors)
{
        char reason[200];
        int r = 0;

        check_tls(&server->tls, errors);
        if (server->tokens_file)
                r = tokens_load(server->tokens_file, ret_tokens, reason, sizeof reason);
        if (r == -EINVAL)
                schema_fail(errors, "/server/tokens_file", "%s: %s", server->tokens_file, reason);
        return r == -ENOMEM ? r : 0;
}

int config_server_check(struct config *config, struct schema_errors *errors)
{
        struct config_server *server = &config->server;
        char *end;

        if (server->max_connections_per_address == 0)
                server->max_connections_per_address = server->max_connections;
        if (server->rate_limit.burst == 0)
                server->rate_limit.burst = server->rate_limit.requests_per_second;
        server->unix_socket.mode_bits = (unsigned)strtoul(server->unix_socket.mode, &end, 8);
        if (*end || server->unix_socket.mode_bits > 0777)
                schema_fail(errors, "/server/unix/mode", "must be permissions in octal, as \"0660\"");
        check_listen(server, errors);
        check_browsers(server, errors);
        return config_server_check_files(server, &config->tokens, errors);
}
