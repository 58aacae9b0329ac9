/* Who listens to events over HTTP (Server-Sent Events): of all pools, or of one agent. */
#ifndef MASTER_CONTROL_STREAMS_H
#define MASTER_CONTROL_STREAMS_H
#include "master/control/context.h"
#include "master/http/http.h"

struct streams *streams_new(void);
struct streams *streams_free(struct streams *streams); /* ends every stream in order; NULL is fine */
/* request becomes a stream of what concerns agent_id (zero: of every event of every pool), for that client. */
void streams_add(struct streams *streams, struct http_request *request, const struct id *agent_id, const char *client);
/* data is one line of JSON. agent_id zero: concerns no agent. */
void streams_event(struct streams *streams, const char *event, const struct id *agent_id, const char *data);
/* What an agent emitted: only for those who listen to that agent, and of them only client when it is not NULL. */
void streams_emitted(struct streams *streams, const struct id *agent_id, const char *client, const char *data);
/* Those are told that so many of its notifications were lost on the way. */
void streams_dropped(struct streams *streams, const struct id *agent_id, int64_t count);
#endif
