/* The operations: which script, which keys and arguments. */
#include "registry/redis/registry_redis.h"

#include "registry/redis/registry_call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct registry *registry_new(struct event_base *base, const struct redis_url *url, const struct registry_config *config,
        const struct registry_events *events, void *arg)
{
        struct registry *registry = calloc(1, sizeof *registry);

        if (!registry)
                return NULL;
        registry->master_id = config->master_id;
        registry->session = redis_session_new(base, url, config, events, arg);
        return registry->session ? registry : registry_free(registry);
}

struct registry *registry_free(struct registry *registry)
{
        if (!registry)
                return NULL;
        redis_session_free(registry->session);
        free(registry);
        return NULL;
}

int registry_hear_out(struct registry *registry, registry_cb cb, void *arg)
{
        return redis_session_hear_out(registry->session, cb, arg);
}

bool registry_up(const struct registry *registry)
{
        return redis_session_up(registry->session);
}

const char *registry_reason(const struct registry *registry)
{
        return registry->reason;
}

/* --- operations -------------------------------------------------------------------------------------------------- */

int registry_reserve(struct registry *registry, const char *pool_name, enum pool_placement placement,
        const struct registry_reservation *items, size_t count, registry_placed_cb cb, void *arg)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_RESERVE, 1, count);
        struct redis_command *command = &call->command;
        struct registry_placed *placed = call->results;

        call->cb.placed = cb;
        redis_command_add_key(command, "pool:", pool_name, ":processes");
        redis_command_add_text(command, pool_name);
        redis_command_add_text(command, placement == POOL_SPREAD ? "spread" : "pack");
        for (size_t i = 0; i < count; i++) {
                if (placed)
                        placed[i] = (struct registry_placed){ .agent_id = items[i].agent_id, .epoch = items[i].epoch };
                registry_call_add_agent(call, &items[i].agent_id, items[i].epoch);
                redis_command_add_id(command, &items[i].project_id);
                redis_command_add_text(command, items[i].role_type);
                redis_command_add_integer(command, items[i].created_at);
                redis_command_add_integer(command, items[i].heartbeat_interval);
                redis_command_add_integer(command, items[i].max_idle_time);
                redis_command_add_integer(command, items[i].restarts);
                redis_command_add_text(command, items[i].command);
        }
        return registry_call_send(registry, call, registry_finish_placed, arg);
}

int registry_send(struct registry *registry, const char *pool_name, const struct id *agent_id, uint64_t epoch,
        enum agent_state state, const char *command, registry_cb cb, void *arg)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_SEND, 1, 0);

        call->cb.done = cb;
        redis_command_add_id_key(&call->command, "agent:", agent_id, "");
        registry_call_add_agent(call, agent_id, epoch);
        redis_command_add_text(&call->command, pool_name);
        redis_command_add_text(&call->command, agent_state_name(state));
        redis_command_add_text(&call->command, command);
        return registry_call_send(registry, call, registry_finish_done, arg);
}

int registry_release(struct registry *registry, const char *pool_name, const struct id *agent_id, uint64_t epoch,
        const struct id *process_id, registry_cb cb, void *arg)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_RELEASE, 2, 0);

        call->cb.done = cb;
        redis_command_add_id_key(&call->command, "agent:", agent_id, "");
        redis_command_add_key(&call->command, "pool:", pool_name, ":agents");
        registry_call_add_agent(call, agent_id, epoch);
        redis_command_add_text(&call->command, id_is_zero(process_id) ? "" : ID_TEXT(process_id));
        return registry_call_send(registry, call, registry_finish_done, arg);
}

static struct registry_call *call_new_process(struct registry *registry, enum script script, const struct id *process_id)
{
        struct registry_call *call = registry_call_new(registry, script, 1, 0);

        redis_command_add_id_key(&call->command, "process:", process_id, "");
        redis_command_add_id(&call->command, process_id);
        return call;
}

static int set_status(struct registry *registry, const struct id *process_id, enum worker_state state, registry_cb cb,
        void *arg)
{
        struct registry_call *call = call_new_process(registry, SCRIPT_DRAIN, process_id);

        call->cb.done = cb;
        redis_command_add_text(&call->command, worker_state_name(state));
        return registry_call_send(registry, call, registry_finish_done, arg);
}

int registry_drain(struct registry *registry, const struct id *process_id, registry_cb cb, void *arg)
{
        return set_status(registry, process_id, WORKER_DRAINING, cb, arg);
}

int registry_undrain(struct registry *registry, const struct id *process_id, registry_cb cb, void *arg)
{
        return set_status(registry, process_id, WORKER_READY, cb, arg);
}

int registry_reap(struct registry *registry, const char *pool_name, const struct id *process_id, registry_cb cb, void *arg)
{
        struct registry_call *call = call_new_process(registry, SCRIPT_REAP, process_id);

        call->cb.done = cb;
        redis_command_add_text(&call->command, pool_name);
        redis_command_add_id(&call->command, &registry->master_id);
        return registry_call_send(registry, call, registry_finish_done, arg);
}

int registry_sweep(struct registry *registry, const char *pool_name, const struct registry_confirm *confirms, size_t count,
        registry_swept_cb cb, void *arg)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_SWEEP, 2, 0);

        call->cb.swept = cb;
        redis_command_add_key(&call->command, "pool:", pool_name, ":heartbeats");
        redis_command_add_key(&call->command, "pool:", pool_name, ":processes");
        for (size_t i = 0; i < count; i++) {
                redis_command_add_id(&call->command, &confirms[i].process_id);
                registry_call_add_agent(call, &confirms[i].agent_id, confirms[i].epoch);
        }
        return registry_call_send(registry, call, registry_finish_swept, arg);
}

static struct registry_call *announcement(struct registry *registry, const struct registry_master *master, uint32_t ttl_ms)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_ANNOUNCE, 2, 0);

        redis_command_add_id_key(&call->command, "master:", &registry->master_id, "");
        redis_command_add_text(&call->command, "master:owner");
        redis_command_add_integer(&call->command, ttl_ms);
        redis_command_add_text(&call->command, master->host);
        redis_command_add_integer(&call->command, master->pid);
        redis_command_add_text(&call->command, master->url);
        redis_command_add_text(&call->command, master->version);
        redis_command_add_text(&call->command, master->run_dir);
        redis_command_add_id(&call->command, &registry->master_id);
        redis_command_add_text(&call->command, master->dead);
        return call;
}

int registry_announce(struct registry *registry, const struct registry_master *master, uint32_t ttl_ms, registry_owner_cb cb,
        void *arg)
{
        struct registry_call *call = announcement(registry, master, ttl_ms);

        call->cb.owner = cb;
        return registry_call_send(registry, call, registry_finish_owner, arg);
}

int registry_withdraw(struct registry *registry, registry_cb cb, void *arg)
{
        struct registry_call *call = announcement(registry, &(struct registry_master){ 0 }, 0);

        call->cb.done = cb;
        return registry_call_send(registry, call, registry_finish_done, arg);
}

int registry_clear(struct registry *registry, const char *pool_name, registry_cb cb, void *arg)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_CLEAR, 2, 0);

        call->cb.done = cb;
        redis_command_add_key(&call->command, "pool:", pool_name, ":heartbeats");
        redis_command_add_key(&call->command, "pool:", pool_name, ":exited");
        redis_command_add_text(&call->command, pool_name);
        redis_command_add_id(&call->command, &registry->master_id);
        return registry_call_send(registry, call, registry_finish_done, arg);
}

/* Every field of agent:<id> is in the spawn command. */
static int add_agent(struct registry_call *call, size_t i, const struct registry_agent *agent)
{
        struct redis_command *command = &call->command;
        struct command spawn;
        int r = command_decode(agent->command, strlen(agent->command), &spawn);

        if (r < 0)
                return r;
        registry_call_add_reported(call, i, &agent->agent_id, agent->epoch);
        redis_command_add_text(command, agent_state_name(agent->state));
        redis_command_add_id(command, &spawn.project_id);
        redis_command_add_text(command, spawn.role_type);
        redis_command_add_integer(command, spawn.created_at);
        redis_command_add_integer(command, spawn.heartbeat_interval);
        redis_command_add_integer(command, spawn.max_idle_time);
        redis_command_add_integer(command, spawn.restarts);
        redis_command_add_text(command, agent->command);
        r = spawn.type == COMMAND_SPAWN ? 0 : -EINVAL;
        command_done(&spawn);
        return r;
}

static const char *part_name(const struct registry_process *process)
{
        if (process->continues)
                return process->more ? "next" : "last";
        return process->more ? "first" : "only";
}

int registry_register(struct registry *registry, const struct registry_process *process,
        const struct registry_agent *agents, size_t count, registry_reported_cb cb, void *arg)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_REGISTER, 2, count);
        struct redis_command *command = &call->command;

        call->cb.reported = cb;
        redis_command_add_id_key(command, "process:", &process->process_id, "");
        redis_command_add_key(command, "pool:", process->pool_name, ":heartbeats");
        redis_command_add_id(command, &process->process_id);
        redis_command_add_text(command, process->pool_name);
        redis_command_add_integer(command, process->pid);
        redis_command_add_text(command, process->host);
        redis_command_add_id(command, &process->master_id);
        redis_command_add_integer(command, process->max_agents);
        redis_command_add_integer(command, process->started_at);
        redis_command_add_text(command, AGENTPOOL_VERSION);
        redis_command_add_text(command, part_name(process));
        for (size_t i = 0; call->error == 0 && i < count; i++)
                call->error = add_agent(call, i, &agents[i]);
        return registry_call_send(registry, call, registry_finish_reported, arg);
}

int registry_report(struct registry *registry, const struct id *process_id, const struct registry_report *items,
        size_t count, registry_reported_cb cb, void *arg)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_REPORT, 2, count);
        struct redis_command *command = &call->command;

        call->cb.reported = cb;
        redis_command_add_id_key(command, "process:", process_id, "");
        redis_command_add_id_key(command, "process:", process_id, ":ended");
        redis_command_add_id(command, process_id);
        for (size_t i = 0; i < count; i++) {
                registry_call_add_reported(call, i, &items[i].agent_id, items[i].epoch);
                redis_command_add_text(command, items[i].type == REPLY_SPAWNED ? "spawned" : "ended");
                redis_command_add_id(command, &items[i].master_id);
                redis_command_add_text(command, items[i].reply);
        }
        return registry_call_send(registry, call, registry_finish_reported, arg);
}

int registry_heartbeat(struct registry *registry, const struct id *process_id, const struct registry_beat *beat,
        registry_listing_cb cb, void *arg)
{
        struct registry_call *call = call_new_process(registry, SCRIPT_HEARTBEAT, process_id);

        call->cb.listing = cb;
        redis_command_add_integer(&call->command, (int64_t)beat->revision);
        redis_command_add_integer(&call->command, (int64_t)beat->rss_bytes);
        redis_command_add_integer(&call->command, (int64_t)beat->cpu_ms);
        return registry_call_send(registry, call, registry_finish_listing, arg);
}

int registry_agent_status(struct registry *registry, const struct id *process_id, const struct registry_status *items,
        size_t count)
{
        struct registry_call *call = registry_call_new(registry, SCRIPT_AGENT_STATUS, 0, 0);

        redis_command_add_id(&call->command, process_id);
        for (size_t i = 0; i < count; i++) {
                registry_call_add_agent(call, &items[i].agent_id, items[i].epoch);
                redis_command_add_text(&call->command, agent_state_name(items[i].state));
        }
        return registry_call_send(registry, call, registry_finish_done, NULL);
}

/* Commands without a script. */
static int send_plain(struct registry *registry, const char *verb, const char *key, const char *value, redis_link_cb cb,
        void *arg)
{
        struct redis_command command = { 0 };
        int r;

        redis_command_add_text(&command, verb);
        redis_command_add_text(&command, key);
        redis_command_add_text(&command, value);
        r = redis_command_finish(&command);
        if (r == 0)
                r = redis_session_send(registry->session, &command, cb, arg);
        redis_command_done(&command);
        return r;
}

static void on_added(void *arg, int error, const redisReply *reply)
{
        struct registry_call *call = arg;

        registry_keep_reason(call->registry, error, reply);
        if (call->cb.done)
                call->cb.done(call->arg, error);
        free(call);
}

static void on_published(void *arg, int error, const redisReply *reply)
{
        struct registry_call *call = arg;

        registry_keep_reason(call->registry, error, reply);
        if (error == 0 && (reply->type != REDIS_REPLY_INTEGER || reply->integer == 0))
                error = -ENOENT;
        call->cb.done(call->arg, error);
        free(call);
}

static int publish(struct registry *registry, const char *prefix, const char *name, const char *suffix, const char *text,
        registry_cb cb, void *arg)
{
        struct registry_call *call = cb ? calloc(1, sizeof *call) : NULL;
        char channel[128];
        int r;

        if (cb && !call)
                return -ENOMEM;
        if (call)
                *call = (struct registry_call){ .registry = registry, .cb.done = cb, .arg = arg };
        if ((size_t)snprintf(channel, sizeof channel, "%s%s%s", prefix, name, suffix) >= sizeof channel)
                r = -EINVAL;
        else
                r = send_plain(registry, "PUBLISH", channel, text, cb ? on_published : NULL, call);
        if (r < 0)
                free(call);
        return r; /* NOLINT(clang-analyzer-unix.Malloc): on_published frees call */
}

int registry_publish_command(struct registry *registry, const char *pool_name, const struct id *process_id,
        const char *command, registry_cb cb, void *arg)
{
        int r = publish(registry, "process:", ID_TEXT(process_id), ":commands", command, cb, arg);

        if (r == 0)
                publish(registry, "pool:", pool_name, ":commands", command, NULL, NULL); /* watchers may miss theirs */
        return r;
}

int registry_try_channel(struct registry *registry, const struct id *process_id, registry_cb cb, void *arg)
{
        return publish(registry, "process:", ID_TEXT(process_id), ":commands", "", cb, arg);
}

int registry_publish_event(struct registry *registry, const char *pool_name, const char *event)
{
        return publish(registry, "pool:", pool_name, ":events", event, NULL, NULL);
}

int registry_publish_reply(struct registry *registry, const struct id *master_id, const char *reply, registry_cb cb,
        void *arg)
{
        return publish(registry, "master:", ID_TEXT(master_id), ":replies", reply, cb, arg);
}

int registry_pool_add(struct registry *registry, const char *pool_name, registry_cb cb, void *arg)
{
        struct registry_call *call = malloc(sizeof *call);
        int r;

        if (!call)
                return -ENOMEM;
        *call = (struct registry_call){ .registry = registry, .cb.done = cb, .arg = arg };
        r = send_plain(registry, "SADD", "pools", pool_name, on_added, call);
        if (r < 0)
                free(call);
        return r; /* NOLINT(clang-analyzer-unix.Malloc): on_added frees call */
}
