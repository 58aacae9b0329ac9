#include "test/load/report.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

int report_init(struct report *report, unsigned long capacity)
{
        *report = (struct report){ .latencies = calloc(capacity, sizeof *report->latencies), .capacity = capacity };
        return report->latencies ? 0 : -ENOMEM;
}

static void note_detail(struct report *report, const char *text, size_t len)
{
        char detail[sizeof report->details[0].text];

        snprintf(detail, sizeof detail, "%.*s", (int)len, text);
        for (unsigned i = 0; i < REPORT_DETAILS_MAX; i++)
                if (report->details[i].count == 0 || i == REPORT_DETAILS_MAX - 1 || strcmp(report->details[i].text, detail) == 0) {
                        memcpy(report->details[i].text, detail, sizeof detail);
                        report->details[i].count++;
                        return;
                }
}

void report_add(struct report *report, int64_t latency_us, int status, const char *detail, size_t len)
{
        if (report->done == report->capacity)
                return;
        report->latencies[report->done++] = latency_us > UINT32_MAX ? UINT32_MAX : (uint32_t)latency_us;
        report->by_status[status]++;
        if (status >= 200 && status <= 299)
                return;
        report->failed++;
        note_detail(report, detail, len);
}

static int compare_latencies(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

/* In ms: so many percent are not slower. */
static double latency(const struct report *report, double percent)
{
        unsigned long i = (unsigned long)((double)report->done * percent / 100);

        return report->done == 0 ? 0 : report->latencies[i < report->done ? i : report->done - 1] / 1000.0;
}

static double cpu_us_per_request(const struct report *report)
{
        struct rusage used;

        getrusage(RUSAGE_SELF, &used);
        return ((double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
                (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec)) / (double)(report->done ? report->done : 1);
}

static void print_text(const struct report *report, FILE *out, const char *what, unsigned clients, double seconds)
{
        fprintf(out, "%s: %lu requests from %u clients in %.3f s: %.0f/s\n", what, report->done, clients,
                seconds, (double)report->done / seconds);
        fprintf(out, "latency in ms: p50 %.2f  p90 %.2f  p99 %.2f  max %.2f\n", latency(report, 50), latency(report, 90), latency(report, 99),
                latency(report, 100));
        fprintf(out, "own CPU per request: %.1f us\nanswers:", cpu_us_per_request(report));
        for (int i = 0; i < 600; i++)
                if (report->by_status[i] > 0)
                        fprintf(out, "  %d: %lu", i, report->by_status[i]); /* 0: none came */
        fprintf(out, "\n");
        for (int i = 0; i < REPORT_DETAILS_MAX && report->details[i].count > 0; i++)
                fprintf(out, "error, %lu times: %s\n", report->details[i].count, report->details[i].text);
}

static void print_json(const struct report *report, FILE *out, const char *what, unsigned clients, double seconds)
{
        cJSON *tree = cJSON_CreateObject(), *statuses = cJSON_AddObjectToObject(tree, "statuses");
        cJSON *errors = cJSON_AddObjectToObject(tree, "errors");
        char name[8], *text;

        cJSON_AddStringToObject(tree, "mode", what);
        cJSON_AddNumberToObject(tree, "requests", (double)report->done);
        cJSON_AddNumberToObject(tree, "failed", (double)report->failed);
        cJSON_AddNumberToObject(tree, "clients", clients);
        cJSON_AddNumberToObject(tree, "seconds", seconds);
        cJSON_AddNumberToObject(tree, "per_second", (double)report->done / seconds);
        cJSON_AddNumberToObject(tree, "p50_ms", latency(report, 50));
        cJSON_AddNumberToObject(tree, "p90_ms", latency(report, 90));
        cJSON_AddNumberToObject(tree, "p99_ms", latency(report, 99));
        cJSON_AddNumberToObject(tree, "max_ms", latency(report, 100));
        cJSON_AddNumberToObject(tree, "cpu_us", cpu_us_per_request(report));
        for (int i = 0; i < 600; i++) {
                snprintf(name, sizeof name, "%d", i);
                if (report->by_status[i] > 0)
                        cJSON_AddNumberToObject(statuses, name, (double)report->by_status[i]);
        }
        for (int i = 0; i < REPORT_DETAILS_MAX && report->details[i].count > 0; i++)
                cJSON_AddNumberToObject(errors, report->details[i].text, (double)report->details[i].count);
        text = cJSON_PrintUnformatted(tree);
        cJSON_Delete(tree);
        fprintf(out, "%s\n", text ? text : "{}");
        free(text);
}

void report_print(struct report *report, FILE *out, const char *what, unsigned clients, double seconds, bool json)
{
        qsort(report->latencies, report->done, sizeof *report->latencies, compare_latencies);
        if (json)
                print_json(report, out, what, clients, seconds);
        else
                print_text(report, out, what, clients, seconds);
}
