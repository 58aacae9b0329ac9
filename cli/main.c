#include "cli/commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_URL "http://127.0.0.1:8000"

static void print_help(FILE *to)
{
        fprintf(to, "Usage: agentpool [-u URL] [-t FILE] [-c FILE] [-o table|json] COMMAND [ARGUMENT…]\n\nCommands:\n");
        for (const struct cli_command *c = cli_commands; c->name; c++)
                fprintf(to, "  %-10s %-64s %s\n", c->name, c->arguments, c->summary);
        fprintf(to, "\n  -u URL      http://HOST:PORT or unix:PATH (AGENTPOOL_URL; " DEFAULT_URL ")\n"
                    "  -o FORMAT   table (the default) or json\n  -V, -h      version, this help\n\n"
                    "Exit status: 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage,\n"
                    "3 nobody answers, 4 no such agent or pool, 5 not now (429, 503, 504).\n");
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

/* The first line of the file. Empty with a message on stderr when there is none. */
static const char *read_token(const char *path, char *buffer, int size)
{
        FILE *file = fopen(path, "re");

        if (!file || !fgets(buffer, size, file)) {
                fprintf(stderr, "agentpool: no token in %s: %s\n", path, file ? "it is empty" : strerror(errno));
                buffer[0] = '\0';
        }
        if (file)
                fclose(file);
        buffer[strcspn(buffer, "\r\n")] = '\0';
        return buffer;
}

static int run(struct client_options *options, const char *token_file, struct cli *cli, int argc, char **argv)
{
        const struct cli_command *command = cli_find(argv[0]);
        static char token[512];
        int status;

        if (!command) {
                fprintf(stderr, "agentpool: no command \"%s\"; agentpool -h lists them\n", argv[0]);
                return EXIT_USAGE;
        }
        if (token_file && !*(options->token = read_token(token_file, token, sizeof token)))
                return EXIT_USAGE;
        cli->url = options->url;
        cli->token = options->token;
        cli->client = client_new(options);
        if (!cli->client)
                return EXIT_FAILURE;
        status = command->run(cli, argc, argv);
        client_free(cli->client);
        return status;
}

/* For JSON. */
static void *allocate(size_t size)
{
        void *memory = malloc(size);

        if (!memory)
                client_out_of_memory();
        return memory;
}

int main(int argc, char **argv)
{
        struct client_options options = { .url = getenv("AGENTPOOL_URL"), .token = getenv("AGENTPOOL_TOKEN"),
                .ca_file = getenv("AGENTPOOL_CA_FILE") };
        const char *token_file = options.token ? NULL : getenv("AGENTPOOL_TOKEN_FILE");
        struct cli cli = { 0 };
        cJSON_Hooks hooks = { .malloc_fn = allocate, .free_fn = free };
        int option;

        cJSON_InitHooks(&hooks);

        while ((option = getopt(argc, argv, "+u:t:c:o:Vh")) != -1) {
                if (option == 'u') {
                        options.url = optarg;
                } else if (option == 't') {
                        token_file = optarg;
                } else if (option == 'c') {
                        options.ca_file = optarg;
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
        if (!options.url || !*options.url)
                options.url = DEFAULT_URL;
        return run(&options, token_file, &cli, argc - optind, argv + optind);
}
