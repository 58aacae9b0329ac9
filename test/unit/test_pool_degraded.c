/* The registry is away: what the rules place by themselves, and what they wait for. */
#include "test/unit/pool_harness.h"

static void away(void)
{
        pool_registry(pool, false, now);
}

static void ready(const struct id *process, const struct id *agent, uint64_t epoch)
{
        struct hosted_agent hosted = { .epoch = epoch };

        if (agent)
                hosted.agent_id = *agent;
        pool_worker_ready(pool, process, &hosted, agent != NULL, now);
}

/* Its row is written: the raised epoch may be placed. */
static void commit(const struct id *id)
{
        stored(id, 0);
}

/* A second worker, empty. */
static struct id second_worker(void)
{
        config.min_workers = 2;
        pool_tick(pool, now);
        ck_assert_str_eq(acts(), "F");
        config.min_workers = 0;
        return worker_up();
}

START_TEST(test_places_a_new_agent_on_a_worker_that_has_let_go)
{
        struct id process = first_worker(), id;

        acts();
        away();
        id = spawn(NULL);
        ck_assert_str_eq(acts(), "i"); /* the worker may hold what the registry did not tell */
        ready(&process, NULL, 0);
        ck_assert_str_eq(acts(), "S");
        ck_assert(id_equal(&act('S')->process_id, &process));
        ck_assert_uint_eq(agent_at(&id)->epoch, 1);
        stored(&id, 0);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "A");
}
END_TEST

/* The registry comes and goes: nothing of theirs was ever there. */
START_TEST(test_places_without_the_registry_when_workers_have_none)
{
        struct id process = first_worker(), id;

        acts();
        pool_set_apart(pool);
        for (int i = 0; i < 2; i++) {
                pool_registry(pool, i % 2, now);
                ck_assert(pool_degraded(pool) == (i % 2 == 0));
                id = spawn(NULL);
                ck_assert_str_eq(acts(), "iS"); /* at once: nothing can be unknown of its worker */
                ck_assert(id_equal(&act('S')->process_id, &process));
                stored(&id, 0);
                reply(REPLY_SPAWNED, &id, &process, 1, 0);
                ck_assert_str_eq(acts(), "A");
        }
}
END_TEST

START_TEST(test_forks_and_places_when_there_is_no_worker)
{
        struct id id, process;

        settle();
        away();
        id = spawn(NULL);
        ck_assert_str_eq(acts(), "iF");
        process = worker_up(); /* born without the registry: it need not let go of it */
        ck_assert_str_eq(acts(), "S");
        ck_assert(agent_at(&id)->worker == pool_worker(pool, &process));
}
END_TEST

START_TEST(test_fills_workers_in_the_pools_order)
{
        struct id first = first_worker(), second, ids[3], *fuller, *emptier;

        config.placement = _i;
        acts();
        second = second_worker();
        running(&first);
        away();
        ready(&first, NULL, 0); /* its agent is not among what it lists: asked for again */
        ready(&second, NULL, 0);
        acts();
        fuller = config.placement == POOL_PACK ? &first : &second;
        emptier = config.placement == POOL_PACK ? &second : &first;
        for (unsigned i = 0; i < 3; i++) {
                ids[i] = spawn(NULL);
                acts();
        }
        ck_assert(id_equal(&agent_at(&ids[0])->worker->process_id, fuller));
        if (config.placement == POOL_PACK)
                ck_assert(id_equal(&agent_at(&ids[1])->worker->process_id, emptier));
        ck_assert_uint_eq(pool_worker(pool, &first)->used, 2);
        ck_assert_uint_eq(pool_worker(pool, &second)->used, 2);
}
END_TEST

START_TEST(test_takes_the_place_that_a_worker_lists)
{
        struct id process = first_worker(), id;

        acts();
        id = spawn(NULL);
        acts();
        pool_reserved(pool, &id, 1, -EAGAIN, NULL, now); /* published, perhaps */
        away();
        ck_assert_str_eq(acts(), "");
        ready(&process, &id, 1);
        ck_assert_ptr_nonnull(agent_at(&id)->worker);
        ck_assert_uint_eq(agent_at(&id)->epoch, 1);
        ck_assert(agent_at(&id)->acked);
}
END_TEST

START_TEST(test_raises_the_epoch_once_every_worker_lists_it_nowhere)
{
        struct id first = first_worker(), second, id;

        acts();
        second = second_worker();
        acts();
        id = spawn(NULL);
        ck_assert_str_eq(acts(), "ir");
        stored(&id, 0);
        pool_reserved(pool, &id, 1, -EAGAIN, NULL, now);
        away();
        ready(&first, NULL, 0);
        wait_until(now + 1000);
        ck_assert_str_eq(acts(), ""); /* the second may have it */
        ready(&second, NULL, 0);
        ck_assert_str_eq(acts(), "e");
        ck_assert_uint_eq(agent_at(&id)->epoch, 2);
        commit(&id);
        ck_assert_str_eq(acts(), "S");
}
END_TEST

START_TEST(test_settles_a_silent_worker_by_its_exit)
{
        struct id first = first_worker(), second, id;

        acts();
        second = second_worker();
        acts();
        id = spawn(NULL);
        acts();
        stored(&id, 0);
        pool_reserved(pool, &id, 1, -EAGAIN, NULL, now);
        away();
        ready(&first, NULL, 0);
        pool_worker_suspect(pool, &second, now);
        ck_assert_str_eq(acts(), "K");
        pool_worker_exited(pool, &second, "killed by signal 9 (KILL)", now);
        ck_assert_str_eq(acts(), "Rwe");
        ck_assert_uint_eq(agent_at(&id)->epoch, 2);
}
END_TEST

START_TEST(test_stays_unsure_when_the_registry_is_back_before_all_have_told)
{
        struct id first = first_worker(), second, id;

        acts();
        second = second_worker();
        acts();
        id = spawn(NULL);
        acts();
        stored(&id, 0);
        pool_reserved(pool, &id, 1, -EAGAIN, NULL, now);
        away();
        ready(&first, NULL, 0);
        pool_registry(pool, true, now);
        wait_until(now + 1000);
        ck_assert_str_eq(acts(), ""); /* the emptied registry would give it a second place under this epoch */
        ready(&second, NULL, 0);
        ck_assert_str_eq(acts(), "e");
        commit(&id);
        ck_assert_str_eq(acts(), "r");
}
END_TEST

START_TEST(test_ends_an_agent_where_it_is_listed_or_says_that_it_is_nowhere)
{
        struct id process = first_worker(), id;
        int waiter;

        acts();
        id = spawn(NULL);
        acts();
        stored(&id, 0);
        pool_reserved(pool, &id, 1, -EAGAIN, NULL, now);
        away();
        pool_terminate(pool, agent_at(&id), true, &waiter, now);
        ck_assert_str_eq(acts(), "As"); /* the spawn failed; the end waits for the worker's word */
        stored(&id, 0);
        wait_until(now + 500);
        ck_assert_str_eq(acts(), "");
        ready(&process, _i ? &id : NULL, 1);
        wait_until(now + 200);
        if (_i) {
                ck_assert_str_eq(acts(), "S");
                reply(REPLY_EXITED, &id, &process, 1, 0);
        }
        ck_assert_str_eq(acts(), "Aa");
}
END_TEST

START_TEST(test_restores_only_what_no_worker_lists)
{
        struct agent *rows[2] = { agent_new(), agent_new() };
        struct id process = id_new(), ids[2];

        pool_worker_adopt(pool, &process, 5, now);
        for (unsigned i = 0; i < 2; i++) {
                ids[i] = rows[i]->agent_id;
                rows[i]->state = AGENT_IDLE;
                rows[i]->epoch = 4;
                pool_restore(pool, rows[i], now);
        }
        away();
        settle();
        ck_assert_str_eq(acts(), "");
        ready(&process, &ids[0], 4);
        ck_assert_str_eq(acts(), "e");
        ck_assert_uint_eq(agent_at(&ids[0])->epoch, 4);
        ck_assert_uint_eq(agent_at(&ids[1])->epoch, 5);
}
END_TEST

START_TEST(test_sends_again_what_may_have_gone_with_the_registry)
{
        struct id process = first_worker(), id;

        acts();
        id = spawn(NULL);
        acts();
        stored(&id, 0);
        reserved(&id, &process);
        acts();
        away();
        ready(&process, NULL, 0);
        ck_assert_str_eq(acts(), "S");
        ck_assert_uint_eq(agent_at(&id)->epoch, 1);
        ready(&process, NULL, 0);
        reply(REPLY_SPAWNED, &id, &process, 1, 0);
        ck_assert_str_eq(acts(), "A"); /* and not what it has done already, which would end it now */
}
END_TEST

START_TEST(test_gives_no_slot_away_that_an_uncertain_agent_may_have)
{
        struct id first, second, older, younger, id;
        int waiter;
        struct hosted_agent both[2] = { { .epoch = 1 }, { .epoch = 1 } };

        config.max_workers = 2;
        first = first_worker();
        acts();
        second = second_worker();
        acts();
        id = running(&first);
        both[0].agent_id = running(&second);
        both[1].agent_id = running(&second);
        pool_terminate(pool, agent_at(&both[1].agent_id), false, &waiter, now); /* its slot will be free: nobody is refused */
        acts();
        older = spawn(NULL);
        acts();
        stored(&older, 0);
        pool_reserved(pool, &older, 1, -EAGAIN, NULL, now);
        younger = spawn(NULL);
        acts();
        stored(&younger, 0);
        away();
        ready(&first, &id, 1);
        ck_assert_str_eq(acts(), ""); /* a free slot, but the second worker may have the older one */
        pool_worker_ready(pool, &second, both, 2, now);
        ck_assert_str_eq(acts(), "e");
        commit(&older);
        ck_assert_str_eq(acts(), "S");
        ck_assert(!agent_at(&older)->worker != !agent_at(&younger)->worker);
        ck_assert_uint_eq(pool_worker(pool, &first)->used, 2);
}
END_TEST

static void add(TCase *tcase)
{
        tcase_add_test(tcase, test_gives_no_slot_away_that_an_uncertain_agent_may_have);
        tcase_add_test(tcase, test_places_a_new_agent_on_a_worker_that_has_let_go);
        tcase_add_test(tcase, test_places_without_the_registry_when_workers_have_none);
        tcase_add_test(tcase, test_forks_and_places_when_there_is_no_worker);
        tcase_add_loop_test(tcase, test_fills_workers_in_the_pools_order, POOL_PACK, POOL_SPREAD + 1);
        tcase_add_test(tcase, test_takes_the_place_that_a_worker_lists);
        tcase_add_test(tcase, test_raises_the_epoch_once_every_worker_lists_it_nowhere);
        tcase_add_test(tcase, test_settles_a_silent_worker_by_its_exit);
        tcase_add_test(tcase, test_stays_unsure_when_the_registry_is_back_before_all_have_told);
        tcase_add_loop_test(tcase, test_ends_an_agent_where_it_is_listed_or_says_that_it_is_nowhere, 0, 2);
        tcase_add_test(tcase, test_restores_only_what_no_worker_lists);
        tcase_add_test(tcase, test_sends_again_what_may_have_gone_with_the_registry);
}

int main(void)
{
        return run_suite("pool_degraded", add);
}
