/* Watches Redis and decides. */
#include "master/control/degraded.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"
#include "master/control/pools.h"
#include "registry/redis/registry_redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Redis may be started together with us: it is not away before this. */
#define START_GRACE_MS 300
#define RETRY_BASE_MS 1000
#define RETRY_CAP_MS 30000

struct degraded {
        struct master *master;
        void (*on_decided)(void *arg, bool changed);
        void *arg;
        struct timer look;      /* at a refusal, or whether Redis can be used again */
        struct backoff backoff; /* of the latter, while it answers */
        int64_t started_at, up_at; /* mono ms */
        bool failed;            /* an operation did: looked at once it is known whether the connection did, too */
        unsigned returning;     /* operations of the return under way */
        int return_error;
};

static void log_decision(const struct mode *mode)
{
        unsigned long long generation = mode->generation;

        if (mode->degraded)
                log_warn("degraded.begins", "generation=%llu reason=%s", generation, LOG_Q(mode->reason));
        else
                log_info("degraded.ends", "generation=%llu", generation);
}

static void decide(struct degraded *degraded, bool on)
{
        struct mode *mode = &degraded->master->mode;
        bool changed = mode->degraded != on;

        mode->decided = true;
        mode->degraded = on;
        if (!on)
                degraded->up_at = clock_mono_ms();
        if (changed) {
                mode->generation++;
                mode->since = on ? mode->generation : mode->since;
                log_decision(mode);
        }
        degraded->on_decided(degraded->arg, changed);
}

static void begin(struct degraded *degraded, const char *why)
{
        snprintf(degraded->master->mode.reason, sizeof degraded->master->mode.reason, "%s", why);
        decide(degraded, true);
}

/* What Redis said, with the remedy. */
static void describe_refusal(struct degraded *degraded, int error)
{
        const struct master *master = degraded->master;
        const char *said = registry_reason(master->registry);

        snprintf(degraded->master->mode.reason, sizeof degraded->master->mode.reason, "Redis at %s refuses to work: %.120s%s",
                master->redis_url_masked, said[0] ? said : strerror(-error),
                error == -ENOSPC ? "; raise its maxmemory, or free memory there" : "");
}

static void on_returned(void *arg, int error)
{
        struct degraded *degraded = arg;

        if (error == -ECANCELED)
                return; /* this master ends */
        if (error < 0)
                degraded->return_error = error;
        if (--degraded->returning > 0 || !degraded->master->mode.degraded)
                return;
        if (degraded->return_error == 0) {
                decide(degraded, false);
                return;
        }
        if (degraded->return_error != -EAGAIN)
                describe_refusal(degraded, degraded->return_error);
        timer_once(&degraded->look, backoff_next(&degraded->backoff, arc4random()));
}

static void on_tried(void *arg, int error, const struct registry_reported *reported, size_t count)
{
        (void)reported;
        (void)count;
        on_returned(arg, error);
}

/* Nobody listens there. */
static void on_channel_tried(void *arg, int error)
{
        on_returned(arg, error == -ENOENT ? 0 : error);
}

/* What a worker will ask for: its rights, and keys of the right types. What is written is cleared next. */
static void try_as_worker(struct degraded *degraded, const char *pool_name)
{
        const struct master *master = degraded->master;
        struct registry_process nobody = { .process_id = id_new(), .master_id = master->master_id, .pool_name = pool_name,
                .host = master->host, .pid = getpid(), .started_at = clock_wall_ms() };
        int r;

        degraded->returning += 2;
        if ((r = registry_register(master->registry, &nobody, NULL, 0, on_tried, degraded)) < 0)
                on_returned(degraded, r);
        if ((r = registry_try_channel(master->registry, &nobody.process_id, on_channel_tried, degraded)) < 0)
                on_returned(degraded, r);
}

/* Nothing of what it has kept, or did late, is true any more. A full one says so when asked to write. */
static void begin_return(struct degraded *degraded)
{
        const struct master *master = degraded->master;
        int r;

        if (degraded->returning > 0)
                return;
        degraded->returning = 1;
        degraded->return_error = 0;
        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const char *pool_name = pools_at(master->pools, i)->config->pool_name;

                try_as_worker(degraded, pool_name);
                degraded->returning += 2;
                if ((r = registry_clear(master->registry, pool_name, on_returned, degraded)) < 0)
                        on_returned(degraded, r);
                if ((r = registry_pool_add(master->registry, pool_name, on_returned, degraded)) < 0)
                        on_returned(degraded, r);
        }
        on_returned(degraded, 0);
}

static void on_look(void *arg)
{
        struct degraded *degraded = arg;

        if (!degraded->master->registry_up)
                return; /* degraded_link_up looks again */
        if (degraded->master->mode.degraded) {
                begin_return(degraded);
        } else if (degraded->failed) {
                if (clock_mono_ms() - degraded->up_at > RETRY_CAP_MS)
                        backoff_reset(&degraded->backoff);
                decide(degraded, true);
                timer_once(&degraded->look, backoff_next(&degraded->backoff, arc4random()));
        }
        degraded->failed = false;
}

struct degraded *degraded_new(struct master *master, void (*on_decided)(void *arg, bool changed), void *arg)
{
        struct degraded *degraded = calloc(1, sizeof *degraded);

        if (!degraded)
                return NULL;
        *degraded = (struct degraded){ .master = master, .on_decided = on_decided, .arg = arg,
                .backoff = { .base_ms = RETRY_BASE_MS, .cap_ms = RETRY_CAP_MS }, .started_at = clock_mono_ms() };
        /* No other master's: what it was told is not for this one. Exact in JSON. */
        master->mode.generation = master->mode.since = ((uint64_t)arc4random() << 16) + 1;
        timer_init(&degraded->look, master->base, on_look, degraded);
        return degraded;
}

struct degraded *degraded_free(struct degraded *degraded)
{
        if (degraded)
                timer_stop(&degraded->look);
        free(degraded);
        return NULL;
}

void degraded_link_up(struct degraded *degraded)
{
        if (degraded->master->mode.degraded)
                begin_return(degraded);
        else
                decide(degraded, false);
}

void degraded_link_down(struct degraded *degraded, const char *why)
{
        bool early = !degraded->master->mode.decided && (clock_mono_ms() - degraded->started_at < START_GRACE_MS ||
                                            !degraded->master->synced);

        degraded->failed = false;
        if (strcmp(why, degraded->master->mode.reason) != 0)
                log_warn("registry.down", "url=%s why=%s", degraded->master->redis_url_masked, LOG_Q(why));
        if (!degraded->master->mode.degraded && !early)
                begin(degraded, why);
        else
                snprintf(degraded->master->mode.reason, sizeof degraded->master->mode.reason, "%s", why);
}

void degraded_failed(struct degraded *degraded, int error)
{
        if (degraded->master->mode.degraded || degraded->failed || error == -ECANCELED || !degraded->master->mode.decided)
                return;
        degraded->failed = true;
        describe_refusal(degraded, error);
        timer_once(&degraded->look, 0);
}

void degraded_refused(struct degraded *degraded, uint64_t generation, const char *why)
{
        if (degraded->master->mode.degraded || degraded->failed || !degraded->master->mode.decided || generation != degraded->master->mode.generation)
                return;
        degraded->failed = true;
        snprintf(degraded->master->mode.reason, sizeof degraded->master->mode.reason, "%s", why);
        timer_once(&degraded->look, 0);
}

void degraded_distrust(struct degraded *degraded)
{
        if (degraded->master->mode.degraded)
                return;
        begin(degraded, "what Redis has is older than what happened");
        if (degraded->master->registry_up)
                begin_return(degraded);
}
