#include "master/control/mirror.h"

#include "common/clock.h"
#include "master/control/degraded.h"
#include "registry/core/agent_command.h"
#include "registry/redis/registry_redis.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Agents whose states share one call. */
#define STATUS_BATCH 128

/* A heartbeat, or a part of a registration, on its way. */
struct shown_worker {
        struct master_pool *pool;
        struct id process_id;
        bool more; /* agents are left for a next part */
};

static bool shows(const struct master_pool *pool)
{
        return pool->apart && pool->master->registry_up && !pool->master->mode.degraded;
}

/* That it went away, or has reaped the worker, is no refusal. */
static void note_error(const struct master_pool *pool, int error)
{
        if (error < 0 && error != -EAGAIN && error != -ECANCELED && error != -ESTALE && error != -ENOENT && error != -ENOMEM)
                degraded_failed(pool->master->degraded, error);
}

static enum agent_state shown_state(const struct agent *agent)
{
        if (agent->state == AGENT_IDLE || agent->state == AGENT_BUSY)
                return AGENT_IDLE;
        return agent->state == AGENT_STOPPING ? AGENT_STOPPING : AGENT_STARTING;
}

/* Those of a worker's agents that are not shown yet, as many as a part takes, each with its command (commands[i]: free()). */
static size_t list_part(const struct pool_worker *worker, const struct id *master_id, struct registry_agent *agents,
        char **commands, bool *ret_more)
{
        size_t count = 0, bytes = 0;
        struct agent *agent;

        *ret_more = false;
        TAILQ_FOREACH(agent, &worker->agents, on_worker)
        {
                if (agent->shown)
                        continue;
                *ret_more = count == REGISTRY_PART_AGENTS || bytes >= REGISTRY_PART_BYTES;
                if (*ret_more || !(commands[count] = agent_spawn_command(agent, master_id)))
                        break;
                agent->shown = true;
                agent->busy_shown = false; /* it says idle of what runs */
                bytes += strlen(commands[count]);
                agents[count] = (struct registry_agent){ .agent_id = agent->agent_id, .epoch = agent->epoch,
                        .command = commands[count], .state = shown_state(agent) };
                count++;
        }
        return count;
}

static void on_registered(void *arg, int error, const struct registry_reported *reported, size_t count);

/* Writes the worker's record and the records of those of its agents that are not shown, the next part when the one before
 * is written. What is not written for want of memory or Redis, a later heartbeat finds. */
static void write_records(struct master_pool *pool, const struct pool_worker *worker, bool continues)
{
        const struct master *master = pool->master;
        struct registry_process process = { .process_id = worker->process_id, .master_id = master->master_id,
                .pool_name = pool->config->pool_name, .host = master->host, .pid = worker->pid,
                .max_agents = worker->max_agents, .started_at = worker->created_at, .continues = continues };
        struct registry_agent agents[REGISTRY_PART_AGENTS] = { 0 };
        char *commands[REGISTRY_PART_AGENTS];
        struct shown_worker *shown = malloc(sizeof *shown);
        size_t count = shown ? list_part(worker, &master->master_id, agents, commands, &process.more) : 0;

        if (!shown)
                return;
        *shown = (struct shown_worker){ .pool = pool, .process_id = worker->process_id, .more = process.more };
        if (registry_register(master->registry, &process, agents, count, on_registered, shown) < 0)
                free(shown);
        for (size_t i = 0; i < count; i++)
                free(commands[i]);
}

static void on_registered(void *arg, int error, const struct registry_reported *reported, size_t count)
{
        struct shown_worker shown = *(struct shown_worker *)arg;
        struct pool_worker *worker = error == -ECANCELED ? NULL : pool_worker(shown.pool->rules, &shown.process_id);

        (void)reported;
        (void)count;
        free(arg);
        note_error(shown.pool, error);
        if (!worker || !shows(shown.pool))
                return;
        if (error == -ENOENT)
                mirror_worker(shown.pool, worker); /* a FLUSHALL between two parts */
        else if (error == 0 && shown.more)
                write_records(shown.pool, worker, true);
}

static void forget_shown(const struct pool_worker *worker)
{
        struct agent *agent;

        TAILQ_FOREACH(agent, &worker->agents, on_worker)
                agent->shown = false;
}

void mirror_worker(struct master_pool *pool, const struct pool_worker *worker)
{
        if (!shows(pool) || !worker)
                return;
        forget_shown(worker);
        write_records(pool, worker, false);
        registry_undrain(pool->master->registry, &worker->process_id, NULL, NULL); /* an earlier master may have drained it */
}

void mirror_agent(struct master_pool *pool, const struct agent *agent)
{
        if (!shows(pool) || !agent->worker)
                return;
        pool_agent(pool->rules, &agent->agent_id)->shown = false;
        write_records(pool, agent->worker, false);
}

void mirror_command(const struct master_pool *pool, const struct id *process_id, const char *command)
{
        if (shows(pool) && strlen(command) <= COMMAND_PUBLISHED_MAX)
                registry_publish_command(pool->master->registry, pool->config->pool_name, process_id, command, NULL, NULL);
}

void mirror_reply(struct master_pool *pool, const struct reply *reply)
{
        struct registry_status idle = { .agent_id = reply->agent_id, .epoch = reply->epoch, .state = AGENT_IDLE };

        if (!shows(pool))
                return;
        if (reply->type == REPLY_SPAWNED)
                registry_agent_status(pool->master->registry, &reply->process_id, &idle, 1);
        else
                registry_release(pool->master->registry, pool->config->pool_name, &reply->agent_id, reply->epoch,
                        &reply->process_id, NULL, NULL);
}

static void tell_states(const struct master_pool *pool, const struct pool_worker *worker)
{
        struct registry_status items[STATUS_BATCH];
        struct agent *told[STATUS_BATCH], *agent;
        size_t count = 0;

        TAILQ_FOREACH(agent, &worker->agents, on_worker)
        {
                if (count == STATUS_BATCH || shown_state(agent) != AGENT_IDLE || agent->busy_shown == (agent->state == AGENT_BUSY))
                        continue;
                told[count] = agent;
                items[count++] = (struct registry_status){ .agent_id = agent->agent_id, .epoch = agent->epoch,
                        .state = agent->state };
        }
        if (count == 0 || registry_agent_status(pool->master->registry, &worker->process_id, items, count) < 0)
                return; /* the rest, or all, with the next heartbeat */
        for (size_t i = 0; i < count; i++)
                told[i]->busy_shown = told[i]->state == AGENT_BUSY;
}

/* What it has and the rules have not there is taken out, what it lacks is written. */
static void compare(struct master_pool *pool, struct pool_worker *worker, const struct registry_listing *listing)
{
        forget_shown(worker);
        for (size_t i = 0; i < listing->count; i++) {
                const struct registry_listed_agent *listed = &listing->agents[i];
                struct agent *agent = pool_agent(pool->rules, &listed->agent_id);

                if (agent && agent->worker == worker && agent->epoch == listed->epoch)
                        agent->shown = true;
                else if (!agent || agent->worker != worker)
                        registry_release(pool->master->registry, pool->config->pool_name, &listed->agent_id, listed->epoch,
                                &worker->process_id, NULL, NULL);
        }
        worker->revision = listing->revision;
        write_records(pool, worker, false);
}

static void on_listing(void *arg, const struct registry_listing *listing)
{
        struct shown_worker beat = *(struct shown_worker *)arg;
        struct pool_worker *worker = listing->result == -ECANCELED ? NULL : pool_worker(beat.pool->rules, &beat.process_id);

        free(arg);
        if (!worker || !shows(beat.pool))
                return;
        note_error(beat.pool, listing->result);
        if (listing->result == -ENOENT)
                mirror_worker(beat.pool, worker);
        else if (listing->result == 0 && listing->changed)
                compare(beat.pool, worker, listing);
}

void mirror_alive(struct master_pool *pool, struct pool_worker *worker)
{
        int64_t now = clock_mono_ms();
        struct registry_beat figures = { .revision = worker->revision, .rss_bytes = worker->rss_bytes,
                .cpu_ms = worker->cpu_ms, .agent_count = worker->used };
        struct shown_worker *beat;

        /* It comes with PONGs, a little early or late. */
        if (!shows(pool) || !worker->reported || now - worker->beat_at < pool->config->heartbeat_interval_ms * 9 / 10)
                return;
        beat = malloc(sizeof *beat);
        if (!beat)
                return;
        *beat = (struct shown_worker){ .pool = pool, .process_id = worker->process_id };
        worker->beat_at = now;
        if (registry_heartbeat(pool->master->registry, &worker->process_id, &figures, on_listing, beat) < 0)
                free(beat);
        else
                tell_states(pool, worker);
}
