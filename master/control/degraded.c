#include "master/control/degraded.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/log.h"
#include "master/control/pools.h"
#include "master/control/workers.h"
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
        struct event *look;     /* at a refusal, or whether Redis can be used again */
        struct backoff backoff; /* of the latter, while it answers */
        int64_t started_at, up_at; /* mono ms */
        uint64_t generation, since;
        bool decided, on;
        bool failed;            /* an operation did: looked at once it is known whether the connection did, too */
        unsigned returning;     /* operations of the return under way */
        int return_error;
        char reason[256];
};

static void log_decision(const struct degraded *degraded)
{
        unsigned long long generation = degraded->generation;

        if (degraded->on)
                log_warn("degraded.begins", "generation=%llu reason=%s", generation, LOG_Q(degraded->reason));
        else
                log_info("degraded.ends", "generation=%llu", generation);
}

/* The workers first: what the rules send them from now on comes after it. */
static void decide(struct degraded *degraded, bool on)
{
        bool change = degraded->on != on;

        degraded->decided = true;
        degraded->on = on;
        if (!on)
                degraded->up_at = clock_mono_ms();
        if (change) {
                degraded->generation++;
                degraded->since = on ? degraded->generation : degraded->since;
                log_decision(degraded);
                workers_tell_registry(degraded->master->workers);
        }
        pools_use_registry(degraded->master->pools, !on);
}

static void begin(struct degraded *degraded, const char *why)
{
        snprintf(degraded->reason, sizeof degraded->reason, "%s", why);
        decide(degraded, true);
}

static void look_in(struct degraded *degraded, uint32_t ms)
{
        struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

        event_add(degraded->look, &tv);
}

/* What Redis said, with the remedy. */
static void describe_refusal(struct degraded *degraded, int error)
{
        const struct master *master = degraded->master;
        const char *said = registry_reason(master->registry);

        snprintf(degraded->reason, sizeof degraded->reason, "Redis at %s refuses to work: %.120s%s",
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
        if (--degraded->returning > 0 || !degraded->on)
                return;
        if (degraded->return_error == 0) {
                decide(degraded, false);
                return;
        }
        if (degraded->return_error != -EAGAIN)
                describe_refusal(degraded, degraded->return_error);
        look_in(degraded, backoff_next(&degraded->backoff, arc4random()));
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

static void on_look(evutil_socket_t fd, short what, void *arg)
{
        struct degraded *degraded = arg;

        (void)fd;
        (void)what;
        if (!degraded->master->registry_up)
                return; /* degraded_link_up looks again */
        if (degraded->on) {
                begin_return(degraded);
        } else if (degraded->failed) {
                if (clock_mono_ms() - degraded->up_at > RETRY_CAP_MS)
                        backoff_reset(&degraded->backoff);
                decide(degraded, true);
                look_in(degraded, backoff_next(&degraded->backoff, arc4random()));
        }
        degraded->failed = false;
}

struct degraded *degraded_new(struct master *master)
{
        struct degraded *degraded = calloc(1, sizeof *degraded);

        if (!degraded)
                return NULL;
        degraded->master = master;
        degraded->backoff = (struct backoff){ .base_ms = RETRY_BASE_MS, .cap_ms = RETRY_CAP_MS };
        degraded->started_at = clock_mono_ms();
        /* No other master's: what it was told is not for this one. Exact in JSON. */
        degraded->generation = degraded->since = ((uint64_t)arc4random() << 16) + 1;
        degraded->look = event_new(master->base, -1, 0, on_look, degraded);
        return degraded->look ? degraded : degraded_free(degraded);
}

struct degraded *degraded_free(struct degraded *degraded)
{
        if (degraded && degraded->look)
                event_free(degraded->look);
        free(degraded);
        return NULL;
}

void degraded_link_up(struct degraded *degraded)
{
        if (degraded->on)
                begin_return(degraded);
        else
                decide(degraded, false);
}

void degraded_link_down(struct degraded *degraded, const char *why)
{
        bool early = !degraded->decided && (clock_mono_ms() - degraded->started_at < START_GRACE_MS ||
                                            !pools_are_synced(degraded->master->pools));

        degraded->failed = false;
        if (strcmp(why, degraded->reason) != 0)
                log_warn("registry.down", "url=%s why=%s", degraded->master->redis_url_masked, LOG_Q(why));
        if (!degraded->on && !early)
                begin(degraded, why);
        else
                snprintf(degraded->reason, sizeof degraded->reason, "%s", why);
}

void degraded_failed(struct degraded *degraded, int error)
{
        if (degraded->on || degraded->failed || error == -ECANCELED || !degraded->decided)
                return;
        degraded->failed = true;
        describe_refusal(degraded, error);
        look_in(degraded, 0);
}

void degraded_refused(struct degraded *degraded, uint64_t generation, const char *why)
{
        if (degraded->on || degraded->failed || !degraded->decided || generation != degraded->generation)
                return;
        degraded->failed = true;
        snprintf(degraded->reason, sizeof degraded->reason, "%s", why);
        look_in(degraded, 0);
}

void degraded_distrust(struct degraded *degraded)
{
        if (degraded->on)
                return;
        begin(degraded, "what Redis has is older than what happened");
        if (degraded->master->registry_up)
                begin_return(degraded);
}

bool degraded_decided(const struct degraded *degraded)
{
        return degraded->decided;
}

const char *degraded_reason(const struct degraded *degraded)
{
        return degraded->on ? degraded->reason : NULL;
}

uint64_t degraded_generation(const struct degraded *degraded)
{
        return degraded->generation;
}

uint64_t degraded_since(const struct degraded *degraded)
{
        return degraded->since;
}
