/* What the store promises of agents, pools and keys, on every back end. */
#include "test/unit/store_fixture.h"

struct loaded {
        unsigned calls, rows;
        int error;
        bool ended, ordered;
        char last_pool[32];
        int64_t last_at;
        struct id first_id;
        char text[2048]; /* of the first row */
};

static void on_agents(void *arg, int error, const struct store_agent *agents, size_t count)
{
        struct loaded *loaded = arg;

        loaded->calls++;
        loaded->error = error;
        loaded->ended = count == 0 || error;
        for (size_t i = 0; i < count; i++) {
                const struct store_agent *a = &agents[i];

                if (strcmp(a->pool_name, loaded->last_pool) == 0)
                        loaded->ordered &= a->created_at >= loaded->last_at;
                snprintf(loaded->last_pool, sizeof loaded->last_pool, "%s", a->pool_name);
                loaded->last_at = a->created_at;
        }
        if (count && !loaded->rows)
                snprintf(loaded->text, sizeof loaded->text,
                        "%s %s %s %s %s|%s|%s|%s|%s|%d %d %d %d %lld %lld", ID_TEXT(&agents->agent_id),
                        ID_TEXT(&agents->project_id), agents->pool_name, agents->role_type, agents->state,
                        agents->labels ? agents->labels : "NULL", agents->args ? agents->args : "NULL",
                        agents->last_exit ? agents->last_exit : "NULL", agents->master_id ? agents->master_id : "NULL",
                        (int)agents->epoch, (int)agents->heartbeat_interval, (int)agents->max_idle_time,
                        (int)agents->restarts, (long long)agents->created_at, (long long)agents->updated_at);
        loaded->rows += (unsigned)count;
}

static struct loaded load(struct store *store, const char *pool_name, bool all)
{
        struct loaded loaded = { .ordered = true };

        settle(store);
        ck_assert_int_eq(store_agents_load(store, pool_name, all, on_agents, &loaded), 0);
        LOOP_UNTIL(loaded.ended);
        ck_assert_int_eq(loaded.error, 0);
        return loaded;
}

static struct loaded get(struct store *store, const struct id *agent_id)
{
        struct loaded loaded = { .ordered = true };

        settle(store);
        ck_assert_int_eq(store_agent_get(store, agent_id, on_agents, &loaded), 0);
        LOOP_UNTIL(loaded.calls);
        return loaded;
}

static int insert(struct store *store, const struct store_agent *agent)
{
        return FINISH(store_agent_insert, store, agent);
}

static int update(struct store *store, const struct store_agent *agent)
{
        return FINISH(store_agent_update, store, agent);
}

static struct database db;
static struct store *store;

/* Each test runs in a process of its own, once per back end (_i). */
static void open_new(int backend)
{
        database_new(&db, (enum backend)backend);
        store = open_store(db.url, NULL);
}

START_TEST(test_agent_comes_back_unchanged_when_inserted)
{
        struct store_agent agent = an_agent();
        struct loaded loaded;

        open_new(_i);
        agent.labels = "{\"a\\\\b\":\"\\\"{},NULL\\n\",\"ü\":\"日本\"}";
        agent.args = "{}";
        agent.role_type = "it's \\ \"quoted\", {braced}";
        agent.master_id = "";
        agent.created_at = 1700000000123;
        agent.updated_at = 1700000000456;
        agent.max_idle_time = 0;
        ck_assert_int_eq(insert(store, &agent), 0);
        loaded = get(store, &agent.agent_id);
        ck_assert_int_eq(loaded.error, 0);
        ck_assert_uint_eq(loaded.rows, 1);
        ck_assert_str_eq(loaded.text,
                format("%s %s developer_pool it's \\ \"quoted\", {braced} starting|%s|{}|NULL||1 30 0 0 1700000000123 "
                       "1700000000456",
                        ID_TEXT(&agent.agent_id), ID_TEXT(&agent.project_id), agent.labels));
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "1");
        ck_assert_int_eq(get(store, &agent.project_id).error, -ENOENT);
        close_store(store);
}
END_TEST

START_TEST(test_insert_is_idempotent_when_row_is_the_same)
{
        struct store_agent agent = an_agent();

        open_new(_i);
        ck_assert_int_eq(insert(store, &agent), 0);
        ck_assert_int_eq(insert(store, &agent), 0);
        agent.epoch = 2;
        agent.state = "idle";
        ck_assert_int_eq(update(store, &agent), 0);
        agent.epoch = 1;
        ck_assert_int_eq(insert(store, &agent), 0);
        ck_assert_str_eq(ask(&db, "SELECT epoch FROM agents"), "2");
        agent.pool_name = "tester_pool";
        ck_assert_int_eq(insert(store, &agent), -EEXIST);
        close_store(store);
}
END_TEST

START_TEST(test_update_refuses_when_epoch_is_lower_or_row_absent)
{
        struct store_agent agent = an_agent();

        open_new(_i);
        agent.epoch = 5;
        ck_assert_int_eq(update(store, &agent), -ENOENT);
        ck_assert_int_eq(insert(store, &agent), 0);
        agent.state = "idle";
        agent.restarts = 3;
        agent.last_exit = "{\"code\":3}";
        ck_assert_int_eq(update(store, &agent), 0);
        agent.epoch = 4;
        agent.state = "failed";
        ck_assert_int_eq(update(store, &agent), -ESTALE);
        ck_assert_str_eq(ask(&db, "SELECT state || epoch || restarts || last_exit FROM agents"), "idle53{\"code\":3}");
        agent.epoch = 6;
        ck_assert_int_eq(update(store, &agent), 0);
        ck_assert_int_eq(FINISH(store_agent_delete, store, &agent.agent_id), 0);
        ck_assert_int_eq(FINISH(store_agent_delete, store, &agent.agent_id), 0);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "0");
        close_store(store);
}
END_TEST

/* Everything at once, so that much of it shares a transaction. */
START_TEST(test_writes_to_one_row_keep_their_order_when_batched)
{
        enum { AGENTS = 700 };
        static struct store_agent agents[AGENTS];
        struct outcome good = { .calls = 0 }, stale = { .calls = 0 };

        database_new(&db, (enum backend)_i);
        store = open_store(db.url, &(struct store_options){ .wait_ms = 120000 }); /* a machine that is busy */
        for (int i = 0; i < AGENTS; i++) {
                agents[i] = an_agent();
                ck_assert_int_eq(store_agent_insert(store, &agents[i], on_outcome, &good), 0);
                agents[i].epoch = 2;
                agents[i].state = "idle";
                ck_assert_int_eq(store_agent_update(store, &agents[i], on_outcome, &good), 0);
                agents[i].epoch = 1;
                agents[i].state = "failed";
                ck_assert_int_eq(store_agent_update(store, &agents[i], on_outcome, &stale), 0);
                if (i % 2)
                        continue;
                ck_assert_int_eq(store_agent_delete(store, &agents[i].agent_id, on_outcome, &good), 0);
                ck_assert_int_eq(store_agent_insert(store, &agents[i], on_outcome, &good), 0);
        }
        LOOP_UNTIL(good.calls == 3 * AGENTS && stale.calls == AGENTS);
        ck_assert_uint_eq(good.good, good.calls);
        ck_assert_uint_eq(stale.good, 0);
        ck_assert_int_eq(stale.error, -ESTALE);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents WHERE state = 'idle' AND epoch = 2"), "350");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents WHERE state = 'failed' AND epoch = 1"), "350");
        close_store(store);
}
END_TEST

static unsigned order_next, order_wrong;
static void on_ordered(void *arg, int error)
{
        order_wrong += error || (uintptr_t)arg != order_next;
        order_next++;
}

START_TEST(test_callbacks_come_in_order_when_kinds_are_mixed)
{
        unsigned count = 3000;

        open_new(_i);
        for (uintptr_t i = 0; i < count; i++) {
                struct store_agent agent = an_agent();
                struct store_pool pool = { format("pool_%d", (int)i), "{}", 1 };
                int error = i % 3 ? store_agent_insert(store, &agent, on_ordered, (void *)i) :
                                    store_pool_put(store, &pool, on_ordered, (void *)i);

                ck_assert_int_eq(error, 0);
        }
        LOOP_UNTIL(order_next == count);
        ck_assert_uint_eq(order_wrong, 0);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "2000");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM pools"), "1000");
        close_store(store);
}
END_TEST

START_TEST(test_load_gives_all_but_terminated_in_pages_when_many)
{
        static const char *const states[] = { "idle", "terminated", "failed", "stopping", "starting" };
        struct outcome outcome = { .calls = 0 };
        struct loaded loaded;

        open_new(_i);
        ck_assert_uint_eq(load(store, NULL, true).calls, 1);
        for (int i = 0; i < 5000; i++) {
                struct store_agent agent = an_agent();

                agent.state = states[i % 5];
                agent.pool_name = i < 4000 ? "developer_pool" : "tester_pool";
                agent.created_at = 1700000000000 + (i * 7919) % 500; /* many of the same moment */
                ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
        }
        LOOP_UNTIL(outcome.calls == 5000);
        ck_assert_uint_eq(outcome.good, 5000);
        loaded = load(store, NULL, false);
        ck_assert_uint_eq(loaded.rows, 4000);
        ck_assert_uint_eq(loaded.calls, 5);
        ck_assert(loaded.ordered);
        loaded = load(store, NULL, true);
        ck_assert_uint_eq(loaded.rows, 5000);
        loaded = load(store, "tester_pool", false);
        ck_assert_uint_eq(loaded.rows, 800);
        ck_assert_uint_eq(load(store, "nobody", true).rows, 0);
        close_store(store);
}
END_TEST

struct found_key {
        unsigned calls;
        int error, status;
        char answer[64];
};

static void on_key(void *arg, int error, const struct store_key *key)
{
        struct found_key *found = arg;

        found->calls++;
        found->error = error;
        if (!key)
                return;
        found->status = key->status;
        snprintf(found->answer, sizeof found->answer, "%s", key->answer ? key->answer : "NULL");
}

static struct found_key get_key(const char *name)
{
        struct found_key found = { .calls = 0 };

        ck_assert_int_eq(store_key_get(store, "spawn", name, on_key, &found), 0);
        LOOP_UNTIL(found.calls);
        return found;
}

START_TEST(test_key_is_given_once_when_many_ask)
{
        struct store_key key = { .scope = "spawn", .key = "k1", .body_sha256 = "00", .created_at = 1000, .expires_at = 2000 };
        struct outcome outcome = { .calls = 0 };

        open_new(_i);
        for (int i = 0; i < 50; i++)
                ck_assert_int_eq(store_key_insert(store, &key, on_outcome, &outcome), 0);
        LOOP_UNTIL(outcome.calls == 50);
        ck_assert_uint_eq(outcome.good, 1);
        ck_assert_int_eq(outcome.error, -EEXIST);
        ck_assert_str_eq(get_key("k1").answer, "NULL");
        key.answer = "{\"agent_id\":1}";
        key.status = 200;
        ck_assert_int_eq(FINISH(store_key_answer, store, &key), 0);
        ck_assert_str_eq(get_key("k1").answer, "{\"agent_id\":1}");
        ck_assert_int_eq(get_key("k1").status, 200);
        ck_assert_int_eq(get_key("k2").error, -ENOENT);
        key.key = "k2";
        ck_assert_int_eq(FINISH(store_key_answer, store, &key), -ENOENT);
        close_store(store);
}
END_TEST

START_TEST(test_key_is_free_again_when_expired)
{
        struct store_key key = { .scope = "spawn", .key = "k1", .body_sha256 = "00", .created_at = 1000, .expires_at = 2000 };

        open_new(_i);
        ck_assert_int_eq(FINISH(store_key_insert, store, &key), 0);
        key.created_at = 1999;
        key.expires_at = 2999;
        ck_assert_int_eq(FINISH(store_key_insert, store, &key), -EEXIST);
        key.created_at = 2000;
        ck_assert_int_eq(FINISH(store_key_insert, store, &key), 0);
        ck_assert_int_eq(FINISH(store_key_insert, store, &key), -EEXIST);
        key.scope = "terminate";
        ck_assert_int_eq(FINISH(store_key_insert, store, &key), 0);
        close_store(store);
}
END_TEST

static char pools_text[256];
static bool pools_came;
static void on_pools(void *arg, int error, const struct store_pool *pools, size_t count)
{
        (void)arg;
        ck_assert_int_eq(error, 0);
        pools_text[0] = '\0';
        for (size_t i = 0; i < count; i++)
                snprintf(pools_text + strlen(pools_text), sizeof pools_text - strlen(pools_text), "%s=%s@%d ",
                        pools[i].pool_name, pools[i].settings, (int)pools[i].updated_at);
        pools_came = true;
}

static const char *load_pools(void)
{
        pools_came = false;
        ck_assert_int_eq(store_pools_load(store, on_pools, NULL), 0);
        LOOP_UNTIL(pools_came);
        return pools_text;
}

START_TEST(test_pools_are_kept_when_put)
{
        open_new(_i);
        ck_assert_str_eq(load_pools(), "");
        ck_assert_int_eq(FINISH(store_pool_put, store, &(struct store_pool){ "b", "{\"max\":1}", 1 }), 0);
        ck_assert_int_eq(FINISH(store_pool_put, store, &(struct store_pool){ "a", "{}", 2 }), 0);
        ck_assert_int_eq(FINISH(store_pool_put, store, &(struct store_pool){ "b", "{\"max\":2}", 3 }), 0);
        ck_assert_str_eq(load_pools(), "a={}@2 b={\"max\":2}@3 ");
        ck_assert_int_eq(FINISH(store_pool_delete, store, "a"), 0);
        ck_assert_str_eq(load_pools(), "b={\"max\":2}@3 ");
        close_store(store);
}
END_TEST

START_TEST(test_bad_row_is_refused_alone_when_batched_with_good_ones)
{
        struct outcome good = { .calls = 0 }, bad = { .calls = 0 };
        struct store_status status;

        open_new(_i);
        for (int i = 0; i < 40; i++) {
                struct store_agent agent = an_agent();
                bool spoilt = i == 7 || i == 23;

                if (spoilt)
                        agent.state = NULL;
                ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, spoilt ? &bad : &good), 0);
        }
        LOOP_UNTIL(good.calls == 38 && bad.calls == 2);
        ck_assert_uint_eq(good.good, 38);
        ck_assert_uint_eq(bad.good, 0);
        ck_assert_int_eq(bad.error, -EINVAL);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "38");
        store_status(store, &status);
        ck_assert(status.available);
        ck_assert_uint_eq(status.refused, 2);
        ck_assert_uint_eq(status.queued, 0);
        close_store(store);
}
END_TEST

START_TEST(test_submission_is_refused_when_queue_is_full)
{
        struct outcome outcome = { .calls = 0 };
        struct holder holder = { NULL, NULL };
        struct store_agent agent = an_agent();
        struct store_status status;

        database_new(&db, (enum backend)_i);
        store = open_store(db.url, &(struct store_options){ .wait_ms = 60000, .queue_max = 100 });
        hold(&db, &holder);
        for (int i = 0; i < 60; i++)
                ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
        ck_assert_int_eq(store_event_add(store, &(struct store_event){ .event = "dropped" }), -EAGAIN);
        for (int i = 0; i < 40; i++)
                ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
        ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), -EAGAIN);
        store_status(store, &status);
        ck_assert_uint_eq(status.queued, 100);
        ck_assert_uint_eq(status.dropped, 1);
        let_go(&holder);
        LOOP_UNTIL(outcome.calls == 100);
        ck_assert_uint_eq(outcome.good, 100);
        ck_assert_int_eq(insert(store, &agent), 0);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "1");
        close_store(store);
}
END_TEST

START_TEST(test_broken_row_is_left_out_alone_when_rows_are_read)
{
        /* The last ones only SQLite takes, which takes any value in any column: such rows also have no place among the others. */
        static const char *const breaks[] = { "labels = '{broken'", "args = '[]'", "last_exit = 'x'", "epoch = -5",
                "epoch = 9223372036854775807", "epoch = 4503599627370497", "labels = '{\"a\":1}'", "args = '{\"a\":null}'",
                "max_idle_time = -1", "heartbeat_interval = 2147483648", "restarts = -1", "created_at = -1",
                "updated_at = 9223372036854775807", "created_at = 'x'", "created_at = 1e300", "project_id = 'x'", "pool_name = X'ff'",
                "pool_name = 'a' || char(0)", "state = X'00'", "role_type = X'00'" };
        size_t count = sizeof breaks / sizeof *breaks - (_i == SQLITE ? 0 : 7);
        struct store_agent agents[sizeof breaks / sizeof *breaks + 1];
        struct store_status status;
        struct loaded loaded;

        open_new(_i);
        for (size_t i = 0; i <= count; i++) {
                agents[i] = an_agent();
                ck_assert_int_eq(insert(store, &agents[i]), 0);
        }
        for (size_t i = 0; i < count; i++)
                ask(&db, format("UPDATE agents SET %s WHERE agent_id = '%s'", breaks[i], ID_TEXT(&agents[i].agent_id)));
        loaded = load(store, NULL, true);
        ck_assert_uint_eq(loaded.rows, 1);
        ck_assert_int_eq(strncmp(loaded.text, ID_TEXT(&agents[count].agent_id), 36), 0);
        store_status(store, &status);
        ck_assert_uint_eq(status.broken, count);
        for (size_t i = 0; i < count; i++)
                ck_assert_int_eq(get(store, &agents[i].agent_id).error, -EBADMSG);
        ck_assert_uint_eq(get(store, &agents[count].agent_id).rows, 1);
        /* Nothing but broken ones is no end, and no page without one. */
        ask(&db, "UPDATE agents SET labels = '{'");
        ck_assert_uint_eq(load(store, NULL, true).rows, 0);
        close_store(store);
}
END_TEST

START_TEST(test_queue_is_committed_when_closed)
{
        struct outcome outcome = { .calls = 0 };

        open_new(_i);
        for (int i = 0; i < 2500; i++) {
                struct store_agent agent = an_agent();

                ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
        }
        close_store(store);
        ck_assert_uint_eq(outcome.calls, 2500);
        ck_assert_uint_eq(outcome.good, 2500);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "2500");
}
END_TEST

/* ---- not per back end ---- */

START_TEST(test_none_takes_all_and_knows_nothing)
{
        struct store_agent agent = an_agent();
        struct store_status status;

        store = open_store("none:", NULL);
        ck_assert_int_eq(insert(store, &agent), 0);
        ck_assert_int_eq(update(store, &agent), 0);
        ck_assert_uint_eq(load(store, NULL, true).rows, 0);
        ck_assert_int_eq(get(store, &agent.agent_id).error, -ENOENT);
        ck_assert_str_eq(load_pools(), "");
        store_status(store, &status);
        ck_assert(status.available);
        ck_assert_str_eq(status.backend, "none");
        close_store(store);
}
END_TEST

/* ---- "test_store bench": durable inserts a second, 50 in flight ---- */

static unsigned bench_done, bench_sent;
static int64_t bench_end;
static void on_benched(void *arg, int error)
{
        must(error == 0);
        bench_done++;
        if (clock_mono_ms() < bench_end) {
                struct store_agent agent = an_agent();

                bench_sent++;
                must(store_agent_insert(store, &agent, on_benched, arg) == 0);
        }
}

static void bench(void)
{
        static const char *const names[BACKENDS] = { "sqlite", "postgresql", "pgbouncer" };
        struct store_status status;

        log_open("/dev/null", LOG_ERROR, LOG_TEXT);
        fixture_start();
        for (int backend = 0; backend < BACKENDS; backend++)
                for (int in_flight = 1; in_flight <= 50; in_flight += 49) {
                        int64_t start = clock_mono_ms();

                        open_new(backend);
                        bench_done = bench_sent = 0;
                        bench_end = start + 3000;
                        for (int i = 0; i < in_flight; i++)
                                on_benched(NULL, 0);
                        LOOP_UNTIL(bench_done == bench_sent + (unsigned)in_flight); /* the first came without being sent */
                        store_status(store, &status);
                        printf("%s, %d in flight: %.0f inserts/s, %.1f per commit\n", names[backend], in_flight,
                                bench_sent * 1000.0 / (double)(clock_mono_ms() - start),
                                (double)status.operations / (double)status.commits);
                        close_store(store);
                }
}

int main(int argc, char **argv)
{
        Suite *suite = suite_create("store");
        TCase *each = tcase_create("each back end"), *once = tcase_create("once");

        if (argc > 1 && strcmp(argv[1], "bench") == 0) {
                bench();
                return 0;
        }
        tcase_set_timeout(each, TIMEOUT_S);
        tcase_set_timeout(once, TIMEOUT_S);
        tcase_add_loop_test(each, test_agent_comes_back_unchanged_when_inserted, 0, BACKENDS);
        tcase_add_loop_test(each, test_insert_is_idempotent_when_row_is_the_same, 0, BACKENDS);
        tcase_add_loop_test(each, test_update_refuses_when_epoch_is_lower_or_row_absent, 0, BACKENDS);
        tcase_add_loop_test(each, test_writes_to_one_row_keep_their_order_when_batched, 0, BACKENDS);
        tcase_add_loop_test(each, test_callbacks_come_in_order_when_kinds_are_mixed, 0, BACKENDS);
        tcase_add_loop_test(each, test_load_gives_all_but_terminated_in_pages_when_many, 0, BACKENDS);
        tcase_add_loop_test(each, test_key_is_given_once_when_many_ask, 0, BACKENDS);
        tcase_add_loop_test(each, test_key_is_free_again_when_expired, 0, BACKENDS);
        tcase_add_loop_test(each, test_pools_are_kept_when_put, 0, BACKENDS);
        tcase_add_loop_test(each, test_bad_row_is_refused_alone_when_batched_with_good_ones, 0, BACKENDS);
        tcase_add_loop_test(each, test_submission_is_refused_when_queue_is_full, 0, BACKENDS);
        tcase_add_loop_test(each, test_broken_row_is_left_out_alone_when_rows_are_read, 0, BACKENDS);
        tcase_add_loop_test(each, test_queue_is_committed_when_closed, 0, BACKENDS);
        suite_add_tcase(suite, each);
        tcase_add_test(once, test_none_takes_all_and_knows_nothing);
        suite_add_tcase(suite, once);
        return run_suite(suite);
}
