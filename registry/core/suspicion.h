/* Silent workers are hung, or this master did not hear them: when most are late at once, it suspects itself (its loop or the
 * machine stood still, Redis hung) and listens for one more lease. Pure. */
#ifndef REGISTRY_CORE_SUSPICION_H
#define REGISTRY_CORE_SUSPICION_H
#include <stdbool.h>
#include <stdint.h>

struct suspicion {
        int64_t at;     /* mono ms when it suspected itself last; 0: never */
        uint64_t times;
};

/* One look at the workers of all pools, when some are silent for longer than their lease (the longest is lease_ms): late ones
 * are so for half of it, as not all began their silence at the same moment. True: end none, and count everybody's silence from
 * now on. */
bool suspicion_of_self(struct suspicion *suspicion, unsigned late, unsigned workers, int64_t lease_ms, int64_t now);
#endif
