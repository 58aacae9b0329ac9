/* Masters that handed everything over and still carry the answers of their clients. */
#ifndef MASTER_FORKER_FORKER_RETIRED_H
#define MASTER_FORKER_FORKER_RETIRED_H
#include "master/forker/forker_protocol.h"

#include <sys/types.h>

struct forker_retired {
        unsigned count;
        pid_t pids[FORKER_RETIRED_MAX];
        int sockets[FORKER_RETIRED_MAX]; /* the end of whoever is master, for each of them; -1 once all ends */
};

bool forker_retired_full(const struct forker_retired *retired);
bool forker_retired_has(const struct forker_retired *retired, pid_t pid);
/* False: there is no room, nothing was taken. */
bool forker_retired_add(struct forker_retired *retired, pid_t pid, int take_socket);
/* It was reaped. False: it is none of them. */
bool forker_retired_gone(struct forker_retired *retired, pid_t pid);
/* No master follows: they see their sockets close, and end when they have written what they have. */
void forker_retired_dismiss(struct forker_retired *retired);
void forker_retired_kill(const struct forker_retired *retired);
#endif
