/* The functions behind the table of commands. Each returns the exit status. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
#include "cli/command.h"

int cli_status(struct cli *cli);
int cli_ls(struct cli *cli);
int cli_show(struct cli *cli);
int cli_why(struct cli *cli);
int cli_executions(struct cli *cli);
int cli_stats(struct cli *cli);
int cli_openapi(struct cli *cli);
int cli_top(struct cli *cli);
int cli_spawn(struct cli *cli);
int cli_terminate(struct cli *cli);
int cli_restart(struct cli *cli);
int cli_pool_action(struct cli *cli); /* drain, resume, rollback, reset */
int cli_rollout(struct cli *cli);
int cli_message(struct cli *cli);
int cli_logs(struct cli *cli);
int cli_events(struct cli *cli);
int cli_plan(struct cli *cli);
int cli_check(struct cli *cli);
int cli_export(struct cli *cli);
int cli_import(struct cli *cli);
int cli_context(struct cli *cli);
int cli_print_help(struct cli *cli);
#endif
