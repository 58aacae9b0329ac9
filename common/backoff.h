/* Delays that double up to a cap, with jitter so that many clients do not come back at once. Pure. */
#ifndef COMMON_BACKOFF_H
#define COMMON_BACKOFF_H
#include <stdint.h>

struct backoff {
        uint32_t base_ms; /* the first delay */
        uint32_t cap_ms;  /* no delay is longer */
        uint32_t tries;   /* since the last reset */
};

/* The delay before the next try in ms: between half and all of min(cap, base * 2^tries). */
uint32_t backoff_next(struct backoff *backoff, uint32_t random);
void backoff_reset(struct backoff *backoff);
#endif
