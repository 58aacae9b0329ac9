/* A worker's surroundings for tests of the runtimes: a loop, a runtime, agents whose callbacks are written down. */
#ifndef TEST_RUNTIME_HARNESS_H
#define TEST_RUNTIME_HARNESS_H
#include "common/clock.h"
#include "common/json/json_raw.h"
#include "common/log.h"
#include "worker/runtime/runtime.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* a condition that takes longer never comes */
#define ANSWERS_MAX 8192

struct harness {
        struct event_base *base;
        struct pool_config config;
        char *argv[8];
        struct runtime_host host;
        struct runtime *runtime;
        char reason[256];
        char dir[32], log[64];
        int fds; /* open before anything */
};

/* One agent and what it told. */
struct subject {
        struct runtime_agent *agent;
        int started, ended, answers, events;
        struct agent_exit exit;
        char *answer[ANSWERS_MAX]; /* JSON, or "why: …" */
        struct id command[ANSWERS_MAX];
        char *last_event;
        char last_client[32]; /* whom alone that was for; "": all */
        int noise;
        bool inside; /* a runtime function is being called: no callback may come */
        void (*on_answered)(struct subject *subject);
        struct harness *free_runtime; /* on_ended frees this one's, too */
};

static inline int count_fds(void)
{
        DIR *dir = opendir("/proc/self/fd");
        int count = 0;

        while (readdir(dir))
                count++;
        closedir(dir);
        return count - 3; /* ., .. and its own */
}

#define RUN_UNTIL(h, condition)                                                                              \
        do {                                                                                                 \
                int64_t end_ = clock_mono_ms() + PATIENCE_MS;                                                \
                while (!(condition)) {                                                                       \
                        struct timeval tick_ = { 0, 10000 };                                                 \
                        ck_assert_msg(clock_mono_ms() < end_, "still not: " #condition);                     \
                        event_base_loopexit((h)->base, &tick_);                                              \
                        event_base_loop((h)->base, EVLOOP_ONCE);                                             \
                }                                                                                            \
        } while (0)

static inline void harness_init(struct harness *h)
{
        memset(h, 0, sizeof *h);
        signal(SIGPIPE, SIG_IGN);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        ck_assert_int_eq(log_open(NULL, LOG_INFO, LOG_TEXT), 0); /* its own descriptor, should standard error be a pipe */
        h->fds = count_fds();
        strcpy(h->dir, "/tmp/agentpool-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(h->dir));
        snprintf(h->log, sizeof h->log, "%s/log", h->dir);
        ck_assert_int_eq(log_open(h->log, LOG_DEBUG, LOG_TEXT), 0);
        h->base = event_base_new();
        limits_init(&h->host.limits, RLIM_INFINITY);
        oom_begin(&h->host.oom);
        h->config = (struct pool_config){
                .pool_name = strdup("test_pool"),
                .role_type = strdup("tester"),
                .runtime = { .type = POOL_RUNTIME_COMMAND, .argv = h->argv, .ready_method = strdup("ping"),
                        .cancel_method = strdup("notifications/cancelled"), .max_line_bytes = 1 << 20, .max_depth = 512,
                        .queue_bytes = 1 << 20, .log_bytes_per_second = 65536, .log_line_bytes = 1024 },
                .start_timeout_ms = PATIENCE_MS,
                .stop_grace_ms = PATIENCE_MS,
                .kill_grace_ms = PATIENCE_MS,
        };
}

static inline void harness_open(struct harness *h)
{
        int r = runtime_new(h->base, &h->config, &h->host, &h->runtime, h->reason, sizeof h->reason);

        ck_assert_msg(r == 0, "%s", h->reason);
}

static inline char *harness_log(const struct harness *h)
{
        FILE *file = fopen(h->log, "r");
        char *text = NULL;
        size_t size = 0;

        ck_assert_ptr_nonnull(file);
        if (getdelim(&text, &size, '\0', file) < 0)
                text[0] = '\0';
        fclose(file);
        return text;
}

/* Nothing may be left: no process, no descriptor. */
static inline void harness_done(struct harness *h)
{
        h->runtime = runtime_free(h->runtime);
        event_base_free(h->base);
        ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
        ck_assert_int_eq(errno, ECHILD);
        ck_assert_int_eq(log_open(NULL, LOG_INFO, LOG_TEXT), 0);
        unlink(h->log);
        ck_assert_int_eq(rmdir(h->dir), 0);
        ck_assert_int_eq(count_fds(), h->fds);
        free(h->config.pool_name);
        free(h->config.role_type);
        free(h->config.runtime.ready_method);
        free(h->config.runtime.cancel_method);
        cJSON_Delete(h->config.runtime.env);
        libevent_global_shutdown();
}

static inline void on_started(void *arg)
{
        struct subject *s = arg;

        ck_assert(!s->inside && !s->ended);
        s->started++;
}

static inline void on_ended(void *arg, const struct agent_exit *exit)
{
        struct subject *s = arg;

        ck_assert(!s->inside);
        s->ended++;
        s->exit = *exit;
        runtime_agent_free(s->agent);
        s->agent = NULL;
        if (s->free_runtime)
                s->free_runtime->runtime = runtime_free(s->free_runtime->runtime);
}

/* Without what the agent's language puts between tokens. */
static inline char *compact(const char *message)
{
        char *copy = strdup(message);

        copy[json_raw_compact(copy, strlen(copy))] = '\0';
        return copy;
}

static inline void on_answer(void *arg, const struct id *command_id, const char *message, const char *why)
{
        struct subject *s = arg;

        ck_assert(!s->inside && !s->ended && s->answers < ANSWERS_MAX && !message == !!why);
        s->command[s->answers] = *command_id;
        if (message)
                s->answer[s->answers++] = compact(message);
        else
                ck_assert_int_gt(asprintf(&s->answer[s->answers++], "why: %s", why), 0);
        if (s->on_answered)
                s->on_answered(s);
}

static inline void on_event(void *arg, const char *message, const char *client)
{
        struct subject *s = arg;

        ck_assert(!s->inside && !s->ended);
        s->events++;
        free(s->last_event);
        s->last_event = compact(message);
        snprintf(s->last_client, sizeof s->last_client, "%s", client ? client : "");
}

static inline void on_noise(void *arg)
{
        ((struct subject *)arg)->noise++;
}

static const struct runtime_events subject_events = { on_started, on_ended, on_answer, on_event, on_noise };

/* args: JSON or NULL. */
static inline int subject_start(struct subject *s, struct harness *h, const char *args)
{
        struct command spawn = { .type = COMMAND_SPAWN, .agent_id = id_new(), .project_id = id_new(), .epoch = 7,
                .heartbeat_interval = 1,
                .args = args ? cJSON_Parse(args) : NULL };
        int r;

        memset(s, 0, sizeof *s);
        s->inside = true;
        r = runtime_start(h->runtime, &spawn, &subject_events, s, &s->agent, h->reason, sizeof h->reason);
        s->inside = false;
        cJSON_Delete(spawn.args);
        return r;
}

/* *ret_command_id: of the MESSAGE command. */
static inline int subject_send_as(struct subject *s, const char *client, const char *text, int64_t timeout_ms,
        struct id *ret_command_id)
{
        struct command message = { .type = COMMAND_MESSAGE, .command_id = id_new(), .message = strdup(text),
                .client = strdup(client), .timeout_ms = timeout_ms };
        bool inside = s->inside;
        int r;

        s->inside = true;
        r = runtime_send(s->agent, &message);
        s->inside = inside;
        *ret_command_id = message.command_id;
        command_done(&message);
        return r;
}

static inline int subject_send_within(struct subject *s, const char *text, int64_t timeout_ms)
{
        return subject_send_as(s, "somebody", text, timeout_ms, &(struct id){ 0 });
}

static inline int subject_send(struct subject *s, const char *text)
{
        return subject_send_within(s, text, PATIENCE_MS);
}

static inline void subject_done(struct subject *s)
{
        ck_assert_ptr_null(s->agent);
        for (int i = 0; i < s->answers; i++)
                free(s->answer[i]);
        free(s->last_event);
}

static inline void subject_stop(struct subject *s, struct harness *h, bool graceful)
{
        s->inside = true;
        runtime_stop(s->agent, graceful);
        s->inside = false;
        RUN_UNTIL(h, s->ended);
        ck_assert_int_eq(s->ended, 1);
}
#endif
