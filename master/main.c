/* agentpoold: the command line. */
#include "common/log.h"
#include "master/config/config.h"
#include "master/boot/daemon.h"

#include <bsd/unistd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_CONFIG AGENTPOOL_SYSCONFDIR "/agentpool/agentpool.json"
#define EXIT_USAGE 2

enum what { RUN = 1, CHECK, PRINT };

static void usage(FILE *out)
{
        fputs("usage: agentpoold [-c FILE] [-t | -T | -V | -h]\n"
              "  -c FILE  the configuration (default: " DEFAULT_CONFIG ")\n"
              "  -t       check the configuration and say what is wrong, by file, line and column\n"
              "  -T       check it and print what is in force, with secrets masked\n"
              "  -V       print the version\n"
              "  -h       print this\n"
              "Exit status: 0 success, 1 failure, 2 wrong usage, 78 wrong configuration.\n"
              "Signals: TERM ends in order, INT and QUIT fast, HUP reloads, USR1 opens the log again, USR2 upgrades.\n",
                out);
}

static int print_config(const struct config *config)
{
        char *text = config_print(config, true);

        if (!text) {
                fputs("agentpoold: out of memory\n", stderr);
                return EXIT_FAILURE;
        }
        puts(text);
        free(text);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int act(enum what what, struct config *config, const char *path, int argc, char **argv)
{
        if (what == PRINT)
                return print_config(config);
        if (what == RUN)
                return daemon_run(config, path, argc, argv);
        if (daemon_check_state() < 0) {
                fputs("agentpoold: this version cannot take over from the one that runs: stop that one, start this one\n",
                        stderr);
                return EXIT_FAILURE;
        }
        printf("%s: the configuration is right\n", path);
        return EXIT_SUCCESS;
}

static int run(enum what what, const char *path, int argc, char **argv)
{
        struct config_errors errors = { 0 };
        struct config *config;
        int status;

        if (config_load(path, environ, &config, &errors) < 0) {
                for (unsigned i = 0; i < errors.count; i++)
                        fprintf(stderr, "%s\n", errors.lines[i]);
                if (errors.count == 0)
                        fputs("agentpoold: out of memory\n", stderr);
                return errors.count ? EX_CONFIG : EXIT_FAILURE;
        }
        status = act(what, config, path, argc, argv);
        config_free(config);
        return status;
}

int main(int argc, char **argv)
{
        const char *path = DEFAULT_CONFIG;
        enum what what = RUN;
        int option;

        setproctitle_init(argc, argv, environ);
        while ((option = getopt(argc, argv, "c:tTVh")) != -1)
                switch (option) {
                case 'c':
                        path = optarg;
                        break;
                case 't':
                        what = CHECK;
                        break;
                case 'T':
                        what = PRINT;
                        break;
                case 'V':
                        puts("agentpoold " AGENTPOOL_VERSION);
                        return EXIT_SUCCESS;
                case 'h':
                        usage(stdout);
                        return EXIT_SUCCESS;
                default:
                        usage(stderr);
                        return EXIT_USAGE;
                }
        if (optind < argc) {
                usage(stderr);
                return EXIT_USAGE;
        }
        return run(what, path, argc, argv);
}
