/* The forker's state: for master/forker/forker.c, which begins and keeps things going, and master/forker/forker_end.c, which ends them. */
#ifndef MASTER_FORKER_FORKER_INTERNAL_H
#define MASTER_FORKER_FORKER_INTERNAL_H
#include "master/forker/forker_child.h"
#include "master/forker/forker_link.h"
#include "master/forker/forker_upgrade.h"
#include "master/forker/notify.h"

#define FORKER_MARGIN_MS 2000 /* the master's own budget is shutdown_timeout: it is to end first */
#define FORKER_FREE_RESTARTS 30 /* deaths in a series of masters that served which cost no back-off */
#define FORKER_FAST_MS 5000   /* INT, QUIT; Redis; what SIGKILL should have ended */

struct forker {
        const struct forker_config *config;
        const struct forker_roles *roles;
        struct forker_table table;
        struct forker_link link;
        struct forker_retired retired;
        struct forker_child master, redis;
        struct forker_upgrade upgrade;
        struct notify notify; /* the service manager */
        pid_t pid;            /* its own */
        int children_fd;      /* /proc: its children; -1 where the kernel does not tell */
        bool ready, bye;      /* the master serves; has said BYE */
        bool served;          /* this or an earlier one did */
        bool leaving;         /* the master is one of the program before this; start_at is when it is killed */
        uint32_t waiting;     /* 1 << SIGHUP, SIGUSR2: until there is room for one more retired master */
        unsigned free_restarts;
        int64_t alive_by;     /* mono ms: the master has said something by then, or hangs; while its link is open */
        bool ending, fast, dismissed, redis_told, killed, childless;
        int64_t deadline;     /* mono ms: what still runs then is killed; INT64_MAX: none */
        int status;
};

/* forker_reload.c. Each reload leaves a master behind for as long as its clients need it: one too many waits. */
bool forker_must_wait(struct forker *f, int number);
/* There is no way back from exec: the new program is tried in a child first. back: it is the previous one. */
void forker_begin_upgrade(struct forker *f, bool back);
void forker_on_check_exit(struct forker *f, int status);
void forker_upgrade_now(struct forker *f); /* also without a word from the master */
/* The master said so: the next one at once, or the next program. */
void forker_retire_master(struct forker *f, int take_socket);
void forker_on_retired_exit(struct forker *f, pid_t pid, int status);

/* forker_end.c. What still runs then is killed; an earlier end stays. */
void forker_end_by(struct forker *f, int64_t ms);
void forker_tell_stopping(struct forker *f);
/* Takes the next step of the end, when one has begun. True when all is over; also when something is left that not even
 * SIGKILL ends. */
bool forker_ended(struct forker *f);
#endif
