/* A module whose agents connect to the unix socket that they are sent as a method, and answer with the errno of that. */
#include "agentpool_module.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const struct agentpool_host *host;

static int start(struct agentpool_agent *agent, const struct agentpool_start *what, void **ret_state, char *reason, size_t size)
{
        return 0;
}

static void message(struct agentpool_agent *agent, void *state, uint64_t request, const char *method, const char *params, size_t len)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error;
        char text[16];

        snprintf(address.sun_path, sizeof address.sun_path, "%s", method);
        error = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? errno : 0;
        close(fd);
        host->reply(agent, request, text, (size_t)snprintf(text, sizeof text, "%d", error));
}

static void stop(struct agentpool_agent *agent, void *state)
{
}

static const struct agentpool_module module = { .abi = AGENTPOOL_MODULE_ABI, .name = "connecting", .start = start,
        .message = message, .stop = stop };

const struct agentpool_module *agentpool_module_init(const struct agentpool_host *the_host)
{
        host = the_host;
        return &module;
}
