/* The registry in memory, synchronous: the simulator's, the one in use while Redis is away, and the model that the scripts in
 * Redis are tested against. What it says about an operation holds for both implementations. now: ms of the
 * registry's clock. Results as in registry/registry.h, and -ENOMEM (nothing changed). */
#ifndef REGISTRY_REGISTRY_MEMORY_H
#define REGISTRY_REGISTRY_MEMORY_H
#include "registry/pool_config.h"
#include "registry/registry.h"

#include <bsd/sys/tree.h>
#include <sys/queue.h>
#include <uthash.h>

struct memory_pool;
struct memory_process;

/* agent:<id>. After its end it stays, without a process, until the end is confirmed or a higher epoch is placed. */
struct memory_agent {
        struct id agent_id;
        struct memory_process *process; /* NULL: ended under this epoch */
        uint64_t epoch;
        enum agent_state state;
        char *command;                  /* the last one recorded: spawn or terminate */
        TAILQ_ENTRY(memory_agent) link;
        UT_hash_handle hh;
};
struct memory_end { /* one of process:<id>:ended */
        struct id agent_id;
        uint64_t epoch;
        char *reply;
        STAILQ_ENTRY(memory_end) link;
};
/* process:<id> and what belongs to it. Its score in pool:<name>:processes is max_agents - agent_count, unless draining:
 * then it is no member. */
struct memory_process {
        struct id process_id, master_id;
        struct memory_pool *pool;
        unsigned max_agents, agent_count;
        bool draining;
        uint64_t revision;   /* grows with every change of what is placed here or of a command recorded here */
        int64_t beat_at;
        uint64_t rss_bytes, cpu_ms;
        TAILQ_HEAD(, memory_agent) agents;
        STAILQ_HEAD(, memory_end) ended;
        RB_ENTRY(memory_process) by_free;
        UT_hash_handle hh;
};

enum registry_channel { REGISTRY_COMMANDS = 1, REGISTRY_REPLIES }; /* process:<to>:commands | master:<to>:replies */
/* Called inside the operation; must not call the registry. */
typedef void (*registry_publish_cb)(void *arg, enum registry_channel channel, const struct id *to, const char *text);

struct registry_memory;
struct registry_memory *registry_memory_new(registry_publish_cb publish, void *arg); /* NULL when out of memory */
struct registry_memory *registry_memory_free(struct registry_memory *memory);
void registry_memory_flush(struct registry_memory *memory); /* FLUSHALL: tombstones too */

/* Creates the process or renews its heartbeat; takes nothing away from it. -ESTALE: reaped. Per agent: 0; -ESTALE: it is under a
 * higher epoch, or elsewhere or ended under this one: end it. A record of a lower epoch moves here. */
int registry_memory_register(struct registry_memory *memory, const struct registry_process *process,
        const struct registry_agent *agents, size_t count, int64_t now, int *ret_results);
/* Placed already under this epoch: the same place again (revision + 1, published again). -ESTALE: a higher epoch is there, or this
 * one ended. -ENOSPC: nothing changes. Else a lower epoch's slot is freed and one taken: pack is the fewest free (ties:
 * lowest id), spread the most free (ties: highest id). */
int registry_memory_reserve(struct registry_memory *memory, const char *pool_name, enum pool_placement placement,
        const struct registry_reservation *reservation, struct id *ret_process_id);
/* Records and publishes a spawn command for a process chosen earlier: places the agent there if nothing is recorded
 * (FLUSHALL) or a lower epoch. -ESTALE: higher epoch, elsewhere or ended, or process reaped; -ENOENT; -ENOSPC. */
int registry_memory_send_spawn(struct registry_memory *memory, const struct id *process_id,
        const struct registry_reservation *reservation);
/* Publishes a terminate command, and records it when the agent is placed there under this epoch. -ENOENT, -ESTALE: no such
 * process. */
int registry_memory_send_terminate(struct registry_memory *memory, const struct id *process_id, const struct id *agent_id,
        uint64_t epoch, const char *command);
/* SPAWNED: -ESTALE unless the agent is placed here under this epoch. Ends: free the slot if it is, are kept and published
 * always, 0. Both: -ESTALE process reaped, -ENOENT not registered. */
int registry_memory_report(struct registry_memory *memory, const struct id *process_id,
        const struct registry_report *report);
/* The listing is valid until the next operation. */
void registry_memory_heartbeat(struct registry_memory *memory, const struct id *process_id,
        const struct registry_beat *beat, int64_t now, struct registry_listing *ret_listing);
int registry_memory_drain(struct registry_memory *memory, const struct id *process_id);
/* Forgets the process, the agents placed there and its ends; its id is fenced from now on. Always 0 or -ENOMEM. */
int registry_memory_reap(struct registry_memory *memory, const struct id *process_id);
/* Forgets the agent wherever it is, unless a higher epoch is there (-ESTALE). */
int registry_memory_release(struct registry_memory *memory, const struct id *agent_id, uint64_t epoch);
/* ret_swept is valid until the next operation. Returns ret_swept->result. */
int registry_memory_sweep(struct registry_memory *memory, const struct id *process_id, int64_t now,
        struct registry_swept *ret_swept);
/* The master has handled this end: forget it, and the agent's record if it still is of this epoch and ended. */
void registry_memory_confirm(struct registry_memory *memory, const struct id *process_id, const struct id *agent_id,
        uint64_t epoch);

/* Looking: borrowed, valid until the next operation. */
struct memory_process *registry_memory_process(const struct registry_memory *memory, const struct id *process_id);
struct memory_agent *registry_memory_agent(const struct registry_memory *memory, const struct id *agent_id);
struct memory_process *registry_memory_first_process(const struct registry_memory *memory); /* then ->hh.next */
struct memory_agent *registry_memory_first_agent(const struct registry_memory *memory);     /* then ->hh.next */
#endif
