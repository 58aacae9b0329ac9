/* The table of commands as help and as the manual page's lists. */
#include "cli/command.h"

#include <ctype.h>
#include <string.h>

#define LEFT 28  /* columns of an option before what it means */
#define WIDTH 100

/* Wrapped at WIDTH, each line but the first indented. */
static void print_wrapped(FILE *to, int column, int indent, const char *text)
{
        bool begun = false;

        for (int len; *text; text += len + (text[len] == ' ')) {
                len = (int)strcspn(text, " ");
                if (begun && column + 1 + len > WIDTH) {
                        fprintf(to, "\n%*s", indent, "");
                        column = indent;
                        begun = false;
                }
                column += fprintf(to, "%s%.*s", begun ? " " : "", len, text);
                begun = true;
        }
        fputc('\n', to);
}

static void print_options(FILE *to, const struct cli_option *options)
{
        char left[96];

        for (; options && options->name; options++) {
                int n = snprintf(left, sizeof left, "  %c%c%c --%s%s%s", options->letter ? '-' : ' ', options->letter ? options->letter : ' ',
                        options->letter ? ',' : ' ', options->name, options->value ? "=" : "", options->value ? options->value : "");

                fprintf(to, "%-*s", LEFT, left);
                if (n >= LEFT)
                        fprintf(to, "\n%*s", LEFT, "");
                print_wrapped(to, LEFT, LEFT, options->meaning);
        }
}

void cli_help(FILE *to)
{
        fputs("Usage: agentpool [OPTION…] COMMAND [ARGUMENT…]\n\nCommands (agentpool help COMMAND says more of each):\n", to);
        for (const struct cli_command *c = cli_commands; c->name; c++)
                fprintf(to, "  %-11s %s\n", c->name, c->summary);
        fputs("\nOptions, before or after the command:\n", to);
        print_options(to, cli_global_options);
        fputs("\nAgents are named by their id, the beginning of it that no other has, or their human name.\n"
              "Exit status: 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage,\n"
              "3 nobody answers, 4 no such agent or pool, 5 not now (429, 503, 504).\n", to);
}

void cli_usage(FILE *to, const struct cli_command *command)
{
        fprintf(to, "%s%s%s%s", command->name, command->options ? " [OPTION…]" : "", *command->arguments ? " " : "", command->arguments);
}

void cli_command_help(FILE *to, const struct cli_command *command)
{
        fputs("Usage: agentpool ", to);
        cli_usage(to, command);
        fputs("\n\n", to);
        fprintf(to, "%c%s.\n", toupper((unsigned char)*command->summary), command->summary + 1);
        if (command->details)
                print_wrapped(to, 0, 0, command->details);
        if (command->options) {
                fputs("\nOptions:\n", to);
                print_options(to, command->options);
        }
        fputs("\nOptions of every command: agentpool help.\n", to);
}

static void manual_options(const struct cli_option *options)
{
        puts("begin");
        for (; options->name; options++) {
                fputs("item\t", stdout);
                if (options->letter)
                        printf("-%c, ", options->letter);
                printf("--%s%s%s\t%s\n", options->name, options->value ? "=" : "", options->value ? options->value : "", options->meaning);
        }
        puts("end");
}

void cli_manual(void)
{
        puts("section\tOptions");
        manual_options(cli_global_options);
        puts("section\tCommands\nbegin");
        for (const struct cli_command *c = cli_commands; c->name; c++) {
                fputs("item\t", stdout);
                cli_usage(stdout, c);
                printf("\t%s%s%s\n", c->summary, c->details ? ". " : "", c->details ? c->details : "");
                if (c->options)
                        manual_options(c->options);
        }
        puts("end");
}
