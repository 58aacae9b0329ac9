/* One master after the other: what HUP and USR2 come to, and masters that only carry their clients any more. */
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/forker/forker_internal.h"

#include <signal.h>

void forker_upgrade_now(struct forker *f)
{
        forker_upgrade_exec(f->config, &f->table, &f->retired, &f->upgrade, f->master.pid, f->redis.pid);
}

bool forker_must_wait(struct forker *f, int number)
{
        if (!forker_retired_full(&f->retired))
                return false;
        if (!(f->waiting & 1u << number))
                log_warn("reload.waits", "signal=%d retired=%u detail=\"so many masters still carry their clients' answers: it "
                        "follows when one of them has ended\"", number, f->retired.count);
        f->waiting |= 1u << number;
        return true;
}

/* The master first: it hands over what it has begun, and needs this process for that. */
static void upgrade(struct forker *f)
{
        if (forker_must_wait(f, SIGUSR2))
                return;
        notify_state(&f->notify, NOTIFY_RELOADING, 0);
        if (f->master.pid && f->ready && f->link.fd >= 0) {
                f->link.signals |= 1u << SIGUSR2;
                f->upgrade.by = clock_mono_ms() + f->config->shutdown_timeout_ms + FORKER_MARGIN_MS;
        } else {
                forker_upgrade_now(f);
        }
}

void forker_begin_upgrade(struct forker *f, bool back)
{
        if (f->upgrade.check_pid)
                kill(f->upgrade.check_pid, SIGKILL); /* it hangs; the next USR2 begins anew */
        if (f->upgrade.check_pid || f->upgrade.by || f->ending)
                return;
        f->upgrade.back = back;
        if (f->config->check_argv)
                forker_upgrade_check(f->config, &f->table, &f->upgrade);
        else
                upgrade(f);
}

void forker_on_check_exit(struct forker *f, int status)
{
        f->upgrade.check_pid = 0;
        if (status != 0)
                forker_upgrade_refused(f->config, &f->upgrade, status);
        else if (!f->ending)
                upgrade(f);
}

void forker_retire_master(struct forker *f, int take_socket)
{
        pid_t pid = f->master.pid;

        if (!forker_retired_add(&f->retired, pid, take_socket)) {
                fd_close(take_socket);
                kill(pid, SIGTERM); /* it was told to only when there was room */
                return;
        }
        log_debug("master.retired", "pid=%d retired=%u", pid, f->retired.count);
        forker_link_close(&f->link);
        f->free_restarts = forker_child_was_healthy(&f->master) ? FORKER_FREE_RESTARTS : f->free_restarts;
        forker_child_again(&f->master, true);
        if (f->upgrade.by)
                forker_upgrade_now(f);
}

void forker_on_retired_exit(struct forker *f, pid_t pid, int status)
{
        uint32_t waiting = f->waiting;

        if (status != 0 && !f->ending)
                log_error("master.retired_died", "pid=%d status=%d signal=%d", pid, forker_exit_status(status),
                        forker_exit_signal(status));
        f->waiting = 0;
        if (f->ending)
                return;
        if (waiting & 1u << SIGHUP) {
                notify_state(&f->notify, NOTIFY_RELOADING, 0);
                f->link.signals |= 1u << SIGHUP;
        }
        if (waiting & 1u << SIGUSR2)
                upgrade(f);
}
