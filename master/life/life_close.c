/* How a master ends: with everything, or for the next one. */
#include "common/clock.h"
#include "common/log.h"
#include "master/control/control.h"
#include "master/control/messages.h"
#include "master/control/pools.h"
#include "master/control/pools_act.h"
#include "master/http/http.h"
#include "master/life/life.h"
#include "registry/redis/registry_redis.h"
#include "sql/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAST_BUDGET_MS 1000
#define STEP_MS 3

/* ---- shutdown: stop accepting, end workers, clear the registry, give clients their answers, flush the store, say goodbye ---- */

static void say_goodbye(struct life *life)
{
        int64_t left = life->end_by - clock_mono_ms();

        life->master.messages = messages_free(life->master.messages); /* while there is a store to record them */
        life->master.store = store_close(life->master.store, left > 0 ? (int)left : 0);
        life_tell_forker(life, FORKER_BYE);
        log_info("master.ended", "uptime_ms=%lld", (long long)(clock_wall_ms() - life->master.started_at));
        life_end(life, 0);
}

/* A message that is waited for is a request, too. */
static void on_answering(evutil_socket_t fd, short what, void *arg)
{
        struct life *life = arg;
        unsigned left = http_server_unanswered(life->master.http);

        (void)fd;
        (void)what;
        if (left > 0 && clock_mono_ms() < life->end_by)
                return;
        if (left > 0)
                log_warn("shutdown.unanswered", "requests=%u detail=\"their clients have not taken the answers\"", left);
        say_goodbye(life);
}

/* What agents answered before they ended may be on its way from their workers, and to clients. */
static void answer_first(struct life *life)
{
        static const struct timeval often = { .tv_usec = STEP_MS * 1000 };

        life->answering = event_new(life->master.base, -1, EV_PERSIST, on_answering, life);
        if (!life->answering || event_add(life->answering, &often) < 0)
                say_goodbye(life);
        else
                on_answering(-1, 0, life);
}

static void on_cleared(void *arg, int error)
{
        struct life *life = arg;

        if (error < 0)
                log_warn("registry.not_cleared", "error=%s", LOG_Q(strerror(-error)));
        if (--life->clearing == 0)
                answer_first(life);
}

static void on_pools_closed(void *arg)
{
        struct life *life = arg;
        struct master *master = &life->master;

        life->clearing = 1;
        for (size_t i = 0; i < pools_count(master->pools); i++)
                life->clearing += registry_clear(master->registry, pools_at(master->pools, i)->config->pool_name,
                                          on_cleared, life) == 0;
        life->clearing += registry_withdraw(master->registry, on_cleared, life) == 0;
        on_cleared(life, 0);
}

/* The budget is spent: what has not ended is killed, and its exit ends the rest. */
static void on_give_up(evutil_socket_t fd, short what, void *arg)
{
        struct life *life = arg;
        struct master *master = &life->master;

        (void)fd;
        (void)what;
        if (life->answering)
                return; /* nothing is left to be killed */
        if (life->reloading) {
                life_hand_over_now(life);
                return;
        }
        log_warn("shutdown.timeout", "detail=\"killing what has not ended\"");
        for (size_t i = 0; i < pools_count(master->pools); i++)
                for (struct pool_worker *w = pool_first_worker(pools_at(master->pools, i)->rules); w; w = w->hh.next)
                        pools_kill(master, &w->process_id);
}

void life_arm_give_up(struct life *life, int64_t budget_ms)
{
        struct timeval tv = { .tv_sec = budget_ms / 1000, .tv_usec = budget_ms % 1000 * 1000 };

        life->end_by = clock_mono_ms() + budget_ms;
        event_add(life->give_up, &tv);
}

/* The forker has these sockets, too: closed here alone, they would let clients in to wait for nobody. At those that are
 * lent they wait for the next start. */
static void refuse_connections(struct life *life)
{
        for (unsigned i = 0; i < life->listener_count && !life->listeners_lent; i++)
                shutdown(life->listeners[i], SHUT_RD);
        life->listener_count = 0;
}

void life_shut_down(struct life *life, bool fast)
{
        struct master *master = &life->master;
        bool hurry = fast && master->closing && !master->fast;

        life_keep(life);
        if (life->answering)
                life->end_by = clock_mono_ms(); /* told again: whoever has not taken an answer by now is not waited for */
        if (master->closing && (!fast || life->answering))
                return;
        life_arm_give_up(life, fast ? FAST_BUDGET_MS : master->config->shutdown_timeout_ms);
        log_info("shutdown.begins", "fast=%d", fast);
        master->fast = fast;
        master->close_by = life->end_by;
        if (hurry) {
                control_hurry(master->control);
        } else if (!master->closing) {
                master->closing = true;
                life_open_doors(life);
                refuse_connections(life);
                http_server_drain(master->http, NULL, NULL);
                messages_close(master->messages);
                control_close(master->control, on_pools_closed, life);
        }
}

/* ---- reload: one way for a new configuration, a new program and a crash: a new master takes over ---- */

/* Whether the file may be taken over; why not is logged. */
static bool check_file(const struct life *life)
{
        struct config_errors errors = { 0 };
        struct config *config = NULL;
        const char *fixed = NULL;
        int r = config_load(life->config_path, environ, &config, &errors);

        for (unsigned i = 0; r < 0 && i < errors.count; i++)
                log_error("config.invalid", "error=%s", LOG_Q(errors.lines[i]));
        if (r == 0)
                fixed = config_fixed_change(life->master.config, config);
        config_free(config);
        if (fixed)
                log_error("config.kept", "file=%s detail=\"nothing was changed: %s takes effect with stop and start\"",
                        LOG_Q(life->config_path), fixed);
        else if (r < 0)
                log_error("config.kept", "file=%s detail=\"nothing was changed\"", LOG_Q(life->config_path));
        return r == 0 && !fixed;
}

void life_reload(struct life *life)
{
        if (check_file(life)) {
                log_info("config.reloading", "file=%s", LOG_Q(life->config_path));
                life_hand_over(life);
        } else if (!life->master.restoring) {
                life_tell_forker(life, FORKER_READY); /* it waits for the end of the reload */
        }
}

int life_prepare_close(struct life *life)
{
        life->give_up = event_new(life->master.base, -1, 0, on_give_up, life);
        return life->give_up ? 0 : -ENOMEM;
}
