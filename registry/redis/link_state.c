#include "registry/redis/link_state.h"

#include <errno.h>

/* An absent cell is 0, which is no state, so it refuses. */
static const enum link_state link_next[LINK_STATE_COUNT][LINK_EVENT_COUNT] = {
        [LINK_DOWN] = { [LINK_EV_RETRY] = LINK_CONNECTING },
        [LINK_CONNECTING] = { [LINK_EV_CONNECTED] = LINK_GREETING, [LINK_EV_LOST] = LINK_DOWN },
        [LINK_GREETING] = { [LINK_EV_GREETED] = LINK_UP, [LINK_EV_LOST] = LINK_DOWN },
        [LINK_UP] = { [LINK_EV_LOST] = LINK_DOWN },
};

int link_state_apply(enum link_state *state, enum link_event event)
{
        enum link_state next = link_next[*state][event];

        if (!next)
                return -EPROTO;
        *state = next;
        return 0;
}
