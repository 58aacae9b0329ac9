/* The master: REST, pools, registry, store, on one event loop. Composes everything; the rules are in registry/core/pool.h. */
#ifndef MASTER_LIFE_MASTER_H
#define MASTER_LIFE_MASTER_H
#include "master/config/config.h"

/* Runs until the forker says so or goes away. forker: the master's end of their channel. first: of this daemon; only then
 * does a store or a Redis that cannot be used end everything.
 * cgroup: where agents' cgroups are, NULL: there are none.
 * HUP: when the file at config_path is right, the requests under way are answered and this master ends (0, without BYE);
 * the next one reads the file and takes everything over. USR2: the same, for the next program. Returns the exit status:
 * 0 after an orderly end (BYE was sent), 78 for a configuration that cannot work, else 1. */
int master_run(int forker, bool first, const struct config *config, const char *config_path,
        const char *cgroup);
#endif
