/* The workers' control sockets as the master holds them: greets new and adopted workers, collects what they host,
 * notices hung ones by PING. */
#ifndef MASTER_CONTROL_WORKERS_H
#define MASTER_CONTROL_WORKERS_H
#include "master/control/pools.h"
#include "registry/protocol/control.h"

/* What a worker said, from the event loop. Everything is valid until return. */
struct workers_events {
        /* READY: takes max_agents, and hosts count agents. Not of an earlier generation, nor for an earlier master. */
        void (*on_ready)(void *arg, const struct id *process_id, unsigned max_agents, const struct hosted_agent *hosted,
                size_t count);
        void (*on_reply)(void *arg, const struct reply *reply); /* of an agent of its own */
        void (*on_used)(void *arg, const struct id *process_id, const struct control *used);
        void (*on_alive)(void *arg, struct master_pool *pool, struct pool_worker *worker); /* a PONG; its figures are kept */
        void (*on_refused)(void *arg, uint64_t generation, const char *why); /* Redis does not serve it */
        void (*on_distrust)(void *arg); /* it did without Redis before this master */
};

/* events and arg are borrowed. NULL when out of memory. */
struct workers *workers_new(struct master *master, const struct workers_events *events, void *arg);
struct workers *workers_free(struct workers *workers);
/* A worker's control socket from the forker: takes it over, sends WELCOME. 0 or -ENOMEM. */
int workers_add(struct workers *workers, const struct id *process_id, const struct pool_config *config, int take_socket);
/* The same for a worker whose pool is not configured any more: told to end its agents and itself. */
int workers_dismiss(struct workers *workers, const struct id *process_id, const char *pool_name, int take_socket);
/* Of a worker that was dismissed; NULL: it was not. Valid until workers_remove. */
const char *workers_dismissed_from(const struct workers *workers, const struct id *process_id);
/* It has exited. */
void workers_remove(struct workers *workers, const struct id *process_id);
bool workers_has(const struct workers *workers, const struct id *process_id);
/* 0, -ENOENT, or as channel_send. */
int workers_send(struct workers *workers, const struct id *process_id, const struct control *control);
/* A command envelope, for when Redis cannot carry it. Likewise, or -EINVAL. */
int workers_send_command(struct workers *workers, const struct id *process_id, const char *command);
void workers_reopen_logs(struct workers *workers);
/* What master->mode says now. */
void workers_tell_registry(struct workers *workers);
/* How it ended, in words: what it said itself, else its wait status, and whether memory was the reason. worker: NULL when
 * it has no pool. */
void workers_explain(const struct workers *workers, const struct id *process_id, const struct pool_worker *worker, int status,
        char *why, size_t size);
/* For how long it has left PINGs unanswered, by the count of them: while this master, or the whole machine, stood still
 * nobody was asked. INT64_MAX: unknown worker. */
int64_t workers_silent_ms(const struct workers *workers, const struct id *process_id);
/* Counts anew for all. */
void workers_forgive(struct workers *workers);
#endif
