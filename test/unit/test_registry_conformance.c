/* The scripts in Redis against the model in memory: the same random operations, then the same outcomes, the same published
 * messages and the same keys. Failing? CONFORMANCE_SEED=N repeats a run, CONFORMANCE_OPS=N changes its length. */
#include "test/sim/registry_memory.h"
#include "registry_harness.h"

#include <inttypes.h>

#define PROCESSES 10
#define AGENTS 30
#define SLOTS 3 /* of agents in one batch */
#define WATCHERS (PROCESSES + 1)

static const char *const pools[] = { POOL, "tester_pool" };

static struct harness h;
static struct harness watchers[2]; /* of pool:<name>:commands */
static struct registry_memory *memory;
static uint64_t random_state;
static unsigned step;
static int64_t model_time;
static struct worker {
        struct id process_id;
        unsigned pool, max_agents;
        uint64_t seen_redis, seen_memory; /* revisions */
} workers[PROCESSES];
static struct id agents[AGENTS];
static bool touched[2], named[2]; /* pool:<name>:exited is there; the pool is in `pools` */

/* What was published, in order per channel. */
static struct stream {
        unsigned count;
        uint64_t hash;
} wanted_commands[2], seen_commands[2], wanted_replies, seen_replies;

static uint64_t draw(uint64_t below)
{
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % below;
}

static void stream_add(struct stream *stream, const char *text)
{
        stream->count++;
        for (; *text; text++)
                stream->hash = (stream->hash ^ (unsigned char)*text) * 1099511628211U;
}

static void on_model_publish(void *arg, enum registry_channel channel, const struct id *to, const char *text)
{
        (void)arg;
        if (channel == REGISTRY_REPLIES) {
                ck_assert(id_equal(to, &h.master_id));
                stream_add(&wanted_replies, text);
                return;
        }
        for (unsigned i = 0; i < PROCESSES; i++)
                if (id_equal(to, &workers[i].process_id)) {
                        stream_add(&wanted_commands[workers[i].pool], text);
                        return;
                }
        ck_abort_msg("a command to a process that is gone");
}

static void on_reply_message(void *arg, const char *data, size_t len)
{
        (void)arg;
        (void)len;
        stream_add(&seen_replies, data);
}

static void on_command_message(void *arg, const char *data, size_t len)
{
        (void)len;
        stream_add(&seen_commands[(struct harness *)arg - watchers], data);
}

static void connect_one(struct harness *to, const char *channel, void (*on_message)(void *, const char *, size_t))
{
        const struct registry_events events = { on_harness_up, on_harness_down, on_message };
        const struct registry_config config = { .master_id = h.master_id, .channel = channel, .request_timeout_ms = 20000 };
        struct redis_url url = redis_fixture_url(&h.redis);

        to->base = h.base;
        to->registry = registry_new(h.base, &url, &config, &events, to);
        LOOP_UNTIL(h.base, to->ups == 1);
}

static void setup(void)
{
        const char *seed = getenv("CONFORMANCE_SEED");
        char channel[128];

        random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)clock_wall_ms() * 2654435761U + (uint64_t)getpid();
        random_state += !random_state;
        printf("CONFORMANCE_SEED=%" PRIu64 "\n", random_state);
        fflush(stdout);
        harness_init(&h);
        redis_fixture_start(&h.redis);
        snprintf(channel, sizeof channel, "master:%s:replies", ID_TEXT(&h.master_id));
        connect_one(&h, channel, on_reply_message);
        for (unsigned i = 0; i < 2; i++) {
                snprintf(channel, sizeof channel, "pool:%s:commands", pools[i]);
                connect_one(&watchers[i], channel, on_command_message);
        }
        memory = registry_memory_new(on_model_publish, NULL);
        for (unsigned i = 0; i < PROCESSES; i++)
                workers[i] = (struct worker){ .process_id = id_new(), .pool = (unsigned)draw(2), .max_agents = 1 + (unsigned)draw(4) };
        for (unsigned i = 0; i < AGENTS; i++)
                agents[i] = id_new();
}

static void teardown(void)
{
        registry_memory_free(memory);
        for (unsigned i = 0; i < 2; i++)
                registry_free(watchers[i].registry);
        harness_done(&h);
}

/* --- keys -------------------------------------------------------------------------------------------------------- */
static void same(long long a, long long b, const char *a_is, const char *b_is)
{
        ck_assert_msg(a == b, "step %u: %s is %lld, %s is %lld", step, a_is, a, b_is, b);
}
#define STRINGIZE(...) #__VA_ARGS__
#define SAME(a, b) same((long long)(a), (long long)(b), STRINGIZE(a), STRINGIZE(b))

static void compare_process(const struct memory_process *process, const char *pool, long long *keys)
{
        char id[ID_TEXT_SIZE];
        const struct memory_agent *agent;
        const struct memory_end *end;
        unsigned ends = 0;

        id_format(&process->process_id, id);
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s status", id), worker_state_name(process->state));
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s pool_name", id), pool);
        SAME(REDIS_INTEGER(&h.redis, "HGET process:%s agent_count", id), process->agent_count);
        SAME(REDIS_INTEGER(&h.redis, "SCARD process:%s:agents", id), process->agent_count);
        TAILQ_FOREACH(agent, &process->agents, link)
                SAME(REDIS_INTEGER(&h.redis, "SISMEMBER process:%s:agents %s", id, ID_TEXT(&agent->agent_id)), 1);
        TAILQ_FOREACH(end, &process->ended, link) {
                ends++;
                ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s:ended %s:%llu", id, ID_TEXT(&end->agent_id),
                                         (unsigned long long)end->epoch), end->reply);
        }
        SAME(REDIS_INTEGER(&h.redis, "HLEN process:%s:ended", id), ends);
        *keys += 1 + (process->agent_count > 0) + (ends > 0);
        if (process->state == WORKER_READY)
                SAME(REDIS_INTEGER(&h.redis, "ZSCORE pool:%s:processes %s", pool, id),
                        (long long)process->max_agents - process->agent_count);
        if (process->state == WORKER_EXITED)
                return;
        SAME(REDIS_INTEGER(&h.redis, "HGET process:%s max_agents", id), process->max_agents);
        SAME(REDIS_INTEGER(&h.redis, "HGET process:%s rss_bytes", id), process->rss_bytes);
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s master_id", id), ID_TEXT(&process->master_id));
}

static void compare_agent(const struct memory_agent *agent)
{
        char id[ID_TEXT_SIZE];

        id_format(&agent->agent_id, id);
        SAME(REDIS_INTEGER(&h.redis, "HGET agent:%s epoch", id), agent->epoch);
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET agent:%s process_id", id), ID_TEXT(&agent->process->process_id));
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET agent:%s status", id), agent_state_name(agent->state));
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET agent:%s command", id), agent->command);
        SAME(REDIS_INTEGER(&h.redis, "HLEN agent:%s", id), 12);
}

/* In which pool a process is, also as a tombstone, which the model does not remember. */
static const char *pool_of(const struct id *process_id)
{
        return pools[REDIS_INTEGER(&h.redis, "ZSCORE pool:%s:exited %s", pools[1], ID_TEXT(process_id)) >= 0];
}

static void compare_pool(unsigned pool, long long *keys)
{
        unsigned ready = 0, live = 0, hosted = 0;
        const struct memory_process *process;

        for (process = registry_memory_first_process(memory); process; process = process->hh.next) {
                const char *name = pool_of(&process->process_id);

                for (unsigned i = 0; i < PROCESSES; i++)
                        if (id_equal(&workers[i].process_id, &process->process_id))
                                name = pools[workers[i].pool];
                if (name != pools[pool])
                        continue;
                compare_process(process, name, keys);
                ready += process->state == WORKER_READY;
                live += process->state != WORKER_EXITED;
                hosted += process->agent_count;
        }
        SAME(REDIS_INTEGER(&h.redis, "ZCARD pool:%s:processes", pools[pool]), ready);
        SAME(REDIS_INTEGER(&h.redis, "ZCARD pool:%s:heartbeats", pools[pool]), live);
        SAME(REDIS_INTEGER(&h.redis, "SCARD pool:%s:agents", pools[pool]), hosted);
        SAME(REDIS_INTEGER(&h.redis, "SISMEMBER pools %s", pools[pool]), named[pool]);
        *keys += (ready > 0) + (live > 0) + (hosted > 0) + touched[pool];
}

static void compare_everything(void)
{
        const struct memory_agent *agent;
        long long keys = named[0] || named[1];

        for (unsigned i = 0; i < 2; i++)
                compare_pool(i, &keys);
        for (agent = registry_memory_first_agent(memory); agent; agent = agent->hh.next, keys++)
                compare_agent(agent);
        SAME(REDIS_INTEGER(&h.redis, "DBSIZE"), keys);
        for (unsigned i = 0; i < 2; i++) {
                LOOP_UNTIL(h.base, seen_commands[i].count >= wanted_commands[i].count);
                SAME(seen_commands[i].count, wanted_commands[i].count);
                SAME(seen_commands[i].hash, wanted_commands[i].hash);
        }
        LOOP_UNTIL(h.base, seen_replies.count >= wanted_replies.count);
        SAME(seen_replies.count, wanted_replies.count);
        SAME(seen_replies.hash, wanted_replies.hash);
}

/* --- operations -------------------------------------------------------------------------------------------------- */
static struct worker *any_worker(void)
{
        return &workers[draw(PROCESSES)];
}

/* Around the epoch that is placed, if any. */
static uint64_t any_epoch(const struct id *agent_id)
{
        const struct memory_agent *agent = registry_memory_agent(memory, agent_id);
        uint64_t epoch = agent ? agent->epoch : 1 + draw(5);

        switch (draw(6)) {
        case 0:
                return epoch + 1;
        case 1:
                return epoch > 1 ? epoch - 1 : 1;
        default:
                return epoch;
        }
}

/* Often where the agent is placed, so that operations succeed. */
static const struct id *any_place(const struct id *agent_id)
{
        const struct memory_agent *agent = registry_memory_agent(memory, agent_id);

        return agent && draw(4) ? &agent->process->process_id : &any_worker()->process_id;
}

static void do_reserve(void)
{
        enum pool_placement placement = draw(2) ? POOL_PACK : POOL_SPREAD;
        struct registry_reservation items[SLOTS];
        size_t count = 1 + draw(SLOTS);
        unsigned pool = (unsigned)draw(2);

        for (size_t i = 0; i < count; i++) {
                const struct id *agent_id = &agents[draw(AGENTS / 2) * 2 + pool]; /* an agent never changes its pool */

                items[i] = harness_reservation(agent_id, any_epoch(agent_id));
        }
        ck_assert_int_eq(harness_reserve(&h, pools[pool], placement, items, count), 0);
        SAME(h.count, count);
        for (size_t i = 0; i < count; i++) {
                struct id process_id = { 0 };

                SAME(h.placed[i].result, registry_memory_reserve(memory, pools[pool], placement, &items[i], &process_id));
                ck_assert_msg(id_equal(&h.placed[i].process_id, &process_id), "step %u: elsewhere", step);
        }
}

static void do_send(void)
{
        const struct id *agent_id = &agents[draw(AGENTS)];
        enum agent_state state = draw(2) ? AGENT_STOPPING : AGENT_STARTING;
        const char *command = draw(2) ? "{\"type\":\"terminate\"}" : "{\"type\":\"terminate\",\"again\":true}";
        const struct memory_agent *agent = registry_memory_agent(memory, agent_id);
        uint64_t epoch = any_epoch(agent_id);
        unsigned pool = 0;
        int r;

        for (unsigned i = 0; agent && i < PROCESSES; i++)
                if (id_equal(&agent->process->process_id, &workers[i].process_id))
                        pool = workers[i].pool;
        HARNESS_WAIT(&h, registry_send(h.registry, pools[pool], agent_id, epoch, state, command, on_harness_done, &h));
        r = registry_memory_send(memory, agent_id, epoch, state, command);
        SAME(h.error, r);
}

static void do_release(void)
{
        const struct id *agent_id = &agents[draw(AGENTS)];
        struct id process_id = draw(3) ? *any_place(agent_id) : (struct id){ 0 };
        uint64_t epoch = any_epoch(agent_id);

        SAME(harness_release(&h, agent_id, epoch, &process_id),
                registry_memory_release(memory, agent_id, epoch, &process_id));
}

static void do_report(void)
{
        struct registry_report items[SLOTS];
        size_t count = 1 + draw(SLOTS);
        struct id process_id;
        int r, first;

        for (size_t i = 0; i < count; i++) {
                const struct id *agent_id = &agents[draw(AGENTS)];
                enum reply_type type = draw(3) ? REPLY_SPAWNED : draw(2) ? REPLY_EXITED : REPLY_SPAWN_FAILED;

                items[i] = (struct registry_report){ .agent_id = *agent_id, .master_id = h.master_id,
                        .epoch = any_epoch(agent_id), .type = type, .reply = draw(2) ? "{\"a\":1}" : "{\"b\":2}" };
                if (i == 0)
                        process_id = *any_place(agent_id);
        }
        r = harness_report(&h, &process_id, items, count);
        for (size_t i = 0; i < count; i++) {
                first = registry_memory_report(memory, &process_id, &items[i]);
                SAME(h.reported[i].result, first);
                if (r)
                        SAME(r, first);
        }
}

static void do_register(void)
{
        struct worker *worker = any_worker();
        struct registry_process process = harness_process(&h, &worker->process_id, worker->max_agents);
        struct registry_agent hosted[SLOTS];
        size_t count = draw(SLOTS + 1);
        int results[SLOTS], r, expected;

        process.pool_name = pools[worker->pool];
        process.continues = draw(4) == 0;
        process.more = draw(4) == 0;
        for (size_t i = 0; i < count; i++) {
                hosted[i].agent_id = agents[draw(AGENTS / 2) * 2 + worker->pool];
                hosted[i].epoch = any_epoch(&hosted[i].agent_id);
                hosted[i].command = harness_spawn_command(&hosted[i].agent_id, hosted[i].epoch, process.pool_name);
                hosted[i].state = (enum agent_state[]){ AGENT_STARTING, AGENT_IDLE, AGENT_STOPPING }[draw(3)];
        }
        r = harness_register(&h, &process, hosted, count);
        expected = registry_memory_register(memory, &process, hosted, count, model_time, results);
        SAME(r, expected);
        for (size_t i = 0; r == 0 && i < count; i++)
                SAME(h.reported[i].result, results[i]);
        named[worker->pool] |= r == 0;
}

static int compare_listed(const void *a, const void *b)
{
        return memcmp(a, b, sizeof(struct id));
}

static void do_heartbeat(void)
{
        struct worker *worker = any_worker();
        struct registry_listed_agent expected[AGENTS];
        struct registry_beat beat = { .rss_bytes = draw(1U << 30), .cpu_ms = step };
        struct registry_listing listing;
        bool fresh = draw(4) == 0;

        beat.revision = fresh ? 0 : worker->seen_redis;
        harness_heartbeat(&h, &worker->process_id, &beat);
        beat.revision = fresh ? 0 : worker->seen_memory;
        registry_memory_heartbeat(memory, &worker->process_id, &beat, model_time, &listing);
        SAME(h.listing.result, listing.result);
        SAME(h.listing.changed, listing.changed);
        SAME(h.listing.count, listing.count);
        if (listing.changed) {
                memcpy(expected, listing.agents, listing.count * sizeof expected[0]);
                qsort(expected, listing.count, sizeof expected[0], compare_listed);
                qsort(h.listed, listing.count, sizeof expected[0], compare_listed);
        }
        for (size_t i = 0; listing.changed && i < listing.count; i++) {
                ck_assert(id_equal(&expected[i].agent_id, &h.listed[i].agent_id));
                SAME(expected[i].epoch, h.listed[i].epoch);
                ck_assert_pstr_eq(expected[i].command, h.listed[i].command);
        }
        worker->seen_redis = h.listing.revision;
        worker->seen_memory = listing.revision;
}

static void do_drain(void)
{
        const struct id *process_id = &any_worker()->process_id;
        bool draining = draw(2);

        SAME(harness_drain(&h, process_id, draining), registry_memory_drain(memory, process_id, draining));
}

/* Most reaped workers make room for a new one; some go on writing. */
static void do_reap(void)
{
        struct worker *worker = any_worker();

        SAME(harness_reap(&h, pools[worker->pool], &worker->process_id), registry_memory_reap(memory, &worker->process_id));
        touched[worker->pool] = true;
        if (draw(4))
                *worker = (struct worker){ .process_id = id_new(), .pool = (unsigned)draw(2), .max_agents = 1 + (unsigned)draw(4) };
}

static void do_sweep(void)
{
        struct registry_confirm confirms[SLOTS];
        const struct memory_process *process;
        size_t count = 0, live = 0;
        unsigned pool = (unsigned)draw(2);

        for (unsigned i = 0; i < PROCESSES && count < SLOTS; i++) {
                const struct memory_end *end;

                process = registry_memory_process(memory, &workers[i].process_id);
                if (process && (end = TAILQ_FIRST(&process->ended)))
                        confirms[count++] = (struct registry_confirm){ process->process_id, end->agent_id,
                                end->epoch + (draw(4) == 0) };
        }
        ck_assert_int_eq(harness_sweep(&h, pools[pool], confirms, count), 0);
        for (size_t i = 0; i < count; i++)
                registry_memory_confirm(memory, &confirms[i].process_id, &confirms[i].agent_id, confirms[i].epoch);
        for (size_t i = 0; i < h.count; i++) {
                struct registry_swept swept;

                SAME(registry_memory_sweep(memory, &h.swept[i].process_id, model_time, &swept), 0);
                SAME(h.swept[i].agent_count, swept.agent_count);
                SAME(h.swept[i].rss_bytes, swept.rss_bytes);
                SAME(h.swept[i].cpu_ms, swept.cpu_ms);
                SAME(h.swept[i].ended_count, swept.ended_count);
                ck_assert(id_equal(&h.swept[i].master_id, &swept.master_id));
        }
        for (unsigned i = 0; i < PROCESSES; i++) {
                process = registry_memory_process(memory, &workers[i].process_id);
                live += process && process->state != WORKER_EXITED && workers[i].pool == pool;
        }
        SAME(h.count, live);
}

static void do_flush(void)
{
        freeReplyObject(redis_fixture_command(&h.redis, "FLUSHALL"));
        registry_memory_flush(memory);
        memset(touched, 0, sizeof touched);
        memset(named, 0, sizeof named);
}

static void do_one(void)
{
        uint64_t choice = draw(1000);

        model_time++;
        if (choice < 300)
                do_reserve();
        else if (choice < 370)
                do_send();
        else if (choice < 420)
                do_release();
        else if (choice < 700)
                do_report();
        else if (choice < 790)
                do_register();
        else if (choice < 920)
                do_heartbeat();
        else if (choice < 940)
                do_drain();
        else if (choice < 960)
                do_reap();
        else if (choice < 996)
                do_sweep();
        else if (choice < 998)
                freeReplyObject(redis_fixture_command(&h.redis, "SCRIPT FLUSH"));
        else
                do_flush();
}

START_TEST(test_redis_does_what_the_model_does_when_operations_are_random)
{
        const char *count = getenv("CONFORMANCE_OPS");
        unsigned steps = count ? (unsigned)atoi(count) : getenv("VALGRIND") ? 2000 : 50000;

        for (step = 1; step <= steps; step++) {
                do_one();
                if (step % 250 == 0 || step == steps)
                        compare_everything();
        }
        ck_assert_uint_eq(h.downs, 0);
        ck_assert_uint_gt(wanted_replies.count, steps / 100);
        ck_assert_uint_gt(wanted_commands[0].count, steps / 100);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("registry_conformance");
        TCase *tcase = tcase_create("random");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, 600);
        tcase_add_test(tcase, test_redis_does_what_the_model_does_when_operations_are_random);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
