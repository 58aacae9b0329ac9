#include "registry/core/breaker.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

/* An absent cell is 0, which is no state, so it refuses. */
static const enum breaker_state breaker_next[BREAKER_STATE_COUNT][BREAKER_EVENT_COUNT] = {
        [BREAKER_CLOSED] = { [BREAKER_EV_TRIP] = BREAKER_OPEN },
        [BREAKER_OPEN] = { [BREAKER_EV_COOLED] = BREAKER_HALF_OPEN, [BREAKER_EV_RESET] = BREAKER_CLOSED },
        [BREAKER_HALF_OPEN] = { [BREAKER_EV_SUCCESS] = BREAKER_CLOSED, [BREAKER_EV_FAILURE] = BREAKER_OPEN,
                [BREAKER_EV_RESET] = BREAKER_CLOSED },
};
static const char *const breaker_names[BREAKER_STATE_COUNT] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_HALF_OPEN] = "half_open",
};

int breaker_state_apply(enum breaker_state *state, enum breaker_event event)
{
        enum breaker_state next = breaker_next[*state][event];

        if (!next)
                return -EPROTO;
        *state = next;
        return 0;
}

const char *breaker_state_name(enum breaker_state state)
{
        return (unsigned)state < BREAKER_STATE_COUNT ? breaker_names[state] : NULL;
}

void breaker_init(struct breaker *breaker, int64_t now)
{
        *breaker = (struct breaker){ .state = BREAKER_CLOSED, .since = now };
}

static bool change_state(struct breaker *breaker, enum breaker_event event, int64_t now)
{
        if (breaker_state_apply(&breaker->state, event) < 0)
                return false;
        breaker->since = now;
        breaker->opened += breaker->state == BREAKER_OPEN;
        if (breaker->state == BREAKER_CLOSED)
                breaker->failures = 0;
        return true;
}

bool breaker_failed(struct breaker *breaker, const struct breaker_config *config, const char *reason, unsigned at_least,
        int64_t now)
{
        if (breaker->failures == 0 || now - breaker->window > config->window_seconds * 1000) {
                breaker->window = now;
                breaker->failures = 0;
        }
        breaker->failures++;
        breaker->failed_at = now;
        snprintf(breaker->reason, sizeof breaker->reason, "%s", reason);
        if (breaker->state == BREAKER_HALF_OPEN)
                return change_state(breaker, BREAKER_EV_FAILURE, now);
        return config->threshold > 0 && breaker->failures >= config->threshold && breaker->failures >= at_least &&
               change_state(breaker, BREAKER_EV_TRIP, now);
}

bool breaker_succeeded(struct breaker *breaker, int64_t now)
{
        if (breaker->state == BREAKER_CLOSED)
                breaker->failures = 0;
        return change_state(breaker, BREAKER_EV_SUCCESS, now);
}

bool breaker_cooled(struct breaker *breaker, const struct breaker_config *config, int64_t now)
{
        return breaker_cooled_at(breaker, config) <= now && change_state(breaker, BREAKER_EV_COOLED, now);
}

bool breaker_reset(struct breaker *breaker, int64_t now)
{
        breaker->failures = 0;
        return change_state(breaker, BREAKER_EV_RESET, now);
}

int64_t breaker_cooled_at(const struct breaker *breaker, const struct breaker_config *config)
{
        if (breaker->state != BREAKER_OPEN || !config->auto_reset)
                return INT64_MAX;
        return breaker->since + config->cooldown_seconds * 1000;
}
