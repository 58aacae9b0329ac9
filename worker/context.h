/* What the parts of a worker know of each other. Owned by worker/worker.c; every part borrows it. */
#ifndef WORKER_CONTEXT_H
#define WORKER_CONTEXT_H
#include "common/channel.h"
#include "common/id.h"
#include "registry/protocol/control.h"
#include "registry/redis/registry_redis.h"
#include "registry/core/roster.h"
#include "worker/runtime/runtime.h"
#include "worker/welcome.h"
#include "worker/worker_place.h"

struct worker {
        struct id process_id;
        const char *pool_name;
        const struct worker_place *place;
        struct event_base *base;
        struct channel *control;
        struct welcome *welcome;  /* NULL until the master's first word */
        struct registry *registry; /* NULL: let go of, the control socket carries everything */
        uint64_t generation;      /* of the master's last word on that */
        struct runtime_host host;
        char *cgroup;             /* owned; host.cgroup */
        struct runtime *runtime;
        struct roster *roster;
        struct event *settle;     /* end of this turn: carry out actions */
        struct event *heartbeat;
        struct event *last_word;  /* exits whatever is left */
        struct event *sigterm;
        uint64_t revision;        /* of the registry's list, as last seen */
        int64_t started_at;       /* wall ms */
        unsigned connects_failed; /* attempts at the registry in a row */
        int64_t emit_second;      /* mono ms: the beginning of the second in which emitted was emitted */
        size_t emitted;           /* bytes of notifications beyond what each agent may emit by itself */
        bool registered, registering; /* the registry knows all that runs here; a part is on its way */
        bool parts_left;          /* more than the part that is on its way */
        bool announcing;          /* READY follows from the next listing */
        bool was_away;            /* it was let go of before the last WELCOME; said with the next READY */
        bool ending;              /* told to end its agents and itself */
        bool now;                 /* … without grace */
        int status;
};

/* Carries out what the roster asks for, at the end of this turn of the loop. */
void worker_wake(struct worker *worker);
void worker_end(struct worker *worker, int status);
/* 0, -ENOMEM or as channel_send; -EPIPE when nobody is left to hear it. */
int worker_send(struct worker *worker, const struct control *control);
int worker_send_reply(struct worker *worker, const char *reply); /* an envelope; likewise */
/* Its connection to the registry is there. */
bool worker_registry_up(const struct worker *worker);
/* Tells the master what runs here and that it may place more. */
void worker_send_ready(struct worker *worker);
#endif
