/* The commands of agentpool(1): each gets the words after its name and returns the exit status. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
#include "cli/client.h"

#include <stdbool.h>

#define EXIT_USAGE 2

struct cli {
        struct client *client;
        bool json; /* -o json */
};

struct cli_command {
        const char *name, *arguments, *summary;
        int (*run)(struct cli *cli, int argc, char **argv); /* argv[0] is the command's name */
};

extern const struct cli_command cli_commands[]; /* ends with a NULL name */

int cli_usage(const struct cli_command *command);
const struct cli_command *cli_find(const char *name);

int cli_export(struct cli *cli, int argc, char **argv);
int cli_import(struct cli *cli, int argc, char **argv);
#endif
