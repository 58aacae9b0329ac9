/* Server-Sent Events out of the bytes of an answer. Source: WHATWG HTML 9.2.6. */
#ifndef CLI_CLIENT_SSE_H
#define CLI_CLIENT_SSE_H
#include <stddef.h>

struct sse { /* zeroed but for the first two */
        void (*on_event)(void *arg, const char *event, const char *data);
        void *arg;
        char *line, *data; /* owned: what there is of a line; of an event's data */
        size_t line_len, data_len;
        char event[64];
};

int sse_feed(struct sse *sse, const char *bytes, size_t len); /* 0 or -ENOMEM */
void sse_done(struct sse *sse);
#endif
