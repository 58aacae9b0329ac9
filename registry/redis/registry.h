/* Where everything is: the registry's operations. Each is atomic (one Lua script in Redis), refuses lower epochs and
 * reaped processes, and derives capacity from ownership. Carried out by registry/redis/registry_redis.h; a model in memory, which the
 * scripts are tested against, is in test/sim/registry_memory.h. */
#ifndef REGISTRY_REDIS_REGISTRY_H
#define REGISTRY_REDIS_REGISTRY_H
#include "common/id.h"
#include "registry/protocol/command.h"
#include "registry/core/state.h"

#include <stddef.h>
#include <stdbool.h>

/* Results per item: 0; -ENOSPC no slot; -ESTALE fenced (higher epoch, other or reaped process); -ENOENT unknown process. */

/* reserve: choose a worker, take a slot, write agent:<id>, publish the command to it. */
struct registry_reservation {
        struct id agent_id, project_id;
        uint64_t epoch;
        const char *command; /* the spawn envelope; also kept in agent:<id> for reconcile */
        const char *role_type;
        int64_t created_at;  /* wall ms */
        int64_t heartbeat_interval, max_idle_time;
        uint32_t restarts;
};
struct registry_placed {
        struct id agent_id;
        uint64_t epoch;
        int result;
        struct id process_id; /* when result is 0 */
};

/* report: a worker acknowledges a start, refuses it, or reports an end. SPAWNED keeps the slot; SPAWN_FAILED and EXITED
 * free it and keep the reply in process:<id>:ended until the master has confirmed it (sweep). Publishes the reply. */
struct registry_report {
        struct id agent_id, master_id;
        uint64_t epoch;
        enum reply_type type; /* SPAWNED, SPAWN_FAILED, EXITED */
        const char *reply;    /* the envelope to publish to master:<id>:replies */
};
struct registry_reported {
        struct id agent_id;
        uint64_t epoch;
        int result;
};

/* register: a worker and the agents it runs (none when new; all of them after FLUSHALL). */
struct registry_process {
        struct id process_id, master_id;
        const char *pool_name, *host;
        int pid;
        unsigned max_agents;
        int64_t started_at; /* wall ms */
        bool continues, more; /* of many agents, a part: earlier ones are registered; others follow. None: all at once */
};
/* Agents of one part, and bytes of commands after which it is full: Redis serves nobody else while it writes them. */
#define REGISTRY_PART_AGENTS 64
#define REGISTRY_PART_BYTES (256 * 1024)
struct registry_agent { /* an agent as its worker knows it */
        struct id agent_id;
        uint64_t epoch;
        const char *command;     /* the spawn envelope it was started with: every field of agent:<id> is in it */
        enum agent_state state;  /* AGENT_STARTING, AGENT_IDLE or AGENT_STOPPING */
};

/* heartbeat: 0, -ENOENT (register again), -ESTALE (reaped: fence yourself). When what is placed here changed since
 * revision, *listed is the whole list, with the commands to deliver again: of what the worker did not say it runs, and of
 * what is to end. */
struct registry_beat {
        uint64_t revision; /* the last one seen; 0: none */
        uint64_t rss_bytes, cpu_ms;
        unsigned agent_count;
};
struct registry_listed_agent {
        struct id agent_id;
        uint64_t epoch;
        const char *command; /* NULL: it runs, as the worker said; or with epoch 0: its record was deleted, a registration writes it again */
        size_t command_len;
};
struct registry_listing {
        int result;
        uint64_t revision;
        bool changed; /* agents and count are filled */
        const struct registry_listed_agent *agents;
        size_t count;
};

/* sweep: per worker of a pool, its last heartbeat and the ends that its master has not confirmed. */
struct registry_swept {
        struct id process_id, master_id; /* master_id: whose worker it is */
        int result;                /* -ENOENT: not registered (FLUSHALL?) */
        int64_t heartbeat_age_ms;  /* in Redis time */
        int64_t heartbeat_at;      /* Redis ms */
        unsigned agent_count;
        uint64_t rss_bytes, cpu_ms;
        const char *const *ended;  /* reply envelopes to handle as if just published */
        size_t ended_count;
};

/* Another daemon that has the Redis database: the texts are valid until the callback returns. */
struct registry_owner {
        const char *host, *pid, *run_dir, *renewals;
};

/* How a process is connected to it. */
struct registry_config {
        struct id master_id;         /* of a master: for announce, reap, clear; zero in a worker */
        const char *channel;         /* to subscribe to: "master:<id>:replies" or "process:<id>:commands" */
        bool refuse_eviction;        /* never up while maxmemory-policy may evict keys without TTL: on_down -EPERM */
        uint32_t connect_timeout_ms; /* 0: 2000 */
        uint32_t request_timeout_ms; /* 0: 1500; nothing answered that long while a request waits: Redis is away */
        uint32_t ping_interval_ms;   /* 0: 1000; an idle connection is asked that often */
        uint32_t output_max;         /* 0: 16 MiB; most bytes of unanswered requests */
};

struct registry_events {
        /* Both connections are up, the scripts loaded, the subscription confirmed. */
        void (*on_up)(void *arg);
        /* After on_up: Redis is away. Before it: this attempt failed; the next one follows after a jittered delay.
         * -EACCES wrong password or rights; -EPERM see refuse_eviction; -EPROTO no Redis we can use; else -EAGAIN.
         * why: one sentence, with the remedy where there is one; never the password. */
        void (*on_down)(void *arg, int error, const char *why);
        void (*on_message)(void *arg, const char *data, size_t len); /* data[len] is NUL */
};

/* error: 0 or as in registry_redis.h. */
typedef void (*registry_cb)(void *arg, int error);
typedef void (*registry_placed_cb)(void *arg, int error, const struct registry_placed *placed, size_t count);
typedef void (*registry_reported_cb)(void *arg, int error, const struct registry_reported *reported, size_t count);
typedef void (*registry_listing_cb)(void *arg, const struct registry_listing *listing); /* error: listing->result */
typedef void (*registry_swept_cb)(void *arg, int error, const struct registry_swept *swept, size_t count);
/* owner NULL: it is ours, or (error) not known. */
typedef void (*registry_owner_cb)(void *arg, int error, const struct registry_owner *owner);
#endif
