#include "worker/runtime/agent_program.h"

#include "common/cgroup.h"
#include "common/fd.h"
#include "worker/runtime/credentials.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a program may need of the worker's own environment; the rest stays ours. */
static const char *const kept[] = { "PATH", "HOME", "LANG", "TZ" };

int agent_program_check(const struct pool_config *config, char *reason, size_t size)
{
        const cJSON *env = config->runtime.env ? config->runtime.env->child : NULL;

        if (launch_has_placeholder(config->runtime.argv[0])) {
                snprintf(reason, size, "runtime.argv[0] must name the program without ${args.…}: what runs is for the "
                                       "configuration alone to say");
                return -EINVAL;
        }
        for (; env; env = env->next) {
                if (env->string[0] && !strchr(env->string, '='))
                        continue;
                snprintf(reason, size, "runtime.env: \"%.64s\" cannot be the name of a variable", env->string);
                return -EINVAL;
        }
        return 0;
}

static int set_kept(struct launch *launch)
{
        int r = 0;

        for (size_t i = 0; i < sizeof kept / sizeof *kept && r == 0; i++)
                if (getenv(kept[i]))
                        r = launch_variable(launch, kept[i], getenv(kept[i]));
        return r;
}

static int set_configured(struct launch *launch, const cJSON *env)
{
        int r = 0;

        for (const cJSON *child = env ? env->child : NULL; child && r == 0; child = child->next)
                r = launch_variable(launch, child->string, child->valuestring);
        return r;
}

/* AGENTPOOL_ARG_<NAME>: capital letters and digits, anything else becomes an underscore. */
static int set_argument(struct launch *launch, const cJSON *arg)
{
        char *name;
        int r;

        if (asprintf(&name, "AGENTPOOL_ARG_%s", arg->string) < 0)
                return -ENOMEM;
        for (char *p = name; *p; p++)
                *p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
        r = launch_variable(launch, name, arg->valuestring);
        free(name);
        return r;
}

static int set_arguments(struct launch *launch, const cJSON *args)
{
        int r = 0;

        for (const cJSON *child = args ? args->child : NULL; child && r == 0; child = child->next)
                if (cJSON_IsString(child))
                        r = set_argument(launch, child);
        return r;
}

static int set_ours(struct launch *launch, const struct pool_config *config, const struct command *spawn)
{
        char epoch[24];
        const struct {
                const char *name, *value;
        } ours[] = {
                { "AGENTPOOL_AGENT_ID", ID_TEXT(&spawn->agent_id) },
                { "AGENTPOOL_MASTER_ID", ID_TEXT(&spawn->master_id) }, /* master/boot/leftovers.h */
                { "AGENTPOOL_PROJECT_ID", ID_TEXT(&spawn->project_id) },
                { "AGENTPOOL_POOL", config->pool_name },
                { "AGENTPOOL_ROLE", spawn->role_type ? spawn->role_type : config->role_type },
                { "AGENTPOOL_START_REASON", spawn->start_reason ? spawn->start_reason : "spawn" },
                { "AGENTPOOL_EPOCH", epoch },
        };
        int r = 0;

        snprintf(epoch, sizeof epoch, "%" PRIu64, spawn->epoch);
        for (size_t i = 0; i < sizeof ours / sizeof *ours && r == 0; i++)
                r = launch_variable(launch, ours[i].name, ours[i].value);
        return r;
}

static int set_all(struct launch *launch, const struct pool_config *config, const struct command *spawn)
{
        int r = 0;

        for (char **argument = config->runtime.argv; *argument && r == 0; argument++)
                r = launch_argument(launch, *argument, spawn->args);
        if (r == 0)
                r = set_kept(launch);
        if (r == 0)
                r = set_configured(launch, config->runtime.env);
        if (r == 0)
                r = set_arguments(launch, spawn->args);
        /* Last: no setting may hide which agent a process belongs to. */
        r = r < 0 ? r : set_ours(launch, config, spawn);
        if (r == 0 && credentials_directory())
                r = launch_variable(launch, "CREDENTIALS_DIRECTORY", credentials_directory());
        return r < 0 || !spawn->trace[0] ? r : launch_variable(launch, "TRACEPARENT", spawn->trace);
}

int agent_program_run(const struct pool_config *config, const struct command *spawn, const struct limits *limits,
        const struct agent_cgroup *cgroup, const int fds[3], pid_t *ret_pid, int *ret_pidfd, char *reason, size_t size)
{
        struct launch launch = { .directory = config->runtime.directory, .fds = { fds[0], fds[1], fds[2] } };
        int enter = agent_cgroup_enter(cgroup), r;

        if (enter < 0) {
                snprintf(reason, size, "cannot enter its cgroup: %s", strerror(-enter));
                return enter;
        }
        launch.cgroup = enter;
        launch.umask = config->runtime.umask ? (int)strtoul(config->runtime.umask, NULL, 8) : -1;
        launch.nice = (int)config->runtime.nice;
        limits_program(limits, &config->limits, cgroup->controllers & CGROUP_MEMORY, &launch);
        r = set_all(&launch, config, spawn);
        if (r < 0)
                snprintf(reason, size, "no memory to start %s", config->runtime.argv[0]);
        else
                r = launch_run(&launch, ret_pid, ret_pidfd, reason, size);
        launch_done(&launch);
        if (enter > 0)
                fd_close(enter);
        return r;
}
