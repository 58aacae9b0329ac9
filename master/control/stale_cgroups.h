/* Cgroups of agents whose worker is no more: emptied and removed. */
#ifndef MASTER_CONTROL_STALE_CGROUPS_H
#define MASTER_CONTROL_STALE_CGROUPS_H
#include "master/control/context.h"

/* True when something is still dying there: call again. Not before all workers are known (pools_synced). */
bool stale_cgroups_remove(const struct master *master);
#endif
