#include "master/forker/forker.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/forker/forker_internal.h"
#include "master/forker/forker_signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTART_BASE_MS 100
#define RESTART_CAP_MS 10000
#define HURRY_MS 1000           /* a second TERM, or a second INT or QUIT */
#define EXITING_MS 1000         /* from the end of a master's channel to its end */
#define REQUESTS_PER_WAKE 64
#define LATE_MS 1000            /* so late, this process was held up itself: what it did not hear proves nothing */

static void start_master(struct forker *f)
{
        int end;
        pid_t pid = forker_fork_linked(f->config->lock, &end);

        if (pid == 0)
                _exit(f->roles->master(end, !f->served, f->roles->arg));
        if (pid < 0) {
                log_error("master.fork_failed", "error=%s", strerrorname_np(-pid));
                forker_child_again(&f->master, false);
                return;
        }
        forker_child_began(&f->master, pid);
        f->ready = false;
        f->alive_by = clock_mono_ms() + f->config->master_lease_ms;
        forker_link_open(&f->link, end, &f->table);
        log_debug("master.forked", "pid=%d", pid);
}

static void start_redis(struct forker *f)
{
        pid_t pid = forker_fork();
        char *const *argv;

        if (pid == 0) {
                if (f->config->lock >= 0)
                        fcntl(f->config->lock, F_SETFD, 0); /* it is not to be gone before Redis is */
                memcpy(&argv, &f->config->redis_argv, sizeof argv); /* execvp changes nothing, its type does not say so */
                execvp(f->config->redis_program, argv);
                log_error("redis.exec_failed", "program=%s error=%s", f->config->redis_program, strerrorname_np(errno));
                _exit(127);
        }
        if (pid < 0) {
                log_error("redis.fork_failed", "error=%s", strerrorname_np(-pid));
                forker_child_again(&f->redis, false);
                return;
        }
        forker_child_began(&f->redis, pid);
        log_debug("redis.forked", "pid=%d", pid);
}

/* Its agents do not live in it: killing one that hangs costs no more than the requests which it does not answer. */
static void kill_hung_master(struct forker *f, int64_t now)
{
        int64_t late = now - f->alive_by;

        if (late < 0)
                return;
        f->alive_by = now + f->config->master_lease_ms;
        if (late > LATE_MS) {
                log_warn("forker.held_up", "late_ms=%lld detail=\"the master has another lease\"", (long long)late);
                return;
        }
        log_error("master.hung", "pid=%d silent_ms=%lld", f->master.pid, (long long)f->config->master_lease_ms);
        kill(f->master.pid, SIGKILL);
}

static bool has_lease(const struct forker *f)
{
        return f->link.fd >= 0 && f->config->master_lease_ms && !f->ending;
}

static void start_due(struct forker *f)
{
        int64_t now = clock_mono_ms();

        if (f->ending)
                return;
        if (has_lease(f))
                kill_hung_master(f, now);
        if (now >= f->redis.start_at)
                start_redis(f);
        if (f->upgrade.by && now >= f->upgrade.by)
                forker_upgrade_now(f);
        if (now < f->master.start_at)
                return;
        f->master.start_at = INT64_MAX;
        if (f->master.pid)
                kill(f->master.pid, SIGKILL); /* it should have left long ago */
        else
                start_master(f);
}

/* 0 or -errno. */
static int start_worker(struct forker *f, const struct forker_message *request)
{
        struct forker_worker *w = forker_table_take(&f->table);
        pid_t pid;
        int end;

        if (!w)
                return -ENOSPC;
        pid = forker_fork_linked(f->config->lock, &end);
        if (pid == 0)
                _exit(f->roles->worker(end, &request->process_id, request->pool_name, f->roles->arg));
        if (pid < 0) {
                forker_table_release(&f->table, w);
                return pid;
        }
        w->process_id = request->process_id;
        w->control = end;
        w->pid = pid;
        w->started_at = clock_wall_ms();
        memcpy(w->pool_name, request->pool_name, sizeof w->pool_name);
        forker_table_add(&f->table, w);
        forker_table_owe(&f->table, w, TELL_WORKER);
        (void)FAULT_POINT("fork.after");
        log_debug("worker.forked", "process=%s pid=%d pool=%s", ID_TEXT(&w->process_id), pid, w->pool_name);
        return 0;
}

static void fork_or_refuse(struct forker *f, const struct forker_message *request)
{
        int r = start_worker(f, request);

        if (r < 0)
                f->link.refusal = (struct forker_message){ .type = FORKER_FORK_FAILED,
                        .process_id = request->process_id, .number = -r };
}

static void on_alive(struct forker *f)
{
        char status[sizeof f->notify.status];

        snprintf(status, sizeof status, "%s; master %d, %u workers", f->ready ? "serving" : "loading what should run",
                f->master.pid, f->table.live);
        notify_alive(&f->notify, status);
}

static void handle_request(struct forker *f, const struct forker_message *request, int *take_fd)
{
        const struct forker_worker *w;

        switch ((int)request->type) {
        case FORKER_FORK:
                fork_or_refuse(f, request);
                break;
        case FORKER_KILL:
                w = forker_table_by_id(&f->table, &request->process_id);
                if (w && kill(w->pid, request->number) < 0)
                        log_error("worker.kill_failed", "pid=%d error=%s", w->pid, strerrorname_np(errno));
                break;
        case FORKER_BYE:
                f->bye = true;
                forker_tell_stopping(f);
                forker_end_by(f, f->config->shutdown_timeout_ms);
                break;
        case FORKER_READY:
                f->ready = f->served = true;
                notify_state(&f->notify, NOTIFY_READY, 0);
                on_alive(f);
                break;
        case FORKER_ALIVE:
                on_alive(f);
                break;
        case FORKER_LOG:
                if (request->number > 0 && request->number < LOG_LEVEL_COUNT && request->pid > 0 &&
                        request->pid < LOG_FORMAT_COUNT)
                        log_set((enum log_level)request->number, (enum log_format)request->pid);
                break;
        case FORKER_ROLLBACK:
                if (f->upgrade.previous >= 0)
                        forker_begin_upgrade(f, true);
                break;
        case FORKER_RETIRE:
                forker_retire_master(f, *take_fd);
                *take_fd = -1;
                break;
        default:
                log_error("master.bad_request", "type=%d", (int)request->type);
        }
}

static void handle_requests(struct forker *f)
{
        struct forker_message request;
        int r = 0, fd;

        for (unsigned i = 0; i < REQUESTS_PER_WAKE && f->link.fd >= 0; i++) {
                r = forker_link_read(&f->link, &request, &fd);
                if (r < 0)
                        break;
                f->alive_by = clock_mono_ms() + f->config->master_lease_ms;
                handle_request(f, &request, &fd);
                fd_close(fd);
        }
        if (r != -EPIPE)
                return;
        forker_link_close(&f->link);
        /* Most likely it is exiting; without its channel it is of no use. */
        if (!f->bye && f->master.pid)
                f->master.start_at = clock_mono_ms() + EXITING_MS;
}

static void on_master_exit(struct forker *f, int status)
{
        struct forker_message last;
        pid_t pid = f->master.pid;
        bool at_once = f->leaving || forker_child_was_healthy(&f->master);
        uint32_t pause;
        int fd;

        f->link.refusal.type = 0;
        while (forker_link_read(&f->link, &last, &fd) == 0) {
                if (last.type != FORKER_FORK && last.type != FORKER_RETIRE)
                        handle_request(f, &last, &fd);
                fd_close(fd);
        }
        forker_link_close(&f->link);
        f->master.pid = 0;
        if (f->ending) {
                forker_end_by(f, f->config->shutdown_timeout_ms);
                if (!f->leaving)
                        f->status = f->bye && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
                return;
        }
        if (f->upgrade.by)
                forker_upgrade_now(f);
        if (at_once)
                f->free_restarts = FORKER_FREE_RESTARTS;
        else if (f->ready && f->free_restarts > 0)
                at_once = f->free_restarts-- > 0;
        pause = forker_child_again(&f->master, at_once);
        if (!f->leaving)
                log_error("master.died", "pid=%d status=%d signal=%d restart_in_ms=%u", pid, forker_exit_status(status),
                        forker_exit_signal(status), pause);
        f->leaving = false;
}

static void on_redis_exit(struct forker *f, int status)
{
        uint32_t pause = forker_child_again(&f->redis, forker_child_was_healthy(&f->redis));

        if (!f->ending)
                log_error("redis.died", "status=%d signal=%d restart_in_ms=%u", forker_exit_status(status),
                        forker_exit_signal(status), pause);
}

static void on_worker_exit(struct forker *f, struct forker_worker *w, int status)
{
        log_debug("worker.reaped", "process=%s pid=%d status=%d signal=%d", ID_TEXT(&w->process_id), w->pid,
                forker_exit_status(status), forker_exit_signal(status));
        forker_table_gone(&f->table, w, status);
        if (f->link.fd < 0)
                forker_table_release(&f->table, w); /* the next master is told of the living only */
        else
                forker_table_owe(&f->table, w, TELL_EXITED);
}

static bool is_known(const void *arg, pid_t pid)
{
        const struct forker *f = arg;

        return pid == f->pid || pid == f->master.pid || pid == f->redis.pid || pid == f->upgrade.check_pid ||
                forker_retired_has(&f->retired, pid) ||
                forker_table_by_pid(&f->table, pid);
}

static void reap(struct forker *f)
{
        struct forker_worker *w;
        bool reaped = false;
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                reaped = true;
                w = forker_table_by_pid(&f->table, pid);
                if (w)
                        on_worker_exit(f, w, status);
                else if (pid == f->master.pid)
                        on_master_exit(f, status);
                else if (pid == f->redis.pid)
                        on_redis_exit(f, status);
                else if (pid == f->upgrade.check_pid)
                        forker_on_check_exit(f, status);
                else if (forker_retired_gone(&f->retired, pid))
                        forker_on_retired_exit(f, pid, status);
        }
        f->childless = pid < 0 && errno == ECHILD;
        if (reaped)
                forker_kill_strays(f->children_fd, is_known, f);
}

static void handle_signal(struct forker *f, int number)
{
        switch (number) {
        case SIGTERM:
                forker_tell_stopping(f);
                forker_end_by(f, f->ending ? HURRY_MS : f->config->shutdown_timeout_ms + FORKER_MARGIN_MS);
                break;
        case SIGINT:
        case SIGQUIT:
                forker_tell_stopping(f);
                forker_end_by(f, f->fast ? HURRY_MS : FORKER_FAST_MS); /* the first still ends in order */
                f->fast = true;
                break;
        case SIGHUP:
                if (forker_must_wait(f, number))
                        return;
                notify_state(&f->notify, NOTIFY_RELOADING, 0);
                break;
        case SIGUSR1:
                log_reopen();
                break;
        case SIGUSR2:
                forker_begin_upgrade(f, false);
                return;
        case SIGCHLD: /* reap follows */
                return;
        }
        f->link.signals |= 1u << number;
}

static void handle_signals(struct forker *f)
{
        int number;

        while ((number = forker_signals_take()))
                handle_signal(f, number);
}

static int64_t earlier(int64_t a, int64_t b)
{
        return a < b ? a : b;
}

static void wait_for_events(struct forker *f, const sigset_t *unblocked)
{
        struct pollfd channel = { .fd = f->link.fd,
                .events = (short)((f->link.refusal.type ? 0 : POLLIN) | (f->link.blocked ? POLLOUT : 0)) };
        int64_t now = clock_mono_ms(), due = f->ending ? f->deadline : earlier(f->master.start_at, f->redis.start_at);
        struct timespec timeout, *wait = NULL;

        if (f->link.retry_at)
                due = earlier(due, f->link.retry_at);
        if (f->upgrade.by && !f->ending)
                due = earlier(due, f->upgrade.by);
        if (has_lease(f))
                due = earlier(due, f->alive_by);
        if (due != INT64_MAX) {
                due = due > now ? due - now : 0;
                timeout = (struct timespec){ .tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000 };
                wait = &timeout;
        }
        if (ppoll(&channel, 1, wait, unblocked) <= 0)
                return;
        if (channel.revents & (POLLHUP | POLLERR))
                f->link.refusal.type = 0; /* no one is left to hear it */
        if (channel.revents & (POLLIN | POLLHUP | POLLERR))
                handle_requests(f);
}

/* What the program before this one left: its master goes by itself, and one of ours follows. */
static int take_over(struct forker *f, int state)
{
        pid_t master_pid, redis_pid;
        int r = forker_upgrade_load(state, f->config, &f->table, &f->retired, &f->upgrade, &master_pid, &redis_pid);

        if (r < 0)
                return r;
        if (master_pid) {
                forker_child_began(&f->master, master_pid);
                f->master.start_at = clock_mono_ms() + f->config->shutdown_timeout_ms + FORKER_MARGIN_MS;
                f->leaving = true;
        }
        if (redis_pid)
                forker_child_began(&f->redis, redis_pid);
        f->link.can_go_back = f->upgrade.previous >= 0;
        f->link.upgraded_at = f->upgrade.at;
        f->served = true;
        log_info("upgrade.done", "version=%s workers=%u", AGENTPOOL_VERSION, f->table.live);
        return 0;
}

static int begin(struct forker *f, int state)
{
        int r = forker_upgrade_init();

        if (r < 0)
                return r;
        notify_begin(&f->notify);
        f->children_fd = forker_adopt_orphans();
        r = state < 0 ? forker_table_init(&f->table, f->config->max_workers) : take_over(f, state);
        fd_close(state);
        return r;
}

int forker_run(const struct forker_config *config, const struct forker_roles *roles, int state)
{
        struct backoff backoff = { .base_ms = RESTART_BASE_MS, .cap_ms = RESTART_CAP_MS };
        struct forker f = { .config = config, .roles = roles, .pid = getpid(), .link.fd = -1, .upgrade.previous = -1,
                .master.backoff = backoff, .redis.backoff = backoff, .free_restarts = FORKER_FREE_RESTARTS,
                .redis.start_at = config->redis_argv ? 0 : INT64_MAX, .deadline = INT64_MAX };
        sigset_t unblocked;
        int r;

        forker_signals_catch(&unblocked);
        r = begin(&f, state);
        if (r < 0) {
                log_error("forker.cannot_begin", "error=%s", strerrorname_np(-r));
                return EXIT_FAILURE;
        }
        for (reap(&f); !forker_ended(&f); reap(&f)) {
                start_due(&f);
                forker_link_tell(&f.link, &f.table, &f.retired, config);
                wait_for_events(&f, &unblocked);
                handle_signals(&f);
        }
        fd_close(f.children_fd);
        forker_table_done(&f.table);
        return f.status;
}
