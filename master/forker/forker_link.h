/* The forker's end of the channel to its master: what the master is owed is told in order, without blocking or losing
 * any of it. What waits is bounded: one refusal (no request is read meanwhile), a bit per signal, a slot per worker. */
#ifndef MASTER_FORKER_FORKER_LINK_H
#define MASTER_FORKER_FORKER_LINK_H
#include "master/forker/forker_retired.h"
#include "master/forker/forker_table.h"

struct forker_link {
        int fd;                        /* -1: no master */
        struct forker_message refusal; /* a FORK_FAILED; type 0: none */
        uint32_t signals;              /* 1 << number */
        unsigned listeners_told;
        pid_t retired_told;            /* the last one: they are told in the order of their pids; 0: none yet */
        bool can_go_back;              /* what SYNCED says; link_open leaves the two as they are */
        int64_t upgraded_at;
        bool synced, blocked;          /* SYNCED was sent; the channel is full */
        int64_t retry_at;              /* mono ms: a send failed for want of memory; 0: no */
};

/* A new master: it is told of the listeners, of all living workers, and that these are all. */
void forker_link_open(struct forker_link *link, int take_fd, struct forker_table *table);
void forker_link_close(struct forker_link *link);
/* As much as the channel takes. */
void forker_link_tell(struct forker_link *link, struct forker_table *table, const struct forker_retired *retired,
        const struct forker_config *config);
/* 0 and *ret_request (its type is FORKER_MESSAGE_TYPE_COUNT when it is malformed), with what came with it, or -1;
 * -EAGAIN: nothing to read, or not before the refusal went out; -EPIPE: the master closed it. */
int forker_link_read(struct forker_link *link, struct forker_message *ret_request, int *ret_fd);
#endif
