#include "worker/runtime/agent_probe.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/runtime/runtime_kind.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct agent_probe {
        struct runtime_agent *agent;
        struct event timer;
        unsigned missed; /* in a row */
        bool asked;      /* one is on its way */
};

static const struct pool_probe_config *config_of(const struct runtime_agent *agent)
{
        return &agent->runtime->config->probe;
}

static int64_t interval_ms(const struct runtime_agent *agent)
{
        int64_t seconds = config_of(agent)->interval_seconds;

        return (seconds ? seconds : agent->heartbeat_interval) * 1000;
}

/* -EPIPE when it is ending. */
static int ask(struct runtime_agent *agent)
{
        const struct pool_probe_config *config = config_of(agent);

        return runtime_ask(agent, config->method, clock_mono_ms() + config->timeout_ms);
}

static void on_timer(int fd, short what, void *arg)
{
        struct agent_probe *probe = arg;
        struct runtime_agent *agent = probe->agent;
        int r = 0;

        (void)fd;
        (void)what;
        if (!probe->asked) {
                probe->asked = true;
                r = ask(agent);
        }
        if (r == -EPIPE)
                return;
        runtime_arm(&probe->timer, clock_mono_ms() + interval_ms(agent));
        if (r == -ENOMEM)
                probe->asked = false; /* that is not its fault */
        else if (r < 0)
                agent_probe_missed(agent);
}

void agent_probe_start(struct runtime_agent *agent)
{
        int64_t interval = interval_ms(agent);

        if (!config_of(agent)->method || interval <= 0)
                return;
        agent->probe = calloc(1, sizeof *agent->probe);
        if (!agent->probe) {
                log_warn("agent.not_probed", "agent=%s detail=\"out of memory\"", ID_TEXT(&agent->agent_id));
                return;
        }
        agent->probe->agent = agent;
        event_assign(&agent->probe->timer, agent->runtime->base, -1, 0, on_timer, agent->probe);
        /* Agents that were started together are not asked together. */
        runtime_arm(&agent->probe->timer, clock_mono_ms() + interval / 2 + interval / 2 * agent->agent_id.b[0] / 255);
}

void agent_probe_answered(struct runtime_agent *agent)
{
        if (!agent->probe)
                return;
        agent->probe->missed = 0;
        agent->probe->asked = false;
}

void agent_probe_missed(struct runtime_agent *agent)
{
        const struct pool_probe_config *config = config_of(agent);
        char reason[160];

        if (!agent->probe)
                return;
        agent->probe->asked = false;
        if (++agent->probe->missed < config->failures)
                return;
        snprintf(reason, sizeof reason, "does not answer its probe: %u times no answer to %.64s within %" PRId64 " ms",
                agent->probe->missed, config->method, config->timeout_ms);
        agent_probe_stop(agent);
        agent->runtime->kind->fail(agent, reason);
}

void agent_probe_stop(struct runtime_agent *agent)
{
        if (!agent->probe)
                return;
        event_del(&agent->probe->timer);
        free(agent->probe);
        agent->probe = NULL;
}
