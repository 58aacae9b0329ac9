/* What a load run found: latencies, answers by status, what the errors said. */
#ifndef TEST_LOAD_REPORT_H
#define TEST_LOAD_REPORT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define REPORT_DETAILS_MAX 16

struct report {
        uint32_t *latencies; /* µs, of done */
        unsigned long done, failed, capacity;
        unsigned long by_status[600]; /* 0: no answer */
        struct {
                char text[200];
                unsigned long count;
        } details[REPORT_DETAILS_MAX]; /* the last stands for all that found no place */
};

/* 0 or -ENOMEM. */
int report_init(struct report *report, unsigned long capacity);
/* One answer: status 200 to 299 is success, else detail says what is wrong. */
void report_add(struct report *report, int64_t latency_us, int status, const char *detail, size_t len);
/* what: a name for the run. As text for people, or as one JSON object a line. */
void report_print(struct report *report, FILE *out, const char *what, unsigned clients, double seconds, bool json);
#endif
