/* The settings that were found right last, with the tokens' digests: for a master that finds the file broken. In run_dir,
 * readable by its owner alone, as long as the daemon runs. */
#ifndef MASTER_CONFIG_CONFIG_KEEP_H
#define MASTER_CONFIG_CONFIG_KEEP_H
#include "master/config/config.h"

#define CONFIG_KEPT "agentpoold.config" /* its name in run_dir */

/* Whole or not at all: what was kept before is gone in any case. 0 or -errno. */
int config_keep(const struct config *config);
/* Tokens are those that their file has now, or else those kept. What else the settings name outside may have changed.
 * 0 and *ret_config (config_free); -ENOENT: nothing is kept; another -errno: it cannot be read. */
int config_recall(const char *run_dir, struct config **ret_config);
/* A new daemon knows nothing of the one before. */
void config_forget(const char *run_dir);
#endif
