/* Everything between a process and its Redis: a connection for commands that has the scripts loaded, and one for the
 * subscription. Up when both are; each comes back by itself. Events and config as in registry/redis/registry.h. */
#ifndef REGISTRY_REDIS_REDIS_SESSION_H
#define REGISTRY_REDIS_REDIS_SESSION_H
#include "registry/redis/redis_link.h"
#include "registry/redis/registry.h"
#include "registry/redis/scripts.h"

struct redis_session;

struct redis_session *redis_session_new(struct event_base *base, const struct redis_url *url,
        const struct registry_config *config, const struct registry_events *events, void *arg);
/* Outstanding callbacks get -ECANCELED. NULL is fine; returns NULL. */
struct redis_session *redis_session_free(struct redis_session *session);
/* As registry_hear_out. */
int redis_session_hear_out(struct redis_session *session, registry_cb cb, void *arg);
bool redis_session_up(const struct redis_session *session);
/* True while the commands' connection has its scripts: calls are possible. */
bool redis_session_ready(const struct redis_session *session);
/* Begins command (empty until now) with the call of a script; the arguments follow, keys of them keys first. */
void redis_session_call(const struct redis_session *session, enum script script, int keys, struct redis_command *command);
/* As redis_link_send, on the commands' connection; -EAGAIN unless ready. */
int redis_session_send(struct redis_session *session, const struct redis_command *command, redis_link_cb cb, void *arg);
/* Loads a script again: the server has lost it. 0, -EAGAIN, -ENOMEM. */
int redis_session_reload(struct redis_session *session, enum script script);
#endif
