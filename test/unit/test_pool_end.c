/* Ends: asked for, unasked, and what follows. */
#include "test/unit/pool_harness.h"

static int waiters[4];

static int terminate(const struct id *id, void *waiter)
{
        return pool_terminate(pool, agent_at(id), true, waiter, now);
}

START_TEST(test_answers_terminate_when_gone_and_stored)
{
        struct id process = first_worker(), id = running(&process);

        ck_assert_int_eq(terminate(&id, &waiters[0]), 0);
        ck_assert_str_eq(acts(), "sS");
        ck_assert_int_eq(act('s')->state, AGENT_TERMINATED);
        ck_assert_int_eq(agent_at(&id)->state, AGENT_STOPPING);
        if (_i)
                stored(&id, 0);
        else
                reply(REPLY_EXITED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "");
        if (_i)
                reply(REPLY_EXITED, &id, &process, 1, 0);
        else
                stored(&id, 0);
        ck_assert_str_eq(acts(), "Aa");
        ck_assert_ptr_eq(act('A')->waiter, &waiters[0]);
        ck_assert_int_eq(act('A')->error, POOL_OK);
        ck_assert_ptr_null(pool_agent(pool, &id));
}
END_TEST

START_TEST(test_sends_terminate_again_until_the_worker_answers)
{
        struct id process = first_worker(), id = running(&process);

        terminate(&id, &waiters[0]);
        acts();
        stored(&id, 0);
        wait_until(now + 1600);
        ck_assert_str_eq(acts(), "SSS");
        refused(&id, &process, 1); /* it does not run there: as good */
        ck_assert_str_eq(acts(), "Aa");
}
END_TEST

START_TEST(test_refuses_a_spawn_when_its_worker_has_nothing_to_start_it_with)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        stored(&id, 0);
        reserved(&id, &process);
        exhausted(&id, &process, 1);
        ck_assert_str_eq(acts(), "dAa");
        ck_assert_int_eq(act('A')->error, POOL_E_RESOURCES);
        ck_assert_str_eq(act('A')->detail, "no process for it");
        ck_assert_ptr_null(pool_agent(pool, &id));
}
END_TEST

/* Far more often than its restart policy would allow. */
START_TEST(test_tries_on_for_an_agent_that_exists_when_nothing_is_left_to_start_it_with)
{
        struct id process = first_worker(), id = running(&process);
        struct pool_stats stats;

        reply(REPLY_EXITED, &id, &process, 1, 1);
        for (uint64_t epoch = 2; epoch < 30; epoch++) {
                acts();
                wait_until(now + 3000);
                acts();
                ck_assert_uint_eq(agent_at(&id)->epoch, epoch);
                stored(&id, 0);
                reserved(&id, &process);
                exhausted(&id, &process, epoch);
                ck_assert_int_eq(agent_at(&id)->state, AGENT_STARTING);
                wait_until(now + 999);
                ck_assert_uint_eq(agent_at(&id)->epoch, epoch);
        }
        ck_assert_uint_eq(agent_at(&id)->restarts, 1);
        ck_assert_str_eq(agent_at(&id)->last_exit->reason, "no process for it");
        pool_stats(pool, &stats);
        ck_assert(!stats.tripped);
}
END_TEST

START_TEST(test_keeps_first_waiter_when_terminated_twice)
{
        struct id process = first_worker(), id = running(&process);

        terminate(&id, &waiters[0]);
        acts();
        ck_assert_int_eq(terminate(&id, &waiters[1]), -EALREADY);
        ck_assert_str_eq(acts(), "");
        ck_assert_int_eq(pool_terminate(pool, agent_at(&id), false, NULL, now), -EALREADY);
        ck_assert_str_eq(acts(), "S"); /* at once now */
        ck_assert(!agent_at(&id)->graceful);
        stored(&id, 0);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "Aa");
        ck_assert_ptr_eq(act('A')->waiter, &waiters[0]);
}
END_TEST

START_TEST(test_answers_spawn_and_terminate_when_terminated_while_waiting)
{
        struct id id;

        settle();
        id = spawn(&waiters[0]);
        ck_assert_str_eq(acts(), "iF");
        terminate(&id, &waiters[1]);
        ck_assert_str_eq(acts(), "A");
        ck_assert_ptr_eq(act('A')->waiter, &waiters[0]);
        ck_assert_int_eq(act('A')->error, POOL_E_ENDED);
        stored(&id, 0); /* the insert; now its end */
        ck_assert_str_eq(acts(), "s");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "Aa");
        ck_assert_ptr_eq(act('A')->waiter, &waiters[1]);
        ck_assert_int_eq(act('A')->error, POOL_OK);
}
END_TEST

START_TEST(test_succeeds_when_terminated_and_its_row_was_never_written)
{
        struct id id;

        settle();
        id = spawn(NULL);
        terminate(&id, &waiters[1]);
        acts();
        stored(&id, -EAGAIN);
        ck_assert_str_eq(acts(), "Aa");
        ck_assert_int_eq(act('A')->error, POOL_OK);
}
END_TEST

START_TEST(test_ends_it_where_it_is_when_terminated_while_reserving)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        stored(&id, 0);
        terminate(&id, &waiters[1]);
        ck_assert_str_eq(acts(), "As");
        stored(&id, 0);
        reserved(&id, &process);
        ck_assert_str_eq(acts(), "S");
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "");
        reply(REPLY_EXITED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "Aa");
}
END_TEST

START_TEST(test_is_gone_when_terminated_and_no_slot_was_found)
{
        struct id id;

        first_worker();
        id = spawn(&waiters[0]);
        acts();
        stored(&id, 0);
        terminate(&id, &waiters[1]);
        stored(&id, 0);
        acts();
        pool_reserved(pool, &id, 1, -ENOSPC, NULL, now);
        ck_assert_str_eq(acts(), "Aa");
}
END_TEST

START_TEST(test_asks_where_it_is_when_terminated_and_the_registry_did_not_say)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        acts();
        stored(&id, 0);
        pool_reserved(pool, &id, 1, -EAGAIN, NULL, now);
        terminate(&id, &waiters[1]);
        ck_assert_str_eq(acts(), "Asr");
        stored(&id, 0);
        pool_reserved(pool, &id, 1, -EAGAIN, NULL, now);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 100);
        ck_assert_str_eq(acts(), "r");
        reserved(&id, &process);
        ck_assert_str_eq(acts(), "S");
}
END_TEST

START_TEST(test_says_so_when_the_end_cannot_be_stored)
{
        struct id process = first_worker(), id = running(&process);

        terminate(&id, &waiters[0]);
        acts();
        reply(REPLY_EXITED, &id, &process, 1, 0);
        stored(&id, -EAGAIN);
        ck_assert_str_eq(acts(), "A");
        ck_assert_int_eq(act('A')->error, POOL_E_STORE);
        wait_until(now + 1000);
        ck_assert_str_eq(acts(), "s");
        ck_assert_int_eq(terminate(&id, &waiters[1]), 0);
        ck_assert_str_eq(acts(), "");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "s"); /* asked for while the write was under way */
        stored(&id, 0);
        ck_assert_str_eq(acts(), "Aa");
        ck_assert_ptr_eq(act('A')->waiter, &waiters[1]);
}
END_TEST

START_TEST(test_is_gone_when_its_worker_exits_while_stopping)
{
        struct id process = first_worker(), id = running(&process);

        terminate(&id, &waiters[0]);
        acts();
        stored(&id, 0);
        pool_worker_exited(pool, &process, "killed", now);
        ck_assert_str_eq(acts(), "RAaw");
}
END_TEST

START_TEST(test_places_again_under_next_epoch_when_a_permanent_agent_ends)
{
        struct id process = first_worker(), id = running(&process);
        int64_t due;

        reply(REPLY_EXITED, &id, &process, 1, 0);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "");
        ck_assert_str_eq(events, "agent_crashed ");
        ck_assert_int_eq(agent_at(&id)->state, AGENT_STARTING);
        due = pool_next_deadline(pool);
        ck_assert(due >= now + 50 && due <= now + 100);
        wait_until(due);
        ck_assert_str_eq(acts(), "e");
        ck_assert_uint_eq(act('e')->epoch, 2);
        ck_assert_str_eq(agent_at(&id)->start_reason, "restart");
        ck_assert_str_eq(agent_at(&id)->last_exit->reason, "it ended");
        ck_assert_uint_eq(agent_at(&id)->restarts, 1);
        stored(&id, 0);
        ck_assert_str_eq(acts(), "r");
        reserved(&id, &process);
        reply(REPLY_SPAWNED, &id, &process, 2, 0);
        ck_assert_str_eq(acts(), "");
        ck_assert_str_eq(events, "agent_spawned ");
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
}
END_TEST

START_TEST(test_stays_stopped_or_failed_when_policy_says_so)
{
        struct id process, id;

        config.restart.policy = _i < 2 ? POOL_TRANSIENT : POOL_TEMPORARY;
        process = first_worker();
        id = running(&process);
        reply(REPLY_EXITED, &id, &process, 1, _i % 2);
        if (_i == 1) { /* transient and failed */
                ck_assert_str_eq(acts(), "");
                ck_assert_int_eq(agent_at(&id)->phase, PHASE_DELAYED);
                return;
        }
        ck_assert_str_eq(acts(), "s");
        ck_assert_int_eq(act('s')->state, _i % 2 ? AGENT_FAILED : AGENT_STOPPED);
        stored(&id, 0);
        ck_assert_uint_eq(pool_worker(pool, &process)->used, 0);
        terminate(&id, &waiters[0]);
        ck_assert_str_eq(acts(), "s");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "Aa");
}
END_TEST

START_TEST(test_fails_with_the_reason_when_it_ends_too_often)
{
        struct id process = first_worker(), id = running(&process);

        config.breaker.threshold = 0;
        for (uint64_t epoch = 1; epoch <= 3; epoch++) {
                reply(REPLY_EXITED, &id, &process, epoch, 1);
                wait_until(now + 1000);
                stored(&id, 0);
                acts();
                reserved(&id, &process);
                reply(REPLY_SPAWNED, &id, &process, epoch + 1, 0);
        }
        reply(REPLY_EXITED, &id, &process, 4, 1);
        ck_assert_str_eq(acts(), "s");
        ck_assert_int_eq(agent_at(&id)->state, AGENT_FAILED);
        ck_assert_str_eq(agent_at(&id)->last_exit->reason, "more than 3 restarts in 60 s; last: it ended");
}
END_TEST

START_TEST(test_goes_on_trying_when_a_restart_does_not_start)
{
        struct id process = first_worker(), id = running(&process);

        reply(REPLY_EXITED, &id, &process, 1, 1);
        wait_until(now + 100);
        stored(&id, 0);
        acts();
        reserved(&id, &process);
        reply(REPLY_SPAWN_FAILED, &id, &process, 2, 0);
        ck_assert_str_eq(acts(), "");
        ck_assert_int_eq(agent_at(&id)->phase, PHASE_DELAYED);
        ck_assert_str_eq(agent_at(&id)->last_exit->reason, "no such file");
}
END_TEST

START_TEST(test_moves_without_delay_when_its_worker_exits)
{
        struct id process = first_worker(), id = running(&process);

        pool_worker_exited(pool, &process, "killed by signal 9 (KILL)", now);
        ck_assert_str_eq(acts(), "RewF");
        ck_assert_str_eq(agent_at(&id)->start_reason, "worker_exited");
        ck_assert_str_eq(agent_at(&id)->last_exit->reason, "its worker ended: killed by signal 9 (KILL)");
        ck_assert_uint_eq(agent_at(&id)->epoch, 2);
        worker_up();
        ck_assert_str_eq(acts(), "");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "r");
}
END_TEST

START_TEST(test_writes_the_epoch_again_when_the_store_refuses)
{
        struct id process = first_worker(), id = running(&process);

        pool_worker_exited(pool, &process, "killed", now);
        acts();
        stored(&id, -EAGAIN);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1000);
        ck_assert_str_eq(acts(), "e");
        stored(&id, -ESTALE); /* somebody placed it under epoch 2 */
        wait_until(now + 1000);
        ck_assert_str_eq(acts(), "e");
        ck_assert_uint_eq(act('e')->epoch, 3);
        stored(&id, -ENOENT); /* somebody deleted its row */
        wait_until(now + 1000);
        ck_assert_str_eq(acts(), "i");
        stored(&id, 0);
        ck_assert_int_eq(agent_at(&id)->phase, PHASE_WAITING);
}
END_TEST

START_TEST(test_starts_unanswered_spawn_elsewhere_until_it_kills_too_many_workers)
{
        struct id process = first_worker(), id = spawn(&waiters[0]);

        config.spawn_timeout_ms = 1000000;
        config.breaker.threshold = 0;
        acts();
        for (uint64_t epoch = 1; epoch <= 3; epoch++) {
                stored(&id, 0);
                acts();
                reserved(&id, &process);
                pool_worker_exited(pool, &process, "killed by signal 11 (SEGV)", now);
                ck_assert_str_eq(acts(), "RewF");
                ck_assert_uint_eq(agent_at(&id)->epoch, epoch + 1);
                process = worker_up();
        }
        stored(&id, 0);
        acts();
        reserved(&id, &process);
        pool_worker_exited(pool, &process, "killed by signal 11 (SEGV)", now);
        acts();
        ck_assert_int_eq(act('A')->error, POOL_E_START);
        ck_assert_str_eq(act('A')->detail, "its worker ended: killed by signal 11 (SEGV)");
        ck_assert_ptr_null(pool_agent(pool, &id));
}
END_TEST

START_TEST(test_starts_again_elsewhere_when_restarted)
{
        struct id process = first_worker(), id = running(&process);

        ck_assert_int_eq(pool_restart_agent(pool, agent_at(&id), now), 0);
        ck_assert_str_eq(acts(), "S");
        ck_assert_int_eq(pool_restart_agent(pool, agent_at(&id), now), -EPROTO);
        ck_assert_int_eq(agent_at(&id)->phase, PHASE_WITHDRAWN);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "e"); /* no delay, not counted as a failure */
        ck_assert_uint_eq(agent_at(&id)->restarts_in_window, 0);
        ck_assert_uint_eq(agent_at(&id)->restarts, 1);
        ck_assert_str_eq(agent_at(&id)->start_reason, "restart");
}
END_TEST

START_TEST(test_ends_when_terminated_while_restarting)
{
        struct id process = first_worker(), id = running(&process);

        pool_restart_agent(pool, agent_at(&id), now);
        acts();
        terminate(&id, &waiters[0]);
        ck_assert_str_eq(acts(), "sS");
        stored(&id, 0);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "Aa");
}
END_TEST

START_TEST(test_says_so_when_the_end_takes_too_long)
{
        struct id process = first_worker(), id = running(&process);

        terminate(&id, &waiters[0]);
        acts();
        stored(&id, 0);
        wait_until(now + config.stop_grace_ms + config.kill_grace_ms + config.spawn_timeout_ms);
        acts();
        ck_assert_ptr_eq(act('A')->waiter, &waiters[0]);
        ck_assert_int_eq(act('A')->error, POOL_E_TIMEOUT);
        ck_assert_ptr_nonnull(strstr(act('A')->detail, "12000 ms"));
        wait_until(now + 20000); /* answered once */
        acts();
        ck_assert_ptr_null(strchr(letters, 'A'));
        ck_assert_int_eq(agent_at(&id)->state, AGENT_STOPPING);
        ck_assert_int_eq(pool_terminate(pool, agent_at(&id), true, &waiters[1], now), 0);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        acts();
        ck_assert_ptr_eq(act('A')->waiter, &waiters[1]);
        ck_assert_int_eq(act('A')->error, POOL_OK);
        ck_assert_ptr_null(pool_agent(pool, &id));
}
END_TEST

static void add(TCase *tcase)
{
        tcase_add_test(tcase, test_says_so_when_the_end_takes_too_long);
        tcase_add_loop_test(tcase, test_answers_terminate_when_gone_and_stored, 0, 2);
        tcase_add_test(tcase, test_sends_terminate_again_until_the_worker_answers);
        tcase_add_test(tcase, test_refuses_a_spawn_when_its_worker_has_nothing_to_start_it_with);
        tcase_add_test(tcase, test_tries_on_for_an_agent_that_exists_when_nothing_is_left_to_start_it_with);
        tcase_add_test(tcase, test_keeps_first_waiter_when_terminated_twice);
        tcase_add_test(tcase, test_answers_spawn_and_terminate_when_terminated_while_waiting);
        tcase_add_test(tcase, test_succeeds_when_terminated_and_its_row_was_never_written);
        tcase_add_test(tcase, test_ends_it_where_it_is_when_terminated_while_reserving);
        tcase_add_test(tcase, test_is_gone_when_terminated_and_no_slot_was_found);
        tcase_add_test(tcase, test_asks_where_it_is_when_terminated_and_the_registry_did_not_say);
        tcase_add_test(tcase, test_says_so_when_the_end_cannot_be_stored);
        tcase_add_test(tcase, test_is_gone_when_its_worker_exits_while_stopping);
        tcase_add_test(tcase, test_places_again_under_next_epoch_when_a_permanent_agent_ends);
        tcase_add_loop_test(tcase, test_stays_stopped_or_failed_when_policy_says_so, 0, 4);
        tcase_add_test(tcase, test_fails_with_the_reason_when_it_ends_too_often);
        tcase_add_test(tcase, test_goes_on_trying_when_a_restart_does_not_start);
        tcase_add_test(tcase, test_moves_without_delay_when_its_worker_exits);
        tcase_add_test(tcase, test_writes_the_epoch_again_when_the_store_refuses);
        tcase_add_test(tcase, test_starts_unanswered_spawn_elsewhere_until_it_kills_too_many_workers);
        tcase_add_test(tcase, test_starts_again_elsewhere_when_restarted);
        tcase_add_test(tcase, test_ends_when_terminated_while_restarting);
}

int main(void)
{
        return run_suite("pool_end", add);
}
