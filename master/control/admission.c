#include "master/control/admission.h"

#include "common/kernel_file.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024
#define MIB 1048576

void admission_init(struct admission *admission, const struct config_admission *config, const char *proc)
{
        *admission = (struct admission){ .config = config, .proc = proc };
}

/* True when it refuses. */
static bool judge_available(const struct admission *admission, char *refusal, size_t size)
{
        const struct config_admission *config = admission->config;
        uint64_t available, total;
        double percent;

        if ((config->min_available_memory_bytes == 0 && config->min_available_memory_percent <= 0) ||
                kernel_file_number(admission->proc, "meminfo", "MemAvailable", &available) < 0 ||
                kernel_file_number(admission->proc, "meminfo", "MemTotal", &total) < 0)
                return false;
        percent = total ? 100.0 * (double)available / (double)total : 100;
        if (available * KIB < (uint64_t)config->min_available_memory_bytes) {
                snprintf(refusal, size, "available memory %llu MiB is under admission.min_available_memory_bytes %lld MiB",
                        (unsigned long long)available * KIB / MIB, (long long)config->min_available_memory_bytes / MIB);
                return true;
        }
        if (percent >= config->min_available_memory_percent)
                return false;
        snprintf(refusal, size, "available memory %.1f %% is under admission.min_available_memory_percent %.1f %%", percent,
                config->min_available_memory_percent);
        return true;
}

static bool judge_pressure(const struct admission *admission, char *refusal, size_t size)
{
        double limit = admission->config->max_memory_pressure, pressure;
        char text[256];
        const char *average;

        if (limit <= 0 || kernel_file_read(admission->proc, "pressure/memory", text, sizeof text) < 0)
                return false;
        average = strstr(text, "some avg10=");
        pressure = average ? strtod(average + strlen("some avg10="), NULL) : 0;
        if (pressure <= limit)
                return false;
        snprintf(refusal, size, "memory pressure %.2f %% is over admission.max_memory_pressure %.2f %%", pressure, limit);
        return true;
}

const char *admission_refusal(struct admission *admission, int64_t now)
{
        bool refused = admission->refusal[0], refuses;

        if (!admission->looked_at || now - admission->looked_at >= ADMISSION_LOOK_MS) {
                refuses = judge_available(admission, admission->refusal, sizeof admission->refusal) ||
                        judge_pressure(admission, admission->refusal, sizeof admission->refusal);
                admission->looked_at = now;
                if (!refuses)
                        admission->refusal[0] = '\0';
                if (refuses && !refused)
                        log_warn("admission.closed", "reason=%s", LOG_Q(admission->refusal));
                else if (refused && !refuses)
                        log_info("admission.open", "detail=\"spawns are taken again\"");
        }
        return admission->refusal[0] ? admission->refusal : NULL;
}
