#include "cli/command.h"

#include "cli/client/memory.h"

#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 48
#define LONG 256 /* getopt's value of the long form of option n: LONG + n */

const struct cli_command *cli_find(const char *name)
{
        for (const struct cli_command *c = cli_commands; c->name; c++)
                if (strcmp(c->name, name) == 0)
                        return c;
        return NULL;
}

int cli_wrong(const struct cli *cli, const char *format, ...)
{
        const struct cli_command *command = cli->command;
        va_list args;

        fprintf(stderr, "agentpool%s%s: ", command ? " " : "", command ? command->name : "");
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputs("\nUsage: agentpool ", stderr);
        if (command)
                cli_usage(stderr, command);
        else
                fputs("[OPTION…] COMMAND [ARGUMENT…]", stderr);
        fprintf(stderr, "\nagentpool help%s%s says more.\n", command ? " " : "", command ? command->name : "");
        return EXIT_USAGE;
}

bool cli_duration(const char *text, double *ret_seconds)
{
        static const struct {
                const char *name;
                double seconds;
        } units[] = { { "", 1 }, { "ms", 0.001 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };
        char *end;
        double value = strtod(text, &end);

        if (end == text || !isfinite(value))
                return false;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
                if (strcmp(end, units[i].name) == 0) {
                        *ret_seconds = value * units[i].seconds;
                        return true;
                }
        return false;
}

static bool is_among(const char *word, const char *words)
{
        size_t len = strlen(word);

        for (const char *at = words; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
                if (len > 0 && strcspn(at, "|") == len && strncmp(at, word, len) == 0)
                        return true;
        return false;
}

static bool read_number(const struct cli_option *option, const char *text, double *ret_number)
{
        char *end;

        if (option->kind == CLI_DURATION)
                return cli_duration(text, ret_number);
        *ret_number = strtod(text, &end);
        return end != text && !*end && isfinite(*ret_number) && (option->kind != CLI_WHOLE || *ret_number == floor(*ret_number));
}

/* Whether the value is what the option takes; says so when not. */
static bool check_value(const struct cli *cli, const struct cli_option *option, const char *value, double *ret_number)
{
        const char *what = option->kind == CLI_DURATION ? "time (90, 90s, 5m, 2h, 500ms)"
                : option->kind == CLI_WHOLE             ? "whole number"
                                                        : "number";

        if (option->kind == CLI_WORD && !is_among(value, option->words)) {
                cli_wrong(cli, "--%s: \"%s\" is none of %s", option->name, value, option->words);
                return false;
        }
        if (option->kind == CLI_PAIR && (!strchr(value, '=') || *value == '=')) {
                cli_wrong(cli, "--%s: \"%s\" has not the form NAME=VALUE", option->name, value);
                return false;
        }
        if (option->kind != CLI_WHOLE && option->kind != CLI_NUMBER && option->kind != CLI_DURATION)
                return true;
        if (!read_number(option, value, ret_number)) {
                cli_wrong(cli, "--%s: \"%s\" is no %s", option->name, value, what);
                return false;
        }
        if (*ret_number >= option->low && *ret_number <= option->high)
                return true;
        cli_wrong(cli, "--%s: %s is not within %.15g and %.15g%s", option->name, value, option->low, option->high,
                option->kind == CLI_DURATION ? " seconds" : "");
        return false;
}

static bool give(struct cli *cli, const struct cli_option *option, const char *value)
{
        struct cli_given given = { .option = option, .value = value };

        if (value && !check_value(cli, option, value, &given.number))
                return false;
        cli->given[cli->given_count++] = given;
        return true;
}

/* What getopt_long needs, made of the table. */
struct options {
        const struct cli_option *list[OPTIONS_MAX];
        struct option longs[OPTIONS_MAX + 1];
        char shorts[2 * OPTIONS_MAX + 3];
        size_t count;
};

static void add_options(struct options *options, const struct cli_option *table)
{
        for (; table && table->name && options->count < OPTIONS_MAX; table++) {
                size_t at = options->count++;

                options->list[at] = table;
                options->longs[at] = (struct option){ table->name, table->value ? required_argument : no_argument, NULL, LONG + (int)at };
                /* A command's letter hides the same letter of the program's own. */
                if (table->letter && !strchr(options->shorts, table->letter))
                        sprintf(options->shorts + strlen(options->shorts), "%c%s", table->letter, table->value ? ":" : "");
        }
}

static const struct cli_option *option_of(const struct options *options, int key)
{
        if (key >= LONG)
                return options->list[key - LONG];
        for (size_t i = 0; i < options->count; i++)
                if (options->list[i]->letter == key)
                        return options->list[i];
        return NULL;
}

/* getopt's '?' and ':' in words that name the remedy. */
static int refuse(const struct cli *cli, const struct options *options, int key, const char *word)
{
        const struct cli_option *option = optopt ? option_of(options, optopt) : NULL;

        if (key == ':' && option)
                cli_wrong(cli, "%s needs a value: --%s %s", word, option->name, option->value);
        else if (option)
                cli_wrong(cli, "--%s takes no value", option->name);
        else if (optopt)
                cli_wrong(cli, "no option -%c", optopt);
        else
                cli_wrong(cli, "no option \"%s\", or not a whole name of one", word);
        return -1;
}

static int take_options(struct cli *cli, struct options *options, int argc, char **argv)
{
        int key;

        optind = 0;
        opterr = 0;
        while ((key = getopt_long(argc, argv, options->shorts, options->longs, NULL)) != -1) {
                if (key == '?' || key == ':')
                        return refuse(cli, options, key, argv[optind - 1]);
                if (!give(cli, option_of(options, key), optarg))
                        return -1;
        }
        return 0;
}

/* The n-th word of what the usage shows, without brackets. */
static const char *argument_name(const struct cli_command *command, int n, char buffer[64])
{
        const char *at = command->arguments;

        for (; n > 0 && strchr(at, ' '); n--)
                at = strchr(at, ' ') + 1;
        snprintf(buffer, 64, "%.*s", (int)strcspn(at, " ]…"), at + (*at == '['));
        return buffer;
}

static int check_count(const struct cli *cli)
{
        const struct cli_command *command = cli->command;
        bool help = cli_flag(cli, "help") || cli_flag(cli, "version");
        char name[64];

        if (cli->count < command->min && !help)
                cli_wrong(cli, "%s is missing", argument_name(command, cli->count, name));
        else if (command->max >= 0 && cli->count > command->max && !help)
                cli_wrong(cli, "\"%s\" is one argument too many", cli->words[command->max]);
        else if (command->kind == CLI_WORD && cli->count > 0 && command->max == 1 && !is_among(cli->words[0], command->words) && !help)
                cli_wrong(cli, "\"%s\" is none of %s", cli->words[0], command->words);
        else
                return 0;
        return -1;
}

static int no_command(const struct cli *cli, const char *name)
{
        const struct cli_command *near = NULL;

        for (const struct cli_command *c = cli_commands; c->name; c++)
                if (strncmp(c->name, name, 3) == 0 && strlen(name) >= 3)
                        near = c;
        cli_wrong(cli, near ? "no command \"%s\"; did you mean \"%s\"?" : "no command \"%s\"", name, near ? near->name : "");
        return -1;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
        struct options first = { .shorts = "+:" }, rest = { .shorts = ":" };

        cli->given = memory_need(calloc((size_t)argc * 8 + 8, sizeof *cli->given));
        add_options(&first, cli_global_options);
        if (take_options(cli, &first, argc, argv) < 0)
                return -1;
        argc -= optind;
        argv += optind;
        if (argc == 0)
                return 0;
        cli->command = cli_find(argv[0]);
        if (!cli->command)
                return no_command(cli, argv[0]);
        add_options(&rest, cli->command->options);
        add_options(&rest, cli_global_options);
        if (take_options(cli, &rest, argc, argv) < 0)
                return -1;
        cli->words = argv + optind;
        cli->count = argc - optind;
        return check_count(cli);
}

static const struct cli_given *last_given(const struct cli *cli, const char *name)
{
        for (size_t i = cli->given_count; i-- > 0;)
                if (strcmp(cli->given[i].option->name, name) == 0)
                        return &cli->given[i];
        return NULL;
}

const char *cli_value(const struct cli *cli, const char *name)
{
        const struct cli_given *given = last_given(cli, name);

        return given ? given->value : NULL;
}

bool cli_flag(const struct cli *cli, const char *name)
{
        return last_given(cli, name);
}

double cli_number(const struct cli *cli, const char *name, double fallback)
{
        const struct cli_given *given = last_given(cli, name);

        return given ? given->number : fallback;
}

const char *cli_each(const struct cli *cli, const char *name, size_t *at)
{
        while (*at < cli->given_count) {
                const struct cli_given *given = &cli->given[(*at)++];

                if (strcmp(given->option->name, name) == 0)
                        return given->value;
        }
        return NULL;
}
