/* What a worker says of its agents: by Redis, or by its control socket, each reply written once, as text. */
#ifndef WORKER_REPORTS_H
#define WORKER_REPORTS_H
#include "worker/context.h"

#define REPORTS_MAX 128 /* that share one registry call */

/* SPAWNED, SPAWN_FAILED, EXITED on their way: begins zeroed, and ends with reports_flush. */
struct reports {
        struct registry_report items[REPORTS_MAX];
        char *replies[REPORTS_MAX]; /* owned */
        size_t count;
};
/* roster_reported follows, now or when the registry has answered. */
void reports_add(struct reports *reports, struct worker *worker, const struct reply *reply);
void reports_flush(struct reports *reports, struct worker *worker);
/* ANSWER, MESSAGE_FAILED: somebody waits for it. */
void reports_answer(struct worker *worker, const struct id *master_id, const struct reply *reply);
/* EVENT, ACTIVITY: by whatever way there is; who hears nothing of it has nobody to tell. 0 or -errno. */
int reports_publish(struct worker *worker, const char *reply);
#endif
