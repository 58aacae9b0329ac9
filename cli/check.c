/* check: the checker is a program of its own; it stands beside this one, installed or in the source tree. */
#include "cli/client/memory.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_check(struct cli *cli)
{
        static const char *const places[] = { "../lib/agentpool/check", "../scripts/check", "../../scripts/check" };
        char self[3072], path[4096], **words = memory_need(calloc(cli->given_count + 4, sizeof *words));
        ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
        size_t count = 0;

        words[count++] = path;
        /* Where nobody said whom to ask, it asks the daemon that it finds on this machine. */
        if (cli->chosen && asprintf(&words[count++], "--url=%s", cli->url) < 0)
                memory_exhausted();
        for (size_t i = 0; i < cli->given_count; i++) {
                const struct cli_option *option = cli->given[i].option;

                for (const struct cli_option *own = cli->command->options; own->name; own++)
                        if (own == option && asprintf(&words[count++], "--%s=%s", option->name, cli->given[i].value) < 0)
                                memory_exhausted();
        }
        if (cli->token)
                setenv("AGENTPOOL_TOKEN", cli->token, 1);
        if (cli->ca_file)
                setenv("AGENTPOOL_CA_FILE", cli->ca_file, 1);
        self[len > 0 ? len : 0] = '\0';
        for (size_t i = 0; len > 0 && i < sizeof places / sizeof *places; i++) {
                snprintf(path, sizeof path, "%.*s/%s", (int)(strrchr(self, '/') - self), self, places[i]);
                execv(path, words);
        }
        fprintf(stderr, "agentpool: the checker is not installed, or its /usr/bin/python3 is not: no %s\n", path);
        for (size_t i = 1; i < count; i++)
                free(words[i]);
        free(words);
        return EXIT_FAILURE;
}
