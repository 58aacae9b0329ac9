#include "master/forker/program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 0 or -ENOENT. */
static int check(char path[PATH_MAX], const char *directory, size_t len, const char *name)
{
        int n = snprintf(path, PATH_MAX, "%.*s/%s", (int)len, directory, name);

        return n < PATH_MAX && path[0] == '/' && access(path, X_OK) == 0 ? 0 : -ENOENT;
}

int program_find(const char *name, char ret_path[PATH_MAX])
{
        const char *list = getenv("PATH"), *end;
        char current[PATH_MAX];

        if (name[0] == '/')
                return check(ret_path, "", 0, name + 1);
        if (strchr(name, '/'))
                return getcwd(current, sizeof current) ? check(ret_path, current, strlen(current), name) : -ENOENT;
        for (list = list ? list : "/usr/local/bin:/usr/bin:/bin"; *list; list = *end ? end + 1 : end) {
                end = strchrnul(list, ':');
                if (check(ret_path, list, (size_t)(end - list), name) == 0)
                        return 0;
        }
        return -ENOENT;
}
