/* One life of a master, from its start to its exit status. Only what begins with master/life and master/master.c see it. */
#ifndef MASTER_LIFE_H
#define MASTER_LIFE_H
#include "master/backlog.h"
#include "master/context.h"
#include "master/forker.h"
#include "sql/store.h"

struct restore;

struct life {
        struct master master; /* first: what the parts see */
        const char *config_path;
        struct store_daemon daemon; /* as whom it has the database */
        int forker_socket;    /* until the channel has it */
        struct restore *restore;
        struct backlog backlog; /* what the forker said while master.restoring */
        struct backlog doors;   /* listening sockets, until they are opened */
        struct event *look;     /* whether they can be; freed then */
        int64_t open_by;        /* mono ms: opened in any case */
        struct event *announce, *prune, *alive;
        struct event *give_up; /* the end of the shutdown budget */
        int64_t end_by;        /* the same, mono ms */
        unsigned clearing;     /* registry calls of the last step of shutdown under way */
        int listeners[FORKER_LISTENERS_MAX]; /* the server's own */
        unsigned listener_count;
        bool listeners_lent;   /* the service manager's, which goes on listening */
        bool first;            /* no master of this daemon has served yet */
        bool registry_was_up, registry_was_ours;
        /* Another daemon's claim on Redis, as it was seen first; seen_at 0: there is none. */
        int64_t seen_at; /* mono ms */
        char seen_renewals[24];
        bool reloading;        /* the next master takes over once the requests under way are answered */
        int status;
};

void life_end(struct life *life, int status); /* leaves the loop */

/* life_forker.c. From now on the forker is heard; the first time. 0 or -ENOMEM. */
int life_attend(struct life *life);
void life_tell_forker(struct life *life, enum forker_message_type type);
/* What should exist is known: what the forker said until now is taken up. */
void life_catch_up(struct life *life);
/* Clients are let in: at once, or when it is known what runs, which does not take long. 0 or -ENOMEM. */
void life_open_doors(struct life *life);
int life_open_doors_soon(struct life *life);
/* Whether its clients speak TLS. */
bool life_listens_tls(const struct life *life, int fd, size_t index);

/* life_announce.c. Tells the registry who and where this master is; used it is once it belongs to this daemon. */
void life_announce(struct life *life);

/* life_close.c. In order, within the budget; a fast one after a slow one hurries. */
void life_shut_down(struct life *life, bool fast);
/* The requests under way are answered, then the next master takes over. */
void life_hand_over(struct life *life);
/* The same, once the new file was found right. */
void life_reload(struct life *life);
/* Creates what the end needs. 0 or -ENOMEM. */
int life_prepare_close(struct life *life);
#endif
