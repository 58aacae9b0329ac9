#define HASH_NONFATAL_OOM 1
#include "test/sim/registry_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

RB_HEAD(memory_offers, memory_process);
struct memory_pool {
        char *name;
        struct memory_offers offered; /* ready processes, the fewest free slots first */
        UT_hash_handle hh;
};

struct registry_memory {
        registry_publish_cb publish;
        void *arg;
        struct memory_pool *pools;
        struct memory_process *processes;
        struct memory_agent *agents;
        uint64_t revision; /* the last one given out: grows across a flush */
        void *scratch;     /* what the last listing or sweep points to */
};

static unsigned free_slots(const struct memory_process *process)
{
        return process->agent_count < process->max_agents ? process->max_agents - process->agent_count : 0;
}

static int compare_free(const struct memory_process *a, const struct memory_process *b)
{
        if (free_slots(a) != free_slots(b))
                return free_slots(a) < free_slots(b) ? -1 : 1;
        return memcmp(a->process_id.b, b->process_id.b, sizeof a->process_id.b);
}

RB_PROTOTYPE(memory_offers, memory_process, by_free, compare_free)
RB_GENERATE(memory_offers, memory_process, by_free, compare_free)

struct registry_memory *registry_memory_new(registry_publish_cb publish, void *arg)
{
        struct registry_memory *memory = calloc(1, sizeof *memory);

        if (!memory)
                return NULL;
        memory->publish = publish;
        memory->arg = arg;
        return memory;
}

/* Around every change of agent_count or state: the tree is ordered by them. */
static void withdraw(struct memory_process *process)
{
        if (process->state == WORKER_READY)
                RB_REMOVE(memory_offers, &process->pool->offered, process);
}

static void offer(struct memory_process *process)
{
        if (process->state == WORKER_READY)
                RB_INSERT(memory_offers, &process->pool->offered, process);
}

static void recount(struct registry_memory *memory, struct memory_process *process, int change)
{
        withdraw(process);
        process->agent_count += (unsigned)change;
        process->revision = ++memory->revision;
        offer(process);
}

static void forget(struct registry_memory *memory, struct memory_agent *agent)
{
        TAILQ_REMOVE(&agent->process->agents, agent, link);
        recount(memory, agent->process, -1);
        HASH_DEL(memory->agents, agent);
        free(agent->command);
        free(agent);
}

static void end_free(struct memory_process *process, struct memory_end *end)
{
        TAILQ_REMOVE(&process->ended, end, link);
        free(end->reply);
        free(end);
}

/* Takes everything from the process but itself. */
static void process_empty(struct registry_memory *memory, struct memory_process *process)
{
        struct memory_agent *agent;
        struct memory_end *end;

        while ((agent = TAILQ_FIRST(&process->agents)))
                forget(memory, agent);
        while ((end = TAILQ_FIRST(&process->ended)))
                end_free(process, end);
}

static void process_remove(struct registry_memory *memory, struct memory_process *process)
{
        process_empty(memory, process);
        withdraw(process);
        HASH_DEL(memory->processes, process);
        free(process);
}

void registry_memory_flush(struct registry_memory *memory)
{
        struct memory_process *process, *next_process;
        struct memory_pool *pool, *next_pool;

        HASH_ITER(hh, memory->processes, process, next_process)
                process_remove(memory, process);
        HASH_ITER(hh, memory->pools, pool, next_pool) {
                HASH_DEL(memory->pools, pool);
                free(pool->name);
                free(pool);
        }
}

struct registry_memory *registry_memory_free(struct registry_memory *memory)
{
        if (!memory)
                return NULL;
        registry_memory_flush(memory);
        free(memory->scratch);
        free(memory);
        return NULL;
}

static struct memory_pool *pool_get(struct registry_memory *memory, const char *name)
{
        struct memory_pool *pool;

        HASH_FIND_STR(memory->pools, name, pool);
        if (pool)
                return pool;
        pool = calloc(1, sizeof *pool);
        if (!pool)
                return NULL;
        pool->name = strdup(name);
        RB_INIT(&pool->offered);
        if (pool->name)
                HASH_ADD_KEYPTR(hh, memory->pools, pool->name, strlen(pool->name), pool);
        if (!pool->hh.tbl) {
                free(pool->name);
                free(pool);
                return NULL;
        }
        return pool;
}

struct memory_process *registry_memory_process(const struct registry_memory *memory, const struct id *process_id)
{
        struct memory_process *process;

        HASH_FIND(hh, memory->processes, process_id, sizeof *process_id, process);
        return process;
}

struct memory_agent *registry_memory_agent(const struct registry_memory *memory, const struct id *agent_id)
{
        struct memory_agent *agent;

        HASH_FIND(hh, memory->agents, agent_id, sizeof *agent_id, agent);
        return agent;
}

/* 0 when the process may write. */
static int process_get(const struct registry_memory *memory, const struct id *process_id,
        struct memory_process **ret_process)
{
        struct memory_process *process = registry_memory_process(memory, process_id);

        if (!process)
                return -ENOENT;
        if (process->state == WORKER_EXITED)
                return -ESTALE;
        *ret_process = process;
        return 0;
}

static struct memory_process *process_add(struct registry_memory *memory, const struct id *process_id,
        struct memory_pool *pool, enum worker_state state)
{
        struct memory_process *process = calloc(1, sizeof *process);

        if (!process)
                return NULL;
        process->process_id = *process_id;
        process->pool = pool;
        process->state = state;
        process->revision = ++memory->revision;
        TAILQ_INIT(&process->agents);
        TAILQ_INIT(&process->ended);
        HASH_ADD(hh, memory->processes, process_id, sizeof process->process_id, process);
        if (!process->hh.tbl) {
                free(process);
                return NULL;
        }
        offer(process);
        return process;
}

static int place(struct registry_memory *memory, struct memory_process *process, const struct id *agent_id, uint64_t epoch,
        enum agent_state state, const char *command)
{
        struct memory_agent *agent = calloc(1, sizeof *agent);

        if (!agent)
                return -ENOMEM;
        agent->agent_id = *agent_id;
        agent->epoch = epoch;
        agent->state = state;
        agent->command = strdup(command);
        if (agent->command)
                HASH_ADD(hh, memory->agents, agent_id, sizeof agent->agent_id, agent);
        if (!agent->hh.tbl) {
                free(agent->command);
                free(agent);
                return -ENOMEM;
        }
        agent->process = process;
        TAILQ_INSERT_TAIL(&process->agents, agent, link);
        recount(memory, process, 1);
        return 0;
}

static int adopt(struct registry_memory *memory, struct memory_process *process, const struct registry_agent *hosted)
{
        struct memory_agent *agent = registry_memory_agent(memory, &hosted->agent_id);

        if (agent && (agent->epoch > hosted->epoch || (agent->epoch == hosted->epoch && agent->process != process)))
                return -ESTALE;
        if (agent && agent->epoch == hosted->epoch) {
                /* else: a terminate that the worker has not seen yet */
                if (agent->state != AGENT_STOPPING)
                        agent->state = hosted->state;
                return 0;
        }
        if (agent)
                forget(memory, agent);
        return place(memory, process, &hosted->agent_id, hosted->epoch, hosted->state, hosted->command);
}

int registry_memory_register(struct registry_memory *memory, const struct registry_process *process,
        const struct registry_agent *agents, size_t count, int64_t now, int *ret_results)
{
        struct memory_pool *pool = pool_get(memory, process->pool_name);
        struct memory_process *known = NULL;
        int r = pool ? process_get(memory, &process->process_id, &known) : -ENOMEM;

        if (r == -ENOENT && !process->continues) {
                known = process_add(memory, &process->process_id, pool, WORKER_STARTING);
                r = known ? 0 : -ENOMEM;
        }
        if (r < 0)
                return r;
        withdraw(known);
        if (known->state == WORKER_STARTING && !process->more)
                known->state = WORKER_READY;
        known->master_id = process->master_id;
        known->max_agents = process->max_agents;
        known->beat_at = now;
        known->revision = ++memory->revision;
        offer(known);
        for (size_t i = 0; i < count; i++)
                ret_results[i] = adopt(memory, known, &agents[i]);
        return 0;
}

static struct memory_process *choose(struct memory_pool *pool, enum pool_placement placement)
{
        struct memory_process key = { .max_agents = 1 }; /* one slot free, lowest id: above every full worker */
        struct memory_process *emptiest = RB_MAX(memory_offers, &pool->offered);

        if (placement == POOL_SPREAD)
                return emptiest && free_slots(emptiest) > 0 ? emptiest : NULL;
        return RB_NFIND(memory_offers, &pool->offered, &key);
}

int registry_memory_reserve(struct registry_memory *memory, const char *pool_name, enum pool_placement placement,
        const struct registry_reservation *reservation, struct id *ret_process_id)
{
        struct memory_agent *agent = registry_memory_agent(memory, &reservation->agent_id);
        struct memory_pool *pool = pool_get(memory, pool_name);
        struct memory_process *process;
        int r;

        if (!pool)
                return -ENOMEM;
        if (agent && agent->epoch > reservation->epoch)
                return -ESTALE;
        if (agent && agent->epoch == reservation->epoch) {
                *ret_process_id = agent->process->process_id;
                memory->publish(memory->arg, REGISTRY_COMMANDS, ret_process_id, agent->command);
                return 0;
        }
        if (agent)
                forget(memory, agent);
        process = choose(pool, placement);
        if (!process)
                return -ENOSPC;
        r = place(memory, process, &reservation->agent_id, reservation->epoch, AGENT_STARTING, reservation->command);
        if (r < 0)
                return r;
        *ret_process_id = process->process_id;
        memory->publish(memory->arg, REGISTRY_COMMANDS, ret_process_id, reservation->command);
        return 0;
}

int registry_memory_send(struct registry_memory *memory, const struct id *agent_id, uint64_t epoch, enum agent_state state,
        const char *command)
{
        struct memory_agent *agent = registry_memory_agent(memory, agent_id);

        if (!agent || agent->epoch < epoch)
                return -ENOENT;
        if (agent->epoch > epoch)
                return -ESTALE;
        if (agent->state != state || strcmp(agent->command, command) != 0) {
                char *copy = strdup(command);

                if (!copy)
                        return -ENOMEM;
                free(agent->command);
                agent->command = copy;
                agent->state = state;
                agent->process->revision = ++memory->revision;
        }
        memory->publish(memory->arg, REGISTRY_COMMANDS, &agent->process->process_id, command);
        return 0;
}

static struct memory_end *end_find(const struct memory_process *process, const struct id *agent_id, uint64_t epoch)
{
        struct memory_end *end;

        TAILQ_FOREACH(end, &process->ended, link)
                if (end->epoch == epoch && id_equal(&end->agent_id, agent_id))
                        return end;
        return NULL;
}

/* The same end again: the newer words count. */
static int end_keep(struct memory_process *process, const struct registry_report *report)
{
        struct memory_end *end = calloc(1, sizeof *end), *old;

        if (end)
                end->reply = strdup(report->reply);
        if (!end || !end->reply) {
                free(end);
                return -ENOMEM;
        }
        end->agent_id = report->agent_id;
        end->epoch = report->epoch;
        old = end_find(process, &report->agent_id, report->epoch);
        if (old)
                end_free(process, old);
        TAILQ_INSERT_TAIL(&process->ended, end, link);
        return 0;
}

int registry_memory_report(struct registry_memory *memory, const struct id *process_id,
        const struct registry_report *report)
{
        struct memory_agent *agent = registry_memory_agent(memory, &report->agent_id);
        struct memory_process *process = NULL;
        int r = process_get(memory, process_id, &process);

        if (r < 0)
                return r;
        if (agent && (agent->epoch > report->epoch || agent->process != process))
                return -ESTALE;
        if (report->type == REPLY_SPAWNED) {
                if (!agent || agent->epoch != report->epoch)
                        return -ESTALE;
                if (agent->state == AGENT_STARTING)
                        agent->state = AGENT_IDLE;
        } else {
                r = end_keep(process, report);
                if (r < 0)
                        return r;
                if (agent)
                        forget(memory, agent);
        }
        memory->publish(memory->arg, REGISTRY_REPLIES, &report->master_id, report->reply);
        return 0;
}

static int list(struct registry_memory *memory, const struct memory_process *process, struct registry_listing *listing)
{
        struct registry_listed_agent *agents = calloc(process->agent_count + 1, sizeof *agents);
        const struct memory_agent *agent;

        if (!agents)
                return -ENOMEM;
        free(memory->scratch);
        memory->scratch = agents;
        TAILQ_FOREACH(agent, &process->agents, link)
        {
                bool told = agent->state == AGENT_IDLE || agent->state == AGENT_BUSY;

                agents[listing->count++] = (struct registry_listed_agent){ .agent_id = agent->agent_id,
                        .epoch = agent->epoch, .command = told ? NULL : agent->command,
                        .command_len = told ? 0 : strlen(agent->command) };
        }
        listing->agents = agents;
        listing->changed = true;
        return 0;
}

void registry_memory_heartbeat(struct registry_memory *memory, const struct id *process_id,
        const struct registry_beat *beat, int64_t now, struct registry_listing *ret_listing)
{
        struct memory_process *process = NULL;

        *ret_listing = (struct registry_listing){ .result = process_get(memory, process_id, &process) };
        if (!process)
                return;
        process->beat_at = now;
        process->rss_bytes = beat->rss_bytes;
        process->cpu_ms = beat->cpu_ms;
        ret_listing->revision = process->revision;
        if (process->revision != beat->revision)
                ret_listing->result = list(memory, process, ret_listing);
}

int registry_memory_drain(struct registry_memory *memory, const struct id *process_id, bool draining)
{
        struct memory_process *process = NULL;
        int r = process_get(memory, process_id, &process);

        if (r < 0)
                return r;
        withdraw(process);
        process->state = draining ? WORKER_DRAINING : WORKER_READY;
        offer(process);
        return 0;
}

int registry_memory_reap(struct registry_memory *memory, const struct id *process_id)
{
        struct memory_process *process = registry_memory_process(memory, process_id);

        if (!process) {
                process = process_add(memory, process_id, NULL, WORKER_EXITED);
                return process ? 0 : -ENOMEM;
        }
        process_empty(memory, process);
        withdraw(process);
        process->state = WORKER_EXITED;
        return 0;
}

int registry_memory_release(struct registry_memory *memory, const struct id *agent_id, uint64_t epoch,
        const struct id *process_id)
{
        struct memory_agent *agent = registry_memory_agent(memory, agent_id);

        if (agent && agent->epoch > epoch)
                return -ESTALE;
        if (agent && (id_is_zero(process_id) || id_equal(&agent->process->process_id, process_id)))
                forget(memory, agent);
        return 0;
}

int registry_memory_sweep(struct registry_memory *memory, const struct id *process_id, int64_t now,
        struct registry_swept *ret_swept)
{
        struct memory_process *process = NULL;
        const struct memory_end *end;
        const char **replies;
        size_t count = 0;

        *ret_swept = (struct registry_swept){ .process_id = *process_id,
                .result = process_get(memory, process_id, &process) };
        if (ret_swept->result < 0)
                return ret_swept->result;
        TAILQ_FOREACH(end, &process->ended, link)
                count++;
        replies = calloc(count + 1, sizeof *replies);
        if (!replies)
                return ret_swept->result = -ENOMEM;
        free(memory->scratch);
        memory->scratch = replies;
        TAILQ_FOREACH(end, &process->ended, link)
                replies[ret_swept->ended_count++] = end->reply;
        ret_swept->master_id = process->master_id;
        ret_swept->ended = replies;
        ret_swept->heartbeat_age_ms = now - process->beat_at;
        ret_swept->heartbeat_at = process->beat_at;
        ret_swept->agent_count = process->agent_count;
        ret_swept->rss_bytes = process->rss_bytes;
        ret_swept->cpu_ms = process->cpu_ms;
        return 0;
}

void registry_memory_confirm(struct registry_memory *memory, const struct id *process_id, const struct id *agent_id,
        uint64_t epoch)
{
        struct memory_process *process = registry_memory_process(memory, process_id);
        struct memory_end *end = process ? end_find(process, agent_id, epoch) : NULL;

        if (end)
                end_free(process, end);
}

void registry_memory_clear(struct registry_memory *memory, const char *pool_name)
{
        struct memory_process *process, *next;

        HASH_ITER(hh, memory->processes, process, next)
                if (!process->pool || strcmp(process->pool->name, pool_name) == 0)
                        process_remove(memory, process);
}

static int copy_process(struct registry_memory *copy, const struct memory_process *from)
{
        struct memory_pool *pool = from->pool ? pool_get(copy, from->pool->name) : NULL;
        struct memory_process *process = process_add(copy, &from->process_id, pool, WORKER_DRAINING);
        const struct memory_agent *agent;
        const struct memory_end *end;
        int r = process ? 0 : -ENOMEM;

        if (r < 0)
                return r;
        process->master_id = from->master_id;
        process->max_agents = from->max_agents;
        process->beat_at = from->beat_at;
        TAILQ_FOREACH(agent, &from->agents, link)
                r = r ? r : place(copy, process, &agent->agent_id, agent->epoch, agent->state, agent->command);
        TAILQ_FOREACH(end, &from->ended, link)
                r = r ? r : end_keep(process, &(struct registry_report){ .agent_id = end->agent_id, .epoch = end->epoch,
                                            .reply = end->reply });
        process->state = from->state;
        offer(process);
        process->revision = from->revision;
        return r;
}

struct registry_memory *registry_memory_copy(const struct registry_memory *memory)
{
        struct registry_memory *copy = registry_memory_new(memory->publish, memory->arg);
        const struct memory_process *process;
        int r = copy ? 0 : -ENOMEM;

        for (process = memory->processes; r == 0 && process; process = process->hh.next)
                r = copy_process(copy, process);
        if (r < 0)
                return registry_memory_free(copy);
        copy->revision = memory->revision;
        return copy;
}

struct memory_process *registry_memory_first_process(const struct registry_memory *memory)
{
        return memory->processes;
}

struct memory_agent *registry_memory_first_agent(const struct registry_memory *memory)
{
        return memory->agents;
}
