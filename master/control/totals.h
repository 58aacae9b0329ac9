/* How many workers each pool has had since the daemon's start: a line per pool in a file of the run_dir, so that it does not
 * begin anew with each master. */
#ifndef MASTER_CONTROL_TOTALS_H
#define MASTER_CONTROL_TOTALS_H
#include <stdint.h>

struct totals {
        int64_t line;                 /* its place in the file; -1: it has none */
        uint64_t spawned, terminated; /* as the file says */
};

void totals_forget(const char *run_dir); /* the daemon has only just started */
int totals_open(const char *run_dir);    /* a descriptor for the others; -errno: they then do nothing */
/* What the file says of a pool; zeros, and a line of its own, when that is nothing. */
struct totals totals_read(int fd, const char *pool_name);
/* Writes what has changed. */
void totals_note(int fd, const char *pool_name, struct totals *totals, uint64_t spawned, uint64_t terminated);
#endif
