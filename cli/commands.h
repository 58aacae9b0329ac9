/* The commands of agentpool(1): each gets the words after its name and returns the exit status. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
#include "cli/client.h"

#include <stdbool.h>
#include <stdint.h>

#define EXIT_USAGE 2

#define CLI_V1 "/api/v1"

struct cli {
        struct client *client;
        const char *url, *token; /* token: NULL without one */
        bool json; /* -o json */
};

struct cli_command {
        const char *name, *arguments, *summary;
        int (*run)(struct cli *cli, int argc, char **argv); /* argv[0] is the command's name */
};

extern const struct cli_command cli_commands[]; /* ends with a NULL name */

int cli_usage(const struct cli_command *command);
const struct cli_command *cli_find(const char *name);

void cli_print_json(const cJSON *tree);
/* How far long work has come, on a terminal at standard error; the last time with done == total. */
void cli_progress(const char *what, int64_t done, int64_t total);

int cli_export(struct cli *cli, int argc, char **argv);
int cli_import(struct cli *cli, int argc, char **argv);
int cli_logs(struct cli *cli, int argc, char **argv);
int cli_events(struct cli *cli, int argc, char **argv);
int cli_plan(struct cli *cli, int argc, char **argv);
int cli_top(struct cli *cli, int argc, char **argv);
#endif
