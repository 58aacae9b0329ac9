/* W3C Trace Context: to which request of another program something belongs. Passed on as it came. Source:
 * www.w3.org/TR/trace-context. */
#ifndef COMMON_TRACE_H
#define COMMON_TRACE_H
#include <stdbool.h>

#define TRACE_SIZE 56 /* 00-<32 digits>-<16 digits>-<2 digits> and the NUL */

/* A traceparent of version 00. NULL is none. */
bool trace_valid(const char *traceparent);
#endif
