/* Whether the machine has memory for one more agent: spawns are refused while it has not. Agents that should exist already
 * are started again all the same. */
#ifndef MASTER_CONTROL_ADMISSION_H
#define MASTER_CONTROL_ADMISSION_H
#include "master/config/config.h"

struct admission {
        const struct config_admission *config; /* borrowed */
        const char *proc;                      /* borrowed; "/proc" */
        int64_t looked_at;                     /* mono ms; 0: never */
        char refusal[160];                     /* of the last look, with the number that decided; "": none */
};

void admission_init(struct admission *admission, const struct config_admission *config, const char *proc);
/* Why no agent is taken on now, NULL: it is. Looks at the machine at most every ADMISSION_LOOK_MS. What cannot be read does
 * not count. */
const char *admission_refusal(struct admission *admission, int64_t now);
#define ADMISSION_LOOK_MS 250
#endif
