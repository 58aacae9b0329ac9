#include "master/control/rollback.h"

#include "common/log.h"
#include "master/forker/forker.h"

#include <errno.h>

int rollback_begin(struct master *master, const char *why)
{
        struct forker_message message = { .version = FORKER_PROTOCOL, .type = FORKER_ROLLBACK };

        if (!master->can_roll_back)
                return -ENOENT;
        log_warn("upgrade.rolling_back", "reason=%s", LOG_Q(why));
        return channel_send(master->forker, &message, sizeof message);
}

/* Some of the workers that it was to replace are of the program before this one. */
static bool replaces_that_program(const struct master *master, const struct master_pool *pool)
{
        for (const struct pool_worker *w = pool_first_worker(pool->rules); w; w = w->hh.next)
                if (w->outdated && w->created_at < master->upgraded_at)
                        return true;
        return false;
}

void rollback_if_halted(struct master *master, struct master_pool *pool)
{
        struct pool_stats stats;

        if (!pool->rolling_out)
                return;
        pool_stats(pool->rules, &stats);
        pool->rolling_out = stats.rollout.state == ROLLOUT_RUNNING;
        if (stats.rollout.state == ROLLOUT_HALTED && replaces_that_program(master, pool))
                rollback_begin(master, stats.rollout.reason);
}
