/* What the forker says while it is not known yet what should exist: kept in order until it is. */
#ifndef MASTER_LIFE_BACKLOG_H
#define MASTER_LIFE_BACKLOG_H
#include "master/forker/forker.h"

#include <stddef.h>

struct backlog {
        struct backlog_item *items;
        size_t count, size;
};

/* 0 and fd (-1: none) is the backlog's, or -ENOMEM. */
int backlog_add(struct backlog *backlog, const struct forker_message *message, int take_fd);
/* Hands everything over, fd included; the backlog is empty then. */
void backlog_replay(struct backlog *backlog, void (*handle)(void *arg, const struct forker_message *message, int take_fd),
        void *arg);
/* Closes what was not handed over. */
void backlog_done(struct backlog *backlog);
#endif
