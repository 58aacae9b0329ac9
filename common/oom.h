/* Whether something ended for want of memory, as far as that can be told from outside. */
#ifndef COMMON_OOM_H
#define COMMON_OOM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The machine's count of what the kernel killed for want of memory (oom_kill in /proc/vmstat) at the last two looks. */
struct oom_watch {
        uint64_t seen[2];
};
/* What happened before is not of interest. */
void oom_begin(struct oom_watch *watch);
/* Now and then, every few seconds. */
void oom_look(struct oom_watch *watch);
/* The kernel killed something since the look before the last: an end by SIGKILL that nobody here sent was most likely that. */
bool oom_happened(const struct oom_watch *watch);
/* Adds to reason, which says how something with a memory limit ended, that the limit may be why: when it used nearly as
 * much. setting names the limit. */
void oom_suspect(char *reason, size_t size, uint64_t used_bytes, int64_t limit_bytes, const char *setting);
#endif
