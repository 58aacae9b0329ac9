#include "worker/runtime/launch.h"

#include "common/fd.h"
#include "common/json/json.h"
#include "worker/runtime/launch_cause.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACEHOLDER "${args."

static int list_add(struct launch_list *list, char *take_item)
{
        size_t size = list->size > 0 ? list->size * 2 : 16;
        char **items;

        if (!take_item)
                return -ENOMEM;
        if (list->count + 1 >= list->size) {
                items = reallocarray(list->items, size, sizeof *items);
                if (!items) {
                        free(take_item);
                        return -ENOMEM;
                }
                list->items = items;
                list->size = size;
        }
        list->items[list->count++] = take_item;
        list->items[list->count] = NULL;
        return 0;
}

static void list_done(struct launch_list *list)
{
        for (size_t i = 0; i < list->count; i++)
                free(list->items[i]);
        free(list->items);
        *list = (struct launch_list){ 0 };
}

void launch_done(struct launch *launch)
{
        list_done(&launch->argv);
        list_done(&launch->env);
}

/* The next placeholder: its beginning, its name, and what follows; NULL when there is none. */
static const char *find_placeholder(const char *text, const char **ret_name, size_t *ret_len, const char **ret_rest)
{
        const char *start = strstr(text, PLACEHOLDER), *end;

        end = start ? strchr(start, '}') : NULL;
        if (!end)
                return NULL;
        *ret_name = start + sizeof PLACEHOLDER - 1;
        *ret_len = (size_t)(end - *ret_name);
        *ret_rest = end + 1;
        return start;
}

bool launch_has_placeholder(const char *text)
{
        const char *name, *rest;
        size_t len;

        return find_placeholder(text, &name, &len, &rest);
}

static const char *value_of(const cJSON *args, const char *name, size_t len)
{
        const cJSON *child = args ? args->child : NULL;

        for (; child; child = child->next)
                if (strlen(child->string) == len && memcmp(child->string, name, len) == 0 && cJSON_IsString(child))
                        return child->valuestring;
        return "";
}

int launch_argument(struct launch *launch, const char *text, const cJSON *args)
{
        const char *start, *name, *rest;
        char *argument = NULL;
        size_t len, size;
        FILE *out;

        if (!launch_has_placeholder(text))
                return list_add(&launch->argv, strdup(text));
        out = open_memstream(&argument, &size);
        if (!out)
                return -ENOMEM;
        for (; (start = find_placeholder(text, &name, &len, &rest)); text = rest) {
                fwrite(text, 1, (size_t)(start - text), out);
                fputs(value_of(args, name, len), out);
        }
        fputs(text, out);
        if (fclose(out) != 0) {
                free(argument);
                return -ENOMEM;
        }
        return list_add(&launch->argv, argument);
}

int launch_variable(struct launch *launch, const char *name, const char *value)
{
        size_t len = strlen(name);
        char *variable;

        if (asprintf(&variable, "%s=%s", name, value) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < launch->env.count; i++) {
                if (strncmp(launch->env.items[i], variable, len + 1) != 0)
                        continue;
                free(launch->env.items[i]);
                launch->env.items[i] = variable;
                return 0;
        }
        return list_add(&launch->env, variable);
}

void launch_limit(struct launch *launch, int resource, rlim_t soft, rlim_t hard)
{
        assert(launch->limit_count < LAUNCH_LIMITS_MAX);
        launch->limits[launch->limit_count++] = (struct launch_limit){ resource, { soft, hard } };
}

static int check_program(const char *path)
{
        struct stat st;

        if (stat(path, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EACCES;
        return access(path, X_OK) < 0 ? -errno : 0;
}

static int absolute(const char *path, char *ret_path)
{
        char here[PATH_MAX] = "";

        if (path[0] != '/' && !getcwd(here, sizeof here))
                return -errno;
        return snprintf(ret_path, PATH_MAX, "%s%s%s", here, *here ? "/" : "", path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static const char *path_variable(const struct launch *launch)
{
        for (size_t i = 0; i < launch->env.count; i++)
                if (strncmp(launch->env.items[i], "PATH=", 5) == 0)
                        return launch->env.items[i] + 5;
        return "/usr/local/bin:/usr/bin:/bin";
}

/* Like execvp: no permission in one folder does not end the search, but is the answer when nothing else is found. */
static int search(const char *name, const char *path, char *ret_path)
{
        char candidate[PATH_MAX];
        int r, found = -ENOENT;

        for (;; path++) {
                size_t len = strcspn(path, ":");

                if (snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)len, path, len > 0 ? "/" : "", name) <
                        PATH_MAX) {
                        r = check_program(candidate);
                        if (r == 0)
                                return absolute(candidate, ret_path);
                        if (r == -EACCES)
                                found = r;
                }
                path += len;
                if (!*path)
                        return found;
        }
}

static int find_program(const struct launch *launch, char *ret_path)
{
        const char *name = launch->argv.items[0];
        int r;

        if (!*name)
                return -ENOENT;
        if (!strchr(name, '/'))
                return search(name, path_variable(launch), ret_path);
        r = check_program(name);
        return r < 0 ? r : absolute(name, ret_path);
}

static int fail(int error, const char *what, const char *name, char *reason, size_t size)
{
        snprintf(reason, size, "%s %s: %s", what, name, strerror(-error));
        return error;
}

static int fail_to_execute(int error, const char *path, const char *what, const char *name, char *reason, size_t size)
{
        char cause[PATH_MAX + 64];

        launch_cause(path, error, cause, sizeof cause);
        snprintf(reason, size, "%s %s: %s%s%s", what, name, strerror(-error), *cause ? ": " : "", cause);
        return error;
}

int launch_run(const struct launch *launch, pid_t *ret_pid, int *ret_pidfd, char *reason, size_t size)
{
        const char *name = launch->argv.items[0], *what;
        char path[PATH_MAX];
        int directory = -1, pidfd, r;
        pid_t pid;

        r = find_program(launch, path);
        if (r < 0)
                return fail_to_execute(r, strchr(name, '/') ? name : "", "cannot execute", name, reason, size);
        if (launch->directory) {
                directory = open(launch->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (directory < 0)
                        return fail(-errno, "cannot enter the directory", launch->directory, reason, size);
        }
        pid = launch_child(launch, path, directory, &what);
        fd_close(directory);
        if (pid < 0)
                return fail_to_execute(pid, path, what, name, reason, size);
        /* No race: until we reap it, the pid is its own even if it has ended already. */
        pidfd = pidfd_open(pid, 0);
        if (pidfd < 0 && errno != ENOSYS) {
                r = -errno;
                kill(-pid, SIGKILL);
                waitpid(pid, NULL, 0);
                return fail(r, "cannot watch", name, reason, size);
        }
        *ret_pid = pid;
        *ret_pidfd = pidfd;
        return 0;
}
