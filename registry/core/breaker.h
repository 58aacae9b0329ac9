/* A circuit breaker: after too many failures nothing more is tried for a while, then one try decides. Pure. */
#ifndef REGISTRY_CORE_BREAKER_H
#define REGISTRY_CORE_BREAKER_H
#include "registry/protocol/pool_config.h"

#include <stdbool.h>
#include <stdint.h>

enum breaker_state {
        BREAKER_CLOSED = 1, /* all is tried; failures are counted */
        BREAKER_OPEN,       /* nothing is tried */
        BREAKER_HALF_OPEN,  /* one try at a time, until one says how it is */
        BREAKER_STATE_COUNT
};
enum breaker_event {
        BREAKER_EV_TRIP = 1, /* one failure too many */
        BREAKER_EV_COOLED,   /* the cooldown is over */
        BREAKER_EV_SUCCESS,  /* of the one try */
        BREAKER_EV_FAILURE,  /* likewise */
        BREAKER_EV_RESET,    /* an operator says so */
        BREAKER_EVENT_COUNT
};

struct breaker {
        enum breaker_state state;
        int64_t since;     /* mono ms: in this state */
        int64_t window;    /* mono ms: since when failures count */
        int64_t failed_at; /* mono ms: the last one; 0: none yet */
        unsigned failures; /* in the window */
        uint64_t opened;   /* how often, ever */
        char reason[160];  /* of the last failure */
};

/* 0, or -EPROTO when the state refuses the event: *state is then unchanged. */
int breaker_state_apply(enum breaker_state *state, enum breaker_event event);
const char *breaker_state_name(enum breaker_state state);

void breaker_init(struct breaker *breaker, int64_t now);
/* Counts a failure. It opens at threshold of them, but not before there were as many as at_least. True: it opened. */
bool breaker_failed(struct breaker *breaker, const struct breaker_config *config, const char *reason, unsigned at_least,
        int64_t now);
/* What was tried goes well: failures are counted anew, and a half open one closes. True: it closed. */
bool breaker_succeeded(struct breaker *breaker, int64_t now);
/* True: it was open for long enough and is now half open. */
bool breaker_cooled(struct breaker *breaker, const struct breaker_config *config, int64_t now);
/* Forgets the failures. True: it was not closed. */
bool breaker_reset(struct breaker *breaker, int64_t now);
/* Mono ms when an open one becomes half open; INT64_MAX: not by itself, or it is not open. */
int64_t breaker_cooled_at(const struct breaker *breaker, const struct breaker_config *config);
#endif
