/* Daemons by name: the client's own configuration file. */
#ifndef CLI_CONTEXTS_H
#define CLI_CONTEXTS_H
#include <cjson/cJSON.h>

/* The file's path, for free(); NULL: no home to keep it in. */
char *contexts_path(void);
/* What is in the file: an object, empty without a file. NULL with a message on stderr when it cannot be read or is no JSON. */
cJSON *contexts_load(void);
/* The context of that name (NULL: the current one), borrowed from file. NULL: none; said when it was named. */
const cJSON *contexts_find(const cJSON *file, const char *name);
#endif
