/* A module that behaves as its messages say, for test_runtime_module.c, which compiles it; VARIANT makes it unfit. */
#include "agentpool_module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef VARIANT
#define VARIANT 0
#endif
#define NO_INIT 1
#define INIT_NULL 2
#define OTHER_ABI 3
#define NO_STOP 4

static const struct agentpool_host *host;

struct state {
        struct agentpool_timer *timer;
        uint64_t waiting; /* answered at the end */
        int fired;
};

static void reply(struct agentpool_agent *agent, uint64_t request, const char *json)
{
        host->reply(agent, request, json, strlen(json));
}

static void reply_number(struct agentpool_agent *agent, uint64_t request, int number)
{
        char text[16];

        snprintf(text, sizeof text, "%d", number);
        reply(agent, request, text);
}

static void fire_reply(struct agentpool_agent *agent, void *arg, void *request)
{
        struct state *state = arg;

        state->fired++;
        reply(agent, (uint64_t)(uintptr_t)request, "\"late\"");
}

static void fire_never(struct agentpool_agent *agent, void *state, void *arg)
{
        (void)agent;
        (void)state;
        (void)arg;
        abort();
}

static void message(struct agentpool_agent *agent, void *arg, uint64_t request, const char *method, const char *params,
        size_t len)
{
        struct state *state = arg;
        void *late = (void *)(uintptr_t)request;

        if (strcmp(method, "echo") == 0)
                host->reply(agent, request, params, len);
        else if (strcmp(method, "error") == 0)
                host->reply_error(agent, request, -7, "no \xff way");
        else if (strcmp(method, "refuse") == 0) {
                host->emit(agent, "asked", NULL, 0);
                host->reply_error(agent, request, -32601, "no such method");
        } else if (strcmp(method, "late") == 0)
                host->timer_start(agent, 5, fire_reply, late);
        else if (strcmp(method, "stopped_timer") == 0)
                host->timer_stop(host->timer_start(agent, 0, fire_never, NULL)), reply(agent, request, "true");
        else if (strcmp(method, "never") == 0)
                state->timer = host->timer_start(agent, 3600000, fire_never, NULL);
        else if (strcmp(method, "at_the_end") == 0)
                state->waiting = request;
        else if (strcmp(method, "broken") == 0)
                reply_number(agent, request, host->reply(agent, request, "{\"a\":", 5));
        else if (strcmp(method, "too_long") == 0) {
                char *text = malloc(2 << 20);

                memset(text, ' ', 2 << 20);
                reply_number(agent, request, host->reply(agent, request, text, 2 << 20));
                free(text);
        } else if (strcmp(method, "twice") == 0) {
                reply(agent, request, "1");
                if (host->reply(agent, request, "2", 1) != -ENOENT || host->reply(agent, 0, "2", 1) != -ENOENT)
                        abort();
        } else if (strcmp(method, "emit") == 0) {
                host->emit(agent, "event", params, len);
                host->emit(agent, "bare", NULL, 0);
        } else if (strcmp(method, "emit_number") == 0)
                reply_number(agent, request, host->emit(agent, "event", "1", 1));
        else if (strcmp(method, "flood") == 0) {
                int r, count = 0;

                while ((r = host->emit(agent, "flood", "[\"0123456789\"]", 14)) == 0)
                        count++;
                reply_number(agent, request, r == -EAGAIN ? count : r);
        } else if (strcmp(method, "log") == 0)
                host->log(agent, "a \"line\"\nof two");
        else if (strcmp(method, "finish") == 0) {
                host->timer_start(agent, 0, fire_never, NULL);
                host->finish(agent, 4, "had enough");
                host->finish(agent, 5, "again");
        } else if (strcmp(method, "finish_plain") == 0)
                host->finish(agent, 0, NULL);
}

static int start(struct agentpool_agent *agent, const struct agentpool_start *what, void **ret_state, char *reason,
        size_t size)
{
        struct state *state = calloc(1, sizeof *state);
        char json[512];

        if (strstr(what->args_json, "refuse")) {
                host->timer_start(agent, 0, fire_never, NULL);
                host->emit(agent, "unheard", NULL, 0);
                free(state);
                snprintf(reason, size, "%s", strstr(what->args_json, "words") ? "not today" : "");
                return -EACCES;
        }
        snprintf(json, sizeof json, "[\"%s\",\"%s\",\"%s\",%d,%s,%s]", what->pool_name, what->role_type,
                what->start_reason, (int)what->epoch, what->args_json, what->labels_json);
        host->emit(agent, "starting", json, strlen(json));
        if (strstr(what->args_json, "finish"))
                host->finish(agent, 1, "no use");
        *ret_state = state;
        return 0;
}

static void stop(struct agentpool_agent *agent, void *arg)
{
        struct state *state = arg;

        if (state->waiting)
                reply(agent, state->waiting, "\"bye\"");
        host->emit(agent, "stopping", NULL, 0);
        if (host->timer_start(agent, 0, fire_never, NULL))
                abort();
        host->timer_stop(state->timer);
        host->finish(agent, 9, "too late");
        free(state);
}

#if VARIANT != NO_INIT
static const struct agentpool_module module = {
        .abi = VARIANT == OTHER_ABI ? AGENTPOOL_MODULE_ABI + 1 : AGENTPOOL_MODULE_ABI,
        .name = "test",
        .start = start,
        .message = message,
        .stop = VARIANT == NO_STOP ? NULL : stop,
};

const struct agentpool_module *agentpool_module_init(const struct agentpool_host *the_host)
{
        host = the_host;
        return VARIANT == INIT_NULL ? NULL : &module;
}
#endif
