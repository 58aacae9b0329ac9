/* What all agents of a pool print, each line after its agent's name. */
#ifndef CLI_POOL_LOGS_H
#define CLI_POOL_LOGS_H
#include "cli/command.h"

#define LOG_LINES 100 /* shown unless said otherwise */

/* The last lines, in the order of time. Returns the exit status, as pool_logs_follow. */
int pool_logs_print(struct cli *cli, const char *pool);
/* What the agents that it has now go on to print, until interrupted. */
int pool_logs_follow(struct cli *cli, const char *pool);
/* A line of a log, harmless on a terminal. */
void follow_print_line(const char *line);
#endif
