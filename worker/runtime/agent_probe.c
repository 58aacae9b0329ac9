/* The probe's timer, and what it counts. */
#include "worker/runtime/agent_probe.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct agent_probe {
        const struct pool_probe_config *config;
        const struct agent_probe_events *events;
        void *arg;
        struct timer timer;
        int64_t interval_ms;
        unsigned missed; /* in a row */
        bool asked;      /* one is on its way */
};

static void on_timer(void *arg)
{
        struct agent_probe *probe = arg;
        int r = 0;

        if (!probe->asked) {
                probe->asked = true;
                r = probe->events->ask(probe->arg, probe->config->method, clock_mono_ms() + probe->config->timeout_ms);
        }
        if (r == -EPIPE)
                return;
        timer_once(&probe->timer, probe->interval_ms);
        if (r == -ENOMEM)
                probe->asked = false; /* that is not its fault */
        else if (r < 0)
                agent_probe_missed(probe);
}

struct agent_probe *agent_probe_new(struct event_base *base, const struct pool_probe_config *config, const struct id *agent_id,
        int32_t heartbeat_interval, const struct agent_probe_events *events, void *arg)
{
        int64_t interval_ms = (config->interval_seconds ? config->interval_seconds : heartbeat_interval) * 1000;
        struct agent_probe *probe;

        if (!config->method || interval_ms <= 0)
                return NULL;
        probe = calloc(1, sizeof *probe);
        if (!probe) {
                log_warn("agent.not_probed", "agent=%s detail=\"out of memory\"", ID_TEXT(agent_id));
                return NULL;
        }
        *probe = (struct agent_probe){ .config = config, .events = events, .arg = arg, .interval_ms = interval_ms };
        timer_init(&probe->timer, base, on_timer, probe);
        /* Agents that were started together are not asked together. */
        timer_once(&probe->timer, interval_ms / 2 + interval_ms / 2 * agent_id->b[0] / 255);
        return probe;
}

struct agent_probe *agent_probe_free(struct agent_probe *probe)
{
        if (probe)
                timer_stop(&probe->timer);
        free(probe);
        return NULL;
}

void agent_probe_answered(struct agent_probe *probe)
{
        if (!probe)
                return;
        probe->missed = 0;
        probe->asked = false;
}

void agent_probe_missed(struct agent_probe *probe)
{
        char reason[160];

        if (!probe)
                return;
        probe->asked = false;
        if (++probe->missed < probe->config->failures)
                return;
        snprintf(reason, sizeof reason, "does not answer its probe: %u times no answer to %.64s within %" PRId64 " ms",
                probe->missed, probe->config->method, probe->config->timeout_ms);
        probe->events->fail(probe->arg, reason);
}
