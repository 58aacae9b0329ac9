/* The daemon's settings: one JSON file (comments allowed), then the environment over it. Every wrong setting is
 * reported at once, with file, line and column or the variable's name. */
#ifndef MASTER_CONFIG_CONFIG_H
#define MASTER_CONFIG_CONFIG_H
#include "master/config/settings.h"

/* environment is environ's form. 0 and *ret_config (config_free); -EINVAL with errors->count > 0, also when the file
 * cannot be read; -ENOMEM. */
int config_load(const char *path, char *const *environment, struct config **ret_config, struct config_errors *errors);
/* NULL is fine; returns NULL. */
struct config *config_free(struct config *config);
/* The first setting that a running daemon cannot change, where next differs from now; NULL: none. now's run_dir is its
 * real path. */
const char *config_fixed_change(const struct config *now, const struct config *next);
/* How often the master compares itself with Redis, in ms: the shortest heartbeat of all pools. */
int64_t config_sweep_interval_ms(const struct config *config);
/* The effective settings as indented JSON that config_load reads; mask hides passwords and pools' env. The caller's to
 * free(); NULL when out of memory. */
char *config_print(const struct config *config, bool mask);
#endif
