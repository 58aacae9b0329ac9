/* What /metrics said at one moment. */
#ifndef CLI_SAMPLES_H
#define CLI_SAMPLES_H
#include <stddef.h>

struct samples;

/* text is copied. NULL when out of memory. */
struct samples *samples_new(const char *text, size_t len);
struct samples *samples_free(struct samples *samples); /* NULL is fine; returns NULL */
/* The sample with exactly that name and those labels, 0 without one; key is printf-made: "x{pool=\"p\"}". */
double samples_get(const struct samples *samples, const char *key, ...) __attribute__((format(printf, 2, 3)));
/* The sum of every sample of that name and, unless NULL, with that text among its labels. */
double samples_sum(const struct samples *samples, const char *name, const char *label);
/* The q-quantile (0 to 1) of what a histogram counted between before (NULL: ever) and now, in its unit: the bound below which it
 * lies. Negative: nothing was counted. label: "" or as samples_sum. */
double samples_quantile(const struct samples *now, const struct samples *before, const char *name, const char *label, double q);
#endif
