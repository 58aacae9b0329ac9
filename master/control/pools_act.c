#include "master/control/pools_act.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/json/json.h"
#include "common/log.h"
#include "master/control/degraded.h"
#include "master/control/messages.h"
#include "master/control/mirror.h"
#include "master/control/streams.h"
#include "master/control/workers.h"
#include "master/forker/forker.h"
#include "registry/core/agent_command.h"
#include "registry/protocol/agent_exit.h"
#include "sql/store.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Spawns that share one registry call. */
#define RESERVE_BATCH 128
#define RESERVE_BYTES (4 * 1024 * 1024) /* … and no more with this much of commands: what Redis is told at once is bounded */
/* Of a shutdown's time, what is kept for what follows the end of the workers. */
#define CLOSE_MARGIN_MS 1000

/* Reservations collected from neighbouring actions. */
struct batch {
        struct registry_reservation items[RESERVE_BATCH];
        char *commands[RESERVE_BATCH];
        size_t count, bytes;
};

/* Which row a store callback speaks of. */
struct stored {
        struct master_pool *pool;
        struct id agent_id;
        uint64_t epoch;
};

static void take_placed(struct master_pool *pool, int error, const struct registry_placed *placed, size_t count)
{
        int64_t now = clock_mono_ms();

        for (size_t i = 0; i < count; i++)
                pool_reserved(pool->rules, &placed[i].agent_id, placed[i].epoch, error ? error : placed[i].result,
                        &placed[i].process_id, now);
        pools_wake(pool->pools, pool);
}

static void on_reserved(void *arg, int error, const struct registry_placed *placed, size_t count)
{
        struct master_pool *pool = arg;

        if (error < 0)
                degraded_failed(pool->master->degraded, error);
        error = error ? error : FAULT_POINT("spawn.reserved");
        take_placed(pool, error, placed, count);
}

static void flush_batch(struct master *master, struct master_pool *pool, struct batch *batch)
{
        struct registry_placed failed;
        int r;

        if (batch->count == 0)
                return;
        r = FAULT_POINT("spawn.reserve");
        r = r ? r : registry_reserve(master->registry, pool->config->pool_name,
                pool_placement(pool->rules), batch->items, batch->count, on_reserved, pool);
        for (size_t i = 0; i < batch->count; i++) {
                failed = (struct registry_placed){ .agent_id = batch->items[i].agent_id,
                        .epoch = batch->items[i].epoch };
                if (r < 0)
                        take_placed(pool, r, &failed, 1);
                free(batch->commands[i]);
        }
        batch->count = batch->bytes = 0;
}

static void reserve(struct master *master, struct master_pool *pool, struct batch *batch, const struct agent *agent)
{
        char *command = agent_spawn_command(agent, &master->master_id);
        struct registry_placed failed = { .agent_id = agent->agent_id, .epoch = agent->epoch };

        if (!command) {
                take_placed(pool, -ENOMEM, &failed, 1);
                return;
        }
        batch->commands[batch->count] = command;
        batch->items[batch->count++] = (struct registry_reservation){
                .agent_id = agent->agent_id,
                .project_id = agent->project_id,
                .epoch = agent->epoch,
                .command = command,
                .role_type = agent->role_type,
                .created_at = agent->created_at,
                .heartbeat_interval = agent->heartbeat_interval,
                .max_idle_time = agent->max_idle_time,
                .restarts = agent->restarts,
        };
        batch->bytes += strlen(command);
        if (batch->count == RESERVE_BATCH || batch->bytes >= RESERVE_BYTES)
                flush_batch(master, pool, batch);
}

static void on_stored(void *arg, int error)
{
        struct stored *stored = arg;
        struct master_pool *pool = stored->pool;

        pool_stored(pool->rules, &stored->agent_id, stored->epoch, error, clock_mono_ms());
        pools_wake(pool->pools, pool);
        free(stored);
}

struct store_agent pools_agent_row(const struct agent *agent, const char *pool_name)
{
        return (struct store_agent){
                .agent_id = agent->agent_id,
                .project_id = agent->project_id,
                .pool_name = pool_name,
                .role_type = agent->role_type,
                .state = agent_state_name(agent->state),
                .labels = agent->labels,
                .args = agent->args,
                .epoch = agent->epoch,
                .heartbeat_interval = agent->heartbeat_interval,
                .max_idle_time = agent->max_idle_time,
                .restarts = agent->restarts,
                .created_at = agent->created_at,
                .updated_at = agent->updated_at,
        };
}

/* insert or update the row; pool_stored follows in any case. */
static void store_row(struct master *master, struct master_pool *pool, const struct pool_action *action,
        int (*submit)(struct store *, const struct store_agent *, store_cb, void *))
{
        struct agent *agent = action->agent;
        struct stored *stored = malloc(sizeof *stored);
        char *exit_text = agent->last_exit ? agent_exit_encode(agent->last_exit) : NULL;
        struct store_agent row = pools_agent_row(agent, pool->config->pool_name);
        int r = -ENOMEM;

        row.master_id = ID_TEXT(&master->master_id);
        row.last_exit = exit_text;
        row.state = agent_state_name(action->state);
        row.updated_at = agent->updated_at = clock_wall_ms();
        if (stored) {
                *stored = (struct stored){ .pool = pool, .agent_id = agent->agent_id, .epoch = agent->epoch };
                r = FAULT_POINT("spawn.store");
                r = r ? r : submit(master->store, &row, on_stored, stored);
        }
        free(exit_text);
        if (r == 0)
                return;
        free(stored);
        pool_stored(pool->rules, &agent->agent_id, agent->epoch, r, clock_mono_ms());
}

/* A command on its way into the registry. */
struct sent {
        struct master *master;
        struct id process_id;
        char *command; /* owned */
};

static void on_sent(void *arg, int error)
{
        struct sent *sent = arg;

        /* Redis is away, or has forgotten the agent (FLUSHALL): its worker has not. */
        if (error == -EAGAIN || error == -ENOENT)
                workers_send_command(sent->master->workers, &sent->process_id, sent->command);
        else if (error < 0 && error != -ESTALE)
                degraded_failed(sent->master->degraded, error);
        free(sent->command);
        free(sent);
}

/* The command that the agent's phase calls for, recorded and published (again). What is not sent for want of memory, the
 * rules send again. */
static void send_command(struct master *master, struct master_pool *pool, const struct pool_action *action)
{
        const struct agent *agent = action->agent;
        struct sent *sent = calloc(1, sizeof *sent);
        int r;

        if (!sent)
                return;
        *sent = (struct sent){ .master = master, .process_id = action->worker->process_id,
                .command = agent->phase == PHASE_SENT ? agent_spawn_command(agent, &master->master_id)
                                                      : agent_terminate_command(agent, &master->master_id) };
        if (!sent->command) {
                free(sent);
                return;
        }
        if (master->mode.degraded || pool->apart) {
                mirror_agent(pool, agent);
                mirror_command(pool, &sent->process_id, sent->command);
                on_sent(sent, -EAGAIN);
                return;
        }
        r = FAULT_POINT("command.send");
        r = r ? r : registry_send(master->registry, pool->config->pool_name, &agent->agent_id, agent->epoch,
                agent->state, sent->command, on_sent, sent);
        if (r < 0)
                on_sent(sent, r);
}

static void delete_row(struct master *master, const struct agent *agent)
{
        int r = store_agent_delete(master->store, &agent->agent_id, NULL, NULL);

        if (r < 0)
                log_error("store.row_left", "agent=%s error=%s detail=\"a failed spawn may come back at a restart\"",
                        ID_TEXT(&agent->agent_id), LOG_Q(strerror(-r)));
}

static void evict(struct master *master, const struct pool_action *action)
{
        struct command terminate = { .type = COMMAND_TERMINATE, .command_id = id_new(), .agent_id = action->agent_id,
                .master_id = master->master_id, .epoch = action->epoch,
                .pool_name = pool_config(action->worker->pool)->pool_name };
        char *text = command_encode(&terminate);

        if (text)
                workers_send_command(master->workers, &action->worker->process_id, text);
        free(text);
}

static void tell_forker(struct master *master, const struct forker_message *message)
{
        if (channel_send(master->forker, message, sizeof *message) < 0)
                log_error("forker.unreachable", "type=%d", (int)message->type);
}

static void fork_worker(struct master *master, const struct master_pool *pool, struct pool_worker *worker)
{
        struct forker_message message = { .version = FORKER_PROTOCOL, .type = FORKER_FORK,
                .process_id = worker->process_id };

        worker->forked_us = clock_mono_us();
        snprintf(message.pool_name, sizeof message.pool_name, "%s", pool->config->pool_name);
        tell_forker(master, &message);
}

void pools_kill(struct master *master, const struct id *process_id)
{
        struct forker_message message = { .version = FORKER_PROTOCOL, .type = FORKER_KILL, .process_id = *process_id,
                .number = SIGKILL };

        tell_forker(master, &message);
}

/* What is left for answers when the graces after that are to end in time, too. */
static int64_t drain_ms(const struct master *master, const struct pool_config *config)
{
        int64_t left = master->close_by - clock_mono_ms() - config->stop_grace_ms - config->kill_grace_ms - CLOSE_MARGIN_MS;

        if (!master->closing || left > config->drain_timeout_ms)
                return config->drain_timeout_ms;
        return left > 0 ? left : 0;
}

void pools_stop_worker(struct master *master, const struct pool_worker *worker, enum control_stop how)
{
        struct control stop = { .type = CONTROL_STOP, .number = how, .drain_ms = drain_ms(master, pool_config(worker->pool)) };

        if (workers_send(master->workers, &worker->process_id, &stop) < 0 && worker->pid)
                pools_kill(master, &worker->process_id);
}

/* No new agents from the registry first, then the word to the worker. */
static void drain_worker(struct master *master, const struct pool_worker *worker)
{
        registry_drain(master->registry, &worker->process_id, NULL, NULL);
        pools_stop_worker(master, worker, CONTROL_STOP_DRAIN);
}

static void answer(const struct master *master, struct master_pool *pool, const struct pool_action *action)
{
        struct waiter *waiter = action->waiter, *next;
        struct store_status status = { .available = true };
        const char *detail = action->detail;

        (void)FAULT_POINT("spawn.answer"); /* to die here: done, and not said */
        if (!waiter)
                return;
        if (waiter->spawn_us && action->error == POOL_OK)
                histogram_add(&pool->metrics.spawns, clock_mono_us() - waiter->spawn_us);
        /* The rules know an errno; the store has words, with the remedy. */
        if (action->error == POOL_E_STORE)
                store_status(master->store, &status);
        if (!status.available)
                detail = status.reason;
        for (; waiter; waiter = next) {
                next = waiter->next;
                waiter->done(waiter, action->agent, action->error, detail);
        }
}

static void put_member(struct json_text *text, const char *name, const char *value)
{
        json_text_put(text, text->len > 1 ? "," : "", text->len > 1);
        json_text_string(text, name);
        json_text_put(text, ":", 1);
        json_text_string(text, value);
}

char *pools_event_text(const struct store_event *event)
{
        struct json_text text = { 0 };
        char epoch[32];

        json_text_put(&text, "{", 1);
        put_member(&text, "event", event->event);
        put_member(&text, "at", CLOCK_TEXT(event->at));
        put_member(&text, "pool_name", event->pool_name);
        if (!id_is_zero(&event->agent_id)) {
                put_member(&text, "agent_id", ID_TEXT(&event->agent_id));
                json_text_put(&text, epoch,
                        (size_t)snprintf(epoch, sizeof epoch, ",\"epoch\":%llu", (unsigned long long)event->epoch));
        }
        if (!id_is_zero(&event->process_id))
                put_member(&text, "process_id", ID_TEXT(&event->process_id));
        if (event->detail)
                put_member(&text, "detail", event->detail);
        if (event->who) {
                put_member(&text, "who", event->who);
                put_member(&text, "request_id", ID_TEXT(&event->request_id));
        }
        json_text_put(&text, "}", 1);
        return json_text_take(&text);
}

/* One line of log per event; what happens with every spawn and with every end that was asked for is for debugging. */
static void log_event(const struct store_event *event)
{
        bool routine = strcmp(event->event, "agent_spawned") == 0 ||
                       (strcmp(event->event, "agent_terminated") == 0 && !event->detail);
        enum log_level level = routine ? LOG_DEBUG : LOG_INFO;

        if (log_enabled(level))
                log_write(level, event->event, "pool=%s agent=%s epoch=%llu process=%s detail=%s", event->pool_name,
                        id_is_zero(&event->agent_id) ? "-" : ID_TEXT(&event->agent_id), (unsigned long long)event->epoch,
                        id_is_zero(&event->process_id) ? "-" : ID_TEXT(&event->process_id),
                        event->detail ? LOG_Q(event->detail) : "-");
}

void pools_tell(struct master *master, const struct store_event *event)
{
        char *text = pools_event_text(event);

        log_event(event);
        store_event_add(master->store, event);
        if (text) {
                registry_publish_event(master->registry, event->pool_name, text);
                streams_event(master->streams, event->event, &event->agent_id, text);
        }
        free(text);
}

static void tell_event(struct master *master, struct master_pool *pool, const struct pool_action *action)
{
        const struct pool_worker *worker = action->worker ? action->worker : action->agent ? action->agent->worker : NULL;
        struct store_event event = { .at = clock_wall_ms(), .pool_name = pool->config->pool_name,
                .event = action->event, .detail = action->detail[0] ? action->detail : NULL };

        if (action->agent) {
                event.agent_id = action->agent->agent_id;
                event.epoch = action->agent->epoch;
        }
        if (worker)
                event.process_id = worker->process_id;
        pool_metrics_event(&pool->metrics, action->event);
        pools_tell(master, &event);
        if (action->agent)
                messages_agent_changed(master->messages, action->agent);
}

static void act(struct master *master, struct master_pool *pool, struct batch *batch, const struct pool_action *action)
{
        static const struct id nowhere; /* zero: wherever it is */

        /* The order of calls to the registry is the order of actions. */
        if (action->type != POOL_RESERVE)
                flush_batch(master, pool, batch);
        switch (action->type) {
        case POOL_STORE_INSERT:
                store_row(master, pool, action, store_agent_insert);
                break;
        case POOL_STORE_EPOCH:
        case POOL_STORE_STATE:
                store_row(master, pool, action, store_agent_update);
                break;
        case POOL_STORE_DELETE:
                delete_row(master, action->agent);
                break;
        case POOL_RESERVE:
                reserve(master, pool, batch, action->agent);
                break;
        case POOL_SEND:
                send_command(master, pool, action);
                break;
        case POOL_RELEASE:
                registry_release(master->registry, pool->config->pool_name, &action->agent_id, action->epoch, &nowhere,
                        NULL, NULL);
                break;
        case POOL_EVICT:
                evict(master, action);
                break;
        case POOL_FORK:
                fork_worker(master, pool, action->worker);
                break;
        case POOL_DRAIN:
                drain_worker(master, action->worker);
                break;
        case POOL_SHUTDOWN:
                pools_stop_worker(master, action->worker, master->fast ? CONTROL_STOP_NOW : CONTROL_STOP_END);
                break;
        case POOL_KILL:
                pools_kill(master, &action->worker->process_id);
                break;
        case POOL_REAP:
                (void)FAULT_POINT("worker.reap");
                registry_reap(master->registry, pool->config->pool_name, &action->worker->process_id, NULL, NULL);
                break;
        case POOL_ANSWER:
                answer(master, pool, action);
                break;
        case POOL_EVENT:
                tell_event(master, pool, action);
                break;
        case POOL_FORGET_AGENT:
                pool->ended += action->agent->row && action->agent->state == AGENT_TERMINATED;
                messages_agent_forgotten(master->messages, &action->agent->agent_id, "the agent is gone");
                break;
        case POOL_FORGET_WORKER:
        case POOL_ACTION_COUNT:
                break;
        }
}

void pools_act(struct master *master, struct master_pool *pool)
{
        struct batch batch = { .count = 0 };
        struct pool_action action;

        while (pool_next_action(pool->rules, &action))
                act(master, pool, &batch, &action);
        flush_batch(master, pool, &batch);
}
