#include "worker/hosting.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/json/json.h"
#include "common/log.h"
#include "worker/reports.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* States that share one registry call. */
#define STATUS_BATCH 128
#define SECOND_MS 1000
/* What one agent of a worker may emit in a second whatever the others do; and all together beyond that. What is more would
 * only crowd out what somebody waits for: it is dropped, and the readers of its events are told. */
#define EVENT_BYTES_SHARED (8 * 1024 * 1024)
#define EVENT_BYTES_OWN (1024 * 1024)

/* An agent between roster and runtime: hosted->runtime points here. */
struct placed {
        struct worker *worker;
        struct hosted *hosted;
        struct runtime_agent *agent;
        bool busy_told;          /* the registry says busy, not idle */
        int64_t second;          /* mono ms: the beginning of the second in which emitted was emitted */
        size_t emitted;          /* bytes of its notifications */
        int64_t dropped, noise;  /* notifications, and lines that were no message: not told yet */
};

static void report_hosted(struct worker *worker, struct reports *reports, const struct hosted *hosted)
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
                reply.exhausted = hosted->exit.exhausted;
                snprintf(detail, sizeof detail, "%s", hosted->exit.reason);
                reply.detail = detail;
        }
        reports_add(reports, worker, &reply);
}

static void deny(struct worker *worker, struct reports *reports, const struct roster_action *action)
{
        char detail[64];
        struct reply reply = { .type = REPLY_SPAWN_FAILED, .command_id = action->command_id,
                .agent_id = action->agent_id, .process_id = worker->process_id, .epoch = action->epoch, .detail = detail,
                .refused = true };

        snprintf(detail, sizeof detail, "%s", action->detail);
        reports_add(reports, worker, &reply);
}

static void on_agent_started(void *arg)
{
        struct placed *placed = arg;

        roster_started(placed->worker->roster, placed->hosted);
        worker_wake(placed->worker);
}

/* What was counted of an agent, and that it works although nobody waits: told with heartbeats, and before its end. */
static void tell_activity(struct placed *placed)
{
        const struct hosted *hosted = placed->hosted;
        struct reply reply = { .type = REPLY_ACTIVITY, .agent_id = hosted->agent_id, .epoch = hosted->epoch,
                .process_id = placed->worker->process_id, .noise = placed->noise, .dropped = placed->dropped,
                .unanswered = runtime_works_on(placed->agent) };
        char *text;

        if (!reply.noise && !reply.dropped && !reply.unanswered)
                return;
        text = reply_encode(&reply);
        if (text && reports_publish(placed->worker, text) == 0) {
                if (placed->dropped > 0)
                        log_warn("agent.events_dropped", "agent=%s events=%" PRId64, ID_TEXT(&hosted->agent_id), placed->dropped);
                placed->noise = placed->dropped = 0;
        }
        free(text);
}

static void on_agent_ended(void *arg, const struct agent_exit *exit)
{
        struct placed *placed = arg;
        struct worker *worker = placed->worker;

        log_info("agent.ended", "agent=%s epoch=%llu reason=%s", ID_TEXT(&placed->hosted->agent_id),
                (unsigned long long)placed->hosted->epoch, LOG_Q(exit->reason));
        tell_activity(placed);
        placed->hosted->runtime = NULL;
        roster_ended(worker->roster, placed->hosted, exit);
        runtime_agent_free(placed->agent);
        free(placed);
        worker_wake(worker);
}

static void on_agent_answer(void *arg, const struct id *command_id, const char *message, const char *why)
{
        struct placed *placed = arg;
        const struct hosted *hosted = placed->hosted;
        struct reply reply = { .type = message ? REPLY_ANSWER : REPLY_MESSAGE_FAILED, .command_id = *command_id,
                .agent_id = hosted->agent_id, .process_id = placed->worker->process_id, .epoch = hosted->epoch };

        if (message)
                reply.message = strdup(message);
        else
                reply.detail = strdup(why);
        if (reply.message || reply.detail)
                reports_answer(placed->worker, &placed->worker->welcome->master_id, &reply);
        reply_done(&reply);
}

/* Whether it may emit len bytes more. */
static bool may_emit(struct placed *placed, size_t len)
{
        struct worker *worker = placed->worker;
        int64_t now = clock_mono_ms();

        if (now - placed->second >= SECOND_MS) {
                placed->second = now;
                placed->emitted = 0;
        }
        if (now - worker->emit_second >= SECOND_MS) {
                worker->emit_second = now;
                worker->emitted = 0;
        }
        if (placed->emitted < EVENT_BYTES_OWN) {
                placed->emitted += len;
                return true;
        }
        if (worker->emitted >= EVENT_BYTES_SHARED)
                return false;
        worker->emitted += len;
        return true;
}

static void on_agent_event(void *arg, const char *message, const char *client)
{
        struct placed *placed = arg;
        struct reply reply = { .type = REPLY_EVENT, .agent_id = placed->hosted->agent_id, .epoch = placed->hosted->epoch,
                .process_id = placed->worker->process_id, .message = strdup(message), .client = client ? strdup(client) : NULL };
        char *text = reply.message && !client == !reply.client ? reply_encode(&reply) : NULL;

        if (!text || !may_emit(placed, strlen(text)) || reports_publish(placed->worker, text) < 0)
                placed->dropped++;
        reply_done(&reply);
        free(text);
}

static void on_agent_noise(void *arg)
{
        ((struct placed *)arg)->noise++;
}

/* Not the agent's fault, and it may pass. */
static bool is_exhaustion(int error)
{
        return error == -EAGAIN || error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -ENOSPC;
}

static void start_agent(struct worker *worker, struct hosted *hosted)
{
        static const struct runtime_events events = { .on_started = on_agent_started, .on_ended = on_agent_ended,
                .on_answer = on_agent_answer, .on_event = on_agent_event, .on_noise = on_agent_noise };
        struct agent_exit exit = { .code = -1, .reason = "out of memory" };
        struct placed *placed = malloc(sizeof *placed);
        int r = -ENOMEM;

        if (placed) {
                *placed = (struct placed){ .worker = worker, .hosted = hosted };
                r = FAULT_POINT("agent.start");
                r = r ? r : runtime_start(worker->runtime, hosted->spawn, &events, placed, &placed->agent, exit.reason,
                        sizeof exit.reason);
        }
        if (r == 0) {
                hosted->runtime = placed;
                return;
        }
        free(placed);
        exit.exhausted = is_exhaustion(r);
        if (exit.exhausted)
                log_warn("agent.not_started", "agent=%s reason=%s", ID_TEXT(&hosted->agent_id), LOG_Q(exit.reason));
        roster_ended(worker->roster, hosted, &exit);
}

const struct runtime_agent *hosting_agent(const struct hosted *hosted)
{
        const struct placed *placed = hosted->runtime;

        return placed ? placed->agent : NULL;
}

static void stop_agent(const struct worker *worker, const struct hosted *hosted, bool graceful)
{
        const struct placed *placed = hosted->runtime;

        (void)FAULT_POINT("agent.stop");
        if (placed)
                runtime_stop(placed->agent, graceful && !worker->now);
}

static void act(struct worker *worker, struct reports *reports, const struct roster_action *action)
{
        switch (action->type) {
        case ROSTER_START:
                start_agent(worker, action->hosted);
                break;
        case ROSTER_STOP:
                stop_agent(worker, action->hosted, action->graceful);
                break;
        case ROSTER_REPORT:
                report_hosted(worker, reports, action->hosted);
                break;
        case ROSTER_DENY:
                deny(worker, reports, action);
                break;
        case ROSTER_EXIT:
                worker_end(worker, EXIT_SUCCESS);
                break;
        case ROSTER_FORGET:
        case ROSTER_ACTION_COUNT:
                break;
        }
}

/* Nobody runs any more, and the registry that should hear of it is away: who asked for the end knows from the exit. */
static bool may_leave_untold(const struct worker *worker)
{
        const struct hosted *hosted = roster_first(worker->roster);

        while (hosted && hosted->state == HOSTED_ENDED)
                hosted = hosted->hh.next;
        return worker->ending && !hosted && !worker_registry_up(worker);
}

void hosting_act(struct worker *worker)
{
        struct reports reports = { .count = 0 };
        struct roster_action action;

        while (roster_next_action(worker->roster, &action))
                act(worker, &reports, &action);
        reports_flush(&reports, worker);
        if (may_leave_untold(worker))
                worker_end(worker, EXIT_SUCCESS);
}

void hosting_kill(struct worker *worker)
{
        worker->now = true;
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next)
                stop_agent(worker, h, false);
}

void hosting_drain(struct worker *worker, int64_t drain_ms)
{
        worker->host.drain_ms = drain_ms;
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next)
                if (h->state == HOSTED_STOPPING)
                        stop_agent(worker, h, true);
}

static void refuse_message(struct worker *worker, const struct command *command, const char *why)
{
        struct reply reply = { .type = REPLY_MESSAGE_FAILED, .command_id = command->command_id,
                .agent_id = command->agent_id, .process_id = worker->process_id, .epoch = command->epoch };

        reply.detail = strdup(why);
        reports_answer(worker, &command->master_id, &reply);
        free(reply.detail);
}

static const char *send_problem(int error)
{
        switch (error) {
        case -EAGAIN:
                return "the agent does not read its messages: its queue is full; try again later";
        case -EPIPE:
                return "the agent is ending";
        case -EINVAL:
                return "the message is neither a JSON-RPC request nor a notification";
        default:
                return "out of memory; try again";
        }
}

static void deliver_message(struct worker *worker, const struct command *command)
{
        const struct hosted *hosted = roster_find(worker->roster, &command->agent_id);
        struct placed *placed = hosted ? hosted->runtime : NULL;
        int r;

        if (!placed || hosted->epoch != command->epoch || hosted->state != HOSTED_RUNNING) {
                refuse_message(worker, command, "the agent does not run here");
                return;
        }
        r = runtime_send(placed->agent, command);
        if (r < 0)
                refuse_message(worker, command, send_problem(r));
}

static void cancel_message(struct worker *worker, const struct command *command)
{
        const struct hosted *hosted = roster_find(worker->roster, &command->agent_id);
        struct placed *placed = hosted ? hosted->runtime : NULL;

        if (placed && hosted->epoch == command->epoch)
                runtime_cancel(placed->agent, &command->message_id, command->reason);
}

void hosting_tell_activity(struct worker *worker)
{
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next)
                if (h->runtime)
                        tell_activity(h->runtime);
}

void hosting_tell_states(struct worker *worker)
{
        struct registry_status items[STATUS_BATCH];
        struct placed *told[STATUS_BATCH];
        size_t count = 0;

        for (struct hosted *h = roster_first(worker->roster); h && count < STATUS_BATCH; h = h->hh.next) {
                struct placed *placed = h->runtime;
                bool busy = placed && runtime_in_flight(placed->agent) > 0;

                if (!placed || h->state != HOSTED_RUNNING || placed->busy_told == busy)
                        continue;
                told[count] = placed;
                items[count++] = (struct registry_status){ .agent_id = h->agent_id, .epoch = h->epoch,
                        .state = busy ? AGENT_BUSY : AGENT_IDLE };
        }
        if (count == 0 || !worker->registry ||
                registry_agent_status(worker->registry, &worker->process_id, items, count) < 0)
                return; /* the rest, or all, with the next heartbeat */
        for (size_t i = 0; i < count; i++)
                told[i]->busy_told = items[i].state == AGENT_BUSY;
}

void hosting_forget_states(struct worker *worker)
{
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next) {
                struct placed *placed = h->runtime;

                if (placed)
                        placed->busy_told = false;
        }
}

/* The traceparent that a command carries; "-": none. */
static const char *trace_of(const struct command *command, char text[TRACE_SIZE])
{
        struct json_raw message = json_raw_of(command->message), params, meta, value;
        char *trace;

        if (command->trace[0] || !command->message)
                return command->trace[0] ? command->trace : "-";
        json_raw_member(message, "params", &params);
        json_raw_member(params, "_meta", &meta);
        json_raw_member(meta, "traceparent", &value);
        trace = json_raw_string(value);
        snprintf(text, TRACE_SIZE, "%s", trace_valid(trace) ? trace : "-");
        free(trace);
        return text;
}

void hosting_command(struct worker *worker, struct command *command)
{
        if (FAULT_POINT("command.take") < 0)
                return; /* lost */
        log_debug("command.taken", "type=%s agent=%s epoch=%llu command=%s traceparent=%s", command_type_name(command->type),
                ID_TEXT(&command->agent_id), (unsigned long long)command->epoch, ID_TEXT(&command->command_id),
                trace_of(command, (char[TRACE_SIZE]){ 0 }));
        if (command->type == COMMAND_MESSAGE)
                deliver_message(worker, command);
        else if (command->type == COMMAND_CANCEL)
                cancel_message(worker, command);
        else if (roster_command(worker->roster, command) < 0)
                log_error("command.lost", "type=%s detail=\"out of memory\"", command_type_name(command->type));
        worker_wake(worker);
}

void hosting_command_text(struct worker *worker, const char *text, size_t len)
{
        struct command command;
        int r = command_decode(text, len, &command);

        if (r < 0) {
                log_warn("command.bad", "error=%s text=%s", strerrorname_np(-r), log_quote(text, len, (char[256]){ 0 }, 256));
                return;
        }
        hosting_command(worker, &command);
        command_done(&command);
}

