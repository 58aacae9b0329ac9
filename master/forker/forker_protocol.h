/* What forker and master say to each other, and what the forker is told at its start. */
#ifndef MASTER_FORKER_FORKER_PROTOCOL_H
#define MASTER_FORKER_FORKER_PROTOCOL_H
#include "common/id.h"

#include <stdbool.h>
#include <stdint.h>

#define FORKER_NAME_SIZE 65 /* a pool's name and the NUL */

enum forker_message_type {
        /* master to forker */
        FORKER_FORK = 1, /* process_id, pool_name: fork a worker              -> FORKER_WORKER | FORKER_FORK_FAILED */
        FORKER_KILL,     /* process_id, number: send that signal              -> FORKER_EXITED once it is gone */
        FORKER_BYE,      /* the master has ended everything in order; it exits next, do not start another */
        FORKER_READY,    /* the master serves: should it die from now on, the next one starts without back-off. Again: it
                          * goes on, a HUP was refused */
        FORKER_ALIVE,    /* its loop turns; every second */
        FORKER_LOG,      /* number: enum log_level; pid: enum log_format, as the master read them */
        FORKER_ROLLBACK, /* execute the program before this one again, in the way of USR2 */
        FORKER_RETIRE,   /* with the next one's end of a packet socket: the master decides nothing any more, the next one
                          * follows at once; it ends by itself when its clients have their answers */
        /* forker to master */
        FORKER_LISTENER, /* number: index in server.listen; adopted: lent, not to be shut at the end; with the socket */
        FORKER_RETIRED,  /* pid: a master before this one still has clients; with the other end of its socket */
        FORKER_WORKER,   /* process_id, pid, pool_name, adopted; with the master's end of its control socket */
        FORKER_SYNCED,   /* after a master's start: the listeners and workers before this were there already. number: 1 when
                          * there is a program to roll back to; started_at: when this one was executed in its place */
        FORKER_FORK_FAILED, /* process_id, number: errno */
        FORKER_EXITED,   /* process_id, pid, number: wait status, as waitpid gives it */
        FORKER_SIGNAL,   /* number: SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 as it came to the forker; SIGUSR2 once the
                          * new program was found right: RETIRE, it follows then */
        FORKER_MESSAGE_TYPE_COUNT
};

struct forker_message {
        uint32_t version; /* FORKER_PROTOCOL */
        enum forker_message_type type;
        struct id process_id;
        int32_t pid, number;
        uint32_t adopted;
        int64_t started_at; /* wall ms; FORKER_WORKER, FORKER_SYNCED */
        char pool_name[FORKER_NAME_SIZE];
};
#define FORKER_PROTOCOL 1
/* The channel's end of file tells a master to go at once and leave the workers alone: its forker executes a new
 * program (USR2) for which it did not go in time, or is gone and the workers end by themselves. */

#define FORKER_LISTENERS_MAX 16
#define FORKER_RETIRED_MAX 8 /* a further HUP, USR2 or rollback waits for the end of one */

struct forker_config {
        const int *listeners; /* listening sockets, in the order of server.listen; at most FORKER_LISTENERS_MAX */
        unsigned listener_count;
        bool listeners_lent;        /* not ours to shut: who lent them goes on listening */
        int lock;                   /* a descriptor that is kept open over an upgrade and by every child; -1: none */
        unsigned max_workers;       /* size of its table, all pools together */
        const char *const *redis_argv; /* embedded Redis to run; NULL: none */
        const char *redis_program;             /* its file, as execvp finds it */
        int shutdown_timeout_ms;
        int64_t master_lease_ms;    /* a master that says nothing for so long is killed; 0: never */
        const char *upgrade_path;   /* the program that USR2 executes */
        char *const *upgrade_argv;  /* with these arguments */
        char *const *check_argv;    /* run first, with these: the upgrade goes on only when this exits with 0; NULL: none */
};
#endif
