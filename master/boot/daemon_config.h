/* Which settings a master goes by: those of the file, or, while that is broken, those that were found right last. */
#ifndef MASTER_BOOT_DAEMON_CONFIG_H
#define MASTER_BOOT_DAEMON_CONFIG_H
#include "master/boot/daemon_users.h"

/* Creates run_dir when it is missing, and makes its name absolute. 0 or -errno, which is logged. */
int daemon_config_place(struct config *config, const struct daemon_users *users);
/* What a master of this daemon goes by, config_free. NULL: nothing that was kept can be read, it goes by those of the
 * start, whose tokens were renewed. */
struct config *daemon_config_read(const char *path, struct config *start, const struct daemon_users *users);
#endif
