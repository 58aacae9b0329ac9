/* What a master hears from the forker, and when it lets clients in. */
#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/control/control.h"
#include "master/control/pools.h"
#include "master/control/workers.h"
#include "master/http/http.h"
#include "master/http/listen.h"
#include "master/life/life.h"
#include "registry/redis/registry_redis.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 2
#define DOORS_MS 1000 /* a worker that does not answer, or Redis, is not waited for longer */

/* What this file says of a socket opened under an earlier one; of one that it does not know any more, what keeps
 * strangers out. */
bool life_listens_tls(const struct life *life, int fd, size_t index)
{
        const char *text = listen_text(fd, index, life->master.config->server.listen);

        return text ? listen_wants_tls(text) : life->master.config->server.tls.key && !listen_is_local(fd);
}

void life_tell_forker(struct life *life, enum forker_message_type type)
{
        const struct config_log *log = &life->master.config->log;
        struct forker_message message = { .version = FORKER_PROTOCOL, .type = type };

        if (type == FORKER_LOG) {
                message.number = log->level;
                message.pid = log->format;
        }
        if (life->master.forker)
                channel_send(life->master.forker, &message, sizeof message);
        else
                fd_send(life->forker_socket, &message, sizeof message, -1);
}

static void handle_signal(struct life *life, int number)
{
        switch (number) {
        case SIGTERM:
                life_shut_down(life, false);
                break;
        case SIGINT:
        case SIGQUIT:
                life_shut_down(life, true);
                break;
        case SIGHUP:
                life_reload(life);
                break;
        case SIGUSR2:
                log_info("upgrade.begins", "detail=\"handing over the requests under way\"");
                life_hand_over(life);
                break;
        case SIGUSR1:
                log_reopen();
                workers_reopen_logs(life->master.workers);
                break;
        default:
                log_warn("signal.ignored", "number=%d", number);
        }
}

/* Why the socket cannot be served as it should be: it stays open in the forker, but nobody is let in. NULL: it can. */
static const char *unservable(const struct life *life, int fd, bool tls)
{
        if (!life->master.config->tokens && !listen_is_local(fd))
                return "other machines reach it, and there are no tokens any more: set server.tokens_file, then HUP";
        return tls && !life->master.tls ? "its certificate cannot be used: see tls.unusable above, then HUP" : NULL;
}

static void take_listener(struct life *life, size_t index, int fd)
{
        bool tls = life_listens_tls(life, fd, index);
        const char *why = unservable(life, fd, tls);
        int r = why ? 0 : http_server_listen(life->master.http, fd, tls ? life->master.tls : NULL);

        if (why) {
                log_error("listen.refused", "index=%zu reason=%s", index, LOG_Q(why));
                fd_close(fd);
        } else if (r < 0) {
                log_error("http.listen_failed", "error=%s", LOG_Q(strerror(-r)));
                life_end(life, EXIT_FAILURE);
        } else if (life->listener_count < FORKER_LISTENERS_MAX) {
                life->listeners[life->listener_count++] = fd;
                if (life->listener_count == 1 && life->registry_was_ours)
                        life_announce(life);
        }
}

/* What comes with a socket came without: this process has no descriptor left to take it with. Going on without it would give
 * up a listener, or a worker that runs well: another master is to try, which may find some. */
static bool lacks_descriptor(const struct forker_message *message, int fd)
{
        return fd < 0 && (message->type == FORKER_LISTENER || message->type == FORKER_RETIRED ||
                        (message->type == FORKER_WORKER && message->adopted));
}

static void handle_forker(struct life *life, const struct forker_message *message, int fd)
{
        struct control_loop *control = life->master.control;

        switch (message->type) {
        case FORKER_LISTENER:
                life->listeners_lent = message->adopted;
                take_listener(life, (size_t)message->number, fd);
                return;
        case FORKER_RETIRED: /* what it carries is for those who are let in; that may be long while the store is away */
                if ((life->look || (life->master.restoring && !life->store_away)) && backlog_add(&life->doors, message, fd) == 0)
                        return;
                life_take_sink(life, fd);
                return;
        case FORKER_WORKER:
                control_worker_forked(control, &message->process_id, message->pool_name, message->pid,
                        message->started_at, message->adopted, fd);
                return;
        case FORKER_SYNCED:
                life->master.can_roll_back = message->number;
                life->master.upgraded_at = message->started_at;
                (void)FAULT_POINT("master.ready");
                life_tell_forker(life, FORKER_LOG);
                life_tell_forker(life, FORKER_READY);
                log_info("master.ready", "pools=%zu", pools_count(life->master.pools));
                control_synced(control);
                life->synced = true;
                life_settle(life);
                break;
        case FORKER_FORK_FAILED:
                control_worker_fork_failed(control, &message->process_id, message->number);
                break;
        case FORKER_EXITED:
                control_worker_exited(control, &message->process_id, message->number);
                break;
        case FORKER_SIGNAL:
                handle_signal(life, message->number);
                break;
        case FORKER_FORK:
        case FORKER_KILL:
        case FORKER_LOG:
        case FORKER_ROLLBACK:
        case FORKER_RETIRE:
        case FORKER_BYE:
        case FORKER_READY:
        case FORKER_ALIVE:
        case FORKER_MESSAGE_TYPE_COUNT:
                log_error("forker.unexpected", "type=%d", (int)message->type);
                break;
        }
        fd_close(fd);
}

static void on_known(void *arg, const struct forker_message *message, int fd)
{
        handle_forker(arg, message, fd);
}

/* Workers wait until it is known what they should run. */
static void on_forker_packet(void *arg, const char *data, size_t len, int fd)
{
        struct life *life = arg;
        struct forker_message message;

        if (len != sizeof message) {
                log_error("forker.bad_packet", "len=%zu", len);
                fd_close(fd);
                return;
        }
        memcpy(&message, data, sizeof message);
        life->unlisted += message.type == FORKER_RETIRED;
        if (event_base_got_break(life->master.base)) {
                fd_close(fd);
        } else if (lacks_descriptor(&message, fd)) {
                log_error("master.no_descriptors", "error=\"%s\" detail=\"another master tries\" remedy=\"raise the open files "
                        "limit (LimitNOFILE)\"", strerror(EMFILE));
                life_end(life, EXIT_FAILURE);
        } else if (!life->master.restoring || message.type == FORKER_LISTENER ||
                   message.type == FORKER_RETIRED || message.type == FORKER_SIGNAL) {
                handle_forker(life, &message, fd);
        } else if (backlog_add(&life->backlog, &message, fd) < 0) {
                log_error("backlog.out_of_memory", "detail=\"ending\"");
                fd_close(fd);
                life_end(life, EXIT_FAILURE);
        }
}

/* It executes a new program, whose master takes over; or it is gone, and the workers, who see the same, end their agents. */
static void on_forker_closed(void *arg)
{
        log_info("master.leaves", "detail=\"its forker let it go\"");
        life_end(arg, EXIT_FAILURE);
}

int life_attend(struct life *life)
{
        static const struct channel_events events = { .on_packet = on_forker_packet, .on_closed = on_forker_closed };

        if (life->master.forker)
                return 0;
        life->master.forker = channel_new(life->master.base, life->forker_socket, &events, life);
        if (!life->master.forker)
                return -ENOMEM;
        life->forker_socket = -1;
        return 0;
}

void life_catch_up(struct life *life)
{
        life->open_by = clock_mono_ms() + DOORS_MS;
        backlog_replay(&life->backlog, on_known, life);
}

void life_open_doors(struct life *life)
{
        if (life->look)
                event_free(life->look);
        if (life->look && !life->reloading)
                http_server_hold(life->master.http, HTTP_HOLD_NONE);
        life->look = NULL;
        backlog_replay(&life->doors, on_known, life);
}

/* Whoever asks before it is known what runs would hear that it does not: until then all but /livez wait. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
        struct life *life = arg;

        (void)fd;
        (void)what;
        if (!life->master.restoring && (pools_known(life->master.pools) || clock_mono_ms() >= life->open_by))
                life_open_doors(life);
}

int life_open_doors_soon(struct life *life)
{
        struct timeval tv = { .tv_usec = LOOK_MS * 1000 };

        http_server_hold(life->master.http, HTTP_HOLD_ALL);
        life->look = event_new(life->master.base, -1, EV_PERSIST, on_look, life);
        return life->look && event_add(life->look, &tv) == 0 ? 0 : -ENOMEM;
}
