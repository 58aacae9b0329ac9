/* What something uses: an agent with all its processes, or all agents of a worker. */
#ifndef REGISTRY_USAGE_H
#define REGISTRY_USAGE_H
#include <stdint.h>

struct usage {
        uint64_t cpu_ms, rss_bytes;
        uint32_t processes;
};
#endif
