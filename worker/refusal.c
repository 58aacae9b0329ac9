/* Tells the master why the registry refuses this worker. */
#include "worker/refusal.h"

#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool refusal_is(int error)
{
        return error == -EACCES || error == -EPERM || error == -EPROTO || error == -ENOSPC;
}

void refusal_say(struct worker *worker, const char *why)
{
        struct control refused = { .type = CONTROL_REFUSED, .generation = worker->generation, .reason = strdup(why) };

        log_warn("registry.refuses", "why=%s", LOG_Q(why));
        if (refused.reason)
                worker_send(worker, &refused);
        free(refused.reason);
}

void refusal_tell(struct worker *worker, int error)
{
        const char *reason;
        char *name, why[400];

        if (!worker->registry || !refusal_is(error))
                return;
        reason = registry_reason(worker->registry); /* none: it cannot read the answer that came */
        name = redis_url_format(&worker->welcome->redis_url, true);
        snprintf(why, sizeof why, "Redis at %s refuses to serve a worker: %s", name ? name : "",
                *reason ? reason : strerror(-error));
        free(name);
        refusal_say(worker, why);
}
