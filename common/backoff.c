#include "common/backoff.h"

uint32_t backoff_next(struct backoff *backoff, uint32_t random)
{
        uint32_t shift = backoff->tries < 16 ? backoff->tries : 16;
        uint64_t full = (uint64_t)backoff->base_ms << shift;

        if (full > backoff->cap_ms)
                full = backoff->cap_ms;
        backoff->tries++;
        return (uint32_t)(full / 2 + (full ? random % (full / 2 + 1) : 0));
}

void backoff_reset(struct backoff *backoff)
{
        backoff->tries = 0;
}
