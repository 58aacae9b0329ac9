#include "registry_harness.h"

#include <inttypes.h>

static struct harness h;
static struct id workers[3]; /* in the order of their ids */

static int compare_ids(const void *a, const void *b)
{
        return memcmp(a, b, sizeof(struct id));
}

static void setup(void)
{
        harness_init(&h);
        for (unsigned i = 0; i < 3; i++)
                workers[i] = id_new();
        qsort(workers, 3, sizeof workers[0], compare_ids);
}

static void teardown(void)
{
        harness_done(&h);
}

static void add_worker(unsigned i, unsigned max_agents)
{
        struct registry_process process = harness_process(&h, &workers[i], max_agents);

        ck_assert_int_eq(harness_register(&h, &process, NULL, 0), 0);
}

/* Places one agent; its result. */
static int place(const struct id *agent_id, uint64_t epoch)
{
        struct registry_reservation item = harness_reservation(agent_id, epoch);

        ck_assert_int_eq(harness_reserve(&h, POOL, POOL_PACK, &item, 1), 0);
        ck_assert(id_equal(&h.placed[0].agent_id, agent_id));
        ck_assert_uint_eq(h.placed[0].epoch, epoch);
        return h.placed[0].result;
}

static int report(unsigned worker, const struct id *agent_id, uint64_t epoch, enum reply_type type)
{
        struct registry_report item = { .agent_id = *agent_id, .master_id = h.master_id, .epoch = epoch, .type = type,
                .reply = type == REPLY_SPAWNED ? "{\"spawned\":1}" : "{\"exited\":1}" };
        int r = harness_report(&h, &workers[worker], &item, 1);

        return r ? r : h.reported[0].result;
}

static int free_slots(unsigned worker)
{
        return (int)REDIS_INTEGER(&h.redis, "ZSCORE pool:" POOL ":processes %s", ID_TEXT(&workers[worker]));
}

static const char *agent_field(const struct id *agent_id, const char *field)
{
        return REDIS_TEXT(&h.redis, "HGET agent:%s %s", ID_TEXT(agent_id), field);
}

START_TEST(test_writes_every_field_when_an_agent_is_placed)
{
        struct id agent = id_new();
        struct registry_reservation item = harness_reservation(&agent, 7);

        harness_begin(&h);
        add_worker(0, 10);
        ck_assert_int_eq(harness_reserve(&h, POOL, POOL_PACK, &item, 1), 0);
        ck_assert(id_equal(&h.placed[0].process_id, &workers[0]));
        ck_assert_str_eq(agent_field(&agent, "process_id"), ID_TEXT(&workers[0]));
        ck_assert_str_eq(agent_field(&agent, "pool_name"), POOL);
        ck_assert_str_eq(agent_field(&agent, "role_type"), "developer");
        ck_assert_str_eq(agent_field(&agent, "project_id"), ID_TEXT(&agent));
        ck_assert_str_eq(agent_field(&agent, "status"), "starting");
        ck_assert_str_eq(agent_field(&agent, "epoch"), "7");
        ck_assert_str_eq(agent_field(&agent, "restarts"), "3");
        ck_assert_str_eq(agent_field(&agent, "created_at"), "1700000000123");
        ck_assert_str_eq(agent_field(&agent, "heartbeat_interval"), "30");
        ck_assert_str_eq(agent_field(&agent, "max_idle_time"), "300");
        ck_assert_str_eq(agent_field(&agent, "command"), item.command);
        ck_assert_int_gt(atoll(agent_field(&agent, "updated_at")), 1700000000123);
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s host", ID_TEXT(&workers[0])), "here");
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s status", ID_TEXT(&workers[0])), "ready");
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s version", ID_TEXT(&workers[0])), AGENTPOOL_VERSION);
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s started_at", ID_TEXT(&workers[0])), "1700000000000");
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "HGET process:%s pid", ID_TEXT(&workers[0])), 4711);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "HGET process:%s agent_count", ID_TEXT(&workers[0])), 1);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "SISMEMBER pools " POOL), 1);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "SISMEMBER pool:" POOL ":agents %s", ID_TEXT(&agent)), 1);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "SISMEMBER process:%s:agents %s", ID_TEXT(&workers[0]), ID_TEXT(&agent)), 1);
        ck_assert_int_eq(free_slots(0), 9);
}
END_TEST

START_TEST(test_fills_workers_in_the_pools_order_when_placing_a_batch)
{
        struct registry_reservation items[10];
        unsigned counts[3] = { 0 };
        struct id agents[10];

        harness_begin(&h);
        for (unsigned i = 0; i < 3; i++)
                add_worker(i, 3);
        for (unsigned i = 0; i < 10; i++) {
                agents[i] = id_new();
                items[i] = harness_reservation(&agents[i], 1);
        }
        ck_assert_int_eq(harness_reserve(&h, POOL, _i ? POOL_SPREAD : POOL_PACK, items, 4), 0);
        for (unsigned i = 0; i < 4; i++)
                for (unsigned k = 0; k < 3; k++)
                        counts[k] += id_equal(&h.placed[i].process_id, &workers[k]);
        ck_assert_uint_eq(counts[0], _i ? 1 : 3);
        ck_assert_uint_eq(counts[1], 1);
        ck_assert_uint_eq(counts[2], _i ? 2 : 0);
        ck_assert_int_eq(harness_reserve(&h, POOL, POOL_PACK, items, 10), 0);
        for (unsigned i = 0; i < 9; i++)
                ck_assert_int_eq(h.placed[i].result, 0);
        ck_assert_int_eq(h.placed[9].result, -ENOSPC);
        ck_assert_str_eq(agent_field(&agents[9], "status"), "(nil)");
        for (unsigned i = 0; i < 3; i++)
                ck_assert_int_eq(free_slots(i), 0);
        ck_assert_int_eq(harness_reserve(&h, "no_such_pool", POOL_PACK, items + 9, 1), 0);
        ck_assert_int_eq(h.placed[0].result, -ENOSPC);
}
END_TEST

START_TEST(test_publishes_and_keeps_the_place_when_a_reservation_is_repeated)
{
        char channel[64];
        struct id agent = id_new();
        struct registry *master;

        harness_begin(&h);
        add_worker(1, 2);
        snprintf(channel, sizeof channel, "process:%s:commands", ID_TEXT(&workers[1]));
        master = h.registry;
        harness_connect(&h, channel);
        LOOP_UNTIL(h.base, h.ups == 2);
        ck_assert_int_eq(place(&agent, 1), 0);
        LOOP_UNTIL(h.base, h.messages == 1);
        add_worker(0, 1); /* fuller, so a new agent would go there */
        ck_assert_int_eq(place(&agent, 1), 0);
        ck_assert(id_equal(&h.placed[0].process_id, &workers[1]));
        LOOP_UNTIL(h.base, h.messages == 2);
        ck_assert_ptr_nonnull(strstr(h.message, ID_TEXT(&agent)));
        ck_assert_int_eq(free_slots(1), 1);
        ck_assert_int_eq(free_slots(0), 1);
        registry_free(master);
}
END_TEST

START_TEST(test_refuses_a_lower_epoch_when_a_higher_one_is_placed)
{
        struct id agent = id_new(), other = id_new();

        harness_begin(&h);
        add_worker(0, 2);
        ck_assert_int_eq(place(&agent, 5), 0);
        ck_assert_int_eq(place(&agent, 4), -ESTALE);
        ck_assert_int_eq(harness_send(&h, &agent, 4, AGENT_STOPPING, "{}"), -ESTALE);
        ck_assert_int_eq(harness_release(&h, &agent, 4, &workers[0]), -ESTALE);
        ck_assert_int_eq(report(0, &agent, 4, REPLY_SPAWNED), -ESTALE);
        ck_assert_int_eq(report(0, &agent, 4, REPLY_EXITED), -ESTALE);
        ck_assert_str_eq(agent_field(&agent, "epoch"), "5");
        ck_assert_str_eq(agent_field(&agent, "status"), "starting");
        ck_assert_int_eq(free_slots(0), 1);
        ck_assert_int_eq(harness_send(&h, &agent, 6, AGENT_STOPPING, "{}"), -ENOENT);
        ck_assert_int_eq(harness_send(&h, &other, 1, AGENT_STOPPING, "{}"), -ENOENT);
        ck_assert_int_eq(report(0, &other, 1, REPLY_SPAWNED), -ESTALE);
        ck_assert_int_eq(report(1, &agent, 5, REPLY_SPAWNED), -ENOENT);
        add_worker(1, 2);
        ck_assert_int_eq(report(1, &agent, 5, REPLY_SPAWNED), -ESTALE);
        ck_assert_int_eq(report(1, &agent, 5, REPLY_EXITED), -ESTALE);
        ck_assert_uint_eq(h.messages, 0);
}
END_TEST

START_TEST(test_moves_the_agent_when_a_higher_epoch_is_placed)
{
        struct id agent = id_new();

        harness_begin(&h);
        add_worker(0, 2);
        ck_assert_int_eq(place(&agent, 1), 0);
        ck_assert_int_eq(harness_drain(&h, &workers[0], true), 0);
        add_worker(1, 2);
        ck_assert_int_eq(place(&agent, 2), 0);
        ck_assert(id_equal(&h.placed[0].process_id, &workers[1]));
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "SCARD process:%s:agents", ID_TEXT(&workers[0])), 0);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "HGET process:%s agent_count", ID_TEXT(&workers[0])), 0);
        ck_assert_int_eq(free_slots(0), -1);
        ck_assert_int_eq(free_slots(1), 1);
        ck_assert_int_eq(harness_drain(&h, &workers[0], false), 0);
        ck_assert_int_eq(free_slots(0), 2);
        ck_assert_int_eq(harness_drain(&h, &workers[2], true), -ENOENT);
}
END_TEST

START_TEST(test_frees_the_slot_once_when_an_end_is_reported_twice)
{
        struct registry_confirm confirm = { .epoch = 1 };
        struct id agent = id_new();

        harness_begin(&h);
        add_worker(0, 2);
        ck_assert_int_eq(place(&agent, 1), 0);
        ck_assert_int_eq(report(0, &agent, 1, REPLY_SPAWNED), 0);
        ck_assert_str_eq(agent_field(&agent, "status"), "idle");
        LOOP_UNTIL(h.base, h.messages == 1);
        ck_assert_int_eq(report(0, &agent, 1, REPLY_EXITED), 0);
        LOOP_UNTIL(h.base, h.messages == 2);
        ck_assert_str_eq(h.message, "{\"exited\":1}");
        ck_assert_int_eq(report(0, &agent, 1, REPLY_EXITED), 0);
        ck_assert_int_eq(free_slots(0), 2);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "EXISTS agent:%s", ID_TEXT(&agent)), 0);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "EXISTS pool:" POOL ":agents"), 0);
        for (unsigned i = 0; i < 2; i++) { /* told until it is confirmed */
                ck_assert_int_eq(harness_sweep(&h, POOL, NULL, 0), 0);
                ck_assert_uint_eq(h.count, 1);
                ck_assert(id_equal(&h.swept[0].process_id, &workers[0]));
                ck_assert(id_equal(&h.swept[0].master_id, &h.master_id));
                ck_assert_uint_eq(h.swept[0].ended_count, 1);
                ck_assert_str_eq(h.swept[0].ended[0], "{\"exited\":1}");
        }
        confirm.process_id = workers[0];
        confirm.agent_id = agent;
        ck_assert_int_eq(harness_sweep(&h, POOL, &confirm, 1), 0);
        ck_assert_uint_eq(h.swept[0].ended_count, 0);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "EXISTS process:%s:ended", ID_TEXT(&workers[0])), 0);
}
END_TEST

/* One runs, the other does not: its slot is free again. */
START_TEST(test_writes_a_deleted_record_again_when_its_worker_registers)
{
        struct registry_beat beat = { .revision = 0 };
        struct id agents[2] = { id_new(), id_new() };
        struct registry_process process = harness_process(&h, &workers[0], 5);
        struct registry_agent hosted;

        harness_begin(&h);
        add_worker(0, 5);
        for (unsigned i = 0; i < 2; i++) {
                ck_assert_int_eq(place(&agents[i], 1), 0);
                REDIS_INTEGER(&h.redis, "DEL agent:%s", ID_TEXT(&agents[i]));
        }
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert_uint_eq(h.listing.count, 2);
        for (unsigned i = 0; i < 2; i++)
                ck_assert_uint_eq(h.listing.agents[i].epoch, 0);
        process.process_id = workers[0];
        hosted = (struct registry_agent){ agents[0], 1, harness_spawn_command(&agents[0], 1, POOL), AGENT_IDLE };
        ck_assert_int_eq(harness_register(&h, &process, &hosted, 1), 0);
        ck_assert_int_eq(h.reported[0].result, 0);
        ck_assert_str_eq(agent_field(&agents[0], "process_id"), ID_TEXT(&workers[0]));
        ck_assert_int_eq(free_slots(0), 4);
}
END_TEST

START_TEST(test_lists_what_is_placed_when_it_changed_since_the_last_heartbeat)
{
        struct registry_beat beat = { .rss_bytes = 123456789012, .cpu_ms = 42 };
        struct id agent = id_new();

        harness_begin(&h);
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), -ENOENT);
        add_worker(0, 2);
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert(h.listing.changed);
        ck_assert_uint_eq(h.listing.count, 0);
        beat.revision = h.listing.revision;
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert(!h.listing.changed);
        ck_assert_int_eq(place(&agent, 3), 0);
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert(h.listing.changed);
        ck_assert_uint_eq(h.listing.count, 1);
        ck_assert(id_equal(&h.listing.agents[0].agent_id, &agent));
        ck_assert_uint_eq(h.listing.agents[0].epoch, 3);
        ck_assert_str_eq(h.listing.agents[0].command, agent_field(&agent, "command"));
        ck_assert_int_eq(report(0, &agent, 3, REPLY_SPAWNED), 0);
        beat.revision = 0;
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert_uint_eq(h.listing.count, 1);
        ck_assert_ptr_null(h.listing.agents[0].command); /* the worker has said that it runs */
        beat.revision = h.listing.revision;
        ck_assert_int_eq(harness_send(&h, &agent, 3, AGENT_STOPPING, "{\"terminate\":1}"), 0);
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert_str_eq(h.listing.agents[0].command, "{\"terminate\":1}");
        beat.revision = h.listing.revision;
        ck_assert_int_eq(harness_send(&h, &agent, 3, AGENT_STOPPING, "{\"terminate\":1}"), 0);
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert(!h.listing.changed);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "HGET process:%s rss_bytes", ID_TEXT(&workers[0])), 123456789012);
        ck_assert_int_eq(harness_sweep(&h, POOL, NULL, 0), 0);
        ck_assert_uint_eq(h.swept[0].rss_bytes, 123456789012);
        ck_assert_uint_eq(h.swept[0].cpu_ms, 42);
        ck_assert_uint_eq(h.swept[0].agent_count, 1);
        ck_assert_int_lt(h.swept[0].heartbeat_age_ms, FIXTURE_PATIENCE_MS);
        ck_assert_int_eq(h.swept[0].heartbeat_at, REDIS_INTEGER(&h.redis, "ZSCORE pool:" POOL ":heartbeats %s", ID_TEXT(&workers[0])));
}
END_TEST

START_TEST(test_gives_everything_back_when_a_worker_registers_after_flushall)
{
        struct registry_process process = harness_process(&h, &workers[0], 3);
        struct registry_agent hosted[2];
        struct registry_beat beat = { 0 };
        struct id agents[2] = { id_new(), id_new() };

        harness_begin(&h);
        add_worker(0, 3);
        ck_assert_int_eq(place(&agents[0], 2), 0);
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        beat.revision = h.listing.revision;
        freeReplyObject(redis_fixture_command(&h.redis, "FLUSHALL"));
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), -ENOENT);
        ck_assert_int_eq(report(0, &agents[0], 2, REPLY_EXITED), -ENOENT);
        ck_assert_int_eq(harness_sweep(&h, POOL, NULL, 0), 0);
        ck_assert_uint_eq(h.count, 0);
        for (unsigned i = 0; i < 2; i++)
                hosted[i] = (struct registry_agent){ agents[i], 2, harness_spawn_command(&agents[i], 2, POOL), AGENT_IDLE };
        process.process_id = workers[0];
        ck_assert_int_eq(harness_register(&h, &process, hosted, 2), 0);
        ck_assert_int_eq(h.reported[0].result, 0);
        ck_assert_int_eq(h.reported[1].result, 0);
        for (unsigned i = 0; i < 2; i++) {
                ck_assert_str_eq(agent_field(&agents[i], "status"), "idle");
                ck_assert_str_eq(agent_field(&agents[i], "role_type"), "developer");
                ck_assert_str_eq(agent_field(&agents[i], "restarts"), "3");
                ck_assert_str_eq(agent_field(&agents[i], "created_at"), "1700000000123");
                ck_assert_str_eq(agent_field(&agents[i], "project_id"), ID_TEXT(&agents[i]));
        }
        ck_assert_int_eq(free_slots(0), 1);
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert(h.listing.changed); /* whatever it had seen before */
        ck_assert_uint_eq(h.listing.count, 2);
        hosted[0].command = "{\"type\":\"drain\"}";
        ck_assert_int_eq(registry_register(h.registry, &process, hosted, 1, NULL, NULL), -EINVAL);
}
END_TEST

START_TEST(test_offers_a_worker_with_the_last_part_of_its_registration)
{
        struct registry_process process = harness_process(&h, &workers[0], 3);
        struct id agents[3] = { id_new(), id_new(), id_new() };
        struct registry_agent hosted[2];

        for (unsigned i = 0; i < 2; i++)
                hosted[i] = (struct registry_agent){ agents[i], 2, harness_spawn_command(&agents[i], 2, POOL), AGENT_IDLE };
        harness_begin(&h);
        process.more = true;
        ck_assert_int_eq(harness_register(&h, &process, hosted, 1), 0);
        ck_assert_int_eq(place(&agents[2], 1), -ENOSPC);
        process.continues = true;
        process.more = false;
        ck_assert_int_eq(harness_register(&h, &process, &hosted[1], 1), 0);
        ck_assert_int_eq(free_slots(0), 1);
        ck_assert_int_eq(place(&agents[2], 1), 0);
        freeReplyObject(redis_fixture_command(&h.redis, "FLUSHALL"));
        ck_assert_int_eq(harness_register(&h, &process, &hosted[1], 1), -ENOENT); /* the first part is gone */
        ck_assert_int_eq(place(&agents[2], 1), -ENOSPC);
}
END_TEST

START_TEST(test_keeps_what_is_placed_and_fences_what_is_not_when_a_worker_registers_again)
{
        struct registry_process process = harness_process(&h, &workers[0], 5);
        struct id waiting = id_new(), stopping = id_new(), moved = id_new(), newer = id_new(), ghost = id_new();
        struct registry_agent hosted[] = {
                { stopping, 1, harness_spawn_command(&stopping, 1, POOL), AGENT_IDLE },
                { moved, 1, harness_spawn_command(&moved, 1, POOL), AGENT_IDLE },
                { newer, 9, harness_spawn_command(&newer, 9, POOL), AGENT_IDLE },
                { ghost, 2, harness_spawn_command(&ghost, 2, POOL), AGENT_STARTING },
        };

        harness_begin(&h);
        add_worker(0, 5);
        ck_assert_int_eq(place(&waiting, 1), 0);  /* its command got lost */
        ck_assert_int_eq(place(&stopping, 1), 0);
        ck_assert_int_eq(harness_send(&h, &stopping, 1, AGENT_STOPPING, "{\"terminate\":1}"), 0); /* so did this */
        ck_assert_int_eq(harness_drain(&h, &workers[0], true), 0);
        add_worker(1, 5);
        ck_assert_int_eq(place(&moved, 2), 0);
        ck_assert_int_eq(place(&newer, 8), 0);
        process.process_id = workers[0];
        ck_assert_int_eq(harness_register(&h, &process, hosted, 4), 0);
        ck_assert_int_eq(h.reported[0].result, 0);
        ck_assert_int_eq(h.reported[1].result, -ESTALE);
        ck_assert_int_eq(h.reported[2].result, 0);
        ck_assert_int_eq(h.reported[3].result, 0);
        ck_assert_str_eq(agent_field(&stopping, "status"), "stopping");
        ck_assert_str_eq(agent_field(&stopping, "command"), "{\"terminate\":1}");
        ck_assert_str_eq(agent_field(&newer, "process_id"), ID_TEXT(&workers[0]));
        ck_assert_str_eq(agent_field(&moved, "process_id"), ID_TEXT(&workers[1]));
        ck_assert_str_eq(agent_field(&ghost, "status"), "starting");
        ck_assert_int_eq(free_slots(1), 4);
        ck_assert_int_eq(free_slots(0), -1); /* still draining */
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "SCARD process:%s:agents", ID_TEXT(&workers[0])), 4);
}
END_TEST

START_TEST(test_refuses_every_write_when_the_process_was_reaped)
{
        struct registry_process process = harness_process(&h, &workers[0], 2);
        struct registry_beat beat = { 0 };
        struct id agent = id_new(), unknown = id_new();

        harness_begin(&h);
        add_worker(0, 2);
        process.process_id = workers[0];
        ck_assert_int_eq(place(&agent, 1), 0);
        ck_assert_int_eq(report(0, &agent, 1, REPLY_SPAWNED), 0);
        for (unsigned i = 0; i < 2; i++)
                ck_assert_int_eq(harness_reap(&h, POOL, &workers[0]), 0);
        ck_assert_int_eq(harness_reap(&h, POOL, &unknown), 0);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "EXISTS agent:%s", ID_TEXT(&agent)), 0);
        ck_assert_int_eq(harness_register(&h, &process, NULL, 0), -ESTALE);
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), -ESTALE);
        ck_assert_int_eq(report(0, &agent, 1, REPLY_EXITED), -ESTALE);
        ck_assert_int_eq(harness_drain(&h, &workers[0], true), -ESTALE);
        process.process_id = unknown;
        ck_assert_int_eq(harness_register(&h, &process, NULL, 0), -ESTALE);
        ck_assert_int_eq(harness_sweep(&h, POOL, NULL, 0), 0);
        ck_assert_uint_eq(h.count, 0);
        ck_assert_int_eq(place(&agent, 2), -ENOSPC);
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET process:%s status", ID_TEXT(&unknown)), "exited");
        ck_assert_int_gt(REDIS_INTEGER(&h.redis, "TTL process:%s", ID_TEXT(&workers[0])), 3500);
        ck_assert_int_gt(REDIS_INTEGER(&h.redis, "TTL process:%s", ID_TEXT(&unknown)), 3500);
}
END_TEST

START_TEST(test_frees_the_slot_when_released)
{
        struct id agent = id_new(), nowhere = { 0 };

        harness_begin(&h);
        add_worker(0, 2);
        ck_assert_int_eq(place(&agent, 1), 0);
        ck_assert_int_eq(harness_release(&h, &agent, 1, &workers[1]), 0); /* is elsewhere: stays */
        ck_assert_int_eq(free_slots(0), 1);
        ck_assert_int_eq(harness_release(&h, &agent, 1, &workers[0]), 0);
        ck_assert_int_eq(free_slots(0), 2);
        ck_assert_int_eq(harness_release(&h, &agent, 1, &workers[0]), 0);
        ck_assert_int_eq(place(&agent, 2), 0);
        ck_assert_int_eq(harness_release(&h, &agent, 3, &nowhere), 0);
        ck_assert_int_eq(free_slots(0), 2);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "EXISTS agent:%s", ID_TEXT(&agent)), 0);
}
END_TEST

START_TEST(test_leaves_no_key_when_cleared)
{
        struct registry_process foreign = harness_process(&h, &workers[2], 2);
        struct registry_master master = { .host = "here", .url = "http://127.0.0.1:8000", .version = "1", .pid = 12 };
        struct id agent = id_new(), other = id_new();

        harness_begin(&h);
        ck_assert_int_eq(registry_announce(h.registry, &master, 60000, NULL, NULL), 0);
        ck_assert_int_eq(registry_pool_add(h.registry, "empty_pool", NULL, NULL), 0);
        add_worker(0, 1);
        add_worker(1, 1);
        ck_assert_int_eq(place(&agent, 1), 0);
        ck_assert_int_eq(place(&other, 1), 0);
        ck_assert_int_eq(report(0, &agent, 1, REPLY_EXITED), 0);
        ck_assert_int_eq(harness_reap(&h, POOL, &workers[1]), 0);
        ck_assert_int_gt(REDIS_INTEGER(&h.redis, "PTTL master:%s", ID_TEXT(&h.master_id)), 1);
        ck_assert_str_eq(REDIS_TEXT(&h.redis, "HGET master:%s url", ID_TEXT(&h.master_id)), "http://127.0.0.1:8000");
        foreign.process_id = workers[2]; /* another master's: stays */
        foreign.master_id = id_new();
        ck_assert_int_eq(harness_register(&h, &foreign, NULL, 0), 0);
        ck_assert_int_eq(harness_clear(&h, POOL), 0);
        ck_assert_int_eq(free_slots(2), 2);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "SISMEMBER pools " POOL), 1);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "DBSIZE"), 6); /* two masters' pools, one process in two sets, master, owner */
        h.master_id = foreign.master_id;
        registry_free(h.registry);
        harness_connect(&h, NULL);
        LOOP_UNTIL(h.base, h.ups == 2);
        ck_assert_int_eq(harness_clear(&h, POOL), 0);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "SREM pools empty_pool"), 1);
        HARNESS_WAIT(&h, registry_withdraw(h.registry, on_harness_done, &h));
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "DBSIZE"), 2); /* the first master's own, which lapses, and the owner */
}
END_TEST

START_TEST(test_withdraws_the_master_when_it_ends)
{
        struct registry_master master = { .host = "here", .url = "", .version = "1", .pid = 12 };

        harness_begin(&h);
        ck_assert_int_eq(registry_announce(h.registry, &master, 60000, NULL, NULL), 0);
        HARNESS_WAIT(&h, registry_withdraw(h.registry, on_harness_done, &h));
        ck_assert_int_eq(h.error, 0);
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "DBSIZE"), 0);
}
END_TEST

START_TEST(test_shows_busy_agents_when_told_lazily)
{
        struct registry_status items[3] = { { id_new(), 1, AGENT_BUSY }, { id_new(), 1, AGENT_BUSY },
                { id_new(), 1, AGENT_BUSY } };

        harness_begin(&h);
        add_worker(0, 5);
        ck_assert_int_eq(place(&items[0].agent_id, 1), 0);
        ck_assert_int_eq(place(&items[1].agent_id, 2), 0);
        ck_assert_int_eq(registry_agent_status(h.registry, &workers[0], items, 3), 0);
        ck_assert_int_eq(harness_release(&h, &items[2].agent_id, 1, &workers[0]), 0);
        ck_assert_str_eq(agent_field(&items[0].agent_id, "status"), "busy");
        ck_assert_str_eq(agent_field(&items[1].agent_id, "status"), "starting");
        ck_assert_int_eq(REDIS_INTEGER(&h.redis, "EXISTS agent:%s", ID_TEXT(&items[2].agent_id)), 0);
}
END_TEST

START_TEST(test_publishes_on_the_channels_people_know_when_asked)
{
        static const char *const names[] = { "pool:" POOL ":events", "pool:" POOL ":commands", NULL };
        char command_channel[64];
        struct registry *master;

        harness_begin(&h);
        snprintf(command_channel, sizeof command_channel, "process:%s:commands", ID_TEXT(&workers[0]));
        master = h.registry;
        for (unsigned i = 0; i < 3; i++) {
                harness_connect(&h, names[i] ? names[i] : command_channel);
                LOOP_UNTIL(h.base, h.ups == i + 2);
                h.messages = 0;
                ck_assert_int_eq(registry_publish_event(master, POOL, "event"), 0);
                ck_assert_int_eq(registry_publish_command(master, POOL, &workers[0], "command", NULL, NULL), 0);
                LOOP_UNTIL(h.base, h.messages == 1);
                ck_assert_str_eq(h.message, i == 0 ? "event" : "command");
                registry_free(h.registry);
        }
        h.registry = master;
        h.messages = 0;
        ck_assert_int_eq(registry_publish_reply(h.registry, &h.master_id, "reply", NULL, NULL), 0);
        LOOP_UNTIL(h.base, h.messages == 1);
        ck_assert_str_eq(h.message, "reply");
}
END_TEST

/* --- Redis misbehaves -------------------------------------------------------------------------------------------- */
START_TEST(test_answers_every_call_once_when_redis_hangs_or_dies)
{
        struct id agent = id_new(), nowhere = { 0 };

        harness_begin(&h);
        add_worker(0, 1);
        kill(h.redis.pid, SIGSTOP);
        if (_i == 1)
                HARNESS_WAIT(&h, registry_release(h.registry, POOL, &agent, 1, &nowhere, on_harness_done, &h));
        h.answered = false;
        if (_i == 0) {
                struct registry_reservation item = harness_reservation(&agent, 1);

                ck_assert_int_eq(registry_reserve(h.registry, POOL, POOL_PACK, &item, 1, on_harness_placed, &h), 0);
                redis_fixture_kill(&h.redis);
                LOOP_UNTIL(h.base, h.answered);
                ck_assert_uint_eq(h.count, 1);
                ck_assert_int_eq(h.placed[0].result, -EAGAIN);
                ck_assert(id_equal(&h.placed[0].agent_id, &agent));
        }
        ck_assert_int_eq(h.error, -EAGAIN);
        LOOP_UNTIL(h.base, h.downs >= 1);
        ck_assert_int_eq(h.down_error, -EAGAIN);
        ck_assert(!registry_up(h.registry));
        ck_assert_int_eq(registry_publish_event(h.registry, POOL, "x"), -EAGAIN);
        ck_assert_int_eq(registry_release(h.registry, POOL, &agent, 1, &nowhere, on_harness_done, &h), -EAGAIN);
        if (_i == 0)
                redis_fixture_start(&h.redis);
        else
                kill(h.redis.pid, SIGCONT);
        LOOP_UNTIL(h.base, h.ups == 2);
        ck_assert_int_eq(harness_release(&h, &agent, 1, &nowhere), 0);
}
END_TEST

START_TEST(test_cancels_calls_when_freed)
{
        struct id nowhere = { 0 };

        harness_begin(&h);
        h.answered = false;
        ck_assert_int_eq(registry_release(h.registry, POOL, &nowhere, 1, &nowhere, on_harness_done, &h), 0);
        h.registry = registry_free(h.registry);
        ck_assert(h.answered);
        ck_assert_int_eq(h.error, -ECANCELED);
}
END_TEST

static void on_done_free(void *arg, int error)
{
        (void)arg;
        harness_answer(&h, error);
        h.registry = registry_free(h.registry);
}

START_TEST(test_may_be_freed_when_in_a_callback)
{
        struct id nowhere = { 0 };

        harness_begin(&h);
        kill(h.redis.pid, _i ? SIGSTOP : SIGCONT);
        HARNESS_WAIT(&h, registry_release(h.registry, POOL, &nowhere, 1, &nowhere, on_done_free, NULL));
        ck_assert_ptr_null(h.registry);
        ck_assert_int_eq(h.error, _i ? -EAGAIN : 0);
        ck_assert_uint_eq(h.downs, 0);
}
END_TEST

START_TEST(test_loads_the_script_again_when_redis_lost_it)
{
        struct id agents[3] = { id_new(), id_new(), id_new() };

        harness_begin(&h);
        add_worker(0, 3);
        for (unsigned i = 0; i < 3; i++) {
                freeReplyObject(redis_fixture_command(&h.redis, "SCRIPT FLUSH"));
                ck_assert_int_eq(place(&agents[i], 1), 0);
        }
        ck_assert_int_eq(free_slots(0), 0);
        ck_assert_uint_eq(h.downs, 0);
}
END_TEST

START_TEST(test_stays_down_when_redis_may_evict)
{
        redis_fixture_option(&h.redis, "--maxmemory-policy");
        redis_fixture_option(&h.redis, "allkeys-lru");
        redis_fixture_start(&h.redis);
        harness_connect(&h, NULL);
        LOOP_UNTIL(h.base, h.downs >= 2);
        ck_assert_int_eq(h.down_error, -EPERM);
        ck_assert_ptr_nonnull(
                strstr(h.down_why, "may evict keys (maxmemory-policy allkeys-lru): set maxmemory-policy noeviction"));
        ck_assert_uint_eq(h.ups, 0);
        freeReplyObject(redis_fixture_command(&h.redis, "CONFIG SET maxmemory-policy volatile-ttl"));
        LOOP_UNTIL(h.base, h.ups == 1); /* takes only what has a TTL */
}
END_TEST

START_TEST(test_stays_down_when_the_password_is_wrong)
{
        redis_fixture_option(&h.redis, "--requirepass");
        redis_fixture_option(&h.redis, "secret");
        redis_fixture_start(&h.redis);
        harness_connect(&h, NULL);
        LOOP_UNTIL(h.base, h.downs >= 1);
        ck_assert_int_eq(h.down_error, -EACCES);
        ck_assert_ptr_nonnull(strstr(h.down_why, "redis.url"));
}
END_TEST

START_TEST(test_says_full_and_still_terminates_when_redis_is_out_of_memory)
{
        struct id agent = id_new(), other = id_new();
        struct registry_reservation item = harness_reservation(&other, 1);
        struct registry_beat beat = { 0 };

        harness_begin(&h);
        add_worker(0, 3);
        ck_assert_int_eq(place(&agent, 1), 0);
        freeReplyObject(redis_fixture_command(&h.redis, "CONFIG SET maxmemory 1"));
        ck_assert_int_eq(harness_reserve(&h, POOL, POOL_PACK, &item, 1), -ENOSPC);
        ck_assert_int_eq(h.placed[0].result, -ENOSPC);
        ck_assert_ptr_nonnull(strstr(registry_reason(h.registry), "maxmemory"));
        ck_assert_int_eq(harness_heartbeat(&h, &workers[0], &beat), 0);
        ck_assert_int_eq(harness_send(&h, &agent, 1, AGENT_STOPPING, "{\"terminate\":1}"), 0);
        ck_assert_int_eq(report(0, &agent, 1, REPLY_EXITED), 0);
        ck_assert_int_eq(harness_reap(&h, POOL, &workers[0]), 0);
        freeReplyObject(redis_fixture_command(&h.redis, "CONFIG SET maxmemory 0"));
        add_worker(1, 1);
        ck_assert_int_eq(place(&other, 1), 0);
}
END_TEST

START_TEST(test_subscribes_again_when_redis_cuts_a_slow_subscriber_off)
{
        static char big[200000];

        redis_fixture_option(&h.redis, "--client-output-buffer-limit");
        redis_fixture_option(&h.redis, "pubsub 1mb 0 0");
        harness_begin(&h);
        memset(big, 'x', sizeof big - 1);
        /* Nobody reads meanwhile. */
        while (REDIS_INTEGER(&h.redis, "PUBLISH master:%s:replies %s", ID_TEXT(&h.master_id), big) == 1)
                ;
        LOOP_UNTIL(h.base, h.downs >= 1);
        LOOP_UNTIL(h.base, h.ups == 2);
        h.messages = 0;
        ck_assert_int_eq(registry_publish_reply(h.registry, &h.master_id, "after", NULL, NULL), 0);
        LOOP_UNTIL(h.base, strcmp(h.message, "after") == 0);
}
END_TEST

START_TEST(test_comes_back_when_either_connection_is_killed)
{
        harness_begin(&h);
        for (unsigned i = 1; i <= 4; i++) {
                freeReplyObject(redis_fixture_command(&h.redis, "CLIENT KILL TYPE %s SKIPME yes", i % 2 ? "pubsub" : "normal"));
                LOOP_UNTIL(h.base, h.downs == i);
                LOOP_UNTIL(h.base, h.ups == i + 1);
        }
        redis_fixture_kill(&h.redis);
        LOOP_UNTIL(h.base, h.downs > 4);
        redis_fixture_start(&h.redis);
        LOOP_UNTIL(h.base, h.ups == 6);
}
END_TEST

START_TEST(test_fails_the_call_when_a_key_has_the_wrong_type)
{
        struct id agent = id_new();
        struct registry_reservation item = harness_reservation(&agent, 1);

        harness_begin(&h);
        freeReplyObject(redis_fixture_command(&h.redis, "SET pool:" POOL ":processes x"));
        ck_assert_int_eq(harness_reserve(&h, POOL, POOL_PACK, &item, 1), -EPROTO);
        ck_assert_int_eq(h.placed[0].result, -EPROTO);
        ck_assert_ptr_nonnull(strstr(registry_reason(h.registry), "WRONGTYPE"));
        ck_assert_uint_eq(h.downs, 0);
}
END_TEST

START_TEST(test_goes_on_when_somebody_deleted_keys)
{
        struct registry_beat beat = { 0 };
        struct id agent = id_new();

        harness_begin(&h);
        add_worker(0, 2);
        add_worker(1, 5);
        freeReplyObject(redis_fixture_command(&h.redis, "DEL process:%s", ID_TEXT(&workers[0])));
        ck_assert_int_eq(place(&agent, 1), 0);
        ck_assert(id_equal(&h.placed[0].process_id, &workers[1]));
        ck_assert_int_eq(harness_sweep(&h, POOL, NULL, 0), 0);
        ck_assert_uint_eq(h.count, 1);
        freeReplyObject(redis_fixture_command(&h.redis, "DEL pool:" POOL ":processes pool:" POOL ":heartbeats"));
        ck_assert_int_eq(harness_heartbeat(&h, &workers[1], &beat), 0);
        ck_assert_int_eq(free_slots(1), 4);
        ck_assert_int_eq(harness_sweep(&h, POOL, NULL, 0), 0);
        ck_assert_uint_eq(h.count, 1);
}
END_TEST

static unsigned in_flight;

static void on_placed_count(void *arg, int error, const struct registry_placed *placed, size_t count)
{
        (void)arg;
        (void)placed;
        ck_assert_int_eq(error, 0);
        in_flight -= (unsigned)count;
}

static void on_reported_count(void *arg, int error, const struct registry_reported *reported, size_t count)
{
        (void)arg;
        (void)reported;
        ck_assert_int_eq(error, 0);
        in_flight -= (unsigned)count;
}

/* REGISTRY_BENCH=1: spawns per second, batch of 50, each reserved, acknowledged and ended. */
START_TEST(test_takes_ten_thousand_agents_when_they_come_in_batches)
{
        unsigned rounds = getenv("REGISTRY_BENCH") ? 200 : 20;
        struct registry_reservation items[50];
        struct registry_report reports[50];
        struct id agents[50];
        int64_t begin;

        harness_begin(&h);
        for (unsigned i = 0; i < 3; i++)
                add_worker(i, 50);
        begin = clock_mono_ms();
        for (unsigned round = 0; round < rounds; round++) {
                for (unsigned i = 0; i < 50; i++) {
                        agents[i] = id_new();
                        items[i] = harness_reservation(&agents[i], 1);
                        items[i].command = "{\"type\":\"spawn\"}";
                        reports[i] = (struct registry_report){ agents[i], h.master_id, 1, REPLY_SPAWNED, "{\"spawned\":1}" };
                }
                in_flight = 100;
                ck_assert_int_eq(registry_reserve(h.registry, POOL, POOL_PACK, items, 50, on_placed_count, NULL), 0);
                ck_assert_int_eq(registry_report(h.registry, &workers[0], reports, 50, on_reported_count, NULL), 0);
                LOOP_UNTIL(h.base, in_flight == 0);
                for (unsigned i = 0; i < 50; i++)
                        ck_assert_int_eq(registry_release(h.registry, POOL, &agents[i], 1, &workers[0], NULL, NULL), 0);
        }
        if (getenv("REGISTRY_BENCH"))
                printf("%u agents in %" PRId64 " ms\n", rounds * 50, clock_mono_ms() - begin);
        ck_assert_int_eq(harness_sweep(&h, POOL, NULL, 0), 0);
        if (getenv("REGISTRY_BENCH"))
                puts(REDIS_TEXT(&h.redis, "INFO commandstats"));
        for (unsigned i = 0; i < 3; i++)
                ck_assert_int_eq(free_slots(i), 50);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("registry_redis");
        TCase *rules = tcase_create("rules"), *faults = tcase_create("faults");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(rules, setup, teardown);
        tcase_set_timeout(rules, 60);
        tcase_add_test(rules, test_writes_every_field_when_an_agent_is_placed);
        tcase_add_loop_test(rules, test_fills_workers_in_the_pools_order_when_placing_a_batch, 0, 2);
        tcase_add_test(rules, test_publishes_and_keeps_the_place_when_a_reservation_is_repeated);
        tcase_add_test(rules, test_refuses_a_lower_epoch_when_a_higher_one_is_placed);
        tcase_add_test(rules, test_moves_the_agent_when_a_higher_epoch_is_placed);
        tcase_add_test(rules, test_frees_the_slot_once_when_an_end_is_reported_twice);
        tcase_add_test(rules, test_writes_a_deleted_record_again_when_its_worker_registers);
        tcase_add_test(rules, test_lists_what_is_placed_when_it_changed_since_the_last_heartbeat);
        tcase_add_test(rules, test_gives_everything_back_when_a_worker_registers_after_flushall);
        tcase_add_test(rules, test_offers_a_worker_with_the_last_part_of_its_registration);
        tcase_add_test(rules, test_keeps_what_is_placed_and_fences_what_is_not_when_a_worker_registers_again);
        tcase_add_test(rules, test_refuses_every_write_when_the_process_was_reaped);
        tcase_add_test(rules, test_frees_the_slot_when_released);
        tcase_add_test(rules, test_leaves_no_key_when_cleared);
        tcase_add_test(rules, test_withdraws_the_master_when_it_ends);
        tcase_add_test(rules, test_shows_busy_agents_when_told_lazily);
        tcase_add_test(rules, test_publishes_on_the_channels_people_know_when_asked);
        tcase_add_test(rules, test_takes_ten_thousand_agents_when_they_come_in_batches);
        suite_add_tcase(suite, rules);
        tcase_add_checked_fixture(faults, setup, teardown);
        tcase_set_timeout(faults, 60);
        tcase_add_loop_test(faults, test_answers_every_call_once_when_redis_hangs_or_dies, 0, 2);
        tcase_add_test(faults, test_cancels_calls_when_freed);
        tcase_add_loop_test(faults, test_may_be_freed_when_in_a_callback, 0, 2);
        tcase_add_test(faults, test_loads_the_script_again_when_redis_lost_it);
        tcase_add_test(faults, test_stays_down_when_redis_may_evict);
        tcase_add_test(faults, test_stays_down_when_the_password_is_wrong);
        tcase_add_test(faults, test_says_full_and_still_terminates_when_redis_is_out_of_memory);
        tcase_add_test(faults, test_subscribes_again_when_redis_cuts_a_slow_subscriber_off);
        tcase_add_test(faults, test_comes_back_when_either_connection_is_killed);
        tcase_add_test(faults, test_fails_the_call_when_a_key_has_the_wrong_type);
        tcase_add_test(faults, test_goes_on_when_somebody_deleted_keys);
        suite_add_tcase(suite, faults);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
