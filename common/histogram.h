/* How long something took, counted in fixed buckets: cheap to add to, printed as Prometheus expects it. */
#ifndef COMMON_HISTOGRAM_H
#define COMMON_HISTOGRAM_H
#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_BOUNDS 15

struct histogram {
        uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* by the first bound that is not less; the last: beyond all */
        uint64_t sum_us;
};

/* A negative duration counts as none. */
void histogram_add(struct histogram *histogram, int64_t us);
/* NAME_bucket{LABELS,le="…"}, NAME_sum{LABELS}, NAME_count{LABELS}, in seconds; labels: "" or "pool=\"x\"". */
void histogram_print(const struct histogram *histogram, FILE *out, const char *name, const char *labels);
#endif
