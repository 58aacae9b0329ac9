/* Spawns: from the request to the answer. */
#include "test/unit/pool_harness.h"

static int waiters[8]; /* their addresses are whom to answer */

START_TEST(test_stores_and_reserves_at_once_when_a_slot_is_free)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        ck_assert_str_eq(acts(), "ir");
        ck_assert_uint_eq(act('r')->epoch, 1);
        ck_assert_int_eq(act('i')->state, AGENT_STARTING);
        reserved(&id, &process);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "A");
        ck_assert_ptr_eq(act('A')->waiter, &waiters[0]);
        ck_assert_int_eq(act('A')->error, POOL_OK);
        ck_assert_str_eq(events, "agent_spawned ");
}
END_TEST

START_TEST(test_answers_only_when_acknowledged_too)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        stored(&id, 0);
        reserved(&id, &process);
        ck_assert_str_eq(acts(), "");
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "A");
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        reserved(&id, &process);
        ck_assert_str_eq(acts(), "");
}
END_TEST

START_TEST(test_answers_once_stored_when_asked_not_to_wait)
{
        struct agent *agent = agent_new();
        struct id id = agent->agent_id;
        enum pool_error error;
        char detail[192];

        config.max_workers = 1;
        settle();
        agent->waiter = &waiters[0];
        agent->answer_stored = true;
        ck_assert_int_eq(pool_spawn(pool, agent, now, &error, detail), 0);
        ck_assert_str_eq(acts(), "iF");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "A");
        wait_until(now + 20000); /* answered: it has no deadline any more */
        ck_assert_ptr_nonnull(pool_agent(pool, &id));
}
END_TEST

START_TEST(test_takes_reply_that_is_faster_than_the_reservation)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        stored(&id, 0);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "A");
        ck_assert_ptr_eq(agent_at(&id)->worker, pool_worker(pool, &process));
        reserved(&id, &process);
        ck_assert_uint_eq(pool_worker(pool, &process)->used, 1);
}
END_TEST

START_TEST(test_forks_as_many_as_needed_when_spawns_wait)
{
        struct pool_stats stats;

        settle();
        for (int i = 0; i < 5; i++)
                spawn(NULL);
        ck_assert_str_eq(acts(), "iFiiFiiF"); /* 5 spawns, 2 in each worker: 3 forks */
        pool_stats(pool, &stats);
        ck_assert_uint_eq(stats.workers_starting, 3);
        ck_assert_uint_eq(stats.waiting, 5);
        worker_up();
        ck_assert_str_eq(acts(), "rr");
}
END_TEST

START_TEST(test_reserves_no_more_than_slots_it_knows)
{
        struct id process = first_worker(), ids[3];

        for (int i = 0; i < 3; i++)
                ids[i] = spawn(NULL);
        ck_assert_str_eq(acts(), "iririF");
        reserved(&ids[0], &process);
        reply(REPLY_SPAWN_FAILED, &ids[0], &process, 1, 0);
        ck_assert_str_eq(acts(), "dAar"); /* its slot goes to the one that waits */
        ck_assert(id_equal(&act('r')->agent_id, &ids[2]));
}
END_TEST

START_TEST(test_refuses_with_the_numbers_when_full)
{
        enum pool_error error = POOL_OK;
        char detail[192];
        struct id process, id;

        config.max_workers = 1;
        process = first_worker();
        running(&process);
        running(&process);
        ck_assert_int_eq(try_spawn(NULL, &id, &error, detail), -EBUSY);
        ck_assert_int_eq(error, POOL_E_FULL);
        ck_assert_str_eq(detail, "p: 2 of 2 slots in 1 of 1 workers; raise max_workers");
        ck_assert_ptr_null(pool_agent(pool, &id));
        ck_assert_str_eq(acts(), "");
}
END_TEST

START_TEST(test_waits_when_full_but_an_agent_is_stopping)
{
        struct id process, ending, id;

        config.max_workers = 1;
        process = first_worker();
        running(&process);
        ending = running(&process);
        pool_terminate(pool, agent_at(&ending), true, NULL, now);
        id = spawn(NULL);
        ck_assert_str_eq(acts(), "sSi");
        reply(REPLY_EXITED, &ending, &process, 1, 0);
        ck_assert_str_eq(acts(), "r");
        ck_assert(id_equal(&act('r')->agent_id, &id));
}
END_TEST

START_TEST(test_keeps_the_slot_of_an_agent_that_restarts_when_full)
{
        enum pool_error error = POOL_OK;
        char detail[192];
        struct id process, crashed, id;

        config.max_workers = 1;
        process = first_worker();
        running(&process);
        crashed = running(&process);
        reply(REPLY_EXITED, &crashed, &process, 1, 3);
        ck_assert_int_eq(try_spawn(NULL, &id, &error, detail), -EBUSY);
        ck_assert_int_eq(error, POOL_E_FULL);
}
END_TEST

START_TEST(test_refuses_when_the_queue_is_full)
{
        enum pool_error error = POOL_OK;
        char detail[192];
        struct id id;

        settle();
        for (int i = 0; i < 5; i++)
                spawn(NULL);
        ck_assert_int_eq(try_spawn(NULL, &id, &error, detail), -EBUSY);
        ck_assert_int_eq(error, POOL_E_QUEUE);
        ck_assert_str_eq(detail, "p: 5 spawns wait already; raise queue_max or retry later");
}
END_TEST

START_TEST(test_leaves_nothing_behind_when_no_slot_comes_in_time)
{
        struct pool_stats stats;
        struct id id;

        settle();
        id = spawn(&waiters[0]);
        acts();
        stored(&id, 0);
        pool_worker_forked(pool, &last_fork, 1, now);
        now += 10000;
        pool_tick(pool, now);
        ck_assert_str_eq(acts(), "dAaK");
        ck_assert_int_eq(act('A')->error, POOL_E_TIMEOUT);
        ck_assert_str_eq(act('A')->detail, "no slot within 10000 ms: 0 of 0 slots taken in 0 workers, 1 more starting");
        ck_assert_ptr_null(pool_agent(pool, &id));
        pool_stats(pool, &stats);
        ck_assert_uint_eq(stats.spawns_failed, 1);
        ck_assert_uint_eq(stats.agents, 0);
}
END_TEST

START_TEST(test_releases_the_slot_when_not_started_in_time)
{
        struct id process = first_worker(), id;

        config.start_timeout_ms = 60000;
        id = spawn(&waiters[0]);
        acts();
        stored(&id, 0);
        reserved(&id, &process);
        wait_until(now + 9999);
        acts();
        wait_until(now + 1);
        ck_assert_str_eq(acts(), "lvdAa");
        ck_assert(id_equal(&act('l')->agent_id, &id) && act('l')->epoch == 1);
        ck_assert(id_equal(&act('v')->process_id, &process) && act('v')->epoch == 1);
        ck_assert_int_eq(act('A')->error, POOL_E_TIMEOUT);
        ck_assert_uint_eq(pool_worker(pool, &process)->used, 0);
        reply(REPLY_SPAWNED, &id, &process, 1, 0); /* too late */
        ck_assert_str_eq(acts(), "v");
}
END_TEST

START_TEST(test_releases_when_the_reservation_is_not_answered_in_time)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        wait_until(now + 10000);
        ck_assert_str_eq(acts(), "ldAa");
        pool_reserved(pool, &id, 1, 0, &process, now);
        ck_assert_str_eq(acts(), "");
}
END_TEST

START_TEST(test_sends_again_when_the_acknowledgement_is_missing)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);
        struct id command;

        acts();
        stored(&id, 0);
        reserved(&id, &process);
        command = agent_at(&id)->command_id;
        wait_until(now + 1700);
        ck_assert_str_eq(acts(), "SSS");
        ck_assert(id_equal(&command, &agent_at(&id)->command_id));
        ck_assert_int_eq(agent_at(&id)->phase, PHASE_SENT);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "A");
        wait_until(now + 5000);
        ck_assert_str_eq(acts(), "");
}
END_TEST

START_TEST(test_tries_another_worker_only_when_the_first_gave_it_up)
{
        struct id process = first_worker(), id;

        config.spawn_timeout_ms = 60000;
        id = spawn(&waiters[0]);
        acts();
        stored(&id, 0);
        reserved(&id, &process);
        wait_until(now + 5000); /* start_timeout_ms and the margin */
        acts();
        ck_assert_int_eq(agent_at(&id)->phase, PHASE_WITHDRAWN);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 600);
        ck_assert_str_eq(acts(), "S"); /* told to end, again */
        refused(&id, &process, 1);
        ck_assert_str_eq(acts(), "e");
        ck_assert_uint_eq(act('e')->epoch, 2);
        stored(&id, 0);
        ck_assert_str_eq(acts(), "r");
        ck_assert_uint_eq(act('r')->epoch, 2);
}
END_TEST

START_TEST(test_answers_why_when_the_agent_does_not_start)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        stored(&id, 0);
        reserved(&id, &process);
        reply(REPLY_SPAWN_FAILED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "dAa");
        ck_assert_int_eq(act('A')->error, POOL_E_START);
        ck_assert_str_eq(act('A')->detail, "no such file");
        ck_assert_str_eq(events, "agent_spawn_failed ");
}
END_TEST

START_TEST(test_tries_again_when_the_worker_refused)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        stored(&id, 0);
        reserved(&id, &process);
        refused(&id, &process, 1);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 100);
        ck_assert_str_eq(acts(), "e");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "r");
}
END_TEST

/* Started by a master that died before it could store them; their ids come from their client's key. */
START_TEST(test_tries_again_when_one_of_an_earlier_life_ended)
{
        struct id process = first_worker(), ids[2] = { spawn(&waiters[0]), spawn(&waiters[1]) };
        struct reply failed = { .type = REPLY_SPAWN_FAILED, .agent_id = ids[1], .process_id = process, .epoch = 1,
                .command_id = id_new(), .detail = (char[]){ "stopped" } };

        acts();
        for (int i = 0; i < 2; i++) {
                stored(&ids[i], 0);
                reserved(&ids[i], &process);
        }
        reply(REPLY_EXITED, &ids[0], &process, 1, 0);
        pool_reply(pool, &failed, now);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 100);
        ck_assert_str_eq(acts(), "ee");
        ck_assert_uint_eq(agent_at(&ids[0])->epoch, 2);
        ck_assert_uint_eq(agent_at(&ids[1])->epoch, 2);
}
END_TEST

START_TEST(test_fails_spawn_when_the_store_refuses)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        reserved(&id, &process);
        stored(&id, -EAGAIN);
        ck_assert_str_eq(acts(), "lvdAa");
        ck_assert_int_eq(act('A')->error, POOL_E_STORE);
}
END_TEST

START_TEST(test_says_the_store_is_late_when_it_runs_at_the_deadline)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        reserved(&id, &process);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        wait_until(now + 10000);
        ck_assert_str_eq(acts(), "lvdAa");
        ck_assert_int_eq(act('A')->error, POOL_E_STORE);
}
END_TEST

START_TEST(test_asks_again_a_little_later_when_the_registry_has_no_slot_or_answer)
{
        static const int errors[] = { -ENOSPC, -EAGAIN };
        struct id process = first_worker(), id = spawn(NULL);

        acts();
        pool_reserved(pool, &id, 1, errors[_i], NULL, now);
        ck_assert_str_eq(acts(), "");
        ck_assert_int_eq(pool_next_deadline(pool), now + 100);
        wait_until(now + 100);
        ck_assert_str_eq(acts(), "r");
        ck_assert_uint_eq(act('r')->epoch, 1);
        reserved(&id, &process);
        ck_assert_int_eq(agent_at(&id)->phase, PHASE_SENT);
}
END_TEST

START_TEST(test_raises_the_epoch_when_the_registry_knows_a_higher_one)
{
        struct id id;

        first_worker();
        id = spawn(NULL);
        acts();
        stored(&id, 0);
        pool_reserved(pool, &id, 1, -ESTALE, NULL, now);
        wait_until(now + 100);
        ck_assert_str_eq(acts(), "e");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "r");
        ck_assert_uint_eq(act('r')->epoch, 2);
}
END_TEST

START_TEST(test_ignores_what_is_unknown_or_older)
{
        struct id process = first_worker(), id = running(&process), other = id_new();

        reply(REPLY_EXITED, &id, &process, 0, 1);
        reply(REPLY_EXITED, &other, &process, 1, 1);
        reply(REPLY_SPAWNED, &id, &other, 1, 1);
        pool_stored(pool, &other, 1, 0, now);
        pool_reserved(pool, &other, 1, 0, &process, now);
        ck_assert_str_eq(acts(), "");
        reply(REPLY_SPAWNED, &other, &process, 4, 0);
        ck_assert_str_eq(acts(), "v");
        ck_assert(id_equal(&act('v')->agent_id, &other) && act('v')->epoch == 4);
        reply(REPLY_SPAWNED, &id, &process, 0, 0);
        ck_assert_str_eq(acts(), "v");
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
}
END_TEST

START_TEST(test_is_busy_when_messages_are_in_flight)
{
        struct id process = first_worker(), id = running(&process);

        pool_in_flight(pool, agent_at(&id), 1, now);
        pool_in_flight(pool, agent_at(&id), 2, now);
        ck_assert_int_eq(agent_at(&id)->state, AGENT_BUSY);
        pool_in_flight(pool, agent_at(&id), 0, now);
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
}
END_TEST

START_TEST(test_answers_closing_and_deletes_rows_when_closed)
{
        struct id process = first_worker(), alive = running(&process), id = spawn(&waiters[0]);
        enum pool_error error = POOL_OK;
        char detail[192];

        acts();
        pool_close(pool, now);
        pool_close(pool, now);
        ck_assert_str_eq(acts(), "ldAaH");
        ck_assert_int_eq(act('A')->error, POOL_E_CLOSING);
        ck_assert_int_eq(try_spawn(NULL, &id, &error, detail), -EBUSY);
        ck_assert_int_eq(error, POOL_E_CLOSING);
        ck_assert(!pool_closed(pool));
        reply(REPLY_EXITED, &alive, &process, 1, 0);
        pool_worker_exited(pool, &process, "exit status 0", now);
        ck_assert_str_eq(acts(), "Rw");
        ck_assert(pool_closed(pool));
        ck_assert(agent_state_wanted(agent_at(&alive)->state)); /* a restore brings it back */
}
END_TEST

START_TEST(test_kills_workers_when_they_outlive_the_shutdown)
{
        struct id process = first_worker();

        pool_close(pool, now);
        ck_assert_str_eq(acts(), "H");
        wait_until(now + 7000);
        ck_assert_str_eq(acts(), "K");
        wait_until(now + 5000);
        ck_assert_str_eq(acts(), "K");
        pool_worker_exited(pool, &process, "killed", now);
        ck_assert(pool_closed(pool));
}
END_TEST

static void add(TCase *tcase)
{
        tcase_add_test(tcase, test_stores_and_reserves_at_once_when_a_slot_is_free);
        tcase_add_test(tcase, test_answers_only_when_acknowledged_too);
        tcase_add_test(tcase, test_answers_once_stored_when_asked_not_to_wait);
        tcase_add_test(tcase, test_takes_reply_that_is_faster_than_the_reservation);
        tcase_add_test(tcase, test_forks_as_many_as_needed_when_spawns_wait);
        tcase_add_test(tcase, test_reserves_no_more_than_slots_it_knows);
        tcase_add_test(tcase, test_refuses_with_the_numbers_when_full);
        tcase_add_test(tcase, test_waits_when_full_but_an_agent_is_stopping);
        tcase_add_test(tcase, test_keeps_the_slot_of_an_agent_that_restarts_when_full);
        tcase_add_test(tcase, test_refuses_when_the_queue_is_full);
        tcase_add_test(tcase, test_leaves_nothing_behind_when_no_slot_comes_in_time);
        tcase_add_test(tcase, test_releases_the_slot_when_not_started_in_time);
        tcase_add_test(tcase, test_releases_when_the_reservation_is_not_answered_in_time);
        tcase_add_test(tcase, test_sends_again_when_the_acknowledgement_is_missing);
        tcase_add_test(tcase, test_tries_another_worker_only_when_the_first_gave_it_up);
        tcase_add_test(tcase, test_answers_why_when_the_agent_does_not_start);
        tcase_add_test(tcase, test_tries_again_when_the_worker_refused);
        tcase_add_test(tcase, test_tries_again_when_one_of_an_earlier_life_ended);
        tcase_add_test(tcase, test_fails_spawn_when_the_store_refuses);
        tcase_add_test(tcase, test_says_the_store_is_late_when_it_runs_at_the_deadline);
        tcase_add_loop_test(tcase, test_asks_again_a_little_later_when_the_registry_has_no_slot_or_answer, 0, 2);
        tcase_add_test(tcase, test_raises_the_epoch_when_the_registry_knows_a_higher_one);
        tcase_add_test(tcase, test_ignores_what_is_unknown_or_older);
        tcase_add_test(tcase, test_is_busy_when_messages_are_in_flight);
        tcase_add_test(tcase, test_answers_closing_and_deletes_rows_when_closed);
        tcase_add_test(tcase, test_kills_workers_when_they_outlive_the_shutdown);
}

int main(void)
{
        return run_suite("pool", add);
}
