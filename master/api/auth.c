#include "master/api/auth.h"

#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"
#include "master/api/api.h"
#include "master/http/http_origin.h"
#include "master/api/rate_limit.h"
#include "master/config/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct auth {
        const struct tokens *tokens; /* NULL: none */
        const struct config_server *server;
        struct rate_limit_rule rule;
        struct rate_limit *limit;    /* of addresses */
        char detail[256];            /* of the last refusal */
        struct rate_bucket buckets[]; /* of tokens, by index */
};

struct auth *auth_new(const struct config *config)
{
        size_t count = config->tokens ? config->tokens->count : 0;
        struct auth *auth = calloc(1, sizeof *auth + count * sizeof auth->buckets[0]);

        if (!auth)
                return NULL;
        auth->tokens = config->tokens;
        auth->server = &config->server;
        auth->rule = (struct rate_limit_rule){ .per_second = config->server.rate_limit.requests_per_second,
                .burst = config->server.rate_limit.burst };
        auth->limit = rate_limit_new(&auth->rule, RATE_LIMIT_ADDRESSES);
        return auth->limit ? auth : auth_free(auth);
}

struct auth *auth_free(struct auth *auth)
{
        if (!auth)
                return NULL;
        rate_limit_free(auth->limit);
        free(auth);
        return NULL;
}

/* The index of the request's token; -1: it has none that is known. */
static int find_token(const struct auth *auth, const struct http_request *request)
{
        const char *text = http_request_header(request, "authorization");

        if (!auth->tokens || !text || strncasecmp(text, "Bearer ", 7) != 0)
                return -1;
        return tokens_find(auth->tokens, text + 7 + strspn(text + 7, " "));
}

/* A known token has its rate to itself; all else from one address shares one. */
static unsigned wait_for_turn(struct auth *auth, const struct http_request *request, int token)
{
        int64_t now = clock_mono_ms() * 1000;

        return token >= 0 ? rate_bucket_take(&auth->buckets[token], &auth->rule, now)
                          : rate_limit_take(auth->limit, http_request_address(request), now);
}

static int forbid(struct auth *auth, struct http_request *request, const struct token *token, enum token_role role)
{
        const char *needed = token_role_name(role), *has = token_role_name(token->role);

        log_warn("auth.forbidden", "user=%s peer=%s path=%s role=%s needed=%s", token->name, http_request_peer(request),
                LOG_Q(http_request_path(request)), has, needed);
        snprintf(auth->detail, sizeof auth->detail, "this takes a token with the role %s; that of %s is %s", needed,
                token->name, has);
        return 403;
}

static int check_role(struct auth *auth, struct http_request *request, int index, enum token_role role)
{
        const struct token *token = index >= 0 ? &auth->tokens->list[index] : NULL;

        if (token)
                http_request_set_user(request, token->name);
        if (!auth->tokens || role == TOKEN_NOBODY)
                return 0;
        if (token)
                return token->role >= role ? 0 : forbid(auth, request, token, role);
        http_answer_header(request, "WWW-Authenticate", "Bearer realm=\"agentpool\"");
        snprintf(auth->detail, sizeof auth->detail, "%s; send a token: Authorization: Bearer SECRET",
                http_request_header(request, "authorization") ? "the token is not known" : "this takes a token");
        return 401;
}

/* A browser sends along what a page of any site asks it to send: the page, and the name that it used, must be known. */
static int check_browser(struct auth *auth, const struct http_request *request)
{
        const char *origin = http_request_header(request, "origin"), *host = http_request_host(request);
        bool loopback = http_request_over_loopback(request);
        char name[120];

        if (origin && !http_origin_is_allowed(origin, auth->server->allowed_origins, loopback))
                snprintf(auth->detail, sizeof auth->detail, "server.allowed_origins does not name %s: its pages may not ask here",
                        log_quote(origin, strlen(origin), name, sizeof name));
        else if (loopback && !auth->tokens && host && !http_host_is_allowed(host, auth->server->allowed_hosts))
                snprintf(auth->detail, sizeof auth->detail, "server.allowed_hosts does not name %s, the host asked for, and there are no "
                        "tokens: any site could have its name lead here", log_quote(host, strlen(host), name, sizeof name));
        else
                return 0;
        log_warn("auth.browser_refused", "peer=%s path=%s detail=%s", http_request_peer(request), LOG_Q(http_request_path(request)),
                LOG_Q(auth->detail));
        return 403;
}

int auth_admit(struct http_request *request, const struct http_route *route, void *arg, const char **ret_detail)
{
        const struct master *master = arg;
        struct auth *auth = master->auth;
        enum token_role role = route ? (enum token_role)route->role : TOKEN_READ;
        int token = find_token(auth, request), status = check_browser(auth, request);

        if (route && route->handle == api_agents_message)
                http_request_raise_body_max(request, master->config->server.max_message_bytes);
        *ret_detail = auth->detail;
        if (status)
                return status;
        unsigned wait = wait_for_turn(auth, request, token);
        if (wait) {
                http_answer_retry_after(request, wait);
                snprintf(auth->detail, sizeof auth->detail, "more than %lld requests per second from this %s",
                        (long long)auth->rule.per_second, token >= 0 ? "token" : "address");
                return 429;
        }
        status = check_role(auth, request, token, role);
        if (status == 0 && role > TOKEN_READ)
                http_answer_header(request, "X-Request-Id", ID_TEXT(http_request_id(request)));
        return status;
}
