/* Why the system would not execute a program, in words: its error alone names what is wrong only sometimes. */
#ifndef WORKER_RUNTIME_LAUNCH_CAUSE_H
#define WORKER_RUNTIME_LAUNCH_CAUSE_H
#include <stddef.h>

/* error: -errno of looking for path or of executing it. Returns text: "" when there is nothing to say beyond the error. */
const char *launch_cause(const char *path, int error, char *text, size_t size);
#endif
