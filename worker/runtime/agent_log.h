/* What an agent prints, as lines of our log and of files of its own: at most so many bytes in a second, the rest counted and dropped. */
#ifndef WORKER_RUNTIME_AGENT_LOG_H
#define WORKER_RUNTIME_AGENT_LOG_H
#include "common/id.h"

#include <stdbool.h>
#include <stddef.h>

/* Where the lines of all agents of this worker go. */
struct agent_log_target {
        char *directory;   /* files of each agent's own (common/capture.h); "": none */
        int64_t max_bytes; /* of such a file */
        bool to_log;       /* into our log, too */
        /* Files that are not ours to write: each line goes to whoever writes them. NULL: to directory. 0 or -errno. */
        int (*hand_over)(void *arg, const struct id *agent_id, int64_t at, const char *line, size_t len);
        void *arg;
};

struct agent_log {
        struct id agent_id;
        int64_t bytes_per_second;
        int64_t second;          /* mono ms: the beginning of the second in which used was used */
        int64_t used;
        uint64_t dropped_lines, dropped_bytes; /* not reported yet */
        int error;               /* of the file, -errno; said once until it can be written again */
};

/* target is borrowed. Until then lines go to the log alone. */
void agent_log_open(const struct agent_log_target *target);
void agent_log_init(struct agent_log *log, const struct id *agent_id, int64_t bytes_per_second);
/* Writes the line, with U+FFFD for what is no UTF-8 in it, or drops it. event says what it is, "agent.stderr". Returns
 * whether lines are being dropped. */
bool agent_log_line(struct agent_log *log, const char *event, const char *line, size_t len);
/* Reports what was dropped, if anything was. */
void agent_log_report(struct agent_log *log);
#endif
