/* The registry in memory by itself; test_registry_conformance.c compares it with the scripts in Redis. */
#include "test/sim/registry_memory.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct registry_memory *memory;
static char said[8][96]; /* "commands 02 text" */
static unsigned said_count;

static void publish(void *arg, enum registry_channel channel, const struct id *to, const char *text)
{
        ck_assert_ptr_eq(arg, said);
        snprintf(said[said_count++ % 8], sizeof *said, "%s %02x %s", channel == REGISTRY_COMMANDS ? "commands" : "replies",
                to->b[15], text);
}

static void setup(void)
{
        said_count = 0;
        memory = registry_memory_new(publish, said);
        ck_assert_ptr_nonnull(memory);
}

static void teardown(void)
{
        memory = registry_memory_free(memory);
        ck_assert_ptr_null(memory);
}

static struct id id(uint8_t last)
{
        return (struct id){ .b = { [15] = last } };
}

static int join_with(uint8_t process, unsigned slots, const struct registry_agent *agents, size_t count, int *results)
{
        struct registry_process self = { .process_id = id(process), .master_id = id(0xee), .pool_name = "p", .host = "h",
                .pid = 1, .max_agents = slots };

        return registry_memory_register(memory, &self, agents, count, 1000, results);
}

static void join(uint8_t process, unsigned slots)
{
        ck_assert_int_eq(join_with(process, slots, NULL, 0, NULL), 0);
}

static int reserve_as(enum pool_placement placement, uint8_t agent, uint64_t epoch, uint8_t *ret_process)
{
        struct registry_reservation item = { .agent_id = id(agent), .epoch = epoch, .command = "spawn" };
        struct id process_id = { 0 };
        int r = registry_memory_reserve(memory, "p", placement, &item, &process_id);

        *ret_process = process_id.b[15];
        return r;
}

static uint8_t reserve(uint8_t agent, uint64_t epoch)
{
        uint8_t process;

        ck_assert_int_eq(reserve_as(POOL_PACK, agent, epoch, &process), 0);
        return process;
}

static int report(uint8_t process, uint8_t agent, uint64_t epoch, enum reply_type type)
{
        struct registry_report item = { .agent_id = id(agent), .master_id = id(0xee), .epoch = epoch, .type = type,
                .reply = "reply" };
        struct id process_id = id(process);

        return registry_memory_report(memory, &process_id, &item);
}

static struct registry_listing beat(uint8_t process, uint64_t revision)
{
        struct registry_beat item = { .revision = revision };
        struct registry_listing listing;
        struct id process_id = id(process);

        registry_memory_heartbeat(memory, &process_id, &item, 2000, &listing);
        return listing;
}

static unsigned count_at(uint8_t process)
{
        struct id process_id = id(process);

        return registry_memory_process(memory, &process_id)->agent_count;
}

static const struct memory_agent *agent_of(uint8_t agent)
{
        struct id agent_id = id(agent);

        return registry_memory_agent(memory, &agent_id);
}

START_TEST(test_fills_fullest_worker_first_when_packing)
{
        join(1, 2);
        join(2, 2);
        ck_assert_uint_eq(reserve(11, 1), 1);
        ck_assert_uint_eq(reserve(12, 1), 1);
        ck_assert_uint_eq(reserve(13, 1), 2);
        ck_assert_str_eq(said[0], "commands 01 spawn");
        ck_assert_str_eq(said[2], "commands 02 spawn");
}
END_TEST

START_TEST(test_fills_emptiest_worker_first_when_spreading)
{
        uint8_t process;

        join(1, 2);
        join(2, 2);
        for (uint8_t i = 0; i < 4; i++) {
                static const uint8_t order[] = { 2, 1, 2, 1 };

                ck_assert_int_eq(reserve_as(POOL_SPREAD, (uint8_t)(11 + i), 1, &process), 0);
                ck_assert_uint_eq(process, order[i]);
        }
        ck_assert_int_eq(reserve_as(POOL_SPREAD, 15, 1, &process), -ENOSPC);
        ck_assert_int_eq(reserve_as(POOL_PACK, 15, 1, &process), -ENOSPC);
        ck_assert_uint_eq(said_count, 4);
}
END_TEST

START_TEST(test_gives_same_place_when_reserved_again)
{
        join(1, 1);
        ck_assert_uint_eq(reserve(11, 1), 1);
        ck_assert_uint_eq(reserve(11, 1), 1);
        ck_assert_uint_eq(count_at(1), 1);
        ck_assert_uint_eq(said_count, 2);
}
END_TEST

START_TEST(test_moves_agent_when_epoch_is_higher_and_refuses_when_lower)
{
        uint8_t process;

        join(1, 1);
        ck_assert_uint_eq(reserve(11, 2), 1);
        ck_assert_int_eq(reserve_as(POOL_PACK, 11, 1, &process), -ESTALE);
        join(2, 1);
        reserve(12, 1);
        ck_assert_uint_eq(reserve(11, 3), 1);
        ck_assert_uint_eq(count_at(1), 1);
        ck_assert_uint_eq(count_at(2), 1);
        ck_assert_uint_eq(agent_of(11)->epoch, 3);
}
END_TEST

START_TEST(test_keeps_slot_when_spawned_and_frees_it_once_when_ended)
{
        struct registry_swept swept;
        struct id one = id(1), eleven = id(11);

        join(1, 2);
        reserve(11, 1);
        ck_assert_int_eq(report(1, 11, 1, REPLY_SPAWNED), 0);
        ck_assert_int_eq(agent_of(11)->state, AGENT_IDLE);
        ck_assert_str_eq(said[1], "replies ee reply");
        ck_assert_int_eq(report(1, 11, 1, REPLY_EXITED), 0);
        ck_assert_int_eq(report(1, 11, 1, REPLY_EXITED), 0);
        ck_assert_uint_eq(count_at(1), 0);
        ck_assert_ptr_null(agent_of(11));
        ck_assert_int_eq(registry_memory_sweep(memory, &one, 1500, &swept), 0);
        ck_assert_uint_eq(swept.ended_count, 1);
        ck_assert_str_eq(swept.ended[0], "reply");
        ck_assert_int_eq(swept.heartbeat_age_ms, 500);
        registry_memory_confirm(memory, &one, &eleven, 1);
        registry_memory_sweep(memory, &one, 1500, &swept);
        ck_assert_uint_eq(swept.ended_count, 0);
}
END_TEST

START_TEST(test_fences_reports_when_not_placed_there)
{
        uint8_t process;

        ck_assert_int_eq(report(1, 11, 1, REPLY_SPAWNED), -ENOENT);
        join(1, 1);
        join(2, 1);
        ck_assert_int_eq(report(1, 11, 1, REPLY_SPAWNED), -ESTALE);
        ck_assert_int_eq(reserve_as(POOL_PACK, 11, 2, &process), 0);
        ck_assert_int_eq(report(2, 11, 2, REPLY_SPAWNED), -ESTALE);
        ck_assert_int_eq(report(1, 11, 1, REPLY_SPAWNED), -ESTALE);
        ck_assert_int_eq(report(1, 11, 3, REPLY_SPAWNED), -ESTALE);
        ck_assert_int_eq(report(1, 11, 1, REPLY_EXITED), -ESTALE);
        ck_assert_int_eq(report(2, 11, 2, REPLY_EXITED), -ESTALE);
        ck_assert_uint_eq(count_at(1), 1);
        ck_assert_uint_eq(said_count, 1);
        /* An end that nobody has a record of (FLUSHALL) is told all the same. */
        ck_assert_int_eq(report(2, 77, 5, REPLY_EXITED), 0);
        ck_assert_uint_eq(said_count, 2);
}
END_TEST

START_TEST(test_takes_back_agents_when_worker_registers_again)
{
        struct registry_agent agents[] = { { .agent_id = id(11), .epoch = 2, .command = "a", .state = AGENT_IDLE },
                { .agent_id = id(12), .epoch = 1, .command = "b", .state = AGENT_STARTING } };
        int results[2];

        join(1, 3);
        reserve(11, 1);
        registry_memory_flush(memory);
        ck_assert_ptr_null(agent_of(11));
        ck_assert_int_eq(beat(1, 0).result, -ENOENT);
        join(2, 3);
        ck_assert_uint_eq(reserve(12, 1), 2);
        ck_assert_int_eq(join_with(1, 3, agents, 2, results), 0);
        ck_assert_int_eq(results[0], 0);
        ck_assert_int_eq(results[1], -ESTALE);
        ck_assert_uint_eq(count_at(1), 1);
        ck_assert_uint_eq(agent_of(11)->epoch, 2);
        /* A higher epoch moves, a lower one does not. */
        agents[1].epoch = 2;
        agents[0].epoch = 1;
        ck_assert_int_eq(join_with(1, 3, agents, 2, results), 0);
        ck_assert_int_eq(results[0], -ESTALE);
        ck_assert_int_eq(results[1], 0);
        ck_assert_uint_eq(count_at(1), 2);
        ck_assert_uint_eq(count_at(2), 0);
}
END_TEST

START_TEST(test_keeps_terminate_when_worker_registers_before_it_saw_it)
{
        struct registry_agent agents[] = { { .agent_id = id(11), .epoch = 1, .command = "spawn", .state = AGENT_IDLE } };
        struct id eleven = id(11);
        int results[1];

        join(1, 1);
        reserve(11, 1);
        ck_assert_int_eq(registry_memory_send(memory, &eleven, 1, AGENT_STOPPING, "terminate"), 0);
        ck_assert_int_eq(join_with(1, 1, agents, 1, results), 0);
        ck_assert_int_eq(agent_of(11)->state, AGENT_STOPPING);
        ck_assert_str_eq(beat(1, 0).agents[0].command, "terminate");
}
END_TEST

START_TEST(test_lists_only_when_revision_differs)
{
        struct registry_listing listing;
        uint64_t revision;

        join(1, 2);
        listing = beat(1, 0);
        ck_assert(listing.changed && listing.count == 0);
        revision = listing.revision;
        ck_assert(!beat(1, revision).changed);
        reserve(11, 1);
        listing = beat(1, revision);
        ck_assert(listing.changed && listing.count == 1);
        ck_assert_str_eq(listing.agents[0].command, "spawn");
        ck_assert_uint_eq(listing.agents[0].epoch, 1);
        ck_assert(!beat(1, listing.revision).changed);
        report(1, 11, 1, REPLY_EXITED);
        ck_assert_uint_eq(beat(1, listing.revision).count, 0);
        ck_assert(beat(1, listing.revision).changed);
}
END_TEST

START_TEST(test_sends_to_the_worker_when_placed_under_the_epoch)
{
        struct id eleven = id(11);

        ck_assert_int_eq(registry_memory_send(memory, &eleven, 1, AGENT_STARTING, "x"), -ENOENT);
        join(1, 1);
        reserve(11, 2);
        ck_assert_int_eq(registry_memory_send(memory, &eleven, 3, AGENT_STARTING, "x"), -ENOENT);
        ck_assert_int_eq(registry_memory_send(memory, &eleven, 1, AGENT_STARTING, "x"), -ESTALE);
        ck_assert_uint_eq(said_count, 1);
        ck_assert_int_eq(registry_memory_send(memory, &eleven, 2, AGENT_STOPPING, "end"), 0);
        ck_assert_str_eq(said[1], "commands 01 end");
        ck_assert_int_eq(agent_of(11)->state, AGENT_STOPPING);
}
END_TEST

START_TEST(test_offers_no_slots_when_draining)
{
        struct id one = id(1);
        uint8_t process;

        ck_assert_int_eq(registry_memory_drain(memory, &one, true), -ENOENT);
        join(1, 1);
        ck_assert_int_eq(registry_memory_drain(memory, &one, true), 0);
        ck_assert_int_eq(reserve_as(POOL_PACK, 11, 1, &process), -ENOSPC);
        join(1, 1);
        ck_assert_int_eq(reserve_as(POOL_PACK, 11, 1, &process), -ENOSPC);
        ck_assert_int_eq(registry_memory_drain(memory, &one, false), 0);
        ck_assert_uint_eq(reserve(11, 1), 1);
}
END_TEST

START_TEST(test_refuses_everything_of_a_worker_when_reaped)
{
        struct id one = id(1), never = id(9);
        struct registry_swept swept;
        uint8_t process;

        join(1, 2);
        reserve(11, 1);
        report(1, 12, 1, REPLY_EXITED);
        ck_assert_int_eq(registry_memory_reap(memory, &one), 0);
        ck_assert_int_eq(registry_memory_reap(memory, &one), 0);
        ck_assert_int_eq(registry_memory_reap(memory, &never), 0);
        ck_assert_ptr_null(agent_of(11));
        ck_assert_int_eq(reserve_as(POOL_PACK, 11, 2, &process), -ENOSPC);
        ck_assert_int_eq(report(1, 11, 1, REPLY_SPAWNED), -ESTALE);
        ck_assert_int_eq(beat(1, 0).result, -ESTALE);
        ck_assert_int_eq(join_with(1, 2, NULL, 0, NULL), -ESTALE);
        ck_assert_int_eq(join_with(9, 2, NULL, 0, NULL), -ESTALE);
        ck_assert_int_eq(registry_memory_drain(memory, &one, false), -ESTALE);
        ck_assert_int_eq(registry_memory_sweep(memory, &one, 1, &swept), -ESTALE);
}
END_TEST

START_TEST(test_releases_only_that_place_when_asked)
{
        struct id eleven = id(11), one = id(1), two = id(2), anywhere = { 0 };

        join(1, 1);
        reserve(11, 2);
        ck_assert_int_eq(registry_memory_release(memory, &eleven, 1, &anywhere), -ESTALE);
        ck_assert_int_eq(registry_memory_release(memory, &eleven, 2, &two), 0);
        ck_assert_ptr_nonnull(agent_of(11));
        ck_assert_int_eq(registry_memory_release(memory, &eleven, 3, &one), 0);
        ck_assert_ptr_null(agent_of(11));
        ck_assert_uint_eq(count_at(1), 0);
        ck_assert_int_eq(registry_memory_release(memory, &eleven, 3, &anywhere), 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("registry_memory");
        TCase *tcase = tcase_create("registry_memory");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, test_fills_fullest_worker_first_when_packing);
        tcase_add_test(tcase, test_fills_emptiest_worker_first_when_spreading);
        tcase_add_test(tcase, test_gives_same_place_when_reserved_again);
        tcase_add_test(tcase, test_moves_agent_when_epoch_is_higher_and_refuses_when_lower);
        tcase_add_test(tcase, test_keeps_slot_when_spawned_and_frees_it_once_when_ended);
        tcase_add_test(tcase, test_fences_reports_when_not_placed_there);
        tcase_add_test(tcase, test_takes_back_agents_when_worker_registers_again);
        tcase_add_test(tcase, test_keeps_terminate_when_worker_registers_before_it_saw_it);
        tcase_add_test(tcase, test_lists_only_when_revision_differs);
        tcase_add_test(tcase, test_sends_to_the_worker_when_placed_under_the_epoch);
        tcase_add_test(tcase, test_offers_no_slots_when_draining);
        tcase_add_test(tcase, test_refuses_everything_of_a_worker_when_reaped);
        tcase_add_test(tcase, test_releases_only_that_place_when_asked);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
