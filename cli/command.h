/* What the words of a command line mean. One table of commands (commands.c) gives parsing, help, completion and the manual. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H
#include "cli/client/client.h"

#include <stdbool.h>
#include <stdio.h>

#define EXIT_USAGE 2

#define CLI_V1 "/api/v1"

/* What a value is: it is checked as that, and completed from it. */
enum cli_kind {
        CLI_FREE = 1, CLI_WORD, CLI_WHOLE, CLI_NUMBER, CLI_DURATION, CLI_PAIR, CLI_FILE, CLI_DIRECTORY, CLI_AGENT, CLI_POOL,
        CLI_TARGET, /* an agent or a pool */
        CLI_COMMAND, CLI_CONTEXT, CLI_URL,
};

struct cli_option {
        const char *name;    /* of the long form */
        int letter;          /* of the short one; 0: none */
        const char *value;   /* what stands for its value in help; NULL: a flag */
        enum cli_kind kind;
        const char *words;   /* of CLI_WORD: "one|other" */
        double low, high;    /* of numbers; of CLI_DURATION in seconds */
        const char *meaning;
};

struct cli;
struct cli_command {
        const char *name, *arguments; /* as its usage shows them */
        int min, max;                 /* how many; max negative: any number */
        enum cli_kind kind;           /* of its arguments */
        const char *words;            /* of CLI_WORD */
        const struct cli_option *options; /* ends with a NULL name; NULL: none */
        const char *summary, *details;    /* a line; more of them or NULL */
        int (*run)(struct cli *cli);      /* returns the exit status */
};

enum cli_format { CLI_TABLE = 1, CLI_WIDE, CLI_JSON, CLI_YAML, CLI_NAME };

/* An option that was given. */
struct cli_given {
        const struct cli_option *option;
        const char *value;
        double number; /* of CLI_WHOLE, CLI_NUMBER and CLI_DURATION (seconds) */
};

struct cli {
        struct client *client;
        const char *url, *token, *ca_file; /* token, ca_file: NULL without one */
        const struct cli_command *command; /* NULL: none was named */
        struct cli_given *given;
        size_t given_count;
        char **words;                      /* the command's arguments */
        int count;
        enum cli_format format;
        bool color, chosen; /* chosen: the URL is not merely the default */
};

extern const struct cli_command cli_commands[]; /* ends with a NULL name */
extern const struct cli_option cli_global_options[];

const struct cli_command *cli_find(const char *name);
/* Fills cli from the words. 0, or -1 when something is wrong with them and was said. */
int cli_parse(struct cli *cli, int argc, char **argv);
/* "90", "90s", "1.5m", "2h", "500ms", "7d" as seconds. */
bool cli_duration(const char *text, double *ret_seconds);

/* The value given last, or NULL. */
const char *cli_value(const struct cli *cli, const char *name);
bool cli_flag(const struct cli *cli, const char *name);
double cli_number(const struct cli *cli, const char *name, double fallback);
/* Each value of an option that may be repeated, from *at = 0 on; NULL at the end. */
const char *cli_each(const struct cli *cli, const char *name, size_t *at);

/* Says what is wrong with the words and how the command is used; EXIT_USAGE. */
int cli_wrong(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_help(FILE *to);
/* Name, options, arguments. */
void cli_usage(FILE *to, const struct cli_command *command);
void cli_command_help(FILE *to, const struct cli_command *command);
/* The same for scripts/man: lines of section, begin, item and end. */
void cli_manual(void);
/* Candidates for the last word, a line each with a tab and what it is. */
int cli_complete(struct cli *cli, int argc, char **argv);
#endif
