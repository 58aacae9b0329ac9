#include "registry/core/state.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* An absent cell is 0, which is no state, so it refuses. */
static const enum agent_state agent_next[AGENT_STATE_COUNT][AGENT_EVENT_COUNT] = {
        [AGENT_STARTING] = { [AGENT_EV_PLACE] = AGENT_STARTING, [AGENT_EV_STARTED] = AGENT_IDLE,
                [AGENT_EV_STOP] = AGENT_STOPPING, [AGENT_EV_ENDED] = AGENT_STOPPED, [AGENT_EV_GAVE_UP] = AGENT_FAILED },
        [AGENT_IDLE] = { [AGENT_EV_PLACE] = AGENT_STARTING, [AGENT_EV_WORK] = AGENT_BUSY,
                [AGENT_EV_STOP] = AGENT_STOPPING, [AGENT_EV_ENDED] = AGENT_STOPPED, [AGENT_EV_GAVE_UP] = AGENT_FAILED },
        [AGENT_BUSY] = { [AGENT_EV_PLACE] = AGENT_STARTING, [AGENT_EV_REST] = AGENT_IDLE,
                [AGENT_EV_STOP] = AGENT_STOPPING, [AGENT_EV_ENDED] = AGENT_STOPPED, [AGENT_EV_GAVE_UP] = AGENT_FAILED },
        [AGENT_STOPPING] = { [AGENT_EV_GONE] = AGENT_TERMINATED },
        [AGENT_STOPPED] = { [AGENT_EV_GONE] = AGENT_TERMINATED },
        [AGENT_FAILED] = { [AGENT_EV_GONE] = AGENT_TERMINATED },
};
static const enum worker_state worker_next[WORKER_STATE_COUNT][WORKER_EVENT_COUNT] = {
        [WORKER_STARTING] = { [WORKER_EV_READY] = WORKER_READY, [WORKER_EV_DRAIN] = WORKER_DRAINING,
                [WORKER_EV_SUSPECT] = WORKER_STALE, [WORKER_EV_EXITED] = WORKER_EXITED },
        [WORKER_READY] = { [WORKER_EV_DRAIN] = WORKER_DRAINING, [WORKER_EV_SUSPECT] = WORKER_STALE,
                [WORKER_EV_EXITED] = WORKER_EXITED },
        [WORKER_DRAINING] = { [WORKER_EV_SUSPECT] = WORKER_STALE, [WORKER_EV_EXITED] = WORKER_EXITED },
        [WORKER_STALE] = { [WORKER_EV_EXITED] = WORKER_EXITED },
};
static const char *const agent_names[AGENT_STATE_COUNT] = {
        [AGENT_STARTING] = "starting", [AGENT_IDLE] = "idle", [AGENT_BUSY] = "busy", [AGENT_STOPPING] = "stopping",
        [AGENT_STOPPED] = "stopped", [AGENT_FAILED] = "failed", [AGENT_TERMINATED] = "terminated",
};
static const char *const worker_names[WORKER_STATE_COUNT] = {
        [WORKER_STARTING] = "starting", [WORKER_READY] = "ready", [WORKER_DRAINING] = "draining",
        [WORKER_STALE] = "stale", [WORKER_EXITED] = "exited",
};

int agent_state_apply(enum agent_state *state, enum agent_event event)
{
        enum agent_state next = agent_next[*state][event];

        if (!next)
                return -EPROTO;
        *state = next;
        return 0;
}

int worker_state_apply(enum worker_state *state, enum worker_event event)
{
        enum worker_state next = worker_next[*state][event];

        if (!next)
                return -EPROTO;
        *state = next;
        return 0;
}

const char *agent_state_name(enum agent_state state)
{
        return (unsigned)state < AGENT_STATE_COUNT ? agent_names[state] : NULL;
}

const char *worker_state_name(enum worker_state state)
{
        return (unsigned)state < WORKER_STATE_COUNT ? worker_names[state] : NULL;
}

int agent_state_parse(const char *name, enum agent_state *ret_state)
{
        for (int i = 1; i < AGENT_STATE_COUNT; i++) {
                if (strcmp(agent_names[i], name) == 0) {
                        *ret_state = (enum agent_state)i;
                        return 0;
                }
        }
        return -EINVAL;
}

bool agent_state_wanted(enum agent_state state)
{
        return state == AGENT_STARTING || state == AGENT_IDLE || state == AGENT_BUSY;
}
