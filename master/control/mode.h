/* Whether this master uses Redis: decided by degraded.c, read by everybody. */
#ifndef MASTER_CONTROL_MODE_H
#define MASTER_CONTROL_MODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mode {
        bool decided;        /* Redis was found up or away since the start */
        bool degraded;       /* it is away, or refuses to work: the rules place by themselves */
        uint64_t generation; /* number of the decision: voids what a worker said under an earlier one */
        uint64_t since;      /* what workers said under this generation or a later one counts */
        char reason[256];    /* of the last trouble with it, for people */
};

/* Why Redis is not used; NULL: it is, or that is not decided yet. */
static inline const char *mode_reason(const struct mode *mode)
{
        return mode->degraded ? mode->reason : NULL;
}
#endif
