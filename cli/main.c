#include "cli/commands.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_URL "http://127.0.0.1:8000"

static void print_help(FILE *to)
{
        fprintf(to, "Usage: agentpool [-u URL] [-o table|json] COMMAND [ARGUMENT…]\n\nCommands:\n");
        for (const struct cli_command *c = cli_commands; c->name; c++)
                fprintf(to, "  %-10s %-46s %s\n", c->name, c->arguments, c->summary);
        fprintf(to, "\n  -u URL      http://HOST:PORT or unix:PATH (AGENTPOOL_URL; " DEFAULT_URL ")\n"
                    "  -o FORMAT   table (the default) or json\n  -V, -h      version, this help\n\n"
                    "Exit status: 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage.\n");
}

int cli_usage(const struct cli_command *command)
{
        fprintf(stderr, "Usage: agentpool %s %s\n", command->name, command->arguments);
        return EXIT_USAGE;
}

const struct cli_command *cli_find(const char *name)
{
        for (const struct cli_command *c = cli_commands; c->name; c++)
                if (strcmp(c->name, name) == 0)
                        return c;
        return NULL;
}

static int run(const char *url, struct cli *cli, int argc, char **argv)
{
        const struct cli_command *command = cli_find(argv[0]);
        int status;

        if (!command) {
                fprintf(stderr, "agentpool: no command \"%s\"; agentpool -h lists them\n", argv[0]);
                return EXIT_USAGE;
        }
        cli->client = client_new(url);
        if (!cli->client)
                return EXIT_FAILURE;
        status = command->run(cli, argc, argv);
        client_free(cli->client);
        return status;
}

int main(int argc, char **argv)
{
        const char *url = getenv("AGENTPOOL_URL");
        struct cli cli = { 0 };
        int option;

        while ((option = getopt(argc, argv, "+u:o:Vh")) != -1) {
                if (option == 'u') {
                        url = optarg;
                } else if (option == 'o' && (strcmp(optarg, "json") == 0 || strcmp(optarg, "table") == 0)) {
                        cli.json = strcmp(optarg, "json") == 0;
                } else if (option == 'V') {
                        puts("agentpool " AGENTPOOL_VERSION);
                        return EXIT_SUCCESS;
                } else {
                        print_help(option == 'h' ? stdout : stderr);
                        return option == 'h' ? EXIT_SUCCESS : EXIT_USAGE;
                }
        }
        if (optind == argc) {
                print_help(stderr);
                return EXIT_USAGE;
        }
        return run(url && *url ? url : DEFAULT_URL, &cli, argc - optind, argv + optind);
}
