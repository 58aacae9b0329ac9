/* How the forker ends what runs: the master, then workers, then Redis. */
#include "master/forker/forker_internal.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#include <signal.h>
#include <stdlib.h>

void forker_end_by(struct forker *f, int64_t ms)
{
        int64_t deadline = clock_mono_ms() + ms;

        f->ending = true;
        if (deadline < f->deadline)
                f->deadline = deadline;
}

void forker_tell_stopping(struct forker *f)
{
        notify_state(&f->notify, NOTIFY_STOPPING, f->config->shutdown_timeout_ms + FORKER_MARGIN_MS + 3 * FORKER_FAST_MS);
}

static void kill_workers(const struct forker *f, int number)
{
        for (uint32_t i = 0; i < f->table.capacity; i++)
                if (f->table.workers[i].state == FORKER_WORKER_LIVE)
                        kill(f->table.workers[i].pid, number);
}

/* Once the master is gone: the workers see their control sockets close; after the last of them it is Redis's turn. */
static void end_in_order(struct forker *f)
{
        if (f->master.pid)
                return;
        if (!f->dismissed) {
                f->dismissed = true;
                for (uint32_t i = 0; i < f->table.capacity; i++)
                        f->table.workers[i].control = fd_close(f->table.workers[i].control);
                kill_workers(f, SIGTERM);
                forker_retired_dismiss(&f->retired);
                if (f->upgrade.check_pid)
                        kill(f->upgrade.check_pid, SIGKILL);
        }
        if (f->table.live == 0 && f->redis.pid && !f->redis_told) {
                f->redis_told = true;
                f->deadline = clock_mono_ms() + FORKER_FAST_MS;
                kill(f->redis.pid, SIGTERM);
        }
}

static void kill_all(struct forker *f)
{
        log_error("shutdown.killing", "master=%d workers=%u redis=%d", f->master.pid, f->table.live,
                f->redis_told ? f->redis.pid : 0);
        f->killed = f->redis_told || !f->redis.pid; /* Redis goes last, with a deadline of its own */
        f->deadline = clock_mono_ms() + FORKER_FAST_MS;
        kill_workers(f, SIGKILL);
        forker_retired_kill(&f->retired);
        if (f->master.pid)
                kill(f->master.pid, SIGKILL);
        if (f->redis_told)
                kill(f->redis.pid, SIGKILL);
}

bool forker_ended(struct forker *f)
{
        if (!f->ending)
                return false;
        end_in_order(f);
        if (!f->master.pid && f->table.live == 0 && !f->redis.pid && f->retired.count == 0 &&
                (f->childless || f->children_fd < 0))
                return true;
        if (clock_mono_ms() < f->deadline)
                return false;
        if (f->killed) {
                f->status = EXIT_FAILURE;
                return true;
        }
        kill_all(f);
        return false;
}
