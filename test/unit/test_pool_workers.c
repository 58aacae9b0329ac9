/* Workers: how many, from fork to exit, and what adopted ones run. */
#include "test/unit/pool_harness.h"

static struct id restored_agent(enum agent_state state, uint64_t epoch)
{
        struct agent *agent = agent_new();
        struct id id = agent->agent_id;

        agent->state = state;
        agent->epoch = epoch;
        pool_restore(pool, agent, now);
        return id;
}

static struct id adopted(void)
{
        struct id process = id_new();

        pool_worker_adopt(pool, &process, 5, now);
        return process;
}

static void ready(const struct id *process, const struct id *agent, uint64_t epoch)
{
        struct hosted_agent hosted = { .epoch = epoch };

        if (agent)
                hosted.agent_id = *agent;
        pool_worker_ready(pool, process, &hosted, agent != NULL, now);
}

START_TEST(test_forks_nothing_before_the_restore_is_over)
{
        config.min_workers = 2;
        pool_tick(pool, now);
        ck_assert_str_eq(acts(), "");
        settle();
        ck_assert_str_eq(acts(), "FF");
        wait_until(now + 100);
        ck_assert_str_eq(acts(), "");
}
END_TEST

START_TEST(test_keeps_spare_workers_empty)
{
        struct id process, id;

        config.spare_workers = 1;
        settle();
        ck_assert_str_eq(acts(), "F");
        process = worker_up();
        ck_assert_str_eq(acts(), "");
        id = spawn(NULL);
        acts();
        reserved(&id, &process);
        ck_assert_str_eq(acts(), "F"); /* the reserve is used: another one */
}
END_TEST

START_TEST(test_never_forks_beyond_max_workers)
{
        settle();
        for (int i = 0; i < 5; i++)
                spawn(NULL);
        config.queue_max = 100;
        for (int i = 0; i < 20; i++)
                spawn(NULL);
        acts();
        ck_assert_uint_eq(HASH_COUNT(pool_first_worker(pool)), 3);
}
END_TEST

START_TEST(test_forks_one_at_a_time_after_a_delay_when_workers_die_at_start)
{
        int64_t delay = 50;
        struct id id;

        config.breaker.threshold = 0;
        config.spawn_timeout_ms = 10000;
        settle();
        id = spawn(NULL);
        spawn(NULL);
        spawn(NULL);
        ck_assert_str_eq(acts(), "iFiiF");
        stored(&id, 0);
        pool_worker_fork_failed(pool, &last_fork, EAGAIN, now);
        ck_assert_str_eq(acts(), "w");
        last_fork = pool_first_worker(pool)->process_id;
        for (int i = 0; i < 3; i++, delay *= 2) {
                pool_worker_exited(pool, &last_fork, "exit status 1", now);
                ck_assert_str_eq(acts(), "Rw");
                ck_assert_int_ge(pool_next_deadline(pool), now + delay);
                wait_until(pool_next_deadline(pool));
                ck_assert_str_eq(acts(), "F");
        }
        pool_worker_exited(pool, &last_fork, "exit status 1", now);
        acts();
        now = 1010000;
        pool_tick(pool, now);
        acts();
        ck_assert_int_eq(act('A')->error, POOL_E_WORKERS);
        ck_assert_str_eq(act('A')->detail, "workers do not start: exit status 1");
}
END_TEST

START_TEST(test_kills_worker_when_not_ready_in_time)
{
        struct id process;

        settle();
        spawn(NULL);
        acts();
        process = last_fork;
        pool_worker_forked(pool, &process, 9, now);
        wait_until(now + 4000);
        ck_assert_str_eq(acts(), "K");
        ck_assert_int_eq(pool_worker(pool, &process)->state, WORKER_STALE);
        ready(&process, NULL, 0); /* too late: its end is on its way */
        ck_assert_int_eq(pool_worker(pool, &process)->state, WORKER_STALE);
        wait_until(now + 1000);
        ck_assert_str_eq(acts(), "F"); /* another one for the spawn that waits, after the delay of one that failed */
        wait_until(now + 4000);
        ck_assert_ptr_nonnull(strchr(acts(), 'K'));
}
END_TEST

START_TEST(test_kills_suspect_and_moves_its_agents_only_once_it_has_exited)
{
        struct id process = first_worker(), id = running(&process);
        struct pool_stats stats;

        pool_worker_suspect(pool, &process, now);
        pool_worker_suspect(pool, &process, now);
        ck_assert_str_eq(acts(), "KF"); /* room for its agents is made meanwhile */
        ck_assert_uint_eq(agent_at(&id)->epoch, 1);
        pool_stats(pool, &stats);
        ck_assert_uint_eq(stats.capacity, 0);
        ck_assert_uint_eq(stats.workers_stale, 1);
        worker_up();
        wait_until(now + 5000);
        ck_assert_str_eq(acts(), "K");
        pool_worker_exited(pool, &process, "killed", now);
        ck_assert_str_eq(acts(), "Rew");
}
END_TEST

START_TEST(test_places_again_when_the_reserved_worker_is_gone)
{
        struct id process = first_worker(), id = spawn(NULL);

        acts();
        stored(&id, 0);
        pool_worker_exited(pool, &process, "killed", now);
        acts();
        reserved(&id, &process);
        ck_assert_str_eq(acts(), "eF");
        ck_assert_uint_eq(agent_at(&id)->epoch, 2);
}
END_TEST

START_TEST(test_drains_worker_when_idle)
{
        struct id process = first_worker();

        wait_until(now + 59999);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1);
        ck_assert_str_eq(acts(), "D");
        ck_assert_int_eq(pool_worker(pool, &process)->state, WORKER_DRAINING);
        wait_until(now + 7000);
        ck_assert_str_eq(acts(), "K");
        pool_worker_exited(pool, &process, "exit status 0", now);
        ck_assert_str_eq(acts(), "Rw");
        ck_assert_int_eq(pool_next_deadline(pool), INT64_MAX);
}
END_TEST

START_TEST(test_keeps_idle_worker_when_it_is_needed)
{
        first_worker();
        if (_i)
                config.min_workers = 1;
        else
                config.spare_workers = 1;
        wait_until(now + 120000);
        ck_assert_str_eq(acts(), "");
        config.min_workers = config.spare_workers = 0;
        wait_until(now + 1000);
        ck_assert_str_eq(acts(), "D");
}
END_TEST

START_TEST(test_counts_idle_time_anew_when_it_hosted_something)
{
        struct id process = first_worker(), id;

        wait_until(now + 50000);
        id = running(&process);
        wait_until(now + 100000);
        ck_assert_str_eq(acts(), "");
        pool_terminate(pool, agent_at(&id), true, NULL, now);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        stored(&id, 0);
        acts();
        wait_until(now + 59999);
        ck_assert_str_eq(acts(), "");
        wait_until(now + 1);
        ck_assert_str_eq(acts(), "D");
}
END_TEST

START_TEST(test_keeps_agents_running_when_an_adopted_worker_reports_them)
{
        struct id same = restored_agent(AGENT_IDLE, 4), higher = restored_agent(AGENT_STARTING, 2), process = adopted();

        settle();
        ck_assert_str_eq(acts(), "");
        ready(&process, &same, 4);
        ready(&process, &higher, 3);
        acts();
        ck_assert_int_eq(agent_at(&same)->state, AGENT_IDLE);
        ck_assert_ptr_eq(agent_at(&same)->worker, pool_worker(pool, &process));
        ck_assert_uint_eq(agent_at(&same)->epoch, 4);
}
END_TEST

START_TEST(test_raises_the_epoch_when_an_adopted_worker_runs_a_higher_one)
{
        struct id id = restored_agent(AGENT_STARTING, 2), process = adopted();

        settle();
        ready(&process, &id, 3);
        ck_assert_str_eq(acts(), "s");
        ck_assert_uint_eq(act('s')->epoch, 3);
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
}
END_TEST

START_TEST(test_asks_for_the_acknowledgement_when_an_adopted_worker_still_starts_it)
{
        struct id id = restored_agent(AGENT_STARTING, 2), process = adopted();
        struct hosted_agent hosted = { .agent_id = id, .epoch = 2, .starting = true };

        settle();
        pool_worker_ready(pool, &process, &hosted, 1, now);
        ck_assert_int_eq(agent_at(&id)->phase, PHASE_SENT);
        wait_until(now + 500);
        ck_assert_str_eq(acts(), "S");
        reply(REPLY_SPAWNED, &id, &process, 2, 0);
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
}
END_TEST

START_TEST(test_evicts_what_should_not_run_when_an_adopted_worker_reports_it)
{
        struct id lower = restored_agent(AGENT_IDLE, 4), failed = restored_agent(AGENT_FAILED, 1), unknown = id_new();
        struct id process = adopted(), other = adopted();
        struct hosted_agent hosted[] = { { .agent_id = lower, .epoch = 3 }, { .agent_id = failed, .epoch = 1 },
                { .agent_id = unknown, .epoch = 9 } };

        settle();
        pool_worker_ready(pool, &process, hosted, 3, now);
        ck_assert_str_eq(acts(), "vvv");
        ck_assert_uint_eq(shown[0].epoch, 3);
        ready(&other, NULL, 0);
        ck_assert_str_eq(acts(), "e");
        ck_assert_uint_eq(act('e')->epoch, 5);
        ck_assert_int_eq(agent_at(&failed)->state, AGENT_FAILED);
}
END_TEST

/* Its first master died before it could store it; its client asks again under its key while that one is being ended. */
START_TEST(test_spawns_under_a_higher_epoch_when_the_same_id_is_being_evicted)
{
        struct id process = adopted();
        struct agent *agent = agent_new();
        struct id id = agent->agent_id;
        enum pool_error error;
        char detail[192];

        settle();
        ready(&process, &id, 1);
        ck_assert_str_eq(acts(), "v");
        agent->waiter = &process;
        ck_assert_int_eq(pool_spawn(pool, agent, now, &error, detail), 0);
        ck_assert_uint_eq(agent_at(&id)->epoch, 2);
        settle();
        reserved(&id, &process);
        /* What the one before says, late, and its end: no answer comes of it. */
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        reply(REPLY_EXITED, &id, &process, 1, 0);
        ck_assert_ptr_null(strchr(acts(), 'A'));
        reply(REPLY_SPAWNED, &id, &process, 2, 0);
        stored(&id, 0);
        ck_assert_str_eq(acts(), "A");
        ck_assert_int_eq(act('A')->error, POOL_OK);
}
END_TEST

START_TEST(test_places_the_rest_when_every_adopted_worker_reported_or_exited)
{
        struct id id = restored_agent(AGENT_BUSY, 2), process = adopted(), other = adopted();

        settle();
        ready(&process, NULL, 0);
        ck_assert_str_eq(acts(), "");
        pool_worker_exited(pool, &other, "killed", now);
        ck_assert_str_eq(acts(), "Rwe");
        ck_assert_str_eq(agent_at(&id)->start_reason, "restore");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "r");
        ck_assert_uint_eq(act('r')->epoch, 3);
}
END_TEST

START_TEST(test_hears_of_an_end_when_restored_before_any_report)
{
        struct id id, process;

        config.restart.policy = POOL_TRANSIENT;
        id = restored_agent(AGENT_IDLE, 2);
        process = adopted();
        settle();
        reply(REPLY_EXITED, &id, &process, 2, 0);
        ck_assert_str_eq(acts(), "s");
        ck_assert_int_eq(agent_at(&id)->state, AGENT_STOPPED);
}
END_TEST

START_TEST(test_waits_for_reports_when_a_restored_agent_is_terminated)
{
        struct id id = restored_agent(AGENT_IDLE, 2), process = adopted();

        settle();
        pool_terminate(pool, agent_at(&id), true, NULL, now);
        ck_assert_str_eq(acts(), "s");
        stored(&id, 0);
        ck_assert_str_eq(acts(), "");
        ready(&process, _i ? &id : NULL, 2);
        if (!_i) {
                ck_assert_str_eq(acts(), "Aa");
                return;
        }
        ck_assert_str_eq(acts(), "S");
        reply(REPLY_EXITED, &id, &process, 2, 0);
        ck_assert_str_eq(acts(), "Aa");
}
END_TEST

START_TEST(test_drops_terminated_rows_and_finishes_stopping_ones_when_restored)
{
        struct id gone = restored_agent(AGENT_TERMINATED, 2), stopping = restored_agent(AGENT_STOPPING, 2);

        ck_assert_ptr_null(pool_agent(pool, &gone));
        settle();
        ck_assert_str_eq(acts(), "s");
        ck_assert_int_eq(act('s')->state, AGENT_TERMINATED);
        stored(&stopping, 0);
        ck_assert_str_eq(acts(), "a");
}
END_TEST

START_TEST(test_doubts_agents_when_a_worker_registers_again_without_them)
{
        struct id process = first_worker(), here = running(&process), lost = running(&process);

        ready(&process, &here, 1);
        ck_assert_str_eq(acts(), "S");
        ck_assert(id_equal(&act('S')->agent_id, &lost));
        ck_assert_int_eq(agent_at(&here)->phase, PHASE_NONE);
        ck_assert_int_eq(agent_at(&lost)->phase, PHASE_SENT);
        refused(&lost, &process, 1);
        wait_until(now + 100);
        ck_assert_str_eq(acts(), "e");
        reply(REPLY_SPAWNED, &here, &process, 1, 0);
        ck_assert_str_eq(acts(), "");
}
END_TEST

START_TEST(test_restores_in_portions_when_there_are_many)
{
        struct pool_action action;
        unsigned writes = 0;
        struct id ids[2500];

        config.max_agents_per_worker = 5000;
        for (unsigned i = 0; i < 2500; i++)
                ids[i] = restored_agent(AGENT_IDLE, 1);
        settle();
        while (pool_next_action(pool, &action))
                writes += action.type == POOL_STORE_EPOCH;
        ck_assert_uint_eq(writes, 1000);
        for (unsigned i = 0; i < 1000; i++)
                stored(&ids[i], 0);
        while (pool_next_action(pool, &action))
                writes += action.type == POOL_STORE_EPOCH;
        ck_assert_uint_eq(writes, 2000);
}
END_TEST

START_TEST(test_keeps_room_for_moving_agents_when_a_rollout_has_a_worker_more)
{
        struct id process, old;

        config.max_workers = 1;
        process = first_worker();
        old = running(&process);
        running(&process);
        ck_assert_int_eq(pool_rollout(pool, 1, 0, now), 0);
        ck_assert_str_eq(acts(), "F");
        spawn(NULL);
        acts();
        process = worker_up();
        ck_assert_str_eq(acts(), "DSS"); /* the old one is emptied; the spawn has to wait */
        reply(REPLY_EXITED, &old, &agent_at(&old)->worker->process_id, 1, 0);
        stored(&old, 0);
        ck_assert_str_eq(acts(), "er");
        ck_assert(id_equal(&act('r')->agent_id, &old));
}
END_TEST

START_TEST(test_makes_no_more_workers_when_a_rollout_empties_a_batch)
{
        struct id old, first, fresh;

        config.min_workers = 2;
        settle();
        ck_assert_str_eq(acts(), "FF");
        first = shown[0].process_id;
        worker_up();
        last_fork = first;
        worker_up();
        old = running(&first);
        ck_assert_int_eq(pool_rollout(pool, 1, 0, now), 0);
        ck_assert_str_eq(acts(), "F");
        fresh = worker_up();
        ck_assert_str_eq(acts(), "DS");
        reply(REPLY_EXITED, &old, &first, 1, 0);
        ck_assert_str_eq(acts(), "e");
        stored(&old, 0);
        ck_assert_str_eq(acts(), "r");
        reserved(&old, &fresh);
        ck_assert_str_eq(acts(), ""); /* the empty one is taken, the old one not gone yet */
        pool_worker_exited(pool, &first, "exit status 0", now);
        ck_assert_ptr_nonnull(strchr(acts(), 'F'));
}
END_TEST

static void add(TCase *tcase)
{
        tcase_add_test(tcase, test_forks_nothing_before_the_restore_is_over);
        tcase_add_test(tcase, test_keeps_spare_workers_empty);
        tcase_add_test(tcase, test_never_forks_beyond_max_workers);
        tcase_add_test(tcase, test_forks_one_at_a_time_after_a_delay_when_workers_die_at_start);
        tcase_add_test(tcase, test_kills_worker_when_not_ready_in_time);
        tcase_add_test(tcase, test_kills_suspect_and_moves_its_agents_only_once_it_has_exited);
        tcase_add_test(tcase, test_keeps_room_for_moving_agents_when_a_rollout_has_a_worker_more);
        tcase_add_test(tcase, test_makes_no_more_workers_when_a_rollout_empties_a_batch);
        tcase_add_test(tcase, test_places_again_when_the_reserved_worker_is_gone);
        tcase_add_test(tcase, test_drains_worker_when_idle);
        tcase_add_loop_test(tcase, test_keeps_idle_worker_when_it_is_needed, 0, 2);
        tcase_add_test(tcase, test_counts_idle_time_anew_when_it_hosted_something);
        tcase_add_test(tcase, test_keeps_agents_running_when_an_adopted_worker_reports_them);
        tcase_add_test(tcase, test_raises_the_epoch_when_an_adopted_worker_runs_a_higher_one);
        tcase_add_test(tcase, test_asks_for_the_acknowledgement_when_an_adopted_worker_still_starts_it);
        tcase_add_test(tcase, test_evicts_what_should_not_run_when_an_adopted_worker_reports_it);
        tcase_add_test(tcase, test_spawns_under_a_higher_epoch_when_the_same_id_is_being_evicted);
        tcase_add_test(tcase, test_places_the_rest_when_every_adopted_worker_reported_or_exited);
        tcase_add_test(tcase, test_hears_of_an_end_when_restored_before_any_report);
        tcase_add_loop_test(tcase, test_waits_for_reports_when_a_restored_agent_is_terminated, 0, 2);
        tcase_add_test(tcase, test_drops_terminated_rows_and_finishes_stopping_ones_when_restored);
        tcase_add_test(tcase, test_doubts_agents_when_a_worker_registers_again_without_them);
        tcase_add_test(tcase, test_restores_in_portions_when_there_are_many);
}

int main(void)
{
        return run_suite("pool_workers", add);
}
