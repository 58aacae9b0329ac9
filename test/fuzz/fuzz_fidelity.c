/* Any RFC 8259 text as a request's params through the whole path: what the API reads, the command as its worker decodes it, a
 * program that gives the params back as its result, the reply as its master decodes it. Byte for byte the same. */
#include "common/clock.h"
#include "common/json/jsonrpc.h"
#include "registry/protocol/control.h"
#include "worker/runtime/runtime.h"

#include <assert.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define DEPTH 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The agent: gives back what follows "params": on each line, which ends in "}". */
static char shell[] = "/bin/sed", quiet[] = "-un",
            script[] = "s/^{\"jsonrpc\":\"2.0\",\"id\":\\([0-9]*\\),\"method\":\"mirror\",\"params\":/{\"jsonrpc\":\"2.0\",\"id\":\\1,\"result\":/p";
static char name[] = "fuzz", method[] = "", locale[] = "LC_ALL", byte_locale[] = "C";
static char *argv[] = { shell, quiet, script, NULL };
static struct event_base *base;
static struct runtime *runtime;
static struct runtime_agent *agent;
static char *answer;
static bool started;

static void on_started(void *arg)
{
        (void)arg;
        started = true;
}

static void on_ended(void *arg, const struct agent_exit *exit)
{
        (void)arg;
        fprintf(stderr, "the agent ended: %s\n", exit->reason);
        abort();
}

/* As worker/reports.c tells it and master/control/replies.c hears it, within a control packet. */
static void on_answer(void *arg, const struct id *command_id, const char *message, const char *why)
{
        struct control heard;
        struct reply told;
        char *envelope, *text;

        (void)arg;
        if (!message)
                fprintf(stderr, "no answer: %s\n", why);
        assert(message);
        told = (struct reply){ .type = REPLY_ANSWER, .command_id = *command_id, .message = strdup(message) };
        envelope = reply_encode(&told);
        text = envelope ? control_wrap(CONTROL_REPLY, envelope) : NULL;
        assert(text && control_decode(text, strlen(text), &heard) == 0);
        answer = heard.reply.message;
        heard.reply.message = NULL;
        control_done(&heard);
        reply_done(&told);
        free(envelope);
        free(text);
}

static void on_event(void *arg, const char *message, const char *client)
{
        (void)arg;
        (void)message;
        (void)client;
        abort();
}

static void on_noise(void *arg)
{
        (void)arg;
        abort();
}

static void open_agent(void)
{
        static const struct runtime_events events = { on_started, on_ended, on_answer, on_event, on_noise };
        static struct runtime_host host;
        static struct pool_config config = { .pool_name = name, .role_type = name,
                .runtime = { .type = POOL_RUNTIME_COMMAND, .argv = argv, .ready_method = name, .cancel_method = method,
                        .max_line_bytes = 1 << 20, .max_depth = DEPTH, .queue_bytes = 1 << 20, .log_line_bytes = 1024 } };
        struct command spawn = { .type = COMMAND_SPAWN, .agent_id = id_new(), .epoch = 1 };
        char reason[256];

        signal(SIGPIPE, SIG_IGN);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        config.runtime.env = cJSON_CreateObject();
        cJSON_AddStringToObject(config.runtime.env, locale, byte_locale);
        base = event_base_new();
        limits_init(&host.limits, RLIM_INFINITY);
        oom_begin(&host.oom);
        assert(runtime_new(base, &config, &host, &runtime, reason, sizeof reason) == 0);
        assert(runtime_start(runtime, &spawn, &events, NULL, &agent, reason, sizeof reason) == 0);
        while (!started)
                event_base_loop(base, EVLOOP_ONCE);
}

/* As master/control/messages.c sends it and the worker hears it. */
static void send_request(char *text)
{
        struct command sent = { .type = COMMAND_MESSAGE, .command_id = id_new(), .agent_id = id_new(), .pool_name = name,
                .client = name, .message = text, .timeout_ms = 600000 };
        char *envelope = command_encode(&sent), *packet = envelope ? control_wrap(CONTROL_COMMAND, envelope) : NULL;
        struct control heard;

        assert(packet && control_decode(packet, strlen(packet), &heard) == 0);
        assert(strcmp(heard.command.message, text) == 0);
        assert(runtime_send(agent, &heard.command) == 0);
        control_done(&heard);
        free(envelope);
        free(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char begin[] = "{\"jsonrpc\":\"2.0\",\"id\":1.0,\"method\":\"mirror\",\"params\":",
                          result[] = "{\"jsonrpc\":\"2.0\",\"id\":1.0,\"result\":";
        struct jsonrpc message;
        struct json_error error;
        char *text;

        if (!agent)
                open_agent();
        text = malloc(sizeof begin + size + 2);
        assert(text);
        memcpy(mempcpy(text, begin, sizeof begin - 1), data, size);
        strcpy(text + sizeof begin - 1 + size, "}");
        if (json_raw_check((const char *)data, size, DEPTH, &error) == 0) {
                jsonrpc_read(text, sizeof begin + size, &message);
                json_raw_one_line(text, sizeof begin + size);
                if (message.kind == JSONRPC_REQUEST && !jsonrpc_token(&message).text && json_raw_kind(message.params) != 'n') {
                        send_request(text);
                        while (!answer)
                                event_base_loop(base, EVLOOP_ONCE);
                        assert(strncmp(answer, result, sizeof result - 1) == 0);
                        assert(strcmp(answer + sizeof result - 1, text + sizeof begin - 1) == 0);
                        free(answer);
                        answer = NULL;
                }
        }
        free(text);
        return 0;
}
