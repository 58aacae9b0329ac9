/* A registry on a private redis-server whose operations a test waits for: each returns the callback's error. */
#ifndef TEST_REGISTRY_HARNESS_H
#define TEST_REGISTRY_HARNESS_H
#include "redis_fixture.h"
#include "registry/redis/registry_redis.h"

#include <errno.h>

#define POOL "developer_pool"
#define UNUSED __attribute__((unused))
#define BATCH_MAX 2000

struct harness {
        struct event_base *base;
        struct redis_fixture redis;
        struct registry *registry;
        struct id master_id;
        unsigned ups, downs, messages;
        int down_error;
        char down_why[512];
        char message[1024]; /* the last one */
        bool answered;
        int error;
        struct registry_placed placed[BATCH_MAX];
        struct registry_reported reported[BATCH_MAX];
        size_t count;
        struct registry_listing listing;
        struct registry_listed_agent listed[64];
        char commands[64][1024];
        struct registry_swept swept[64];
        char ended[256][512];
        const char *ends[256];
};

static void on_harness_up(void *arg)
{
        ((struct harness *)arg)->ups++;
}

static void on_harness_down(void *arg, int error, const char *why)
{
        struct harness *h = arg;

        h->downs++;
        h->down_error = error;
        snprintf(h->down_why, sizeof h->down_why, "%s", why);
}

static void on_harness_message(void *arg, const char *data, size_t len)
{
        struct harness *h = arg;

        ck_assert_uint_eq(strlen(data), len);
        h->messages++;
        snprintf(h->message, sizeof h->message, "%s", data);
}

UNUSED static struct registry *harness_connect_as(struct harness *h, const struct redis_url *url,
        const struct registry_config *config)
{
        static const struct registry_events events = { on_harness_up, on_harness_down, on_harness_message };

        h->registry = registry_new(h->base, url, config, &events, h);
        ck_assert_ptr_nonnull(h->registry);
        return h->registry;
}

/* As a master, or with another channel. */
UNUSED static void harness_connect(struct harness *h, const char *channel)
{
        struct redis_url url = redis_fixture_url(&h->redis);
        char own[64];
        struct registry_config config = { .master_id = h->master_id, .refuse_eviction = true,
                .request_timeout_ms = 300, .ping_interval_ms = 100, .channel = channel ? channel : own };

        snprintf(own, sizeof own, "master:%s:replies", ID_TEXT(&h->master_id));
        harness_connect_as(h, &url, &config);
}

UNUSED static void harness_init(struct harness *h)
{
        memset(h, 0, sizeof *h);
        h->base = event_base_new();
        h->master_id = id_new();
        redis_fixture_init(&h->redis);
}

UNUSED static void harness_begin(struct harness *h)
{
        redis_fixture_start(&h->redis);
        harness_connect(h, NULL);
        LOOP_UNTIL(h->base, h->ups == 1);
}

UNUSED static void harness_done(struct harness *h)
{
        h->registry = registry_free(h->registry);
        redis_fixture_done(&h->redis);
        event_base_free(h->base);
}

/* --- operations ------------------------------------------------------------------------------------------------- */
#define HARNESS_WAIT(h, call)                                                                                \
        do {                                                                                                 \
                int r_;                                                                                      \
                (h)->answered = false;                                                                       \
                r_ = (call);                                                                                 \
                ck_assert_msg(r_ == 0, #call ": %s", strerror(-r_));                                         \
                LOOP_UNTIL((h)->base, (h)->answered);                                                        \
        } while (0)

static void harness_answer(struct harness *h, int error)
{
        ck_assert(!h->answered);
        h->answered = true;
        h->error = error;
}

UNUSED static void on_harness_done(void *arg, int error)
{
        harness_answer(arg, error);
}

UNUSED static void on_harness_placed(void *arg, int error, const struct registry_placed *placed, size_t count)
{
        struct harness *h = arg;

        harness_answer(h, error);
        h->count = count;
        memcpy(h->placed, placed, count * sizeof *placed);
}

UNUSED static void on_harness_reported(void *arg, int error, const struct registry_reported *reported, size_t count)
{
        struct harness *h = arg;

        harness_answer(h, error);
        h->count = count;
        memcpy(h->reported, reported, count * sizeof *reported);
}

UNUSED static void on_harness_listing(void *arg, const struct registry_listing *listing)
{
        struct harness *h = arg;

        harness_answer(h, listing->result);
        h->listing = *listing;
        h->listing.agents = h->listed;
        ck_assert_uint_le(listing->count, 64);
        for (size_t i = 0; i < listing->count; i++) {
                h->listed[i] = listing->agents[i];
                if (!listing->agents[i].command)
                        continue;
                snprintf(h->commands[i], sizeof h->commands[i], "%s", listing->agents[i].command);
                h->listed[i].command = h->commands[i];
        }
}

UNUSED static void on_harness_swept(void *arg, int error, const struct registry_swept *swept, size_t count)
{
        struct harness *h = arg;
        size_t n = 0;

        harness_answer(h, error);
        ck_assert_uint_le(count, 64);
        h->count = count;
        for (size_t i = 0; i < count; i++) {
                h->swept[i] = swept[i];
                h->swept[i].ended = h->ends + n;
                for (size_t k = 0; k < swept[i].ended_count; k++, n++) {
                        ck_assert_uint_lt(n, 256);
                        snprintf(h->ended[n], sizeof h->ended[n], "%s", swept[i].ended[k]);
                        h->ends[n] = h->ended[n];
                }
        }
}

UNUSED static int harness_reserve(struct harness *h, const char *pool, enum pool_placement placement,
        const struct registry_reservation *items, size_t count)
{
        HARNESS_WAIT(h, registry_reserve(h->registry, pool, placement, items, count, on_harness_placed, h));
        return h->error;
}

UNUSED static int harness_send(struct harness *h, const struct id *agent_id, uint64_t epoch, enum agent_state state,
        const char *command)
{
        HARNESS_WAIT(h, registry_send(h->registry, POOL, agent_id, epoch, state, command, on_harness_done, h));
        return h->error;
}

UNUSED static int harness_release(struct harness *h, const struct id *agent_id, uint64_t epoch, const struct id *process_id)
{
        HARNESS_WAIT(h, registry_release(h->registry, POOL, agent_id, epoch, process_id, on_harness_done, h));
        return h->error;
}

UNUSED static int harness_drain(struct harness *h, const struct id *process_id, bool draining)
{
        if (draining)
                HARNESS_WAIT(h, registry_drain(h->registry, process_id, on_harness_done, h));
        else
                HARNESS_WAIT(h, registry_undrain(h->registry, process_id, on_harness_done, h));
        return h->error;
}

UNUSED static int harness_reap(struct harness *h, const char *pool, const struct id *process_id)
{
        HARNESS_WAIT(h, registry_reap(h->registry, pool, process_id, on_harness_done, h));
        return h->error;
}

UNUSED static int harness_clear(struct harness *h, const char *pool)
{
        HARNESS_WAIT(h, registry_clear(h->registry, pool, on_harness_done, h));
        return h->error;
}

UNUSED static int harness_register(struct harness *h, const struct registry_process *process,
        const struct registry_agent *agents, size_t count)
{
        HARNESS_WAIT(h, registry_register(h->registry, process, agents, count, on_harness_reported, h));
        return h->error;
}

UNUSED static int harness_report(struct harness *h, const struct id *process_id, const struct registry_report *items,
        size_t count)
{
        HARNESS_WAIT(h, registry_report(h->registry, process_id, items, count, on_harness_reported, h));
        return h->error;
}

UNUSED static int harness_heartbeat(struct harness *h, const struct id *process_id, const struct registry_beat *beat)
{
        HARNESS_WAIT(h, registry_heartbeat(h->registry, process_id, beat, on_harness_listing, h));
        return h->error;
}

UNUSED static int harness_sweep(struct harness *h, const char *pool, const struct registry_confirm *confirms, size_t count)
{
        HARNESS_WAIT(h, registry_sweep(h->registry, pool, confirms, count, on_harness_swept, h));
        return h->error;
}

/* --- records ---------------------------------------------------------------------------------------------------- */
/* A spawn envelope in a buffer of its own kind: valid until the next sixteen. */
UNUSED static const char *harness_spawn_command(const struct id *agent_id, uint64_t epoch, const char *pool)
{
        static char *kept[16];
        static unsigned next;
        struct command command = { .type = COMMAND_SPAWN, .command_id = id_new(), .agent_id = *agent_id,
                .master_id = id_new(), .epoch = epoch, .pool_name = (char *)(uintptr_t)pool, .project_id = *agent_id,
                .role_type = (char[]){ "developer" }, .start_reason = (char[]){ "spawn" }, .heartbeat_interval = 30,
                .max_idle_time = 300, .created_at = 1700000000123, .restarts = 3 };
        unsigned slot = next++ % 16;

        free(kept[slot]);
        kept[slot] = command_encode(&command);
        ck_assert_ptr_nonnull(kept[slot]);
        return kept[slot];
}

UNUSED static struct registry_reservation harness_reservation(const struct id *agent_id, uint64_t epoch)
{
        return (struct registry_reservation){ .agent_id = *agent_id, .project_id = *agent_id, .epoch = epoch,
                .command = harness_spawn_command(agent_id, epoch, POOL), .role_type = "developer",
                .created_at = 1700000000123, .heartbeat_interval = 30, .max_idle_time = 300, .restarts = 3 };
}

UNUSED static struct registry_process harness_process(const struct harness *h, const struct id *process_id,
        unsigned max_agents)
{
        return (struct registry_process){ .process_id = *process_id, .master_id = h->master_id, .pool_name = POOL,
                .host = "here", .pid = 4711, .max_agents = max_agents, .started_at = 1700000000000 };
}
#endif
