/* A module whose agents block their worker's loop for ever when they are sent "block"; they answer everything else. */
#include "agentpool_module.h"

#include <string.h>
#include <unistd.h>

static const struct agentpool_host *host;

static int start(struct agentpool_agent *agent, const struct agentpool_start *what, void **ret_state, char *reason, size_t size)
{
        return 0;
}

static void message(struct agentpool_agent *agent, void *state, uint64_t request, const char *method, const char *params, size_t len)
{
        while (strcmp(method, "block") == 0)
                pause();
        host->reply(agent, request, params, len);
}

static void stop(struct agentpool_agent *agent, void *state)
{
}

static const struct agentpool_module module = { .abi = AGENTPOOL_MODULE_ABI, .name = "blocking", .start = start,
        .message = message, .stop = stop };

const struct agentpool_module *agentpool_module_init(const struct agentpool_host *the_host)
{
        host = the_host;
        return &module;
}
