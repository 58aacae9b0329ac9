/* Where a program is. */
#ifndef MASTER_FORKER_PROGRAM_H
#define MASTER_FORKER_PROGRAM_H
#include <limits.h>

/* As execvp would find it, absolute. 0 or -ENOENT. */
int program_find(const char *name, char ret_path[PATH_MAX]);
#endif
