/* What an agent prints, as lines of our log: at most so many bytes in a second, the rest counted and dropped. */
#ifndef WORKER_AGENT_LOG_H
#define WORKER_AGENT_LOG_H
#include "common/id.h"

#include <stdbool.h>
#include <stddef.h>

struct agent_log {
        struct id agent_id;
        const char *event;       /* static: of its lines, "agent.stderr" */
        int64_t bytes_per_second;
        int64_t second;          /* mono ms: the beginning of the second in which used was used */
        int64_t used;
        uint64_t dropped_lines, dropped_bytes; /* not reported yet */
};

void agent_log_init(struct agent_log *log, const struct id *agent_id, const char *event, int64_t bytes_per_second);
/* Writes the line or drops it. Returns whether lines are being dropped. */
bool agent_log_line(struct agent_log *log, const char *line, size_t len);
/* Reports what was dropped, if anything was. */
void agent_log_report(struct agent_log *log);
#endif
