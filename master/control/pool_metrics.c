#include "master/control/pool_metrics.h"

#include <stddef.h>
#include <string.h>

/* All there are, so that each counts from zero: a counter that appears with its first event shows no increase then. */
static const char *const names[POOL_METRICS_EVENTS] = {
        "agent_spawned", "agent_spawn_failed", "agent_crashed", "agent_stopped", "agent_failed", "agent_terminated",
        "worker_started", "worker_draining", "worker_stale", "worker_exited", "breaker_opened", "breaker_half_open",
        "breaker_closed",
        "rollout_started", "rollout_finished", "rollout_halted",
};

const char *pool_metrics_event_name(unsigned i)
{
        return i < POOL_METRICS_EVENTS ? names[i] : NULL;
}

void pool_metrics_event(struct pool_metrics *metrics, const char *name)
{
        for (unsigned i = 0; i < POOL_METRICS_EVENTS && names[i]; i++)
                if (strcmp(names[i], name) == 0)
                        metrics->events[i]++;
}
