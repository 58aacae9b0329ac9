#include "master/control/restore.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "master/control/stored_agent.h"
#include "master/control/strays.h"
#include "sql/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MS 500

struct restore {
        struct master *master;
        struct event *again;
        void (*on_away)(void *arg);
        void (*on_done)(void *arg, int error);
        void *arg;
        uint64_t restored, skipped;
};

static void restore_row(struct restore *restore, const struct store_agent *row)
{
        struct master_pool *pool = pools_find(restore->master->pools, row->pool_name);
        struct agent *agent = pool ? stored_agent(row) : NULL;

        if (!agent) {
                bool kept = !pool && strays_add(restore->master->strays, row) == 0;

                log_warn("restore.skipped", "agent=%s pool=%s detail=%s", ID_TEXT(&row->agent_id), row->pool_name,
                        kept ? "\"no such pool is configured\"" : "\"cannot be read\"");
                restore->skipped++;
                return;
        }
        pool_restore(pool->rules, agent, clock_mono_ms());
        restore->restored++;
}

static void on_rows(void *arg, int error, const struct store_agent *rows, size_t count);

static void load(struct restore *restore)
{
        int r;

        restore->restored = restore->skipped = 0;
        r = FAULT_POINT("restore.load");
        r = r ? r : store_agents_load(restore->master->store, NULL, false, on_rows, restore);
        if (r < 0)
                restore->on_done(restore->arg, r);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        load(arg);
}

/* The pages that did come are no harm: the same rows come again. */
static void try_again(struct restore *restore)
{
        struct timeval tv = { .tv_usec = AGAIN_MS * 1000 };

        event_add(restore->again, &tv);
        restore->on_away(restore->arg);
}

static bool is_away(int error)
{
        return error == -EAGAIN || error == -ENOSPC || error == -EROFS;
}

/* A row for a pool means: it was told to drain. */
static void on_pools(void *arg, int error, const struct store_pool *rows, size_t count)
{
        struct restore *restore = arg;

        if (is_away(error)) {
                try_again(restore);
                return;
        }
        for (size_t i = 0; i < count; i++) {
                struct master_pool *pool = pools_find(restore->master->pools, rows[i].pool_name);

                if (pool)
                        pool_hold(pool->rules, true);
        }
        restore->on_done(restore->arg, error);
}

/* Of the terminated ones nothing is kept but their number. */
static void on_ended(void *arg, int error, const struct store_count *counts, size_t count)
{
        struct restore *restore = arg;

        if (is_away(error)) {
                try_again(restore);
                return;
        }
        for (size_t i = 0; i < count; i++) {
                struct master_pool *pool = pools_find(restore->master->pools, counts[i].pool_name);

                if (pool)
                        pool->ended = counts[i].count;
        }
        if (error == 0)
                error = store_pools_load(restore->master->store, on_pools, restore);
        if (error < 0)
                restore->on_done(restore->arg, error);
}

static void on_rows(void *arg, int error, const struct store_agent *rows, size_t count)
{
        struct restore *restore = arg;

        for (size_t i = 0; i < count; i++)
                restore_row(restore, &rows[i]);
        if (error == 0 && count > 0)
                return; /* more follow */
        if (is_away(error)) {
                try_again(restore);
                return;
        }
        if (error == 0)
                log_info("restore.loaded", "agents=%llu skipped=%llu", (unsigned long long)restore->restored,
                        (unsigned long long)restore->skipped);
        if (error == 0)
                error = store_agents_count_ended(restore->master->store, on_ended, restore);
        if (error < 0)
                restore->on_done(restore->arg, error);
}

struct restore *restore_new(struct master *master, void (*on_away)(void *arg), void (*on_done)(void *arg, int error), void *arg)
{
        struct restore *restore = malloc(sizeof *restore);

        if (!restore)
                return NULL;
        *restore = (struct restore){ .master = master, .on_away = on_away, .on_done = on_done, .arg = arg };
        restore->again = event_new(master->base, -1, 0, on_again, restore);
        if (!restore->again)
                return restore_free(restore);
        event_active(restore->again, EV_TIMEOUT, 0);
        return restore;
}

struct restore *restore_free(struct restore *restore)
{
        if (restore && restore->again)
                event_free(restore->again);
        free(restore);
        return NULL;
}
