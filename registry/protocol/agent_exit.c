#include "registry/protocol/agent_exit.h"

#include "common/json/json.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

cJSON *agent_exit_print(const struct agent_exit *exit)
{
        cJSON *tree = cJSON_CreateObject();

        if (tree && json_add_integer(tree, "code", exit->code) == 0 &&
                json_add_integer(tree, "signal", exit->signal) == 0 &&
                json_add_string(tree, "reason", exit->reason) == 0)
                return tree;
        cJSON_Delete(tree);
        return NULL;
}

char *agent_exit_encode(const struct agent_exit *exit)
{
        cJSON *tree = agent_exit_print(exit);
        char *text = tree ? json_print(tree) : NULL;

        cJSON_Delete(tree);
        return text;
}

int agent_exit_read(const cJSON *tree, struct agent_exit *ret_exit)
{
        const char *reason = json_string(tree, "reason");
        int64_t code, signal;

        if (!reason || json_integer(tree, "code", &code) < 0 || json_integer(tree, "signal", &signal) < 0)
                return -EINVAL;
        if (code < -1 || code > INT_MAX || signal < 0 || signal > 64)
                return -EINVAL;
        *ret_exit = (struct agent_exit){ .code = (int)code, .signal = (int)signal };
        snprintf(ret_exit->reason, sizeof ret_exit->reason, "%s", reason);
        return 0;
}

int agent_exit_decode(const char *text, size_t len, struct agent_exit *ret_exit)
{
        struct json_error error;
        cJSON *tree;
        int r = json_parse(text, len, JSON_STRICT, &tree, &error);

        if (r < 0)
                return r;
        r = agent_exit_read(tree, ret_exit);
        cJSON_Delete(tree);
        return r;
}

struct agent_exit agent_exit_from_status(int status)
{
        struct agent_exit exit = { .code = -1 };

        if (WIFSIGNALED(status)) {
                const char *name = sigabbrev_np(WTERMSIG(status));

                exit.signal = WTERMSIG(status);
                snprintf(exit.reason, sizeof exit.reason, "killed by signal %d (%s)", exit.signal, name ? name : "?");
        } else {
                exit.code = WEXITSTATUS(status);
                snprintf(exit.reason, sizeof exit.reason, "exit status %d", exit.code);
        }
        return exit;
}
