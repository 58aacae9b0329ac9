/* The daemon around the forker: run_dir, lock, listening sockets, embedded Redis, and what its children are. */
#ifndef MASTER_BOOT_DAEMON_H
#define MASTER_BOOT_DAEMON_H
#include "master/config/config.h"

/* Runs until all is over. config_path is read again by each master. argv: what the program was started with, for USR2.
 * Returns the exit status: that of forker_run, 78 when the configuration cannot work here, 1 when something else stands
 * in the way (logged). */
int daemon_run(struct config *config, const char *config_path, int argc, char **argv);
/* 0 when the program that executes this one as its next can be followed, or there is none; else -EPROTO. */
int daemon_check_state(void);
#endif
