#include "cli/samples.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUNDS_MAX 64

struct sample {
        const char *key; /* NAME or NAME{LABELS} */
        double value;
};

struct samples {
        char *text;
        struct sample *list;
        size_t count;
};

/* "KEY VALUE" a line; comments apart. */
static void read_line(struct samples *samples, char *line)
{
        char *blank = strrchr(line, ' ');

        if (*line == '#' || !blank)
                return;
        *blank = '\0';
        samples->list[samples->count++] = (struct sample){ .key = line, .value = strtod(blank + 1, NULL) };
}

struct samples *samples_new(const char *text, size_t len)
{
        struct samples *samples = calloc(1, sizeof *samples);
        size_t lines = 1;
        char *at, *line;

        for (size_t i = 0; i < len; i++)
                lines += text[i] == '\n';
        if (samples) {
                samples->text = strndup(text, len);
                samples->list = calloc(lines, sizeof *samples->list);
        }
        if (!samples || !samples->text || !samples->list)
                return samples_free(samples);
        at = samples->text;
        while ((line = strsep(&at, "\n")))
                read_line(samples, line);
        return samples;
}

struct samples *samples_free(struct samples *samples)
{
        if (samples) {
                free(samples->text);
                free(samples->list);
        }
        free(samples);
        return NULL;
}

double samples_get(const struct samples *samples, const char *key, ...)
{
        char wanted[256];
        va_list args;

        va_start(args, key);
        vsnprintf(wanted, sizeof wanted, key, args);
        va_end(args);
        for (size_t i = 0; samples && i < samples->count; i++)
                if (strcmp(samples->list[i].key, wanted) == 0)
                        return samples->list[i].value;
        return 0;
}

static int matches(const struct sample *sample, const char *name, const char *label)
{
        size_t len = strlen(name);

        return strncmp(sample->key, name, len) == 0 && (!sample->key[len] || sample->key[len] == '{') &&
               (!label || strstr(sample->key + len, label));
}

double samples_sum(const struct samples *samples, const char *name, const char *label)
{
        double sum = 0;

        for (size_t i = 0; samples && i < samples->count; i++)
                if (matches(&samples->list[i], name, label))
                        sum += samples->list[i].value;
        return sum;
}

/* A histogram's bounds in their order, and what they count, summed over the other labels. */
struct buckets {
        char bounds[BOUNDS_MAX][24];
        double counts[BOUNDS_MAX];
        size_t count;
};

static void add_bucket(struct buckets *buckets, const struct sample *sample)
{
        const char *le = strstr(sample->key, "le=\"");
        char bound[24];
        size_t i = 0;

        if (!le)
                return;
        snprintf(bound, sizeof bound, "%.*s", (int)strcspn(le + 4, "\""), le + 4);
        while (i < buckets->count && strcmp(buckets->bounds[i], bound) != 0)
                i++;
        if (i == BOUNDS_MAX)
                return;
        if (i == buckets->count)
                memcpy(buckets->bounds[buckets->count++], bound, sizeof bound);
        buckets->counts[i] += sample->value;
}

static void read_buckets(const struct samples *samples, const char *name, const char *label, struct buckets *buckets)
{
        buckets->count = 0;
        memset(buckets->counts, 0, sizeof buckets->counts);
        for (size_t i = 0; samples && i < samples->count; i++)
                if (matches(&samples->list[i], name, label))
                        add_bucket(buckets, &samples->list[i]);
}

double samples_quantile(const struct samples *now, const struct samples *before, const char *name, const char *label, double q)
{
        struct buckets all, old;
        char series[128];
        double total;

        snprintf(series, sizeof series, "%s_bucket", name);
        read_buckets(now, series, label, &all);
        read_buckets(before, series, label, &old);
        if (all.count == 0)
                return -1;
        for (size_t i = 0; i < old.count && i < all.count && old.counts[old.count - 1] <= all.counts[all.count - 1]; i++)
                all.counts[i] -= old.counts[i]; /* else another master counts from zero */
        total = all.counts[all.count - 1];
        if (total <= 0)
                return -1;
        for (size_t i = 0; i < all.count; i++)
                if (all.counts[i] >= q * total)
                        return strcmp(all.bounds[i], "+Inf") == 0 ? HUGE_VAL : strtod(all.bounds[i], NULL);
        return HUGE_VAL;
}
