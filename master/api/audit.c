#include "master/api/audit.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/api/api.h"
#include "master/control/pools_act.h"
#include "master/control/streams.h"
#include "sql/store.h"

#include <stdio.h>
#include <stdlib.h>

void audit_change(struct http_request *request, struct master *master, const char *action, const char *pool_name,
        const struct id *agent_id, int status)
{
        static const struct id none;
        const char *user = http_request_user(request), *peer = http_request_peer(request);
        char detail[64], who[160], *text;
        struct store_event event = { .at = clock_wall_ms(), .event = "audit", .pool_name = pool_name, .detail = detail,
                .agent_id = agent_id ? *agent_id : none, .who = who, .request_id = *http_request_id(request) };

        snprintf(detail, sizeof detail, "%s: %d", action, status);
        snprintf(who, sizeof who, "%s%s%s", user, *user ? "@" : "", peer);
        log_info("audit", "who=%s action=%s pool=%s agent=%s status=%d request=%s traceparent=%s", LOG_Q(who), action, pool_name,
                agent_id ? ID_TEXT(agent_id) : "-", status, ID_TEXT(&event.request_id), *api_trace(request) ? api_trace(request) : "-");
        store_event_add(master->store, &event);
        text = pools_event_text(&event);
        if (text)
                streams_event(master->streams, event.event, &event.agent_id, text);
        free(text);
}
