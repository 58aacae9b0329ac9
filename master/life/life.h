/* One life of a master, from its start to its exit status. Only what begins with master/life and master/life/master.c see it. */
#ifndef MASTER_LIFE_LIFE_H
#define MASTER_LIFE_LIFE_H
#include "master/life/backlog.h"
#include "master/control/context.h"
#include "master/forker/forker.h"
#include "sql/store.h"

struct handover_sink;
struct handover_source;
struct restore;

/* From a HUP to the next master. */
enum life_step {
        LIFE_GOES_ON = 0,
        LIFE_FINISHING, /* what only this one can answer is answered; all else is served as ever */
        LIFE_HEARING,   /* nothing new is begun; what Redis still has for it is heard out */
        LIFE_FLUSHING,  /* what was written becomes durable */
        LIFE_RETIRED,   /* it decides nothing any more */
};

struct life {
        struct master master; /* first: what the parts see */
        const char *config_path;
        struct store_daemon daemon; /* as whom it has the database */
        int forker_socket;    /* until the channel has it */
        int forker_fd;        /* the same, borrowed from the channel then */
        struct restore *restore;
        struct backlog backlog; /* what the forker said while master.restoring */
        struct backlog doors;   /* what the masters before this one carry, until requests are begun */
        struct event *look;     /* whether they can be; freed then */
        int64_t open_by;        /* mono ms: opened in any case */
        struct event *announce, *prune, *alive;
        struct event *give_up; /* the end of the shutdown budget */
        int64_t end_by;        /* the same, mono ms */
        unsigned clearing;     /* registry calls of shutdown under way */
        struct event *answering; /* its last step: looks whether clients have their answers */
        int listeners[FORKER_LISTENERS_MAX]; /* the server's own */
        unsigned listener_count;
        bool listeners_lent;   /* the service manager's, which goes on listening */
        bool first;            /* no master of this daemon has served yet */
        bool registry_was_up, registry_was_ours;
        /* Another daemon's claim on Redis, as it was seen first; seen_at 0: there is none. */
        int64_t seen_at; /* mono ms */
        char seen_renewals[24];
        bool store_away; /* when this master began: clients are told */
        bool reloading;        /* the next master takes over as soon as it can */
        enum life_step step;   /* of that */
        struct event *stepping; /* looks whether the next one is due */
        int64_t flush_by;      /* mono ms: the store is closed in any case */
        int next[2];           /* the socket to the next one: our end, and its own until the forker has it */
        struct handover_source *source; /* retired: to whoever is master now */
        bool doors_closed;     /* the next one lets clients in */
        struct event *watchdog;
        struct handover_sink *sinks[FORKER_RETIRED_MAX]; /* from the masters before this one */
        unsigned sink_count, unlisted; /* of the latter it is not known yet what they had begun */
        bool synced;
        int status;
};

void life_end(struct life *life, int status); /* leaves the loop */

/* life_forker.c. From now on the forker is heard; the first time. 0 or -ENOMEM. */
int life_attend(struct life *life);
void life_tell_forker(struct life *life, enum forker_message_type type);
/* What should exist is known: what the forker said until now is taken up. */
void life_catch_up(struct life *life);
/* Requests are begun: at once, or when it is known what runs, which does not take long. 0 or -ENOMEM. */
void life_open_doors(struct life *life);
int life_open_doors_soon(struct life *life);
/* Whether its clients speak TLS. */
bool life_listens_tls(const struct life *life, int fd, size_t index);

/* life_announce.c. Tells the registry who and where this master is; used it is once it belongs to this daemon. */
void life_announce(struct life *life);

/* life_close.c. In order, within the budget; a fast one after a slow one hurries. */
void life_shut_down(struct life *life, bool fast);
void life_arm_give_up(struct life *life, int64_t budget_ms);

/* life_retire.c. The next master takes over, with the requests under way. */
void life_hand_over(struct life *life);
/* The time for it is over. */
void life_hand_over_now(struct life *life);
/* It ends instead. */
void life_keep(struct life *life);
/* What a master before this one carries comes here. */
void life_take_sink(struct life *life, int take_socket);
/* It is known what this master was handed. */
void life_settle(struct life *life);
void life_retire_done(struct life *life);
/* master.c. Everything that decides is closed; what is left carries clients. */
void life_release(struct life *life);
/* The same, once the new file was found right. */
void life_reload(struct life *life);
/* Creates what the end needs. 0 or -ENOMEM. */
int life_prepare_close(struct life *life);
#endif
