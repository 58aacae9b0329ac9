#include "registry/core/roster.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct roster *roster;
static struct roster_action seen[16]; /* what the last turn asked for */
static unsigned seen_count;
static const struct agent_exit clean = { .code = 0, .reason = "exit status 0" };

static void setup(void)
{
        roster = roster_new(2);
        ck_assert_ptr_nonnull(roster);
}

static void teardown(void)
{
        roster = roster_free(roster);
        ck_assert_ptr_null(roster);
}

static struct id id(uint8_t last)
{
        return (struct id){ .b = { [15] = last } };
}

static void turn(void)
{
        seen_count = 0;
        while (seen_count < 16 && roster_next_action(roster, &seen[seen_count]))
                seen_count++;
}

/* The turn asked for exactly these, in this order. */
static void expect(const char *types)
{
        static const char letters[] = " SXRDFE";

        turn();
        ck_assert_uint_eq(seen_count, strlen(types));
        for (unsigned i = 0; i < seen_count; i++)
                ck_assert_int_eq(letters[seen[i].type], types[i]);
}

static void spawn(uint8_t agent, uint64_t epoch)
{
        struct command command = { .type = COMMAND_SPAWN, .agent_id = id(agent), .command_id = id((uint8_t)(epoch + 100)),
                .epoch = epoch, .role_type = strdup("r"), .pool_name = strdup("p"), .start_reason = strdup("spawn") };

        ck_assert_int_eq(roster_command(roster, &command), 0);
        command_done(&command);
}

static void terminate(uint8_t agent, uint64_t epoch, bool graceful)
{
        struct command command = { .type = COMMAND_TERMINATE, .agent_id = id(agent), .epoch = epoch, .graceful = graceful };

        ck_assert_int_eq(roster_command(roster, &command), 0);
}

static struct hosted *hosted(uint8_t agent)
{
        struct id agent_id = id(agent);

        return roster_find(roster, &agent_id);
}

static void reported(uint8_t agent, uint64_t epoch, int result)
{
        struct id agent_id = id(agent);

        roster_reported(roster, &agent_id, epoch, result);
}

/* Started, acknowledged, known to the registry. */
static void run(uint8_t agent, uint64_t epoch)
{
        spawn(agent, epoch);
        expect("S");
        roster_started(roster, hosted(agent));
        expect("R");
        reported(agent, epoch, 0);
        expect("");
}

START_TEST(test_starts_and_acknowledges_when_spawned)
{
        spawn(1, 1);
        expect("S");
        ck_assert_ptr_eq(seen[0].hosted, hosted(1));
        ck_assert_str_eq(seen[0].hosted->spawn->role_type, "r");
        ck_assert_int_eq(hosted(1)->state, HOSTED_STARTING);
        expect("");
        roster_started(roster, hosted(1));
        expect("R");
        ck_assert_int_eq(hosted(1)->state, HOSTED_RUNNING);
        reported(1, 1, 0);
        ck_assert(hosted(1)->reported);
        ck_assert_uint_eq(roster_count(roster), 1);
}
END_TEST

START_TEST(test_acknowledges_again_when_spawn_is_repeated)
{
        spawn(1, 1);
        spawn(1, 1);
        expect("S");
        roster_started(roster, hosted(1));
        spawn(1, 1);
        expect("R");
        spawn(1, 1); /* on its way already */
        expect("");
        reported(1, 1, 0);
        spawn(1, 1);
        expect("R");
        ck_assert_uint_eq(roster_count(roster), 1);
}
END_TEST

START_TEST(test_changes_nothing_when_epoch_is_lower)
{
        run(1, 5);
        spawn(1, 4);
        terminate(1, 4, false);
        expect("");
        ck_assert_uint_eq(hosted(1)->epoch, 5);
}
END_TEST

START_TEST(test_replaces_old_one_unheard_when_epoch_is_higher)
{
        struct hosted *before;

        run(1, 1);
        before = hosted(1);
        spawn(1, 2);
        expect("X");
        ck_assert(!seen[0].graceful);
        spawn(1, 2);
        expect("");
        roster_ended(roster, before, &clean);
        expect("S");
        ck_assert_uint_eq(hosted(1)->epoch, 2);
        ck_assert_int_eq(hosted(1)->command_id.b[15], 102);
        roster_started(roster, hosted(1));
        expect("R");
        reported(1, 1, 0); /* the answer of an old report means nothing */
        ck_assert(!hosted(1)->reported);
}
END_TEST

START_TEST(test_replaces_at_once_when_old_one_has_ended)
{
        run(1, 1);
        roster_ended(roster, hosted(1), &clean);
        expect("R");
        spawn(1, 2);
        expect("S");
        ck_assert_uint_eq(hosted(1)->epoch, 2);
}
END_TEST

START_TEST(test_reports_end_until_the_registry_knows)
{
        run(1, 1);
        roster_ended(roster, hosted(1), &clean);
        expect("R");
        ck_assert(seen[0].hosted->started);
        reported(1, 1, -11);
        expect("");
        ck_assert_uint_eq(roster_count(roster), 1);
        roster_retry(roster);
        expect("R");
        reported(1, 1, 0);
        expect("F");
        ck_assert_uint_eq(roster_count(roster), 0);
}
END_TEST

START_TEST(test_reports_end_when_it_ended_while_its_start_was_reported)
{
        spawn(1, 1);
        expect("S");
        roster_started(roster, hosted(1));
        expect("R");
        roster_ended(roster, hosted(1), &clean);
        expect("");
        reported(1, 1, 0);
        expect("R");
        reported(1, 1, 0);
        expect("F");
}
END_TEST

START_TEST(test_reports_failed_start_when_it_never_ran)
{
        spawn(1, 1);
        expect("S");
        roster_ended(roster, hosted(1), &clean);
        expect("R");
        ck_assert(!seen[0].hosted->started);
}
END_TEST

START_TEST(test_ends_agent_when_told_and_hurries_when_told_again)
{
        run(1, 1);
        terminate(1, 1, true);
        expect("X");
        ck_assert(seen[0].graceful);
        ck_assert_int_eq(hosted(1)->state, HOSTED_STOPPING);
        terminate(1, 1, true);
        expect("");
        terminate(1, 1, false);
        expect("X");
        ck_assert(!seen[0].graceful);
        spawn(1, 1);
        expect("");
        roster_ended(roster, hosted(1), &clean);
        expect("R");
        terminate(1, 1, true);
        expect("");
        reported(1, 1, 0);
        expect("F");
}
END_TEST

START_TEST(test_stays_at_once_when_graceful_end_follows_in_the_same_turn)
{
        run(1, 1);
        terminate(1, 1, false);
        roster_drain(roster, true);
        expect("X");
        ck_assert(!seen[0].graceful);
}
END_TEST

START_TEST(test_denies_and_never_starts_it_when_terminate_overtakes_the_spawn)
{
        terminate(1, 3, true);
        expect("D");
        ck_assert_uint_eq(seen[0].epoch, 3);
        spawn(1, 3);
        expect("D");
        spawn(1, 2); /* the registry hears that its slot is free, should it have placed it late */
        expect("D");
        ck_assert_uint_eq(seen[0].epoch, 2);
        spawn(1, 4);
        expect("S");
}
END_TEST

START_TEST(test_refuses_spawns_of_another_master_when_one_was_told_what_runs)
{
        struct id master = id(9);

        spawn(1, 1);
        expect("S");
        roster_obey(roster, &master);
        spawn(2, 1);
        expect("D");
        ck_assert_str_eq(seen[0].detail, "its master is gone, and the next has been told what runs here");
        spawn(1, 1); /* hosted: acknowledged again as ever */
        roster_started(roster, hosted(1));
        expect("R");
        master = id(0);
        roster_obey(roster, &master);
        spawn(2, 2);
        expect("S");
}
END_TEST

START_TEST(test_denies_spawn_when_full)
{
        run(1, 1);
        run(2, 1);
        spawn(3, 1);
        expect("D");
        ck_assert_str_eq(seen[0].detail, "the worker is full");
        roster_ended(roster, hosted(2), &clean);
        expect("R"); /* its slot is free already: the registry may know before we hear that it does */
        spawn(4, 1);
        expect("S");
}
END_TEST

START_TEST(test_denies_repeat_when_it_ended_here)
{
        run(1, 1);
        roster_ended(roster, hosted(1), &clean);
        expect("R");
        reported(1, 1, 0);
        expect("F");
        spawn(1, 1);
        expect("D");
        for (uint8_t i = 0; i < 200; i++) { /* old tombstones make room for new ones */
                terminate((uint8_t)(i + 50), 1, false);
                turn();
        }
        spawn(1, 1);
        expect("S");
}
END_TEST

START_TEST(test_ends_unheard_when_fenced_by_its_report)
{
        spawn(1, 1);
        expect("S");
        roster_started(roster, hosted(1));
        expect("R");
        reported(1, 1, -116);
        expect("X");
        ck_assert(hosted(1)->fenced);
        roster_ended(roster, hosted(1), &clean);
        expect("F");
}
END_TEST

START_TEST(test_forgets_when_its_end_is_refused)
{
        run(1, 1);
        roster_ended(roster, hosted(1), &clean);
        expect("R");
        reported(1, 1, -116);
        expect("F");
}
END_TEST

START_TEST(test_ends_what_is_not_listed_when_its_start_was_reported)
{
        struct id ids[] = { id(1) };
        uint64_t epochs[] = { 1 };

        run(1, 1);
        spawn(2, 1);
        expect("S");
        roster_listed(roster, ids, epochs, 1);
        expect(""); /* 2 may be newer than the list */
        roster_started(roster, hosted(2));
        expect("R");
        roster_listed(roster, ids, epochs, 1);
        expect("");
        reported(2, 1, 0);
        roster_listed(roster, ids, epochs, 1);
        expect("X");
        ck_assert_ptr_eq(seen[0].hosted, hosted(2));
        roster_ended(roster, hosted(2), &clean);
        expect("R");
        ck_assert_int_eq(hosted(1)->state, HOSTED_RUNNING);
}
END_TEST

START_TEST(test_exits_when_drained_and_empty)
{
        run(1, 1);
        roster_drain(roster, false);
        ck_assert(roster_draining(roster));
        spawn(2, 1);
        expect("D");
        roster_ended(roster, hosted(1), &clean);
        expect("R");
        reported(1, 1, 0);
        expect("FE");
        expect("");
}
END_TEST

START_TEST(test_takes_agents_again_unless_fenced_when_undrained)
{
        roster_drain(roster, false);
        roster_undrain(roster);
        spawn(1, 1);
        expect("S");
        roster_fence(roster);
        roster_undrain(roster);
        ck_assert(roster_draining(roster));
}
END_TEST
START_TEST(test_tells_what_runs_or_is_about_to)
{
        run(1, 1);
        run(2, 1);
        ck_assert_uint_eq(roster_spawn(hosted(1))->epoch, 1);
        spawn(1, 2); /* follows once the first has ended, and must not be placed elsewhere */
        ck_assert(hosted(1)->fenced);
        ck_assert_uint_eq(roster_spawn(hosted(1))->epoch, 2);
        roster_ended(roster, hosted(2), &clean);
        ck_assert_ptr_null(roster_spawn(hosted(2)));
}
END_TEST
START_TEST(test_ends_all_gracefully_and_exits_when_shut_down)
{
        struct command command = { .type = COMMAND_SHUTDOWN };

        run(1, 1);
        spawn(2, 1);
        ck_assert_int_eq(roster_command(roster, &command), 0);
        turn();
        ck_assert_uint_eq(seen_count, 3); /* 2 starts and both stop */
        for (uint8_t i = 1; i <= 2; i++)
                roster_ended(roster, hosted(i), &clean);
        expect("RR");
        reported(1, 1, 0);
        reported(2, 1, 0);
        expect("FFE");
}
END_TEST

START_TEST(test_ends_all_at_once_and_reports_nothing_when_fenced)
{
        run(1, 1);
        run(2, 1);
        roster_ended(roster, hosted(2), &clean);
        expect("R");
        roster_fence(roster);
        turn();
        ck_assert_uint_eq(seen_count, 2); /* 1 stops, 2 is forgotten */
        spawn(3, 1);
        expect("D");
        roster_ended(roster, hosted(1), &clean);
        expect("FE");
}
END_TEST

START_TEST(test_drops_waiting_successor_when_it_is_terminated)
{
        run(1, 1);
        spawn(1, 2);
        expect("X");
        terminate(1, 2, false);
        turn();
        roster_ended(roster, hosted(1), &clean);
        expect("F");
        spawn(1, 2);
        expect("D");
}
END_TEST

START_TEST(test_frees_everything_when_work_is_left)
{
        run(1, 1);
        spawn(1, 2);       /* a successor waits */
        spawn(2, 1);       /* a start waits */
        terminate(9, 1, true); /* a denial waits */
        roster_ended(roster, hosted(1), &clean);
        roster_fence(roster);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("roster");
        TCase *tcase = tcase_create("roster");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, test_starts_and_acknowledges_when_spawned);
        tcase_add_test(tcase, test_acknowledges_again_when_spawn_is_repeated);
        tcase_add_test(tcase, test_changes_nothing_when_epoch_is_lower);
        tcase_add_test(tcase, test_replaces_old_one_unheard_when_epoch_is_higher);
        tcase_add_test(tcase, test_replaces_at_once_when_old_one_has_ended);
        tcase_add_test(tcase, test_reports_end_until_the_registry_knows);
        tcase_add_test(tcase, test_reports_end_when_it_ended_while_its_start_was_reported);
        tcase_add_test(tcase, test_reports_failed_start_when_it_never_ran);
        tcase_add_test(tcase, test_ends_agent_when_told_and_hurries_when_told_again);
        tcase_add_test(tcase, test_stays_at_once_when_graceful_end_follows_in_the_same_turn);
        tcase_add_test(tcase, test_denies_and_never_starts_it_when_terminate_overtakes_the_spawn);
        tcase_add_test(tcase, test_refuses_spawns_of_another_master_when_one_was_told_what_runs);
        tcase_add_test(tcase, test_denies_spawn_when_full);
        tcase_add_test(tcase, test_denies_repeat_when_it_ended_here);
        tcase_add_test(tcase, test_ends_unheard_when_fenced_by_its_report);
        tcase_add_test(tcase, test_forgets_when_its_end_is_refused);
        tcase_add_test(tcase, test_ends_what_is_not_listed_when_its_start_was_reported);
        tcase_add_test(tcase, test_exits_when_drained_and_empty);
        tcase_add_test(tcase, test_takes_agents_again_unless_fenced_when_undrained);
        tcase_add_test(tcase, test_tells_what_runs_or_is_about_to);
        tcase_add_test(tcase, test_ends_all_gracefully_and_exits_when_shut_down);
        tcase_add_test(tcase, test_ends_all_at_once_and_reports_nothing_when_fenced);
        tcase_add_test(tcase, test_drops_waiting_successor_when_it_is_terminated);
        tcase_add_test(tcase, test_frees_everything_when_work_is_left);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
