#include "common/histogram.h"

static const struct bound {
        uint64_t us;
        const char *seconds;
} bounds[HISTOGRAM_BOUNDS] = {
        { 250, "0.00025" }, { 500, "0.0005" }, { 1000, "0.001" }, { 2500, "0.0025" }, { 5000, "0.005" }, { 10000, "0.01" },
        { 25000, "0.025" }, { 50000, "0.05" }, { 100000, "0.1" }, { 250000, "0.25" }, { 500000, "0.5" }, { 1000000, "1" },
        { 2500000, "2.5" }, { 10000000, "10" }, { 30000000, "30" },
};

void histogram_add(struct histogram *histogram, int64_t us)
{
        uint64_t value = us > 0 ? (uint64_t)us : 0;
        unsigned i = 0;

        while (i < HISTOGRAM_BOUNDS && bounds[i].us < value)
                i++;
        histogram->counts[i]++;
        histogram->sum_us += value;
}

void histogram_print(const struct histogram *histogram, FILE *out, const char *name, const char *labels)
{
        const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
        uint64_t count = 0;

        for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
                count += histogram->counts[i];
                fprintf(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, labels, comma, bounds[i].seconds,
                        (unsigned long long)count);
        }
        count += histogram->counts[HISTOGRAM_BOUNDS];
        fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, (unsigned long long)count);
        fprintf(out, "%s_sum%s%s%s %.6f\n", name, open, labels, close, (double)histogram->sum_us / 1e6);
        fprintf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)count);
}
