#include "registry/core/suspicion.h"

#define FEWEST 3 /* late ones that speak against this master */
/* Who is silent still is found so soon after the suspicion, at the latest; later it is another matter. */
#define LEASES 3

bool suspicion_of_self(struct suspicion *suspicion, unsigned late, unsigned workers, int64_t lease_ms, int64_t now)
{
        if (late < FEWEST || late * 2 <= workers)
                return false;
        if (suspicion->at && now - suspicion->at <= LEASES * lease_ms)
                return false;
        suspicion->at = now;
        suspicion->times++;
        return true;
}
