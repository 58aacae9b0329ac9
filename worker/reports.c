#include "worker/reports.h"

#include "common/fault.h"
#include "common/log.h"
#include "worker/refusal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An answer on its way to its master. */
struct said {
        struct worker *worker;
        char *text; /* owned */
};

static int tell_failed(struct worker *worker, const struct reply *answer, int error)
{
        char full[] = "the agent answered, but more than 64 MiB wait for the master on its worker's control socket";
        char memory[] = "the agent answered, but its worker is out of memory";
        struct reply failed = { .type = REPLY_MESSAGE_FAILED, .command_id = answer->command_id, .agent_id = answer->agent_id,
                .process_id = answer->process_id, .epoch = answer->epoch, .detail = error == -EAGAIN ? full : memory };
        char *text = reply_encode(&failed);
        int r = text ? worker_send_reply(worker, text) : -ENOMEM;

        free(text);
        return r;
}

/* By the control socket. An answer that it does not take now is lost: who waits for it hears that at once. */
static int tell_master(struct worker *worker, const char *text)
{
        int r = text ? worker_send_reply(worker, text) : -ENOMEM;
        struct reply reply;

        if (r == 0 || !text || reply_decode(text, strlen(text), &reply) < 0)
                return r; /* out of memory: who waits hears that time is over */
        log_warn("reply.not_sent", "type=%s agent=%s error=%s", reply_type_name(reply.type), ID_TEXT(&reply.agent_id),
                LOG_Q(strerror(-r)));
        if (reply.type == REPLY_ANSWER && r != -EPIPE)
                r = tell_failed(worker, &reply, r);
        reply_done(&reply);
        return r;
}

/* Repeating an answer is no harm: when nobody knows whether it came, it goes the other way, too. */
static void on_said(void *arg, int error)
{
        struct said *said = arg;

        if (error < 0)
                tell_master(said->worker, said->text);
        refusal_tell(said->worker, error);
        free(said->text);
        free(said);
}

static bool by_registry(const struct worker *worker, const char *text)
{
        return worker->registry && strlen(text) <= COMMAND_PUBLISHED_MAX;
}

void reports_answer(struct worker *worker, const struct id *master_id, const struct reply *reply)
{
        char *text = reply_encode(reply);
        struct said *said = text && by_registry(worker, text) ? malloc(sizeof *said) : NULL;

        if (!text)
                log_warn("reply.not_sent", "type=%s agent=%s", reply_type_name(reply->type), ID_TEXT(&reply->agent_id));
        if (said) {
                *said = (struct said){ .worker = worker, .text = text };
                if (registry_publish_reply(worker->registry, master_id, text, on_said, said) == 0)
                        return;
        }
        tell_master(worker, text);
        free(text);
        free(said);
}

int reports_publish(struct worker *worker, const char *reply)
{
        if (!by_registry(worker, reply))
                return tell_master(worker, reply);
        return registry_publish_reply(worker->registry, &worker->welcome->master_id, reply, NULL, NULL);
}

static void on_reported(void *arg, int error, const struct registry_reported *reported, size_t count)
{
        struct worker *worker = arg;

        if (error == -ENOENT)
                worker->registered = false; /* the next heartbeat registers again */
        if (error == -ESTALE)
                roster_fence(worker->roster);
        refusal_tell(worker, error);
        for (size_t i = 0; i < count; i++)
                roster_reported(worker->roster, &reported[i].agent_id, reported[i].epoch,
                        error ? error : reported[i].result);
        worker_wake(worker);
}

void reports_flush(struct reports *reports, struct worker *worker)
{
        int r;

        if (reports->count == 0)
                return;
        r = FAULT_POINT("agent.report");
        if (r == 0 && !worker->registered)
                r = -EAGAIN; /* roster_retry follows the registration */
        r = r ? r : registry_report(worker->registry, &worker->process_id, reports->items, reports->count, on_reported, worker);
        for (size_t i = 0; i < reports->count; i++) {
                if (r < 0)
                        roster_reported(worker->roster, &reports->items[i].agent_id, reports->items[i].epoch, r);
                free(reports->replies[i]);
        }
        reports->count = 0;
}

void reports_add(struct reports *reports, struct worker *worker, const struct reply *reply)
{
        char *text = reply_encode(reply);

        if (!text || !worker->registry) {
                roster_reported(worker->roster, &reply->agent_id, reply->epoch, tell_master(worker, text));
                free(text);
                return;
        }
        reports->replies[reports->count] = text;
        reports->items[reports->count++] = (struct registry_report){ .agent_id = reply->agent_id,
                .master_id = worker->welcome->master_id, .epoch = reply->epoch, .type = reply->type, .reply = text };
        if (reports->count == REPORTS_MAX)
                reports_flush(reports, worker);
}
