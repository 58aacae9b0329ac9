/* Agents, pools and workers as the API shows them. */
#include "common/clock.h"
#include "common/human_name.h"
#include "master/api/api.h"
#include "master/control/stored_agent.h"
#include "master/control/strays.h"
#include "registry/protocol/agent_exit.h"
#include "sql/store.h"

#include <errno.h>
#include <stdio.h>

/* A finished tree, or NULL and nothing leaked when r says that a step failed. */
static cJSON *finished(cJSON *tree, int r)
{
        if (r == 0)
                return tree;
        cJSON_Delete(tree);
        return NULL;
}

static int add_id(cJSON *tree, const char *name, const struct id *id)
{
        if (id_is_zero(id))
                return json_add_item(tree, name, cJSON_CreateNull());
        return json_add_string(tree, name, ID_TEXT(id));
}

static int add_names(cJSON *tree, const struct agent *agent)
{
        char human[64], display[160];
        int r;

        human_name(&agent->agent_id, human, sizeof human);
        snprintf(display, sizeof display, "%s (%s)", human, agent->role_type);
        r = json_add_string(tree, "human_name", human);
        return r ? r : json_add_string(tree, "display_name", display);
}

struct agent *api_row_agent(const struct master *master, const struct store_agent *row)
{
        const struct master_pool *pool = pools_find(master->pools, row->pool_name);
        struct agent *agent = stored_agent(row);

        if (!agent)
                return NULL;
        agent->pool = pool ? pool->rules : strays_pool(master->strays, row->pool_name);
        agent->phase = PHASE_NONE;
        return agent->pool ? agent : agent_free(agent);
}

cJSON *api_agent_summary(const struct agent *agent)
{
        static const struct id nowhere;
        cJSON *tree = cJSON_CreateObject();
        int r = tree ? 0 : -ENOMEM;

        r = r ? r : add_id(tree, "agent_id", &agent->agent_id);
        r = r ? r : add_names(tree, agent);
        r = r ? r : json_add_string(tree, "role_type", agent->role_type);
        r = r ? r : json_add_string(tree, "project_id", ID_TEXT(&agent->project_id));
        r = r ? r : json_add_string(tree, "pool_name", pool_config(agent->pool)->pool_name);
        r = r ? r : add_id(tree, "process_id", agent->worker ? &agent->worker->process_id : &nowhere);
        r = r ? r : json_add_string(tree, "state", agent_state_name(agent->state));
        r = r ? r : json_add_integer(tree, "epoch", (int64_t)agent->epoch);
        r = r ? r : json_add_time(tree, "created_at", agent->created_at);
        if (pool_degraded(agent->pool))
                r = r ? r : json_add_bool(tree, "degraded", true);
        return finished(tree, r);
}

/* null: it has no process of its own, or that was not asked for yet in this life of it. */
static int add_usage(cJSON *tree, const struct agent *agent)
{
        bool known = agent->usage_at && agent->usage_epoch == agent->epoch && agent->worker;
        int r = json_add_item(tree, "cpu_ms", known ? cJSON_CreateNumber((double)agent->usage.cpu_ms) : cJSON_CreateNull());

        r = r ? r : json_add_item(tree, "rss_bytes",
                            known ? cJSON_CreateNumber((double)agent->usage.rss_bytes) : cJSON_CreateNull());
        return r ? r : json_add_item(tree, "processes", known ? cJSON_CreateNumber(agent->usage.processes) : cJSON_CreateNull());
}

cJSON *api_agent_print(const struct master *master, const struct agent *agent)
{
        cJSON *tree = api_agent_summary(agent);
        int r = tree ? 0 : -ENOMEM;

        if (strays_has(master->strays, agent))
                r = r ? r : json_add_string(tree, "reason", strays_detail(agent, (char[200]){ 0 }));
        r = r ? r : json_add_time(tree, "updated_at", agent->updated_at);
        r = r ? r : json_add_integer(tree, "heartbeat_interval", agent->heartbeat_interval);
        r = r ? r : json_add_integer(tree, "max_idle_time", agent->max_idle_time);
        r = r ? r : json_add_integer(tree, "restarts", agent->restarts);
        r = r ? r : json_add_integer(tree, "messages_in_flight", agent->in_flight);
        r = r ? r : add_usage(tree, agent);
        r = r ? r : json_add_item(tree, "labels", cJSON_CreateRaw(agent->labels ? agent->labels : "{}"));
        r = r ? r : json_add_item(tree, "args", cJSON_CreateRaw(agent->args ? agent->args : "{}"));
        r = r ? r : json_add_item(tree, "last_exit",
                            agent->last_exit ? agent_exit_print(agent->last_exit) : cJSON_CreateNull());
        r = r ? r : json_add_item(tree, "process",
                            agent->worker ? api_worker_print(master, agent->worker) : cJSON_CreateNull());
        return finished(tree, r);
}

static int add_agents_by_state(cJSON *tree, const struct pool_stats *stats, int64_t ended)
{
        cJSON *states = cJSON_CreateObject();
        int r = states ? 0 : -ENOMEM;

        for (unsigned i = 1; r == 0 && i < AGENT_STATE_COUNT; i++)
                r = json_add_integer(states, agent_state_name((enum agent_state)i),
                        stats->by_state[i] + (i == AGENT_TERMINATED ? ended : 0));
        if (r == 0)
                return json_add_item(tree, "agents_by_state", states);
        cJSON_Delete(states);
        return r;
}

static int add_rollout(cJSON *tree, const struct pool_rollout *rollout)
{
        static const char *const names[] = { [ROLLOUT_RUNNING] = "running", [ROLLOUT_HALTED] = "halted",
                [ROLLOUT_FINISHED] = "finished" };
        cJSON *item = cJSON_CreateObject();
        int r = item ? 0 : -ENOMEM;

        r = r ? r : json_add_string(item, "state", names[rollout->state]);
        r = r ? r : json_add_integer(item, "batch_size", rollout->batch_size);
        r = r ? r : json_add_integer(item, "replaced_workers", rollout->replaced);
        r = r ? r : json_add_integer(item, "remaining_workers", rollout->remaining);
        if (rollout->state == ROLLOUT_HALTED)
                r = r ? r : json_add_string(item, "reason", rollout->reason);
        if (r == 0)
                return json_add_item(tree, "rollout", item);
        cJSON_Delete(item);
        return r;
}

static int add_breaker(cJSON *tree, const char *name, const struct pool *pool, enum pool_breaker which)
{
        const struct breaker *breaker = pool_breaker(pool, which);
        int64_t now = clock_mono_ms(), at = breaker_cooled_at(breaker, &pool_config(pool)->breaker);
        cJSON *item = cJSON_CreateObject();
        int r = item ? 0 : -ENOMEM;

        r = r ? r : json_add_string(item, "state", breaker_state_name(breaker->state));
        r = r ? r : json_add_time(item, "since", clock_wall_ms() - (now - breaker->since));
        r = r ? r : json_add_integer(item, "failures", breaker->failures);
        r = r ? r : json_add_integer(item, "opened", (int64_t)breaker->opened);
        r = r ? r : json_add_item(item, "reason",
                            breaker->failures ? cJSON_CreateString(breaker->reason) : cJSON_CreateNull());
        if (at < INT64_MAX)
                r = r ? r : json_add_integer(item, "half_open_in_ms", at > now ? at - now : 0);
        if (r == 0)
                return json_add_item(tree, name, item);
        cJSON_Delete(item);
        return r;
}

static int add_breakers(cJSON *tree, const struct pool *pool)
{
        cJSON *item = cJSON_CreateObject();
        int r = item ? 0 : -ENOMEM;

        r = r ? r : add_breaker(item, "workers", pool, POOL_WORKERS);
        r = r ? r : add_breaker(item, "agents", pool, POOL_AGENTS);
        if (r == 0)
                return json_add_item(tree, "breakers", item);
        cJSON_Delete(item);
        return r;
}

cJSON *api_pool_print(const struct master *master, const struct master_pool *pool)
{
        const char *away = mode_reason(&master->mode);
        cJSON *tree = cJSON_CreateObject();
        struct pool_stats stats;
        unsigned live;
        int r = tree ? 0 : -ENOMEM;

        pool_stats(pool->rules, &stats);
        live = stats.workers_ready + stats.workers_draining;
        r = r ? r : json_add_string(tree, "pool_name", pool->config->pool_name);
        r = r ? r : json_add_string(tree, "role_type", pool->config->role_type);
        r = r ? r : json_add_integer(tree, "process_count", live);
        r = r ? r : json_add_integer(tree, "total_capacity", stats.capacity);
        r = r ? r : json_add_integer(tree, "used_capacity", stats.used);
        r = r ? r : json_add_integer(tree, "available_capacity", stats.capacity > stats.used ? stats.capacity - stats.used : 0);
        r = r ? r : json_add_integer(tree, "agent_count", stats.agents);
        r = r ? r : json_add_item(tree, "utilization",
                            cJSON_CreateNumber(stats.capacity ? (double)stats.used / stats.capacity : 0));
        r = r ? r : json_add_integer(tree, "active_worker_processes", live);
        r = r ? r : json_add_integer(tree, "starting_worker_processes", stats.workers_starting);
        r = r ? r : json_add_integer(tree, "total_workers_spawned", (int64_t)stats.workers_spawned);
        r = r ? r : json_add_integer(tree, "total_workers_terminated", (int64_t)stats.workers_terminated);
        r = r ? r : json_add_integer(tree, "waiting_spawns", stats.waiting);
        r = r ? r : add_agents_by_state(tree, &stats, pool->ended);
        r = r ? r : json_add_item(tree, "manager_uptime_seconds",
                            cJSON_CreateNumber((double)((clock_wall_ms() - pool->created_at) / 1000)));
        r = r ? r : json_add_bool(tree, "draining", stats.held);
        r = r ? r : json_add_bool(tree, "degraded", stats.tripped || away);
        if (stats.tripped || away)
                r = r ? r : json_add_string(tree, "degraded_reason", stats.tripped ? stats.reason : away);
        r = r ? r : add_breakers(tree, pool->rules);
        if (stats.rollout.state != ROLLOUT_NONE)
                r = r ? r : add_rollout(tree, &stats.rollout);
        return finished(tree, r);
}

cJSON *api_worker_print(const struct master *master, const struct pool_worker *worker)
{
        const struct pool_config *config = pool_config(worker->pool);
        cJSON *tree = cJSON_CreateObject();
        int r = tree ? 0 : -ENOMEM;

        r = r ? r : json_add_string(tree, "process_id", ID_TEXT(&worker->process_id));
        r = r ? r : json_add_string(tree, "pool_name", config->pool_name);
        r = r ? r : json_add_integer(tree, "pid", worker->pid);
        r = r ? r : json_add_string(tree, "host", master->host);
        r = r ? r : json_add_string(tree, "state", worker_state_name(worker->state));
        r = r ? r : json_add_integer(tree, "agents", worker->used);
        r = r ? r : json_add_integer(tree, "capacity", worker->max_agents);
        r = r ? r : json_add_integer(tree, "rss_bytes", (int64_t)worker->rss_bytes);
        r = r ? r : json_add_integer(tree, "cpu_ms", (int64_t)worker->cpu_ms);
        r = r ? r : json_add_integer(tree, "agents_rss_bytes", (int64_t)worker->agents_usage.rss_bytes);
        r = r ? r : json_add_integer(tree, "agents_cpu_ms", (int64_t)worker->agents_usage.cpu_ms);
        r = r ? r : json_add_integer(tree, "agents_processes", worker->agents_usage.processes);
        r = r ? r : json_add_time(tree, "started_at", worker->created_at);
        return finished(tree, r);
}
