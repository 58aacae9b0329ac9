/* The registry in Redis: each operation of registry/redis/registry.h is one Lua script (registry/redis/scripts/NAME.lua, whose first
 * lines state its rules). One connection carries commands, a second one the subscription; both come back by themselves.
 *
 * An operation returns 0 (its callback follows exactly once, from the event loop or from registry_free), -EAGAIN (not up,
 * or too much is on its way: the callback never follows) or -ENOMEM (likewise). Texts are copied. Errors in callbacks:
 * -EAGAIN Redis went away or timed out before it answered (the change may or may not have happened: ask again, every
 * operation may be repeated), -ENOSPC Redis is full (maxmemory), -EPROTO an answer that makes no sense, -ENOMEM,
 * -ECANCELED registry_free. In a batch that failed as a whole each item's result is that error. cb may be NULL. */
#ifndef REGISTRY_REDIS_REGISTRY_REDIS_H
#define REGISTRY_REDIS_REGISTRY_REDIS_H
#include "registry/protocol/pool_config.h"
#include "registry/redis/redis_url.h"
#include "registry/redis/registry.h"

#include <event2/event.h>

struct registry;

/* url (never "embedded:": pass its unix socket) and config are copied. Connects in the background; no event comes
 * before this returns. NULL when out of memory. */
struct registry *registry_new(struct event_base *base, const struct redis_url *url, const struct registry_config *config,
        const struct registry_events *events, void *arg);
/* Outstanding callbacks get -ECANCELED. Allowed from any callback of its own. NULL is fine; returns NULL. */
struct registry *registry_free(struct registry *registry);
/* Hears out: all that was asked before is answered, and nothing comes by the subscription any more, nor will; then cb,
 * with an error when Redis went away meanwhile. Nothing else may be asked of it afterwards. 0, -EAGAIN, -ENOMEM. */
int registry_hear_out(struct registry *registry, registry_cb cb, void *arg);
bool registry_up(const struct registry *registry);
/* What Redis said when it last refused something, in its words; "" if it never did. */
const char *registry_reason(const struct registry *registry);

/* --- master ------------------------------------------------------------------------------------------------------ */
/* Takes slots and publishes the spawn commands; an agent that an older epoch placed elsewhere is moved. The same epoch
 * again: the same place again, the command published again. Results: 0, -ENOSPC no slot, -ESTALE a higher epoch. */
int registry_reserve(struct registry *registry, const char *pool_name, enum pool_placement placement,
        const struct registry_reservation *items, size_t count, registry_placed_cb cb, void *arg);
/* Records a command (terminate, or the spawn again) and the agent's state in agent:<id>, publishes it to the worker that
 * has the agent. 0; -ENOENT not placed under this epoch; -ESTALE a higher epoch. */
int registry_send(struct registry *registry, const char *pool_name, const struct id *agent_id, uint64_t epoch,
        enum agent_state state, const char *command, registry_cb cb, void *arg);
/* Publishes to the worker, with the copy for watchers; nothing is recorded: MESSAGE, DRAIN, SHUTDOWN. 0; -ENOENT: the
 * worker is not subscribed, it got nothing. */
int registry_publish_command(struct registry *registry, const char *pool_name, const struct id *process_id,
        const char *command, registry_cb cb, void *arg);
int registry_publish_event(struct registry *registry, const char *pool_name, const char *event);
/* Likewise -ENOENT: that master is not subscribed. */
int registry_publish_reply(struct registry *registry, const struct id *master_id, const char *reply, registry_cb cb,
        void *arg);
/* Whether that worker's channel may be used: -ENOENT (nobody is subscribed) or what Redis has against it. */
int registry_try_channel(struct registry *registry, const struct id *process_id, registry_cb cb, void *arg);
/* Frees the slot and deletes agent:<id>, if the agent is placed at process_id (zero: anywhere) under this or a lower
 * epoch. 0 also when there is nothing to free; -ESTALE a higher epoch. */
int registry_release(struct registry *registry, const char *pool_name, const struct id *agent_id, uint64_t epoch,
        const struct id *process_id, registry_cb cb, void *arg);
/* No new agents there | again. 0, -ENOENT not registered, -ESTALE reaped. */
int registry_drain(struct registry *registry, const struct id *process_id, registry_cb cb, void *arg);
int registry_undrain(struct registry *registry, const struct id *process_id, registry_cb cb, void *arg);
/* Certainly gone: takes the worker and its agents out; a tombstone refuses its late writes for an hour (-ESTALE).
 * Also for a worker that never registered. */
int registry_reap(struct registry *registry, const char *pool_name, const struct id *process_id, registry_cb cb, void *arg);
/* An end that the master has handled: not reported again. */
struct registry_confirm {
        struct id process_id, agent_id;
        uint64_t epoch;
};
/* Every registered worker of the pool, known to this master or not. A worker that is missing must register again. */
int registry_sweep(struct registry *registry, const char *pool_name, const struct registry_confirm *confirms, size_t count,
        registry_swept_cb cb, void *arg);
/* The set `pools`. Adding is refused by a full Redis (-ENOSPC), also when the name is there. */
int registry_pool_add(struct registry *registry, const char *pool_name, registry_cb cb, void *arg);
/* Writes master:<id>; it lapses after ttl_ms without another call. And renews or takes master:owner: one daemon has the
 * database. */
struct registry_master {
        const char *host, *url, *version, *run_dir;
        const char *dead; /* renewals of another owner that stood still for a lease: taken over; NULL: none */
        int pid;
};
int registry_announce(struct registry *registry, const struct registry_master *master, uint32_t ttl_ms, registry_owner_cb cb,
        void *arg);
/* Removes all that this master's workers left in the pool, their tombstones too, and the name from `pools` when
 * nobody else has workers there; only while none of its workers uses it. */
int registry_clear(struct registry *registry, const char *pool_name, registry_cb cb, void *arg);
/* Removes master:<id>. */
int registry_withdraw(struct registry *registry, registry_cb cb, void *arg);

/* --- worker ------------------------------------------------------------------------------------------------------ */
/* Registers (again) with the agents that run here; what Redis has placed here besides stays and is listed by the next
 * heartbeat (revision 0). Of more than REGISTRY_PART_AGENTS, each part follows the answer to the one before; a new worker
 * is offered with the last. error: 0, -ESTALE reaped, -ENOENT the parts before are lost: begin again. Results per agent: 0,
 * -ESTALE it belongs elsewhere: end it. Refused
 * at once with -EINVAL when an agent's command is no spawn envelope. */
int registry_register(struct registry *registry, const struct registry_process *process,
        const struct registry_agent *agents, size_t count, registry_reported_cb cb, void *arg);
/* error: 0, -ENOENT register first, -ESTALE reaped. Results per agent: 0, -ESTALE fenced: end it, report no more. */
int registry_report(struct registry *registry, const struct id *process_id, const struct registry_report *items,
        size_t count, registry_reported_cb cb, void *arg);
int registry_heartbeat(struct registry *registry, const struct id *process_id, const struct registry_beat *beat,
        registry_listing_cb cb, void *arg);
/* idle or busy, for people: written lazily, in batches; lower epochs and ended agents are skipped. */
struct registry_status {
        struct id agent_id;
        uint64_t epoch;
        enum agent_state state;
};
int registry_agent_status(struct registry *registry, const struct id *process_id, const struct registry_status *items,
        size_t count);
#endif
