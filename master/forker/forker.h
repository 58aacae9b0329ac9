/* The main process: parent of everything. Forks, reaps, hands out descriptors; opens no library, allocates nothing
 * after start-up, blocks in ppoll. The protocol with the master is one fixed struct per SEQPACKET packet. */
#ifndef MASTER_FORKER_FORKER_H
#define MASTER_FORKER_FORKER_H
#include "master/forker/forker_protocol.h"

/* What the forker runs in the children it forks; each returns the exit status. forker: the child's end of the channel
 * (master); first: no master has said READY yet; control: the worker's end of its control socket. Everything else the forker held is closed already, but
 * for standard input, output, error, the log and the lock. SIGTERM comes when the forker dies; SIGPIPE and SIGXFSZ are ignored. */
struct forker_roles {
        int (*master)(int forker, bool first, void *arg);
        int (*worker)(int control, const struct id *process_id, const char *pool_name, void *arg);
        void *arg;
};

/* Runs until everything below is gone. Returns the daemon's exit status: the master's after BYE; 0 when it ended all by
 * itself in order; 1 when the master had to be killed, or when it cannot begin. state: the descriptor of the table that
 * an earlier program of this pid left at USR2 (closed here), -1 at a first start. Signals: TERM, INT, QUIT end (a second
 * one hurries), HUP and USR1 go to the master, USR2 upgrades. */
int forker_run(const struct forker_config *config, const struct forker_roles *roles, int state);
#endif
