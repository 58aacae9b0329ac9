/* A worker's rules: which agents it hosts, what each command, exit and listing means. Pure, like registry/core/pool.h. */
#ifndef REGISTRY_CORE_ROSTER_H
#define REGISTRY_CORE_ROSTER_H
#include "registry/protocol/command.h"

#include <stdbool.h>
#include <sys/queue.h>
#include <uthash.h>

enum hosted_state {
        HOSTED_STARTING = 1, /* start is under way */
        HOSTED_RUNNING,
        HOSTED_STOPPING,     /* told to end */
        HOSTED_ENDED,        /* gone; kept until the registry knows */
        HOSTED_STATE_COUNT
};

struct hosted {
        struct id agent_id;
        struct id command_id;  /* of the spawn, for the acknowledgement */
        uint64_t epoch;
        enum hosted_state state;
        bool reporting;        /* its acknowledgement or end is on its way to the registry */
        bool reported;         /* the registry knows the present state */
        bool fenced;           /* not ours any more: end without a report */
        bool started;          /* it ran (its end is EXITED, else SPAWN_FAILED) */
        bool telling_end;      /* what is on its way to the registry is its end */
        bool graceful;         /* of a ROSTER_STOP that waits */
        bool listed;           /* on the list being compared (roster_listed) */
        bool shown;            /* the shell's: in a part of the registration under way */
        unsigned todo;         /* actions that wait, a bit each */
        struct agent_exit exit; /* HOSTED_ENDED */
        struct command *spawn;  /* owned: what it was started with; a new registration needs it */
        struct command *next;   /* owned: its spawn under a higher epoch, once this one has ended; NULL: none */
        void *runtime;          /* the shell's */
        TAILQ_ENTRY(hosted) link;
        UT_hash_handle hh;
};

enum roster_action_type {
        ROSTER_START = 1, /* hosted: start it                               -> roster_started | roster_ended */
        ROSTER_STOP,      /* hosted, graceful: end it                       -> roster_ended */
        ROSTER_REPORT,    /* hosted: tell the registry its state            -> roster_reported (batch neighbours) */
        ROSTER_DENY,      /* agent_id, epoch, command_id, detail: it does not run here and will not under this epoch (draining,
                             full, ended before; a terminate of what is not here): report SPAWN_FAILED, refused */
        ROSTER_FORGET,    /* hosted: last mention; freed at the next roster_next_action */
        ROSTER_EXIT,      /* nothing is left and it should end */
        ROSTER_ACTION_COUNT
};
struct roster_action {
        enum roster_action_type type;
        struct hosted *hosted;
        bool graceful;
        struct id agent_id, command_id;
        uint64_t epoch;
        const char *detail; /* static */
};

struct roster;
struct roster *roster_new(unsigned max_agents); /* NULL when out of memory */
struct roster *roster_free(struct roster *roster);
bool roster_next_action(struct roster *roster, struct roster_action *ret_action);

/* SPAWN, TERMINATE, DRAIN, SHUTDOWN (MESSAGE is the shell's). Moves what it keeps out of *command: call command_done
 * afterwards as ever. Repeats and lower epochs change nothing (a repeated spawn is acknowledged again). 0 or -ENOMEM. */
int roster_command(struct roster *roster, struct command *command);
void roster_started(struct roster *roster, struct hosted *hosted);
/* It ended, or never started (hosted->started false). */
void roster_ended(struct roster *roster, struct hosted *hosted, const struct agent_exit *exit);
/* result: 0 the registry knows; -ESTALE fenced; else it could not be told: reported again at roster_retry. */
void roster_reported(struct roster *roster, const struct id *agent_id, uint64_t epoch, int result);
/* The registry answers again: report what it does not know. */
void roster_retry(struct roster *roster);
/* The registry's list of what belongs here: ends what is not on it, unless its start has not been reported yet (it may be
 * newer than the list; its own report then says). Needs answers in the order of requests. Agents on it that are not
 * hosted come as commands (roster_command), in any order. */
void roster_listed(struct roster *roster, const struct id *agent_ids, const uint64_t *epochs, size_t count);
/* This master is told now what runs here: a spawn of another one, on its way still, is refused from now on. */
void roster_obey(struct roster *roster, const struct id *master_id);
/* This worker was declared dead: end every agent, report nothing, exit. */
void roster_fence(struct roster *roster);
void roster_drain(struct roster *roster, bool end_agents);
/* Takes agents again, unless it is fenced or has ended already: a new master knows nothing of its predecessor's reasons. */
void roster_undrain(struct roster *roster);

/* What runs here, or will as soon as what runs has ended (hosted->next); NULL: neither, or it is not ours any more. */
const struct command *roster_spawn(const struct hosted *hosted);
struct hosted *roster_find(const struct roster *roster, const struct id *agent_id);
struct hosted *roster_first(const struct roster *roster); /* then hosted->hh.next */
unsigned roster_count(const struct roster *roster);       /* slots taken: all but ENDED and reported */
bool roster_draining(const struct roster *roster);
#endif
