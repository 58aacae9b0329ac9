/* Agents as people name them, and lists of things page by page. */
#ifndef CLI_AGENTS_H
#define CLI_AGENTS_H
#include "cli/command.h"
#include "cli/table.h"

#define AGENT_ID_SIZE 37

extern const struct column agent_columns[], pool_columns[], worker_columns[], execution_columns[];

/* Every page of the list at path. 0, or -1 as client_ask. limit: so many at most; 0: all. */
int agents_list(struct cli *cli, const char *path, long limit, cJSON **ret_list);
/* Which agents (by id, the beginning of one, or human name) the words are; ids, for free(), as many as words. Those that
 * have ended are found, too, where ended. EXIT_SUCCESS; else the exit status, and said. */
int agents_find(struct cli *cli, char *const *words, int count, bool ended, char (**ret_ids)[AGENT_ID_SIZE]);
int agents_find_one(struct cli *cli, const char *word, bool ended, char ret_id[AGENT_ID_SIZE]);
/* Whether there is a pool of exactly that name. -1: nobody said. */
int agents_is_pool(struct cli *cli, const char *name);
/* "/api/v1/agents/ID" and suffix. */
char *agents_path(const char *id, const char *suffix); /* free() */
char *agents_pool_path(struct cli *cli, const char *pool, const char *suffix);
#endif
