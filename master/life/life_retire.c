/* How a master makes room for the next one, and then carries its clients' connections to it. One after the other: it serves
 * as ever while what only it can answer is answered; begins nothing new, and hears out Redis; makes durable what it wrote;
 * then it closes registry, store and control sockets, and decides nothing any more. */
#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/api/api.h"
#include "master/life/handover.h"
#include "master/http/http.h"
#include "master/life/life.h"
#include "master/control/messages.h"
#include "registry/redis/registry_redis.h"
#include "sql/store.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_MS 3
#define FLUSH_MS 1000    /* what was not durable by then is given up as at any end */
#define FORKER_MS 1000   /* the forker reads its channel at once */
#define WATCHDOG_S 1

/* ---- retired ---- */

static void end_if_idle(struct life *life)
{
        struct http_stats stats;

        http_server_stats(life->master.http, &stats);
        if (life->doors_closed && stats.connections == 0 && !handover_waits(life->source))
                life_end(life, EXIT_SUCCESS);
}

static void on_http_idle(void *arg)
{
        end_if_idle(arg);
}

static void close_doors(void *arg)
{
        struct life *life = arg;

        life->doors_closed = true;
        http_server_close_doors(life->master.http);
        end_if_idle(life);
}

static void on_sent(void *arg)
{
        end_if_idle(arg);
}

static void on_give(void *arg, const char *data, size_t len, int take_fd)
{
        struct life *life = arg;

        handover_give(life->source, data, len, take_fd);
}

static void on_notification_held(void *arg, const char *data, size_t len)
{
        struct life *life = arg;

        handover_notify(life->source, data, len);
}

/* Nobody watches a retired master any more but the kernel: one that hangs is killed. */
static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
        const struct life *life = arg;

        (void)fd;
        (void)what;
        alarm((unsigned)(life->master.config->master_lease_ms / 1000));
}

static void leave_note(void *arg, const char *note)
{
        http_request_leave_note(arg, note);
}

/* 0 or -errno. Behind all that was said before; what still waits there is void. */
static int tell_forker(struct life *life)
{
        struct forker_message message = { .version = FORKER_PROTOCOL, .type = FORKER_RETIRE };
        struct pollfd room = { .fd = life->forker_fd, .events = POLLOUT };
        int r = fd_send(room.fd, &message, sizeof message, life->next[1]);

        while (r == -EAGAIN && poll(&room, 1, FORKER_MS) > 0)
                r = fd_send(room.fd, &message, sizeof message, life->next[1]);
        life->next[1] = fd_close(life->next[1]);
        return r;
}

static void free_sinks(struct life *life)
{
        for (unsigned i = 0; i < life->sink_count; i++)
                handover_sink_free(life->sinks[i]);
        life->sink_count = 0;
}

static void let_go(struct life *life)
{
        static const struct handover_source_events events = { .on_open = close_doors, .on_gone = close_doors,
                .on_sent = on_sent };
        static const struct timeval second = { .tv_sec = WATCHDOG_S };
        struct master *master = &life->master;
        struct http_stats stats;
        int r;

        life->step = LIFE_RETIRED;
        http_server_stats(master->http, &stats);
        log_info("master.retires", "requests=%u connections=%u", stats.requests_active, stats.connections);
        event_free(life->stepping);
        life->stepping = NULL;
        life->source = handover_source_new(master->base, life->next[0], &events, life);
        life->watchdog = event_new(master->base, -1, EV_PERSIST, on_watchdog, life);
        if (!life->source || !life->watchdog) {
                life_end(life, EXIT_FAILURE);
                return;
        }
        life->next[0] = -1;
        free_sinks(life);
        messages_each(master->messages, leave_note);
        messages_each_notification(master->messages, on_notification_held, life);
        http_server_give_away(master->http, on_give, on_http_idle, life);
        handover_listed(life->source);
        master->messages = messages_drop(master->messages);
        life_release(life);
        setproctitle("-%-64s", "agentpoold: retired master");
        r = tell_forker(life);
        master->forker = channel_free(master->forker);
        event_add(life->watchdog, &second);
        if (r < 0)
                life_end(life, EXIT_FAILURE);
}

/* ---- until then ---- */

static void flush(struct life *life)
{
        life->step = LIFE_FLUSHING;
        life->flush_by = clock_mono_ms() + FLUSH_MS;
}

static void on_heard_out(void *arg, int error)
{
        struct life *life = arg;

        (void)error; /* then nothing comes from there either */
        if (life->step == LIFE_HEARING)
                flush(life);
}

void life_hand_over_now(struct life *life)
{
        if (life->step != LIFE_FINISHING)
                return;
        life->step = LIFE_HEARING;
        http_server_hold(life->master.http, HTTP_HOLD_ALL);
        if (registry_hear_out(life->master.registry, on_heard_out, life) < 0)
                flush(life);
}

/* Until all is listed that the masters before this one had begun, it is not known whose answers come here. */
static bool is_finished(const struct life *life)
{
        return life->unlisted == 0 && http_server_unfinished(life->master.http) == 0;
}

/* Half of what comes would be lost. A source that hangs is killed by its watchdog. */
static bool is_reading(const struct life *life)
{
        bool busy = false;

        for (unsigned i = 0; i < life->sink_count; i++)
                busy = busy || handover_sink_busy(life->sinks[i]);
        return busy;
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
        struct life *life = arg;
        struct store_status status = { .queued = 0 };

        (void)fd;
        (void)what;
        if (life->step == LIFE_FINISHING && is_finished(life))
                life_hand_over_now(life);
        if (life->step != LIFE_FLUSHING)
                return;
        if (life->master.store)
                store_status(life->master.store, &status);
        if (!is_reading(life) && (status.queued == 0 || clock_mono_ms() >= life->flush_by))
                let_go(life);
}

void life_hand_over(struct life *life)
{
        static const struct timeval often = { .tv_usec = STEP_MS * 1000 };
        int r;

        if (life->reloading || life->master.closing)
                return;
        r = fd_packet_pair(life->next);
        if (r == 0) {
                life->stepping = event_new(life->master.base, -1, EV_PERSIST, on_step, life);
                r = life->stepping && event_add(life->stepping, &often) == 0 ? 0 : -ENOMEM;
        }
        life->reloading = r == 0;
        if (r < 0) {
                log_error("config.kept", "error=%s detail=\"nothing was changed: there is no socket to the next master\"",
                        LOG_Q(strerror(-r)));
                life_keep(life);
                life_tell_forker(life, FORKER_READY);
                return;
        }
        (void)FAULT_POINT("master.hand_over");
        life_arm_give_up(life, life->master.config->shutdown_timeout_ms);
        life->step = LIFE_FINISHING;
        http_server_hold(life->master.http, life->look ? HTTP_HOLD_ALL : HTTP_HOLD_UNMOVABLE);
}

void life_keep(struct life *life)
{
        if (life->stepping)
                event_free(life->stepping);
        life->stepping = NULL;
        life->next[0] = fd_close(life->next[0]);
        life->next[1] = fd_close(life->next[1]);
        life->step = LIFE_GOES_ON;
        if (life->reloading)
                http_server_hold(life->master.http, life->look ? HTTP_HOLD_ALL : HTTP_HOLD_NONE);
        life->reloading = false;
}

/* ---- the next one ---- */

static void on_connection(void *arg, const char *data, size_t len, int take_fd)
{
        struct life *life = arg;
        int r = http_server_take_over(life->master.http, data, len, take_fd);

        if (r < 0)
                log_error("handover.lost", "error=%s", strerrorname_np(-r));
}

static void on_notification(void *arg, const char *data, size_t len)
{
        const struct life *life = arg;
        int r = messages_take_notification(life->master.messages, data, len);

        if (r < 0)
                log_error("handover.lost", "error=%s", strerrorname_np(-r));
}

void life_settle(struct life *life)
{
        if (life->synced && life->unlisted == 0)
                messages_settled(life->master.messages);
}

static void on_listed(void *arg)
{
        struct life *life = arg;

        life->unlisted--;
        life_settle(life);
}

void life_take_sink(struct life *life, int take_socket)
{
        static const struct handover_sink_events events = { .on_connection = on_connection,
                .on_notification = on_notification, .on_listed = on_listed };
        struct handover_sink *sink = life->sink_count < FORKER_RETIRED_MAX
                        ? handover_sink_new(life->master.base, take_socket, &events, life) : NULL;

        if (sink)
                life->sinks[life->sink_count++] = sink;
        else
                fd_close(take_socket);
}

void life_retire_done(struct life *life)
{
        free_sinks(life);
        handover_source_free(life->source);
        if (life->watchdog)
                event_free(life->watchdog);
        if (life->stepping)
                event_free(life->stepping);
        life->next[0] = fd_close(life->next[0]);
        life->next[1] = fd_close(life->next[1]);
}
