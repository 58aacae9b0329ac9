#include "master/control/strays.h"

#include "common/clock.h"
#include "master/control/pools_act.h"
#include "master/control/stored_agent.h"
#include "registry/protocol/agent_exit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stray_pool {
        struct stray_pool *next;
        struct pool_config config; /* nothing but the name */
        struct pool *rules;
};

struct strays {
        struct master *master;
        struct agent *agents; /* a hash table, in the order of insertion */
        struct stray_pool *pools;
};

/* Whose row is being written. */
struct ending {
        struct strays *strays;
        struct id agent_id;
};

struct strays *strays_new(struct master *master)
{
        struct strays *strays = calloc(1, sizeof *strays);

        if (strays)
                strays->master = master;
        return strays;
}

static void stray_pool_free(struct stray_pool *pool)
{
        pool_free(pool->rules);
        free(pool->config.pool_name);
        free(pool);
}

static void remove_agent(struct strays *strays, struct agent *agent)
{
        HASH_DEL(strays->agents, agent);
        agent_free(agent);
}

struct strays *strays_free(struct strays *strays)
{
        struct agent *agent, *next;

        if (!strays)
                return NULL;
        HASH_ITER(hh, strays->agents, agent, next)
                remove_agent(strays, agent);
        for (struct stray_pool *pool = strays->pools, *after; pool; pool = after) {
                after = pool->next;
                stray_pool_free(pool);
        }
        free(strays);
        return NULL;
}

struct agent *strays_agent(const struct strays *strays, const struct id *agent_id)
{
        struct agent *agent;

        HASH_FIND(hh, strays->agents, agent_id, sizeof *agent_id, agent);
        return agent;
}

bool strays_has(const struct strays *strays, const struct agent *agent)
{
        return strays_agent(strays, &agent->agent_id) == agent;
}

struct agent *strays_first(const struct strays *strays)
{
        return strays->agents;
}

bool strays_are_of(const struct strays *strays, const char *pool_name)
{
        for (const struct agent *agent = strays->agents; agent; agent = agent->hh.next)
                if (strcmp(pool_config(agent->pool)->pool_name, pool_name) == 0)
                        return true;
        return false;
}

struct pool *strays_pool(struct strays *strays, const char *pool_name)
{
        struct stray_pool *pool = strays->pools;

        while (pool && strcmp(pool->config.pool_name, pool_name) != 0)
                pool = pool->next;
        if (pool)
                return pool->rules;
        pool = calloc(1, sizeof *pool);
        if (!pool)
                return NULL;
        pool->config.pool_name = strdup(pool_name);
        pool->rules = pool->config.pool_name ? pool_new(&pool->config, 0, clock_mono_ms()) : NULL;
        if (!pool->rules) {
                stray_pool_free(pool);
                return NULL;
        }
        pool->next = strays->pools;
        strays->pools = pool;
        return pool->rules;
}

int strays_add(struct strays *strays, const struct store_agent *row)
{
        struct agent *agent;

        if (strays_agent(strays, &row->agent_id))
                return 0;
        agent = stored_agent(row);
        if (!agent)
                return -ENOMEM;
        agent->pool = strays_pool(strays, row->pool_name);
        agent->phase = PHASE_NONE;
        if (!agent->pool) {
                agent_free(agent);
                return -ENOMEM;
        }
        HASH_ADD(hh, strays->agents, agent_id, sizeof agent->agent_id, agent);
        return 0;
}

char *strays_detail(const struct agent *agent, char detail[200])
{
        snprintf(detail, 200, "pool %.64s is not configured; configure it again and reload, or terminate the agent",
                pool_config(agent->pool)->pool_name);
        return detail;
}

static void tell_ended(struct strays *strays, const struct agent *agent)
{
        struct store_event event = { .at = clock_wall_ms(), .pool_name = pool_config(agent->pool)->pool_name,
                .event = "agent_terminated", .agent_id = agent->agent_id, .epoch = agent->epoch };

        pools_tell(strays->master, &event);
}

static void on_stored(void *arg, int error)
{
        struct ending *ending = arg;
        struct strays *strays = ending->strays;
        struct agent *agent = strays_agent(strays, &ending->agent_id);
        struct waiter *waiter = agent->waiter;
        struct store_status status;

        free(ending);
        agent->waiter = NULL;
        if (error == 0 || error == -ENOENT) { /* somebody deleted the row: it is not there, as it should not be */
                tell_ended(strays, agent);
                waiter->done(waiter, agent, POOL_OK, "");
                remove_agent(strays, agent);
                return;
        }
        store_status(strays->master->store, &status);
        waiter->done(waiter, agent, POOL_E_STORE, status.available ? "the store is not available; try again" : status.reason);
}

static int submit(struct strays *strays, const struct agent *agent)
{
        char *exit_text = agent->last_exit ? agent_exit_encode(agent->last_exit) : NULL;
        struct store_agent row = pools_agent_row(agent, pool_config(agent->pool)->pool_name);
        struct ending *ending = malloc(sizeof *ending);
        int r = -ENOMEM;

        row.last_exit = exit_text;
        row.master_id = ID_TEXT(&strays->master->master_id);
        row.state = agent_state_name(AGENT_TERMINATED);
        row.updated_at = clock_wall_ms();
        if (ending) {
                *ending = (struct ending){ .strays = strays, .agent_id = agent->agent_id };
                r = store_agent_update(strays->master->store, &row, on_stored, ending);
        }
        if (r < 0)
                free(ending);
        free(exit_text);
        return r;
}

int strays_terminate(struct strays *strays, struct agent *agent, struct waiter *waiter)
{
        if (agent->waiter)
                return -EBUSY;
        agent->waiter = waiter;
        if (submit(strays, agent) == 0)
                return 0;
        agent->waiter = NULL;
        waiter->done(waiter, agent, POOL_E_STORE, "the store is not available; try again");
        return 0;
}
