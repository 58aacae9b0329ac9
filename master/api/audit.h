/* Who asked for which change, with what result: a line of log, an event and its row for each. */
#ifndef MASTER_API_AUDIT_H
#define MASTER_API_AUDIT_H
#include "common/id.h"
#include "master/control/context.h"
#include "master/http/http.h"

/* action: "spawn", "terminate", …; agent_id NULL: it is about the whole pool, or there is no agent; status: as answered. */
void audit_change(struct http_request *request, struct master *master, const char *action, const char *pool_name,
        const struct id *agent_id, int status);
#endif
