/* The main process: parent of everything. Forks, reaps, hands out descriptors; opens no library, allocates nothing
 * after start-up, blocks in ppoll. The protocol with the master is one fixed struct per SEQPACKET packet. */
#ifndef MASTER_FORKER_H
#define MASTER_FORKER_H
#include "common/id.h"

#include <stdint.h>

#define FORKER_NAME_SIZE 65 /* a pool's name and the NUL */

enum forker_message_type {
        /* master to forker */
        FORKER_FORK = 1, /* process_id, pool_name: fork a worker              -> FORKER_WORKER | FORKER_FORK_FAILED */
        FORKER_KILL,     /* process_id, number: send that signal              -> FORKER_EXITED once it is gone */
        FORKER_BYE,      /* the master has ended everything in order; it exits next, do not start another */
        /* forker to master */
        FORKER_LISTENER, /* number: index in server.listen; with the socket */
        FORKER_WORKER,   /* process_id, pid, pool_name, adopted; with the master's end of its control socket */
        FORKER_SYNCED,   /* after a master's start: the listeners and workers before this were there already */
        FORKER_FORK_FAILED, /* process_id, number: errno */
        FORKER_EXITED,   /* process_id, pid, number: wait status, as waitpid gives it */
        FORKER_SIGNAL,   /* number: SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 as it came to the forker */
        FORKER_MESSAGE_TYPE_COUNT
};

struct forker_message {
        uint32_t version; /* FORKER_PROTOCOL */
        enum forker_message_type type;
        struct id process_id;
        int32_t pid, number;
        uint32_t adopted;
        int64_t started_at; /* wall ms; FORKER_WORKER */
        char pool_name[FORKER_NAME_SIZE];
};
#define FORKER_PROTOCOL 1

/* What the forker runs in the children it forks; each returns the exit status. forker: the child's end of the channel
 * (master); control: the worker's end of its control socket. Everything else the forker held is closed already. */
struct forker_roles {
        int (*master)(int forker, void *arg);
        int (*worker)(int control, const struct id *process_id, const char *pool_name, void *arg);
        void *arg;
};

struct forker_config {
        const int *listeners; /* listening sockets, in the order of server.listen */
        unsigned listener_count;
        unsigned max_workers;       /* size of its table, all pools together */
        char *const *redis_argv;    /* embedded Redis to run; NULL: none */
        int shutdown_timeout_ms;
        char *const *upgrade_argv;  /* what USR2 executes: the argv this process was started with */
        const char *upgrade_path;   /* absolute path of the program */
};

/* Runs until everything below is gone. Returns the daemon's exit status. state: the descriptor of the table that an
 * earlier program of this pid left at USR2, -1 at a first start. */
int forker_run(const struct forker_config *config, const struct forker_roles *roles, int state);
#endif
