#include "master/life/backlog.h"

#include "common/fd.h"

#include <errno.h>
#include <stdlib.h>

struct backlog_item {
        struct forker_message message;
        int fd;
};

int backlog_add(struct backlog *backlog, const struct forker_message *message, int take_fd)
{
        if (backlog->count == backlog->size) {
                size_t size = backlog->size ? 2 * backlog->size : 64;
                struct backlog_item *items = reallocarray(backlog->items, size, sizeof *items);

                if (!items)
                        return -ENOMEM;
                backlog->items = items;
                backlog->size = size;
        }
        backlog->items[backlog->count++] = (struct backlog_item){ .message = *message, .fd = take_fd };
        return 0;
}

void backlog_replay(struct backlog *backlog, void (*handle)(void *arg, const struct forker_message *message, int take_fd),
        void *arg)
{
        struct backlog taken = *backlog;

        *backlog = (struct backlog){ 0 };
        for (size_t i = 0; i < taken.count; i++)
                handle(arg, &taken.items[i].message, taken.items[i].fd);
        free(taken.items);
}

void backlog_done(struct backlog *backlog)
{
        for (size_t i = 0; i < backlog->count; i++)
                fd_close(backlog->items[i].fd);
        free(backlog->items);
        *backlog = (struct backlog){ 0 };
}
