/* The agentpool command: reads the words, makes one client, runs one function of the table of commands. */
#include "cli/client/memory.h"
#include "cli/commands.h"
#include "cli/settings.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* For JSON. */
static void *allocate(size_t size)
{
        return memory_need(malloc(size));
}

int cli_print_help(struct cli *cli)
{
        const struct cli_command *command = cli->count > 0 ? cli_find(cli->words[0]) : NULL;

        if (cli->count > 0 && !command)
                return cli_wrong(cli, "no command \"%s\"", cli->words[0]);
        if (command)
                cli_command_help(stdout, command);
        else
                cli_help(stdout);
        return EXIT_SUCCESS;
}

/* What asks no daemon; -1: it is none of that. */
static int run_alone(struct cli *cli)
{
        if (cli_flag(cli, "version")) {
                puts("agentpool " AGENTPOOL_VERSION);
                return EXIT_SUCCESS;
        }
        if (cli_flag(cli, "help")) {
                if (cli->command)
                        cli_command_help(stdout, cli->command);
                else
                        cli_help(stdout);
                return EXIT_SUCCESS;
        }
        if (!cli->command) {
                cli_help(stderr);
                return EXIT_USAGE;
        }
        settings_format(cli);
        if (cli->command->run != cli_print_help && cli->command->run != cli_plan && cli->command->run != cli_context)
                return -1;
        return cli->command->run(cli);
}

static int run(struct cli *cli, int argc, char **argv)
{
        int status;

        if (argc > 1 && strcmp(argv[1], "__complete") == 0)
                return cli_complete(cli, argc - 2, argv + 2);
        if (argc == 2 && strcmp(argv[1], "__manual") == 0) {
                cli_manual();
                return EXIT_SUCCESS;
        }
        status = cli_parse(cli, argc, argv) < 0 ? EXIT_USAGE : run_alone(cli);
        if (status < 0)
                status = settings_apply(cli, false);
        if (status == EXIT_SUCCESS && cli->client)
                status = cli->command->run(cli);
        settings_done(cli);
        free(cli->given);
        return status;
}

/* What was printed and has not arrived was not done. */
static int close_output(int status)
{
        if (!ferror(stdout) && fflush(stdout) == 0)
                return status;
        fprintf(stderr, "agentpool: standard output: %s\n", errno ? strerror(errno) : "not everything could be written");
        return status ? status : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
        cJSON_Hooks hooks = { .malloc_fn = allocate, .free_fn = free };
        struct cli cli = { 0 };

        cJSON_InitHooks(&hooks);
        setlocale(LC_CTYPE, "C.UTF-8");
        return close_output(run(&cli, argc, argv));
}
