/* Who may ask for what, and how often: bearer tokens (RFC 6750) with a role, and a limit on the rate of each. */
#ifndef MASTER_API_AUTH_H
#define MASTER_API_AUTH_H
#include "master/config/config.h"
#include "master/http/http.h"

struct auth;
struct auth *auth_new(const struct config *config); /* borrowed; NULL when out of memory */
struct auth *auth_free(struct auth *auth);          /* NULL is fine; returns NULL */
/* http_config.admit; arg is the struct master. 401 without a token that is known, 403 when its role is not enough, 429
 * with Retry-After. Without tokens, whom the listeners let in may do everything. */
int auth_admit(struct http_request *request, const struct http_route *route, void *arg, const char **ret_detail);
#endif
