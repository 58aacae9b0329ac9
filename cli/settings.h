/* Which daemon is meant, and what it is shown: options, then the named context, then the environment, then the current context. */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H
#include "cli/command.h"

/* How answers are printed. */
void settings_format(struct cli *cli);
/* Fills url, token, ca_file, format and color, and makes the client. quiet: as client_options. EXIT_SUCCESS; else the exit
 * status, and said. What the strings lie in lives until settings_done. */
int settings_apply(struct cli *cli, bool quiet);
void settings_done(struct cli *cli);
#endif
