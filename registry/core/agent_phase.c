#include "registry/core/agent_phase.h"

#include <errno.h>

/* An absent cell is 0, which is no phase, so it refuses. */
static const enum agent_phase phase_next[PHASE_COUNT][PHASE_EVENT_COUNT] = {
        [PHASE_NONE] = { [PHASE_EV_SPAWN] = PHASE_WAITING, [PHASE_EV_RESTORE] = PHASE_RESTORING,
                [PHASE_EV_PLACE] = PHASE_STORING, [PHASE_EV_RESERVE] = PHASE_RESERVING,
                [PHASE_EV_PLACED] = PHASE_SENT, [PHASE_EV_DOUBT] = PHASE_SENT, [PHASE_EV_WITHDRAW] = PHASE_WITHDRAWN,
                [PHASE_EV_DELAY] = PHASE_DELAYED, [PHASE_EV_STOP] = PHASE_NONE, [PHASE_EV_END] = PHASE_NONE },
        [PHASE_STORING] = { [PHASE_EV_STORED] = PHASE_WAITING, [PHASE_EV_STOP] = PHASE_NONE,
                [PHASE_EV_END] = PHASE_NONE },
        [PHASE_WAITING] = { [PHASE_EV_PLACE] = PHASE_STORING, [PHASE_EV_RESERVE] = PHASE_RESERVING,
                [PHASE_EV_PLACED] = PHASE_SENT, [PHASE_EV_STOP] = PHASE_NONE, [PHASE_EV_END] = PHASE_NONE },
        [PHASE_RESERVING] = { [PHASE_EV_PLACE] = PHASE_STORING, [PHASE_EV_REFUSED] = PHASE_WAITING,
                [PHASE_EV_PLACED] = PHASE_SENT, [PHASE_EV_DELAY] = PHASE_DELAYED, [PHASE_EV_END] = PHASE_NONE },
        [PHASE_SENT] = { [PHASE_EV_STARTED] = PHASE_NONE, [PHASE_EV_WITHDRAW] = PHASE_WITHDRAWN,
                [PHASE_EV_STOP] = PHASE_NONE, [PHASE_EV_END] = PHASE_NONE },
        [PHASE_WITHDRAWN] = { [PHASE_EV_STOP] = PHASE_NONE, [PHASE_EV_END] = PHASE_NONE },
        [PHASE_DELAYED] = { [PHASE_EV_PLACE] = PHASE_STORING, [PHASE_EV_RESERVE] = PHASE_RESERVING,
                [PHASE_EV_PLACED] = PHASE_SENT, [PHASE_EV_DELAY] = PHASE_DELAYED, [PHASE_EV_STOP] = PHASE_NONE,
                [PHASE_EV_END] = PHASE_NONE },
        [PHASE_RESTORING] = { [PHASE_EV_PLACE] = PHASE_STORING, [PHASE_EV_PLACED] = PHASE_SENT,
                [PHASE_EV_STOP] = PHASE_NONE, [PHASE_EV_END] = PHASE_NONE },
};

int agent_phase_apply(enum agent_phase *phase, enum agent_phase_event event)
{
        enum agent_phase next = phase_next[*phase][event];

        if (!next)
                return -EPROTO;
        *phase = next;
        return 0;
}
