/* What something uses: an agent with all its processes, or all agents of a worker. */
#ifndef REGISTRY_PROTOCOL_USAGE_H
#define REGISTRY_PROTOCOL_USAGE_H
#include <stdint.h>

struct usage {
        uint64_t cpu_ms, rss_bytes;
        uint32_t processes;
};
#endif
