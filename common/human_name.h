/* Names for people. */
#ifndef COMMON_HUMAN_NAME_H
#define COMMON_HUMAN_NAME_H
#include "common/id.h"

#include <stddef.h>

/* Derived from the id, always the same: "Ada Lovelace". Writes at most size bytes; returns buffer. */
char *human_name(const struct id *id, char *buffer, size_t size);
#endif
