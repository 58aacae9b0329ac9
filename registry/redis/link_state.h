/* The states of a connection to Redis: a table state × event, nothing else. Pure. */
#ifndef REGISTRY_REDIS_LINK_STATE_H
#define REGISTRY_REDIS_LINK_STATE_H

enum link_state {
        LINK_DOWN = 1,   /* waits for the next attempt */
        LINK_CONNECTING,
        LINK_GREETING,   /* AUTH, SELECT, PING are on their way */
        LINK_UP,
        LINK_STATE_COUNT
};
enum link_event {
        LINK_EV_RETRY = 1, /* the back-off is over */
        LINK_EV_CONNECTED,
        LINK_EV_GREETED,   /* PONG came */
        LINK_EV_LOST,      /* closed, refused, too late, given up */
        LINK_EVENT_COUNT
};

/* 0, or -EPROTO when the state refuses the event: *state is then unchanged. */
int link_state_apply(enum link_state *state, enum link_event event);
#endif
