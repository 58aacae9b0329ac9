/* Where a worker runs, as far as the daemon decides it once for all of them. */
#ifndef WORKER_WORKER_PLACE_H
#define WORKER_WORKER_PLACE_H
#include <stdbool.h>
#include <sys/resource.h>

/* What the daemon found at its start, for its workers. */
struct worker_place {
        const char *cgroup; /* <delegated>/agents; NULL: none */
        rlim_t open_files;  /* the soft limit before it was raised */
        bool apart;         /* it runs as another user than the daemon: the log is not its to open */
};
#endif
