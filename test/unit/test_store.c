/* What the store promises, on every back end. Faults are in test_store_faults.c. */
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

        ck_assert_int_eq(store_agents_load(store, pool_name, all, on_agents, &loaded), 0);
        LOOP_UNTIL(loaded.ended);
        ck_assert_int_eq(loaded.error, 0);
        return loaded;
}

static struct loaded get(struct store *store, const struct id *agent_id)
{
        struct loaded loaded = { .ordered = true };

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

        open_new(_i);
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

START_TEST(test_key_is_free_again_when_expired_or_deleted)
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
        ck_assert_int_eq(FINISH(store_key_delete, store, "spawn", "k1"), 0);
        ck_assert_int_eq(FINISH(store_key_insert, store, &key), 0);
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

/* Another session holds the table: nothing leaves the queue until it lets go. */
struct holder {
        sqlite3 *sqlite;
        PGconn *connection;
};

static void hold(struct holder *holder)
{
        if (db.backend == SQLITE) {
                must(sqlite3_open_v2(db.path, &holder->sqlite, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
                must(sqlite3_exec(holder->sqlite, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
                return;
        }
        holder->connection = PQconnectdb(format("host=127.0.0.1 port=%d user=postgres dbname=%s", db.server->port, db.name));
        PQclear(PQexec(holder->connection, "BEGIN"));
        PQclear(PQexec(holder->connection, "LOCK TABLE agents"));
}

static void let_go(struct holder *holder)
{
        sqlite3_close(holder->sqlite);
        PQfinish(holder->connection);
}

START_TEST(test_submission_is_refused_when_queue_is_full)
{
        struct outcome outcome = { .calls = 0 };
        struct holder holder = { NULL, NULL };
        struct store_agent agent = an_agent();
        struct store_status status;

        database_new(&db, (enum backend)_i);
        store = open_store(db.url, &(struct store_options){ .wait_ms = 60000, .queue_max = 100 });
        hold(&holder);
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

/* ---- JSON: the same text from every back end ---- */

static char *json;
static int json_error;
static bool json_came;
static void on_json(void *arg, int error, const char *text)
{
        (void)arg;
        json_error = error;
        free(json);
        json = text ? strdup(text) : NULL;
        json_came = true;
}

typedef int query_function(struct store *, const struct store_query *, store_json_cb, void *);
static const char *query_json(query_function *function, struct store_query query)
{
        json_came = false;
        ck_assert_int_eq(function(store, &query, on_json, NULL), 0);
        LOOP_UNTIL(json_came);
        return json ? json : "";
}
#define QUERY(function, ...) query_json(function, (struct store_query){ __VA_ARGS__ })

#define AT 1700000000000

static struct id numbered_id(int number)
{
        struct id id;

        ck_assert_int_eq(id_parse(format("6f1c8a52-3a55-4f0b-9d3e-%012d", number), &id), 0);
        return id;
}

static void add_executions(int count)
{
        static const char *const statuses[] = { "completed", "failed", "timeout", "completed" };

        for (int i = 0; i < count; i++) {
                struct store_execution e = { .execution_id = numbered_id(i), .agent_id = numbered_id(i % 3),
                        .project_id = numbered_id(i % 2), .pool_name = i % 2 ? "developer_pool" : "tester_pool",
                        .method = "tools/call", .status = "running", .started_at = AT + i / 2 };

                ck_assert_int_eq(store_execution_add(store, &e), 0);
                if (i % 5 == 4)
                        continue; /* runs */
                e.status = statuses[i % 4];
                e.error = i % 4 == 1 ? "it \"broke\"" : NULL;
                e.completed_at = e.started_at + i;
                e.duration_ms = i;
                ck_assert_int_eq(store_execution_add(store, &e), 0);
        }
}

START_TEST(test_executions_are_told_alike_when_asked)
{
        open_new(_i);
        ck_assert_str_eq(QUERY(store_executions, .limit = 5), "{\"executions\":[],\"next_cursor\":null}");
        add_executions(10);
        ck_assert_str_eq(QUERY(store_executions, .limit = 2),
                "{\"executions\":["
                "{\"execution_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000009\",\"agent_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000000\","
                "\"project_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000001\",\"pool_name\":\"developer_pool\",\"method\":\"tools/call\","
                "\"status\":\"running\",\"error\":null,\"started_at\":\"2023-11-14T22:13:20.004Z\",\"completed_at\":null,"
                "\"duration_ms\":null},"
                "{\"execution_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000008\",\"agent_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000002\","
                "\"project_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000000\",\"pool_name\":\"tester_pool\",\"method\":\"tools/call\","
                "\"status\":\"completed\",\"error\":null,\"started_at\":\"2023-11-14T22:13:20.004Z\","
                "\"completed_at\":\"2023-11-14T22:13:20.012Z\",\"duration_ms\":8}],"
                "\"next_cursor\":\"1700000000004.6f1c8a52-3a55-4f0b-9d3e-000000000008\"}");
        ck_assert_str_eq(QUERY(store_executions, .execution_id = numbered_id(1)),
                "{\"execution_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000001\",\"agent_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000001\","
                "\"project_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000001\",\"pool_name\":\"developer_pool\",\"method\":\"tools/call\","
                "\"status\":\"failed\",\"error\":\"it \\\"broke\\\"\",\"started_at\":\"2023-11-14T22:13:20.000Z\","
                "\"completed_at\":\"2023-11-14T22:13:20.001Z\",\"duration_ms\":1}");
        QUERY(store_executions, .execution_id = numbered_id(99));
        ck_assert_int_eq(json_error, -ENOENT);
        ck_assert_ptr_nonnull(strstr(QUERY(store_executions, .status = "timeout"), "000000000006\",\"agent_id\""));
        ck_assert_str_eq(QUERY(store_executions, .pool_name = "nobody"), "{\"executions\":[],\"next_cursor\":null}");
        ck_assert_str_eq(QUERY(store_executions_summary, .limit = 0),
                "{\"total_executions\":10,\"running_executions\":2,\"successful_executions\":4,\"failed_executions\":2,"
                "\"timed_out_executions\":2,\"success_rate\":0.5,\"average_duration_ms\":4,\"max_duration_ms\":8,"
                "\"truncated\":false}");
        ck_assert_str_eq(QUERY(store_executions_summary, .project_id = numbered_id(5)),
                "{\"total_executions\":0,\"running_executions\":0,\"successful_executions\":0,\"failed_executions\":0,"
                "\"timed_out_executions\":0,\"success_rate\":null,\"average_duration_ms\":null,\"max_duration_ms\":0,"
                "\"truncated\":false}");
        ck_assert_int_eq(store_executions(store, &(struct store_query){ .cursor = "17x" }, on_json, NULL), -EINVAL);
        free(json);
        close_store(store);
}
END_TEST

static size_t count_of(const char *text, const char *part)
{
        size_t count = 0;

        while ((text = strstr(text, part))) {
                text += strlen(part);
                count++;
        }
        return count;
}

/* The text of "next_cursor", or NULL. */
static char *next_cursor(const char *text)
{
        const char *cursor = strstr(text, "\"next_cursor\":\"");

        return cursor ? strndup(cursor + 15, strcspn(cursor + 15, "\"")) : NULL;
}

START_TEST(test_every_execution_is_told_once_when_paged)
{
        size_t seen = 0, pages = 0;
        char *cursor = NULL;

        open_new(_i);
        add_executions(157);
        do {
                const char *page = QUERY(store_executions, .limit = 10, .cursor = cursor,
                        .since = AT + 3, .until = AT + 73, .agent_id = numbered_id(0));

                free(cursor);
                seen += count_of(page, "\"execution_id\"");
                cursor = next_cursor(page);
                pages++;
        } while (cursor);
        ck_assert_uint_eq(seen, 47); /* 6..145, every third */
        ck_assert_uint_eq(pages, 5);
        free(json);
        close_store(store);
}
END_TEST

START_TEST(test_events_are_told_alike_and_in_order_when_of_one_moment)
{
        const char *text;
        char *cursor;

        open_new(_i);
        for (int i = 0; i < 300; i++) {
                struct store_event event = { .at = AT + i / 100, .pool_name = i % 2 ? "developer_pool" : NULL,
                        .event = format("event_%03d", i), .detail = i % 3 ? NULL : "why", .epoch = (uint64_t)i };

                if (i % 2)
                        event.agent_id = numbered_id(i % 5);
                ck_assert_int_eq(store_event_add(store, &event), 0);
        }
        text = QUERY(store_events, .limit = 100);
        for (int i = 299; i >= 200; i--) {
                text = strstr(text, format("\"event\":\"event_%03d\"", i));
                ck_assert_ptr_nonnull(text);
        }
        cursor = next_cursor(json);
        text = QUERY(store_events, .limit = 1, .cursor = cursor);
        free(cursor);
        ck_assert_str_eq(strstr(text, ",\"at\":"),
                format(",\"at\":\"2023-11-14T22:13:20.001Z\",\"pool_name\":\"developer_pool\",\"event\":\"event_199\","
                       "\"detail\":null,\"agent_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000004\",\"process_id\":null,\"epoch\":199}],"
                       "\"next_cursor\":%.38s}",
                        strstr(text, "\"event_id\":") + 11));
        ck_assert_uint_eq(count_of(QUERY(store_events, .agent_id = numbered_id(4), .limit = 1000), "\"event\":"), 30);
        ck_assert_uint_eq(count_of(QUERY(store_events, .pool_name = "developer_pool", .limit = 1000), "\"event\":"), 150);
        ck_assert_uint_eq(count_of(QUERY(store_events, .since = AT + 1, .until = AT + 2, .limit = 1000), "\"event\":"), 100);
        ck_assert_int_eq(store_events(store, &(struct store_query){ .cursor = "x" }, on_json, NULL), -EINVAL);
        free(json);
        close_store(store);
}
END_TEST

START_TEST(test_timeseries_is_told_alike_when_asked)
{
        open_new(_i);
        for (int i = 0; i < 8; i++)
                for (int pool = 0; pool < 2; pool++) {
                        struct store_metric metric = { .at = AT + i * 15000, .pool_name = pool ? "a" : "b", .capacity = 20,
                                .used = i + pool, .executions = i < 4 ? 0 : 3, .executions_ok = i < 4 ? 0 : 2 + pool };

                        ck_assert_int_eq(store_metric_add(store, &metric), 0);
                        ck_assert_int_eq(store_metric_add(store, &metric), 0);
                }
        ck_assert_str_eq(QUERY(store_timeseries, .metric_type = "utilization", .bucket_ms = 60000),
                "{\"metric_type\":\"utilization\",\"bucket_ms\":60000,\"points\":["
                "{\"at\":\"2023-11-14T22:13:00.000Z\",\"value\":0.075},{\"at\":\"2023-11-14T22:14:00.000Z\",\"value\":0.25},"
                "{\"at\":\"2023-11-14T22:15:00.000Z\",\"value\":0.375}]}");
        ck_assert_str_eq(QUERY(store_timeseries, .metric_type = "success_rate", .bucket_ms = 30000, .pool_name = "b"),
                "{\"metric_type\":\"success_rate\",\"bucket_ms\":30000,\"points\":["
                "{\"at\":\"2023-11-14T22:13:00.000Z\",\"value\":null},{\"at\":\"2023-11-14T22:13:30.000Z\",\"value\":null},"
                "{\"at\":\"2023-11-14T22:14:00.000Z\",\"value\":0.6667},{\"at\":\"2023-11-14T22:14:30.000Z\",\"value\":0.6667},"
                "{\"at\":\"2023-11-14T22:15:00.000Z\",\"value\":0.6667}]}");
        ck_assert_str_eq(QUERY(store_timeseries, .metric_type = "executions", .limit = 1, .until = AT + 90000),
                "{\"metric_type\":\"executions\",\"bucket_ms\":60000,\"points\":["
                "{\"at\":\"2023-11-14T22:14:00.000Z\",\"value\":12}]}");
        ck_assert_int_eq(store_timeseries(store, &(struct store_query){ .metric_type = "mood" }, on_json, NULL), -EINVAL);
        free(json);
        close_store(store);
}
END_TEST

START_TEST(test_prune_takes_only_what_is_old)
{
        struct store_agent agent = an_agent();
        struct store_key key = { .scope = "s", .body_sha256 = "00", .created_at = AT, .expires_at = AT + 1 };

        open_new(_i);
        for (int i = 0; i < 5000; i++) /* more than one step of each */
                ck_assert_int_eq(store_event_add(store, &(struct store_event){ .at = AT + i, .event = "e" }), 0);
        add_executions(10);
        for (int i = 0; i < 5; i++) {
                ck_assert_int_eq(store_metric_add(store, &(struct store_metric){ .at = AT + i, .pool_name = "p" }), 0);
                key.key = format("k%d", i);
                key.expires_at = AT + 10000 + i;
                ck_assert_int_eq(store_key_insert(store, &key, NULL, NULL), 0);
                agent = an_agent();
                agent.state = i % 2 ? "terminated" : "idle";
                agent.updated_at = AT + i;
                ck_assert_int_eq(store_agent_insert(store, &agent, NULL, NULL), 0);
        }
        ck_assert_int_eq(FINISH(store_prune, store, AT + 10002, 10000), 0);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "4998");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_executions"), "6");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM pool_metrics"), "3");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM idempotency_keys"), "2");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "4");
        ck_assert_int_eq(FINISH(store_prune, store, AT + 100000, 10000), 0);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "0");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "3");
        close_store(store);
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
        ck_assert_str_eq(QUERY(store_events, .limit = 1), "{\"events\":[],\"next_cursor\":null}");
        ck_assert_str_eq(QUERY(store_timeseries, .metric_type = "utilization"),
                "{\"metric_type\":\"utilization\",\"bucket_ms\":60000,\"points\":[]}");
        ck_assert_int_eq(FINISH(store_prune, store, AT, 1), 0);
        store_status(store, &status);
        ck_assert(status.available);
        ck_assert_str_eq(status.backend, "none");
        free(json);
        close_store(store);
}
END_TEST

static const char *open_reason(const char *url, int expected)
{
        static char reason[256];
        struct store *refused = NULL;

        if (!base)
                base = event_base_new();
        ck_assert_int_eq(store_open(url, NULL, base, &refused, reason, sizeof reason), expected);
        ck_assert_ptr_null(refused);
        return reason;
}

START_TEST(test_open_says_why_when_url_is_no_use)
{
        const char *reason;

        ck_assert_ptr_nonnull(strstr(open_reason("mysql://x", -EINVAL), "sqlite:"));
        ck_assert_ptr_nonnull(strstr(open_reason("sqlite:", -EINVAL), "sqlite:PATH"));
        ck_assert_ptr_nonnull(strstr(open_reason("sqlite::memory:", -EINVAL), "none:"));
        ck_assert_ptr_nonnull(strstr(open_reason("sqlite:/nowhere/at/all.db", -EAGAIN), "No such file"));
        reason = open_reason("postgresql://u:geheim@127.0.0.1:1/db", -EAGAIN);
        ck_assert_ptr_nonnull(strstr(reason, "cannot connect to postgresql://u:***@127.0.0.1:1/db: "));
        ck_assert_ptr_null(strstr(reason, "geheim"));
        reason = open_reason("postgresql://u:geheim@[::1/db", -EINVAL);
        ck_assert_ptr_null(strstr(reason, "geheim"));
        reason = open_reason(format("postgresql://postgres:geheim@127.0.0.1:%d/absent", postgres.port), -EAGAIN);
        ck_assert_ptr_nonnull(strstr(reason, "database \"absent\" does not exist"));
        event_base_free(base);
}
END_TEST

START_TEST(test_sqlite_file_is_private_and_has_one_daemon)
{
        struct stat file, directory;
        const char *reason;

        umask(0);
        open_new(SQLITE);
        ck_assert(stat(db.path, &file) == 0 && stat(format("%s/..", db.path), &directory) < 0);
        *strrchr(db.path, '/') = '\0';
        ck_assert_int_eq(stat(db.path, &directory), 0);
        ck_assert_uint_eq(file.st_mode & 0777, 0600);
        ck_assert_uint_eq(directory.st_mode & 0777, 0700);
        reason = open_reason(db.url, -EBUSY);
        ck_assert_ptr_nonnull(strstr(reason, "in use by another agentpoold"));
        close_store(store);
        store = open_store(db.url, NULL);
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
        tcase_add_loop_test(each, test_key_is_free_again_when_expired_or_deleted, 0, BACKENDS);
        tcase_add_loop_test(each, test_pools_are_kept_when_put, 0, BACKENDS);
        tcase_add_loop_test(each, test_bad_row_is_refused_alone_when_batched_with_good_ones, 0, BACKENDS);
        tcase_add_loop_test(each, test_submission_is_refused_when_queue_is_full, 0, BACKENDS);
        tcase_add_loop_test(each, test_queue_is_committed_when_closed, 0, BACKENDS);
        tcase_add_loop_test(each, test_executions_are_told_alike_when_asked, 0, BACKENDS);
        tcase_add_loop_test(each, test_every_execution_is_told_once_when_paged, 0, BACKENDS);
        tcase_add_loop_test(each, test_events_are_told_alike_and_in_order_when_of_one_moment, 0, BACKENDS);
        tcase_add_loop_test(each, test_timeseries_is_told_alike_when_asked, 0, BACKENDS);
        tcase_add_loop_test(each, test_prune_takes_only_what_is_old, 0, BACKENDS);
        suite_add_tcase(suite, each);
        tcase_add_test(once, test_none_takes_all_and_knows_nothing);
        tcase_add_test(once, test_open_says_why_when_url_is_no_use);
        tcase_add_test(once, test_sqlite_file_is_private_and_has_one_daemon);
        suite_add_tcase(suite, once);
        return run_suite(suite);
}
