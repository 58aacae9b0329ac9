#include "master/control/messages.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/json/jsonrpc.h"
#include "master/control/messages_internal.h"
#include "master/control/mirror.h"
#include "master/control/pools.h"
#include "master/control/workers.h"
#include "registry/redis/registry_redis.h"
#include "sql/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message_target *messages_target(const struct messages *messages, const struct id *agent_id)
{
        struct message_target *target;

        HASH_FIND(hh, messages->by_agent, agent_id, sizeof *agent_id, target);
        return target;
}

static struct message_target *target_of(struct messages *messages, const struct agent *agent)
{
        struct message_target *target = messages_target(messages, &agent->agent_id);

        if (target)
                return target;
        target = calloc(1, sizeof *target);
        if (!target)
                return NULL;
        target->agent_id = agent->agent_id;
        target->project_id = agent->project_id;
        target->pool_name = strdup(pool_config(agent->pool)->pool_name);
        TAILQ_INIT(&target->held);
        TAILQ_INIT(&target->waiting);
        if (!target->pool_name) {
                free(target);
                return NULL;
        }
        HASH_ADD(hh, messages->by_agent, agent_id, sizeof target->agent_id, target);
        return target;
}

static void drop_idle_target(struct messages *messages, struct message_target *target)
{
        if (target->count > 0)
                return;
        HASH_DEL(messages->by_agent, target);
        free(target->pool_name);
        free(target);
}

void messages_count_changed(struct messages *messages, const struct message_target *target)
{
        struct agent *agent = pools_agent(messages->master->pools, &target->agent_id);

        if (!agent)
                return;
        pool_in_flight(agent->pool, agent, target->count, clock_mono_ms());
        pools_wake(messages->master->pools, pools_of(messages->master->pools, agent));
}

static void record(const struct message *message, enum pool_metrics_message result, const char *error)
{
        static const char *const statuses[] = { [POOL_METRICS_COMPLETED] = "completed", [POOL_METRICS_FAILED] = "failed",
                [POOL_METRICS_TIMEOUT] = "timeout" };
        int64_t took_us = clock_mono_us() - message->sent_us;
        struct messages *messages = message->messages;
        const struct message_target *target = message->target;
        struct master_pool *pool = pools_find(messages->master->pools, target->pool_name);
        struct store_execution execution = {
                .execution_id = message->command_id,
                .agent_id = target->agent_id,
                .project_id = target->project_id,
                .pool_name = target->pool_name,
                .method = message->method,
                .status = statuses[result],
                .error = error,
                .started_at = message->sent_wall,
                .completed_at = clock_wall_ms(),
                .duration_ms = (took_us + 500) / 1000,
        };

        store_execution_add(messages->master->store, &execution);
        if (!pool)
                return;
        pool->executions++;
        pool->executions_ok += result == POOL_METRICS_COMPLETED;
        pool->metrics.messages_by_status[result]++;
        if (result != POOL_METRICS_TIMEOUT)
                histogram_add(&pool->metrics.messages, took_us);
}

void message_free(struct message *message)
{
        struct messages *messages = message->messages;
        struct message_target *target = message->target;

        HASH_DEL(messages->by_command, message);
        if (message->text)
                TAILQ_REMOVE(&target->held, message, link);
        else
                TAILQ_REMOVE(&target->waiting, message, link);
        target->count--;
        timer_stop(&message->deadline);
        free(message->text);
        free(message->ended);
        free(message->method);
        free(message);
        messages_count_changed(messages, target);
        drop_idle_target(messages, target);
}

void message_finish(struct message *message, enum message_result result, const char *answer, const char *detail)
{
        message_cb cb = message->cb;
        void *arg = message->arg;
        struct json_raw error;
        bool failed = result != MESSAGE_ANSWERED;

        if (!failed && json_raw_member(json_raw_of(answer), "error", &error) > 0)
                failed = json_raw_kind(error) != 'n';

        if (cb)
                record(message, result == MESSAGE_TIMEOUT ? POOL_METRICS_TIMEOUT : failed ? POOL_METRICS_FAILED
                        : POOL_METRICS_COMPLETED, detail);
        message_free(message);
        if (cb)
                cb(arg, result, answer, detail);
}

struct messages *messages_new(struct master *master)
{
        struct messages *messages = calloc(1, sizeof *messages);

        if (messages)
                messages->master = master;
        return messages;
}

struct messages *messages_drop(struct messages *messages)
{
        struct message *message, *next;

        if (!messages)
                return NULL;
        messages_settled(messages);
        HASH_ITER(hh, messages->by_command, message, next)
                message_free(message);
        free(messages);
        return NULL;
}

static void fail_ended(struct message *message)
{
        char *why = message->ended;

        message->ended = NULL;
        message_finish(message, MESSAGE_FAILED, NULL, why);
        free(why);
}

struct messages *messages_free(struct messages *messages)
{
        struct message *message, *next;

        if (!messages)
                return NULL;
        HASH_ITER(hh, messages->by_command, message, next) {
                if (message->ended)
                        fail_ended(message);
                else
                        message_finish(message, MESSAGE_FAILED, NULL, "the daemon ends");
        }
        return messages_drop(messages);
}

static void on_deadline(void *arg);

static void set_deadline(struct message *message, int64_t left_ms)
{
        message->answer_by = clock_mono_ms() + left_ms;
        timer_once(&message->deadline, left_ms);
}

struct message *messages_enlist(struct messages *messages, struct agent *agent, const struct command *command,
        int64_t timeout_ms, message_cb cb, void *arg)
{
        struct message *message = calloc(1, sizeof *message);
        struct message_target *target = message ? target_of(messages, agent) : NULL;
        struct jsonrpc request;

        if (!target) {
                free(message);
                return NULL;
        }
        jsonrpc_read(command->message, strlen(command->message), &request);
        *message = (struct message){ .command_id = command->command_id, .messages = messages, .target = target,
                .method = json_raw_string(request.method), .sent_wall = clock_wall_ms(), .sent_us = clock_mono_us(),
                .cb = cb, .arg = arg };
        message->epoch = command->epoch;
        timer_init(&message->deadline, messages->master->base, on_deadline, message);
        set_deadline(message, timeout_ms);
        TAILQ_INSERT_TAIL(&target->waiting, message, link);
        target->count++;
        HASH_ADD(hh, messages->by_command, command_id, sizeof message->command_id, message);
        messages_count_changed(messages, target);
        return message;
}

/* A message on its way to its worker. */
struct posted {
        struct messages *messages;
        struct id command_id, process_id;
        char *command; /* owned */
};

/* Its agent is to start again since it was sent: not where it was. */
static bool hold_again(struct message *message, struct posted *posted)
{
        struct message_target *target = message->target;
        const struct agent *agent = pools_agent(message->messages->master->pools, &target->agent_id);

        if (!agent || agent_runs(agent) || !agent_comes(agent))
                return false;
        TAILQ_REMOVE(&target->waiting, message, link);
        message->text = posted->command;
        posted->command = NULL;
        TAILQ_INSERT_TAIL(&target->held, message, link);
        return true;
}

static void on_posted(void *arg, int error)
{
        struct posted *posted = arg;
        struct message *message;

        /* Its worker is not subscribed at this moment. When Redis went away nobody knows whether it has the message. */
        if (error < 0 && error != -EAGAIN && error != -ECANCELED) {
                HASH_FIND(hh, posted->messages->by_command, &posted->command_id, sizeof posted->command_id, message);
                if (!(message && hold_again(message, posted)) && workers_send_command(posted->messages->master->workers,
                                                                         &posted->process_id, posted->command) < 0 && message)
                        message_finish(message, MESSAGE_FAILED, NULL, "its worker cannot be reached; try again");
        }
        free(posted->command);
        free(posted);
}

int messages_post(struct messages *messages, const struct agent *agent, const struct id *command_id, char *take_command)
{
        struct master *master = messages->master;
        bool apart = pools_of(master->pools, agent)->apart;
        bool direct = apart || master->mode.degraded || strlen(take_command) > COMMAND_PUBLISHED_MAX;
        struct posted *posted = direct ? NULL : malloc(sizeof *posted);
        int r = direct ? -EAGAIN : -ENOMEM;

        if (posted) {
                *posted = (struct posted){ .messages = messages, .command_id = *command_id,
                        .process_id = agent->worker->process_id, .command = take_command };
                r = FAULT_POINT("message.send");
                r = r ? r : registry_publish_command(master->registry, pool_config(agent->pool)->pool_name, &posted->process_id,
                        take_command, on_posted, posted);
        }
        if (r == 0)
                return 0;
        if (apart) /* its worker has no Redis; people who watch have */
                mirror_command(pools_of(master->pools, agent), &agent->worker->process_id, take_command);
        if (r == -EAGAIN)
                r = workers_send_command(master->workers, &agent->worker->process_id, take_command);
        free(take_command);
        free(posted);
        return r;
}

int messages_send(struct messages *messages, struct agent *agent, char *text, char *client, int64_t timeout_ms,
        message_cb cb, void *arg, struct message **ret_message)
{
        struct command command = { .type = COMMAND_MESSAGE, .command_id = id_new(), .agent_id = agent->agent_id,
                .master_id = messages->master->master_id, .epoch = agent->epoch, .timeout_ms = timeout_ms + MESSAGES_FORGET_MS,
                .message = text, .client = client, .pool_name = pool_config(agent->pool)->pool_name };
        struct message *message = NULL;
        char *envelope;
        bool runs;
        int r;

        messages_agent_changed(messages, agent); /* what came before goes first */
        runs = agent_runs(agent) && agent->worker;
        if (HASH_COUNT(messages->by_command) >= MESSAGES_MAX || (!runs && (!agent_comes(agent) || messages->master->closing)))
                return -EAGAIN;
        envelope = command_encode(&command);
        if (!envelope)
                return -ENOMEM;
        if ((cb || !runs) && !(message = messages_enlist(messages, agent, &command, timeout_ms, cb, arg))) {
                free(envelope);
                return -ENOMEM;
        }
        *ret_message = message;
        if (!runs) {
                TAILQ_REMOVE(&message->target->waiting, message, link);
                TAILQ_INSERT_TAIL(&message->target->held, message, link);
                message->text = envelope;
                return 0;
        }
        r = messages_post(messages, agent, &command.command_id, envelope);
        if (r < 0 && message)
                message_free(message);
        if (r == 0 && !message)
                pool_in_flight(agent->pool, agent, agent->in_flight, clock_mono_ms());
        return r;
}

/* That it is not waited for. Should this be lost, the worker's own deadline says the same a little later. */
static void tell_agent(const struct message *message, struct agent *agent, const char *reason)
{
        static const struct id none;
        struct messages *messages = message->messages;
        struct command command = { .type = COMMAND_CANCEL, .command_id = id_new(), .message_id = message->command_id,
                .master_id = messages->master->master_id, .agent_id = message->target->agent_id, .epoch = agent->epoch,
                .pool_name = message->target->pool_name, .reason = strdup(reason) };
        char *envelope = command.reason ? command_encode(&command) : NULL;

        free(command.reason);
        if (envelope)
                messages_post(messages, agent, &none, envelope);
}

/* Its agent may work on it still: its worker will say so with the next heartbeats. */
static void give_up(struct message *message, enum message_result result, const char *why)
{
        struct pools *pools = message->messages->master->pools;
        struct id agent_id = message->target->agent_id;
        struct agent *agent = message->text || message->ended ? NULL : pools_agent(pools, &agent_id);

        if (agent && agent->worker)
                tell_agent(message, agent, why);
        message_finish(message, result, NULL, why);
        if (agent && pools_agent(pools, &agent_id) == agent)
                pool_active(agent, true, clock_mono_ms());
}

static void on_deadline(void *arg)
{
        struct message *message = arg;

        if (message->ended)
                fail_ended(message);
        else
                give_up(message, MESSAGE_TIMEOUT,
                        message->text ? "the agent did not start in time" : "the agent did not answer in time");
}

void messages_cancel(struct message *message, const char *why)
{
        give_up(message, MESSAGE_FAILED, why);
}

void messages_reply(struct messages *messages, const struct reply *reply)
{
        struct message *message;

        HASH_FIND(hh, messages->by_command, &reply->command_id, sizeof reply->command_id, message);
        if (!message) { /* too early, too late, or a repeat */
                if (!messages->settled)
                        messages_keep_early(messages, reply);
                return;
        }
        if (reply->type == REPLY_ANSWER)
                message_finish(message, MESSAGE_ANSWERED, reply->message, NULL);
        else
                message_finish(message, MESSAGE_FAILED, NULL, reply->detail ? reply->detail : "no answer");
}

void message_ended(struct message *message, int64_t grace_ms, const char *why)
{
        if (message->ended)
                return;
        message->ended = strdup(why); /* out of memory: its own deadline stays */
        if (message->ended && clock_mono_ms() + grace_ms < message->answer_by)
                set_deadline(message, grace_ms);
}

void messages_agent_gone(struct messages *messages, const struct id *agent_id, int64_t grace_ms, const char *why)
{
        struct message_target *target = messages_target(messages, agent_id);
        struct message *message;

        if (!target)
                return;
        TAILQ_FOREACH(message, &target->waiting, link)
                message_ended(message, grace_ms, why);
}

void messages_close(struct messages *messages)
{
        struct message *message, *next;

        HASH_ITER(hh, messages->by_command, message, next)
                if (message->text)
                        message_finish(message, MESSAGE_FAILED, NULL, "the daemon ends");
}

unsigned messages_waiting(const struct messages *messages)
{
        return HASH_COUNT(messages->by_command);
}
