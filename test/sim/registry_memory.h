/* The registry in memory, synchronous: the simulator's, and the model that the scripts in Redis are tested against. Each
 * operation does what the script of its name does (registry/redis/scripts/NAME.lua states the rules). now: ms of the registry's
 * clock. Results as in registry/redis/registry.h, and -ENOMEM (nothing changed). */
#ifndef TEST_SIM_REGISTRY_MEMORY_H
#define TEST_SIM_REGISTRY_MEMORY_H
#include "registry/protocol/pool_config.h"
#include "registry/redis/registry.h"

#include <bsd/sys/tree.h>
#include <sys/queue.h>
#include <uthash.h>

struct memory_pool;
struct memory_process;

struct memory_agent { /* agent:<id> */
        struct id agent_id;
        struct memory_process *process;
        uint64_t epoch;
        enum agent_state state;
        char *command; /* the last one recorded: spawn or terminate */
        TAILQ_ENTRY(memory_agent) link;
        UT_hash_handle hh;
};
struct memory_end { /* one of process:<id>:ended */
        struct id agent_id;
        uint64_t epoch;
        char *reply;
        TAILQ_ENTRY(memory_end) link;
};
/* process:<id> and what belongs to it. Its score in pool:<name>:processes is max_agents - agent_count while ready; else it
 * is no member. */
struct memory_process {
        struct id process_id, master_id;
        struct memory_pool *pool;
        unsigned max_agents, agent_count;
        enum worker_state state; /* WORKER_STARTING: parts of its registration follow; WORKER_READY, WORKER_DRAINING; WORKER_EXITED: a
                                    tombstone */
        uint64_t revision;       /* grows with every change of what is placed here or of a command recorded here */
        int64_t beat_at;
        uint64_t rss_bytes, cpu_ms;
        TAILQ_HEAD(, memory_agent) agents;
        TAILQ_HEAD(, memory_end) ended;
        RB_ENTRY(memory_process) by_free;
        UT_hash_handle hh;
};

enum registry_channel { REGISTRY_COMMANDS = 1, REGISTRY_REPLIES }; /* process:<to>:commands | master:<to>:replies */
/* Called inside the operation; must not call the registry. */
typedef void (*registry_publish_cb)(void *arg, enum registry_channel channel, const struct id *to, const char *text);

struct registry_memory;
struct registry_memory *registry_memory_new(registry_publish_cb publish, void *arg); /* NULL when out of memory */
struct registry_memory *registry_memory_free(struct registry_memory *memory);
void registry_memory_flush(struct registry_memory *memory); /* FLUSHALL */
/* As a server that is started with what it had saved. NULL when out of memory. */
struct registry_memory *registry_memory_copy(const struct registry_memory *memory);
/* All that a master's workers left in a pool; here there is one master. */
void registry_memory_clear(struct registry_memory *memory, const char *pool_name);

/* ret_results has count elements, written when it returns 0. */
int registry_memory_register(struct registry_memory *memory, const struct registry_process *process,
        const struct registry_agent *agents, size_t count, int64_t now, int *ret_results);
int registry_memory_reserve(struct registry_memory *memory, const char *pool_name, enum pool_placement placement,
        const struct registry_reservation *reservation, struct id *ret_process_id);
int registry_memory_send(struct registry_memory *memory, const struct id *agent_id, uint64_t epoch, enum agent_state state,
        const char *command);
int registry_memory_report(struct registry_memory *memory, const struct id *process_id,
        const struct registry_report *report);
/* The listing is valid until the next operation. */
void registry_memory_heartbeat(struct registry_memory *memory, const struct id *process_id,
        const struct registry_beat *beat, int64_t now, struct registry_listing *ret_listing);
/* draining: no new agents; else: again. */
int registry_memory_drain(struct registry_memory *memory, const struct id *process_id, bool draining);
int registry_memory_reap(struct registry_memory *memory, const struct id *process_id);
/* process_id zero: wherever it is. */
int registry_memory_release(struct registry_memory *memory, const struct id *agent_id, uint64_t epoch,
        const struct id *process_id);
/* One worker of a sweep. ret_swept is valid until the next operation. Returns ret_swept->result. */
int registry_memory_sweep(struct registry_memory *memory, const struct id *process_id, int64_t now,
        struct registry_swept *ret_swept);
/* The master has handled this end. */
void registry_memory_confirm(struct registry_memory *memory, const struct id *process_id, const struct id *agent_id,
        uint64_t epoch);

/* Looking: borrowed, valid until the next operation. Tombstones are among the processes. */
struct memory_process *registry_memory_process(const struct registry_memory *memory, const struct id *process_id);
struct memory_agent *registry_memory_agent(const struct registry_memory *memory, const struct id *agent_id);
struct memory_process *registry_memory_first_process(const struct registry_memory *memory); /* then ->hh.next */
struct memory_agent *registry_memory_first_agent(const struct registry_memory *memory);     /* then ->hh.next */
#endif
