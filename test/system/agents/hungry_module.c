/* A module whose agents take 4 MiB with each request, and whose worker dies when there is no more. */
#include "agentpool_module.h"

#include <stdlib.h>
#include <string.h>

#define PORTION (4 << 20)

static const struct agentpool_host *host;

static int start(struct agentpool_agent *agent, const struct agentpool_start *begin, void **ret_state, char *reason,
        size_t size)
{
        (void)agent, (void)begin, (void)reason, (void)size;
        *ret_state = NULL;
        return 0;
}

static void message(struct agentpool_agent *agent, void *state, uint64_t request, const char *method, const char *params,
        size_t len)
{
        char *eaten = malloc(PORTION);

        (void)state, (void)method, (void)params, (void)len;
        if (!eaten)
                abort();
        memset(eaten, 1, PORTION); /* and kept */
        host->reply(agent, request, "0", 1);
}

static void stop(struct agentpool_agent *agent, void *state)
{
        (void)agent, (void)state;
}

const struct agentpool_module *agentpool_module_init(const struct agentpool_host *given)
{
        static const struct agentpool_module module = { AGENTPOOL_MODULE_ABI, "hungry", start, message, stop };

        host = given;
        return &module;
}
