#include "worker/worker.h"

#include "common/channel.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/json.h"
#include "common/log.h"
#include "registry/agent_exit.h"
#include "registry/registry_redis.h"
#include "registry/roster.h"
#include "worker/runtime.h"
#include "worker/welcome.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Acknowledgements and ends that share one registry call. */
#define REPORT_BATCH 128
/* Agents that are told to end when everything above is gone get this much on top of their graces. */
#define LAST_WORD_MS 1000

struct worker {
        struct id process_id;
        const char *pool_name;
        struct event_base *base;
        struct channel *control;
        struct welcome *welcome;  /* NULL until the master's first word */
        struct registry *registry;
        struct runtime *runtime;
        struct roster *roster;
        struct event *settle;     /* end of this turn: carry out actions */
        struct event *heartbeat;
        struct event *last_word;  /* exits whatever is left */
        struct event *sigterm;
        uint64_t revision;        /* of the registry's list, as last seen */
        int64_t started_at;       /* wall ms */
        bool registered, registering;
        bool now;                 /* end agents without grace */
        int status;
};

/* An agent between roster and runtime: hosted->runtime points here. */
struct placed {
        struct worker *worker;
        struct hosted *hosted;
        struct runtime_agent *agent;
};

static void wake(struct worker *worker)
{
        event_active(worker->settle, 0, 0);
}

static void end(struct worker *worker, int status)
{
        worker->status = status;
        event_base_loopbreak(worker->base);
}

/* ---- to the master ---- */

static void send_control(struct worker *worker, const struct control *control)
{
        char *text = control_encode(control);
        int r = text ? channel_send(worker->control, text, strlen(text)) : -ENOMEM;

        free(text);
        if (r < 0)
                log_error("control.not_sent", "type=%d error=%s", (int)control->type, LOG_Q(strerror(-r)));
}

static void send_failed(struct worker *worker, const char *reason)
{
        struct control failed = { .type = CONTROL_FAILED };

        failed.reason = strdup(reason);
        log_error("worker.failed", "reason=%s", LOG_Q(reason));
        if (failed.reason)
                send_control(worker, &failed);
        free(failed.reason);
        end(worker, EXIT_FAILURE);
}

static void send_ready(struct worker *worker)
{
        struct pool_hosted portion[CONTROL_HOSTED_MAX];
        struct control message = { .type = CONTROL_HOSTED, .hosted = portion };

        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next) {
                if (h->state == HOSTED_ENDED)
                        continue;
                portion[message.hosted_count++] = (struct pool_hosted){ .agent_id = h->agent_id, .epoch = h->epoch };
                if (message.hosted_count < CONTROL_HOSTED_MAX)
                        continue;
                send_control(worker, &message);
                message.hosted_count = 0;
        }
        if (message.hosted_count > 0)
                send_control(worker, &message);
        send_control(worker, &(struct control){ .type = CONTROL_READY });
}

static void send_reply(struct worker *worker, const struct id *master_id, const struct reply *reply)
{
        char *text = reply_encode(reply);

        if (!text || registry_publish_reply(worker->registry, master_id, text) < 0)
                log_warn("reply.not_sent", "type=%s agent=%s", reply_type_name(reply->type), ID_TEXT(&reply->agent_id));
        free(text);
}

/* ---- what the roster asks for ---- */

struct batch {
        struct registry_report items[REPORT_BATCH];
        char *replies[REPORT_BATCH];
        size_t count;
};

static void on_reported(void *arg, int error, const struct registry_reported *reported, size_t count)
{
        struct worker *worker = arg;

        if (error == -ENOENT)
                worker->registered = false; /* the next heartbeat registers again */
        if (error == -ESTALE)
                roster_fence(worker->roster);
        for (size_t i = 0; i < count; i++)
                roster_reported(worker->roster, &reported[i].agent_id, reported[i].epoch,
                        error ? error : reported[i].result);
        wake(worker);
}

static void flush_reports(struct worker *worker, struct batch *batch)
{
        int r;

        if (batch->count == 0)
                return;
        r = registry_report(worker->registry, &worker->process_id, batch->items, batch->count, on_reported, worker);
        for (size_t i = 0; i < batch->count; i++) {
                if (r < 0)
                        roster_reported(worker->roster, &batch->items[i].agent_id, batch->items[i].epoch, r);
                free(batch->replies[i]);
        }
        batch->count = 0;
}

static void report(struct worker *worker, struct batch *batch, const struct reply *reply)
{
        char *text = reply_encode(reply);

        if (!text) {
                roster_reported(worker->roster, &reply->agent_id, reply->epoch, -ENOMEM);
                return;
        }
        batch->replies[batch->count] = text;
        batch->items[batch->count++] = (struct registry_report){ .agent_id = reply->agent_id,
                .master_id = worker->welcome->master_id, .epoch = reply->epoch, .type = reply->type, .reply = text };
        if (batch->count == REPORT_BATCH)
                flush_reports(worker, batch);
}

static void report_hosted(struct worker *worker, struct batch *batch, const struct hosted *hosted)
{
        struct reply reply = { .agent_id = hosted->agent_id, .process_id = worker->process_id, .epoch = hosted->epoch };
        char detail[sizeof hosted->exit.reason];

        if (hosted->state != HOSTED_ENDED) {
                reply.type = REPLY_SPAWNED;
                reply.command_id = hosted->command_id;
        } else if (hosted->started) {
                reply.type = REPLY_EXITED;
                reply.exit = hosted->exit;
        } else {
                reply.type = REPLY_SPAWN_FAILED;
                reply.command_id = hosted->command_id;
                reply.detail = strcpy(detail, hosted->exit.reason);
        }
        report(worker, batch, &reply);
}

static void deny(struct worker *worker, struct batch *batch, const struct roster_action *action)
{
        char detail[64];
        struct reply reply = { .type = REPLY_SPAWN_FAILED, .command_id = action->command_id,
                .agent_id = action->agent_id, .process_id = worker->process_id, .epoch = action->epoch, .detail = detail };

        snprintf(detail, sizeof detail, "%s", action->detail);
        report(worker, batch, &reply);
}

static void on_agent_started(void *arg)
{
        struct placed *placed = arg;

        roster_started(placed->worker->roster, placed->hosted);
        wake(placed->worker);
}

static void on_agent_ended(void *arg, const struct agent_exit *exit)
{
        struct placed *placed = arg;
        struct worker *worker = placed->worker;

        log_info("agent.ended", "agent=%s epoch=%llu reason=%s", ID_TEXT(&placed->hosted->agent_id),
                (unsigned long long)placed->hosted->epoch, LOG_Q(exit->reason));
        placed->hosted->runtime = NULL;
        roster_ended(worker->roster, placed->hosted, exit);
        runtime_agent_free(placed->agent);
        free(placed);
        wake(worker);
}

static void on_agent_answer(void *arg, const struct id *command_id, const cJSON *message, const char *why)
{
        const struct placed *placed = arg;
        const struct hosted *hosted = placed->hosted;
        struct reply reply = { .type = message ? REPLY_ANSWER : REPLY_MESSAGE_FAILED, .command_id = *command_id,
                .agent_id = hosted->agent_id, .process_id = placed->worker->process_id, .epoch = hosted->epoch };
        cJSON holder;

        if (message) {
                holder = *message; /* reply_encode only reads */
                reply.message = &holder;
        } else {
                reply.detail = strdup(why);
        }
        send_reply(placed->worker, &placed->worker->welcome->master_id, &reply);
        free(reply.detail);
}

static void on_agent_event(void *arg, const cJSON *message)
{
        const struct placed *placed = arg;
        const struct hosted *hosted = placed->hosted;
        cJSON holder = *message;
        struct reply reply = { .type = REPLY_EVENT, .agent_id = hosted->agent_id,
                .process_id = placed->worker->process_id, .epoch = hosted->epoch, .message = &holder };

        send_reply(placed->worker, &placed->worker->welcome->master_id, &reply);
}

static void start_agent(struct worker *worker, struct hosted *hosted)
{
        static const struct runtime_events events = { .on_started = on_agent_started, .on_ended = on_agent_ended,
                .on_answer = on_agent_answer, .on_event = on_agent_event };
        struct agent_exit exit = { .code = -1, .reason = "out of memory" };
        struct placed *placed = malloc(sizeof *placed);
        int r = -ENOMEM;

        if (placed) {
                *placed = (struct placed){ .worker = worker, .hosted = hosted };
                r = runtime_start(worker->runtime, hosted->spawn, &events, placed, &placed->agent, exit.reason,
                        sizeof exit.reason);
        }
        if (r == 0) {
                hosted->runtime = placed;
                return;
        }
        free(placed);
        roster_ended(worker->roster, hosted, &exit);
}

static void stop_agent(const struct worker *worker, const struct hosted *hosted, bool graceful)
{
        const struct placed *placed = hosted->runtime;

        if (placed)
                runtime_stop(placed->agent, graceful && !worker->now);
}

static void act(struct worker *worker, struct batch *batch, const struct roster_action *action)
{
        switch (action->type) {
        case ROSTER_START:
                start_agent(worker, action->hosted);
                break;
        case ROSTER_STOP:
                stop_agent(worker, action->hosted, action->graceful);
                break;
        case ROSTER_REPORT:
                report_hosted(worker, batch, action->hosted);
                break;
        case ROSTER_DENY:
                deny(worker, batch, action);
                break;
        case ROSTER_EXIT:
                end(worker, EXIT_SUCCESS);
                break;
        case ROSTER_FORGET:
        case ROSTER_ACTION_COUNT:
                break;
        }
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
        struct worker *worker = arg;
        struct batch batch = { .count = 0 };
        struct roster_action action;

        (void)fd;
        (void)what;
        while (roster_next_action(worker->roster, &action))
                act(worker, &batch, &action);
        flush_reports(worker, &batch);
}

/* ---- commands ---- */

static void refuse_message(struct worker *worker, const struct command *command, const char *why)
{
        struct reply reply = { .type = REPLY_MESSAGE_FAILED, .command_id = command->command_id,
                .agent_id = command->agent_id, .process_id = worker->process_id, .epoch = command->epoch };

        reply.detail = strdup(why);
        send_reply(worker, &command->master_id, &reply);
        free(reply.detail);
}

static void deliver_message(struct worker *worker, const struct command *command)
{
        const struct hosted *hosted = roster_find(worker->roster, &command->agent_id);
        const struct placed *placed = hosted ? hosted->runtime : NULL;
        int r;

        if (!placed || hosted->epoch != command->epoch || hosted->state != HOSTED_RUNNING) {
                refuse_message(worker, command, "the agent does not run here");
                return;
        }
        r = runtime_send(placed->agent, command);
        if (r == -EAGAIN)
                refuse_message(worker, command, "the agent does not read its messages: its queue is full; try again later");
        else if (r < 0)
                refuse_message(worker, command, r == -EPIPE ? "the agent is ending" : "out of memory");
}

static void handle_command(struct worker *worker, struct command *command)
{
        if (command->type == COMMAND_MESSAGE)
                deliver_message(worker, command);
        else if (roster_command(worker->roster, command) < 0)
                log_error("command.lost", "type=%s detail=\"out of memory\"", command_type_name(command->type));
        wake(worker);
}

static void handle_command_text(struct worker *worker, const char *text, size_t len)
{
        struct command command;

        if (command_decode(text, len, &command) < 0) {
                log_warn("command.bad", "text=%s", log_quote(text, len, (char[256]){ 0 }, 256));
                return;
        }
        handle_command(worker, &command);
        command_done(&command);
}

/* ---- the registry ---- */

static void on_registered(void *arg, int error, const struct registry_reported *reported, size_t count)
{
        struct worker *worker = arg;

        worker->registering = false;
        if (error == -ESTALE) {
                roster_fence(worker->roster);
        } else if (error < 0) {
                log_warn("worker.not_registered", "error=%s", LOG_Q(strerror(-error)));
        } else {
                worker->registered = true;
                worker->revision = 0; /* the next heartbeat lists everything */
                for (size_t i = 0; i < count; i++)
                        if (reported[i].result == -ESTALE)
                                roster_reported(worker->roster, &reported[i].agent_id, reported[i].epoch, -ESTALE);
                roster_retry(worker->roster);
                send_ready(worker);
        }
        wake(worker);
}

static void describe_self(const struct worker *worker, struct registry_process *self)
{
        *self = (struct registry_process){ .process_id = worker->process_id, .master_id = worker->welcome->master_id,
                .pool_name = worker->pool_name, .host = worker->welcome->host, .pid = getpid(),
                .max_agents = (unsigned)worker->welcome->pool->max_agents_per_worker, .started_at = worker->started_at };
}

static enum agent_state state_of(const struct hosted *hosted)
{
        if (hosted->state == HOSTED_RUNNING)
                return AGENT_IDLE;
        return hosted->state == HOSTED_STOPPING ? AGENT_STOPPING : AGENT_STARTING;
}

/* The agents that run here, each with its command (commands[i]: free()); returns how many, -ENOMEM. */
static ssize_t list_agents(const struct worker *worker, struct registry_agent *agents, char **commands, size_t size)
{
        size_t count = 0;

        for (struct hosted *h = roster_first(worker->roster); h && count < size; h = h->hh.next) {
                if (h->state == HOSTED_ENDED || h->fenced)
                        continue;
                commands[count] = command_encode(h->spawn);
                if (!commands[count])
                        return -ENOMEM;
                agents[count] = (struct registry_agent){ .agent_id = h->agent_id, .epoch = h->epoch,
                        .command = commands[count], .state = state_of(h) };
                count++;
        }
        return (ssize_t)count;
}

/* Not done for want of memory or Redis: the next heartbeat tries again. */
static void register_self(struct worker *worker)
{
        size_t size = roster_count(worker->roster);
        struct registry_agent *agents = calloc(size + 1, sizeof *agents);
        char **commands = calloc(size + 1, sizeof *commands);
        struct registry_process self;
        ssize_t count = agents && commands && !worker->registering ? list_agents(worker, agents, commands, size) : -1;

        describe_self(worker, &self);
        if (count >= 0)
                worker->registering = registry_register(worker->registry, &self, agents, (size_t)count, on_registered,
                                              worker) == 0;
        for (size_t i = 0; commands && commands[i]; i++)
                free(commands[i]);
        free(commands);
        free(agents);
}

static void take_listing(struct worker *worker, const struct registry_listing *listing)
{
        struct id *ids = calloc(listing->count + 1, sizeof *ids);
        uint64_t *epochs = calloc(listing->count + 1, sizeof *epochs);

        if (ids && epochs) {
                for (size_t i = 0; i < listing->count; i++) {
                        ids[i] = listing->agents[i].agent_id;
                        epochs[i] = listing->agents[i].epoch;
                        if (listing->agents[i].command)
                                handle_command_text(worker, listing->agents[i].command, listing->agents[i].command_len);
                }
                roster_listed(worker->roster, ids, epochs, listing->count);
                worker->revision = listing->revision;
        }
        free(ids);
        free(epochs);
}

static void on_listing(void *arg, const struct registry_listing *listing)
{
        struct worker *worker = arg;

        if (listing->result == -ENOENT) {
                worker->registered = false;
                register_self(worker);
        } else if (listing->result == -ESTALE) {
                log_error("worker.fenced", "process=%s", ID_TEXT(&worker->process_id));
                roster_fence(worker->roster);
        } else if (listing->result == 0 && listing->changed) {
                take_listing(worker, listing);
        }
        wake(worker);
}

static uint64_t read_rss(void)
{
        unsigned long pages = 0;
        FILE *file = fopen("/proc/self/statm", "re");

        if (file && fscanf(file, "%*u %lu", &pages) != 1)
                pages = 0;
        if (file)
                fclose(file);
        return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t read_cpu_ms(void)
{
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (uint64_t)((usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                          (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000);
}

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
        struct worker *worker = arg;
        struct registry_beat beat = { .revision = worker->revision, .rss_bytes = read_rss(), .cpu_ms = read_cpu_ms(),
                .agent_count = roster_count(worker->roster) };

        (void)fd;
        (void)what;
        if (!registry_up(worker->registry))
                return;
        if (!worker->registered)
                register_self(worker);
        else
                registry_heartbeat(worker->registry, &worker->process_id, &beat, on_listing, worker);
}

static void on_registry_up(void *arg)
{
        struct worker *worker = arg;

        register_self(worker);
}

static void on_registry_down(void *arg, int error, const char *why)
{
        (void)arg;
        (void)error;
        log_warn("registry.down", "why=%s", LOG_Q(why));
}

static void on_registry_message(void *arg, const char *data, size_t len)
{
        handle_command_text(arg, data, len);
}

static int open_registry(struct worker *worker, char *reason, size_t size)
{
        static const struct registry_events events = { .on_up = on_registry_up, .on_down = on_registry_down,
                .on_message = on_registry_message };
        const struct welcome *welcome = worker->welcome;
        char channel[64];
        struct registry_config config = { .channel = channel, .connect_timeout_ms = welcome->redis_connect_timeout_ms,
                .request_timeout_ms = welcome->redis_request_timeout_ms,
                .ping_interval_ms = welcome->redis_ping_interval_ms };

        snprintf(channel, sizeof channel, "process:%s:commands", ID_TEXT(&worker->process_id));
        worker->registry = registry_new(worker->base, &welcome->redis_url, &config, &events, worker);
        if (worker->registry)
                return 0;
        snprintf(reason, size, "out of memory");
        return -ENOMEM;
}

/* ---- the control socket ---- */

static int start_heartbeat(struct worker *worker)
{
        int64_t interval = worker->welcome->pool->heartbeat_interval_ms;
        struct timeval tv = { .tv_sec = interval / 1000, .tv_usec = interval % 1000 * 1000 };

        worker->heartbeat = event_new(worker->base, -1, EV_PERSIST, on_heartbeat, worker);
        return worker->heartbeat && event_add(worker->heartbeat, &tv) == 0 ? 0 : -ENOMEM;
}

/* The first WELCOME brings everything up; READY follows from on_registered. */
static void begin(struct worker *worker)
{
        char reason[160] = "out of memory";
        int r;

        log_open(worker->welcome->log_file, worker->welcome->log_level, worker->welcome->log_format);
        worker->roster = roster_new((unsigned)worker->welcome->pool->max_agents_per_worker);
        r = worker->roster ? runtime_new(worker->base, worker->welcome->pool, &worker->runtime, reason, sizeof reason)
                           : -ENOMEM;
        r = r ? r : open_registry(worker, reason, sizeof reason);
        r = r ? r : start_heartbeat(worker);
        if (r < 0)
                send_failed(worker, reason);
}

static void take_welcome(struct worker *worker, const cJSON *settings)
{
        struct welcome *welcome = welcome_read(settings);

        if (!welcome) {
                send_failed(worker, "the master's settings make no sense to this worker");
        } else if (!worker->welcome) {
                worker->welcome = welcome;
                begin(worker);
        } else { /* a new master: whom to answer changes, what runs does not */
                worker->welcome->master_id = welcome->master_id;
                welcome_free(welcome);
                if (worker->registered)
                        send_ready(worker);
        }
}

/* Ends in any case once the agents' graces are over. */
static void arm_last_word(struct worker *worker)
{
        const struct pool_config *pool = worker->welcome->pool;
        int64_t ms = LAST_WORD_MS + pool->kill_grace_ms + (worker->now ? 0 : pool->stop_grace_ms);
        struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

        event_add(worker->last_word, &tv);
}

static void stop(struct worker *worker, enum control_stop how)
{
        if (!worker->roster) {
                end(worker, EXIT_SUCCESS);
                return;
        }
        worker->now = how == CONTROL_STOP_NOW;
        roster_drain(worker->roster, how != CONTROL_STOP_DRAIN);
        if (worker->now) /* also those that are ending gracefully already */
                for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next)
                        stop_agent(worker, h, false);
        if (how != CONTROL_STOP_DRAIN)
                arm_last_word(worker);
        wake(worker);
}

static void handle_control(struct worker *worker, struct control *control)
{
        switch (control->type) {
        case CONTROL_WELCOME:
                take_welcome(worker, control->settings);
                break;
        case CONTROL_COMMAND:
                if (worker->roster)
                        handle_command(worker, &control->command);
                break;
        case CONTROL_STOP:
                stop(worker, (enum control_stop)control->number);
                break;
        case CONTROL_PING:
                send_control(worker, &(struct control){ .type = CONTROL_PONG, .number = control->number });
                break;
        case CONTROL_REOPEN_LOGS:
                log_reopen();
                break;
        case CONTROL_HOSTED:
        case CONTROL_READY:
        case CONTROL_FAILED:
        case CONTROL_PONG:
        case CONTROL_TYPE_COUNT:
                log_warn("control.unexpected", "type=%d", (int)control->type);
                break;
        }
}

static void on_control(void *arg, const char *data, size_t len, int fd)
{
        struct control control;

        fd_close(fd);
        if (control_decode(data, len, &control) < 0) {
                log_warn("control.bad", "text=%s", LOG_Q(data));
                return;
        }
        handle_control(arg, &control);
        control_done(&control);
}

/* Forker and master are gone: nobody watches these agents any more. */
static void on_control_closed(void *arg)
{
        struct worker *worker = arg;

        log_warn("control.closed", "detail=\"ending the agents\"");
        worker->control = channel_free(worker->control);
        stop(worker, CONTROL_STOP_END);
}

static void on_sigterm(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        stop(arg, CONTROL_STOP_END);
}

static void on_last_word(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        log_warn("worker.agents_left", "detail=\"their graces are over\"");
        end(arg, EXIT_FAILURE);
}

/* ---- start and end ---- */

static int start(struct worker *worker, int control)
{
        static const struct channel_events events = { .on_packet = on_control, .on_closed = on_control_closed };

        worker->base = event_base_new();
        if (!worker->base)
                return -ENOMEM;
        worker->settle = event_new(worker->base, -1, 0, on_settle, worker);
        worker->last_word = event_new(worker->base, -1, 0, on_last_word, worker);
        worker->sigterm = evsignal_new(worker->base, SIGTERM, on_sigterm, worker);
        worker->control = channel_new(worker->base, control, &events, worker);
        if (!worker->settle || !worker->last_word || !worker->sigterm || !worker->control)
                return -ENOMEM;
        return event_add(worker->sigterm, NULL) < 0 ? -ENOMEM : 0;
}

static void worker_done(struct worker *worker)
{
        struct event *events[] = { worker->settle, worker->heartbeat, worker->last_word, worker->sigterm };

        registry_free(worker->registry);
        for (size_t i = 0; i < sizeof events / sizeof *events; i++)
                if (events[i])
                        event_free(events[i]);
        channel_free(worker->control);
        roster_free(worker->roster);
        if (worker->status == EXIT_SUCCESS)
                runtime_free(worker->runtime); /* else agents may be left in it: the exit ends them */
        welcome_free(worker->welcome);
        event_base_free(worker->base);
}

int worker_run(int control, const struct id *process_id, const char *pool_name)
{
        struct worker worker = { .process_id = *process_id, .pool_name = pool_name, .started_at = clock_wall_ms() };

        log_set_role("worker");
        signal(SIGPIPE, SIG_IGN);
        prctl(PR_SET_CHILD_SUBREAPER, 1); /* what an agent's program leaves behind lands here */
        if (start(&worker, control) < 0)
                return EXIT_FAILURE;
        event_base_dispatch(worker.base);
        worker_done(&worker);
        return worker.status;
}
