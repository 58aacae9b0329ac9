#include "worker/runtime/agent_log.h"

#include "common/capture.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_MS 1000
/* What a line costs beside its text: an agent that prints empty lines costs something, too. */
#define LINE_OVERHEAD 16

static const struct agent_log_target *target;

void agent_log_open(const struct agent_log_target *to)
{
        target = to;
}

void agent_log_init(struct agent_log *log, const struct id *agent_id, int64_t bytes_per_second)
{
        *log = (struct agent_log){ .agent_id = *agent_id, .bytes_per_second = bytes_per_second };
}

void agent_log_report(struct agent_log *log)
{
        if (log->dropped_lines == 0)
                return;
        log_warn("agent.log_dropped", "agent=%s lines=%" PRIu64 " bytes=%" PRIu64, ID_TEXT(&log->agent_id),
                log->dropped_lines, log->dropped_bytes);
        log->dropped_lines = log->dropped_bytes = 0;
}

static void keep(struct agent_log *log, const char *line, size_t len)
{
        char *repaired = utf8_valid(line, len) ? NULL : utf8_repair(line, len, &len);
        const char *text = repaired ? repaired : line;
        int64_t at = clock_wall_ms();
        int r = target->hand_over ? target->hand_over(target->arg, &log->agent_id, at, text, len)
                                  : capture_append(target->directory, target->max_bytes, &log->agent_id, at, text, len);

        if (r < 0 && r != log->error)
                log_warn("agent.log_not_kept", "agent=%s directory=%s error=%s", ID_TEXT(&log->agent_id),
                        LOG_Q(target->directory), LOG_Q(strerror(-r)));
        log->error = r;
        free(repaired);
}

bool agent_log_line(struct agent_log *log, const char *event, const char *line, size_t len)
{
        int64_t now = clock_mono_ms();
        char quoted[LOG_LINE_MAX];

        if (now - log->second >= SECOND_MS) {
                agent_log_report(log);
                log->second = now;
                log->used = 0;
        }
        if (log->used + (int64_t)len + LINE_OVERHEAD > log->bytes_per_second) {
                log->dropped_lines++;
                log->dropped_bytes += len;
                return true;
        }
        log->used += (int64_t)len + LINE_OVERHEAD;
        if (target && (*target->directory || target->hand_over))
                keep(log, line, len);
        if (!target || target->to_log)
                log_info(event, "agent=%s line=%s", ID_TEXT(&log->agent_id),
                        log_quote(line, len, quoted, LOG_LINE_MAX - 256));
        return false;
}
