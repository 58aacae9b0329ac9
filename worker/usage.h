/* What the agents here use, told when the master asks. */
#ifndef WORKER_USAGE_H
#define WORKER_USAGE_H
#include "worker/context.h"

/* Answers its "usage" of that number: "used", in portions. */
void usage_tell(struct worker *worker, int64_t number);
#endif
