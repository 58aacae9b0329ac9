/* What a master counts of one pool for /metrics; from zero with each master. */
#ifndef MASTER_CONTROL_POOL_METRICS_H
#define MASTER_CONTROL_POOL_METRICS_H
#include "common/histogram.h"

#include <stdint.h>

#define POOL_METRICS_EVENTS 32 /* most there may be */

struct pool_metrics {
        struct histogram spawns;       /* from the request to its answer, answered with success */
        struct histogram messages;     /* from the request to the agent's answer */
        struct histogram worker_starts; /* from the fork to ready */
        struct histogram heartbeat_ages; /* of workers, as each sweep finds them in Redis' time */
        uint64_t noise_lines, events_dropped; /* of its agents' standard output: no message; notifications that were lost */
        uint64_t worker_crashes;         /* workers that ended otherwise than in order */
        uint64_t messages_by_status[3]; /* enum pool_metrics_message */
        uint64_t events[POOL_METRICS_EVENTS]; /* by pool_metrics_event_name */
};

enum pool_metrics_message { POOL_METRICS_COMPLETED, POOL_METRICS_FAILED, POOL_METRICS_TIMEOUT };

void pool_metrics_event(struct pool_metrics *metrics, const char *name);
/* NULL past the last. */
const char *pool_metrics_event_name(unsigned i);
#endif
