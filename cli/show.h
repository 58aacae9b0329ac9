/* Answers in the form that was asked for. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H
#include "cli/command.h"
#include "cli/table.h"

/* A list, or one object as a row of its own; name: the member that -o name shows. */
void show_rows(const struct cli *cli, const cJSON *tree, const struct column *columns, const char *name);
/* One object with what is in it: as YAML unless JSON was asked for. */
void show_object(const struct cli *cli, const cJSON *tree, const char *name);
/* JSON text, indented, with every value spelt as it came; YAML where that was asked for. */
void show_json(const struct cli *cli, const char *text, size_t len);
/* What an action says when it is done; nothing for -o name, which shows the name instead. */
void show_done(const struct cli *cli, const cJSON *answer, const char *message, const char *name);
/* Whether a text that is a JSON object has a member of that name that is not null. */
bool show_has(const char *text, size_t len, const char *name);
/* How far long work has come, on a terminal at standard error; the last time with done == total. */
void show_progress(const char *what, long long done, long long total);
/* Columns of the terminal at standard output; 0: it is none. */
int show_width(void);
/* Clears the terminal, if it is one, for the next frame; false when nobody reads any more. */
bool show_frame(void);
#endif
