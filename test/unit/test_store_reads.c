/* Reads have a connection of their own: they wait for no write, see all that was answered, and fall back on the writer's. */
#include "test/unit/store_breakable.h"

struct answer {
        unsigned calls, rows;
        int error;
};

static void on_agents(void *arg, int error, const struct store_agent *agents, size_t count)
{
        struct answer *answer = arg;

        (void)agents;
        answer->calls++;
        answer->error = error;
        answer->rows += (unsigned)count;
}

static void on_json(void *arg, int error, const char *json)
{
        struct answer *answer = arg;

        (void)json;
        answer->calls++;
        answer->error = error;
}

static void on_key(void *arg, int error, const struct store_key *key)
{
        struct answer *answer = arg;

        (void)key;
        answer->calls++;
        answer->error = error;
}

static int get(const struct id *agent_id)
{
        struct answer answer = { .calls = 0 };

        ck_assert_int_eq(store_agent_get(store, agent_id, on_agents, &answer), 0);
        LOOP_UNTIL(answer.calls);
        return answer.error;
}

static int query(int (*function)(struct store *, const struct store_query *, store_json_cb, void *))
{
        const struct store_query query = { .metric_type = "executions" };
        struct answer answer = { .calls = 0 };

        ck_assert_int_eq(function(store, &query, on_json, &answer), 0);
        LOOP_UNTIL(answer.calls);
        return answer.error;
}

START_TEST(test_reads_are_answered_while_a_write_waits)
{
        struct outcome written = { .calls = 0 };
        struct answer all = { .calls = 0 };
        struct holder holder = { NULL, NULL };
        struct store_agent there, waiting = an_agent();

        database_new(&db, (enum backend)_i);
        store = open_store(db.url, &(struct store_options){ .wait_ms = 200000 });
        ck_assert_int_eq(insert_one(&there), 0);
        hold(&db, &holder);
        ck_assert_int_eq(store_agent_insert(store, &waiting, on_outcome, &written), 0);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(get(&there.agent_id), 0);
                ck_assert_int_eq(get(&waiting.agent_id), -ENOENT);
                ck_assert_int_eq(query(store_events), 0);
                ck_assert_int_eq(query(store_executions), 0);
                ck_assert_int_eq(query(store_executions_summary), 0);
                ck_assert_int_eq(query(store_timeseries), 0);
        }
        ck_assert_int_eq(store_agents_load(store, NULL, true, on_agents, &all), 0);
        LOOP_UNTIL(all.calls == 2);
        ck_assert_uint_eq(all.rows, 1);
        ck_assert_uint_eq(written.calls, 0);
        let_go(&holder);
        LOOP_UNTIL(written.calls);
        ck_assert_int_eq(written.error, 0);
        ck_assert_int_eq(get(&waiting.agent_id), 0);
        close_store(store);
}
END_TEST

START_TEST(test_read_sees_each_write_when_that_was_answered)
{
        struct store_agent agent;

        database_new(&db, (enum backend)_i);
        store = open_store(db.url, NULL);
        for (int i = 0; i < 100; i++) {
                ck_assert_int_eq(insert_one(&agent), 0);
                ck_assert_int_eq(get(&agent.agent_id), 0);
                ck_assert_int_eq(FINISH(store_agent_delete, store, &agent.agent_id), 0);
                ck_assert_int_eq(get(&agent.agent_id), -ENOENT);
        }
        close_store(store);
}
END_TEST

START_TEST(test_keys_are_looked_up_behind_the_writes_submitted_before)
{
        struct store_key key = { .scope = "spawn", .key = "k", .body_sha256 = "00", .created_at = 1, .expires_at = 2 };
        struct outcome written = { .calls = 0 };
        struct holder holder = { NULL, NULL };
        struct answer answer = { .calls = 0 };
        struct store_agent agent;

        database_new(&db, (enum backend)_i);
        store = open_store(db.url, &(struct store_options){ .wait_ms = 200000 });
        ck_assert_int_eq(insert_one(&agent), 0);
        hold(&db, &holder);
        ck_assert_int_eq(store_key_insert(store, &key, on_outcome, &written), 0);
        ck_assert_int_eq(store_key_get(store, "spawn", "k", on_key, &answer), 0);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(get(&agent.agent_id), 0);
        ck_assert_uint_eq(answer.calls, 0);
        let_go(&holder);
        LOOP_UNTIL(answer.calls && written.calls);
        ck_assert_int_eq(answer.error, 0);
        close_store(store);
}
END_TEST

static void expect_sessions(const char *user, const char *number)
{
        struct store_agent agent = an_agent();

        do
                ck_assert_int_eq(get(&agent.agent_id), -ENOENT);
        while (strcmp(ask(&db, format("SELECT COUNT(*) FROM pg_stat_activity WHERE usename = '%s'", user)), number) != 0);
}

START_TEST(test_reads_share_the_writers_connection_when_there_can_be_no_other)
{
        struct store_agent agent;
        char user[32];

        database_new(&db, POSTGRES);
        snprintf(user, sizeof user, "single%d", (int)getpid());
        ask(&db, format("CREATE ROLE %s LOGIN CONNECTION LIMIT 1", user));
        ask(&db, format("GRANT CREATE ON DATABASE %s TO %s", db.name, user));
        store = open_store(format("postgresql://%s@127.0.0.1:%d/%s", user, postgres.port, db.name), NULL);
        ck_assert_int_eq(insert_one(&agent), 0);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(get(&agent.agent_id), 0);
        ck_assert(status().available);
        expect_sessions(user, "1");
        ask(&db, format("ALTER ROLE %s CONNECTION LIMIT 2", user));
        expect_sessions(user, "2");
        ck_assert_int_eq(get(&agent.agent_id), 0);
        close_store(store);
        ask(&db, format("DROP OWNED BY %s CASCADE", user));
        ask(&db, format("DROP ROLE %s", user));
}
END_TEST

START_TEST(test_reads_are_answered_when_their_session_was_ended)
{
        struct store_agent agent;

        open_own(_i ? PGBOUNCER : POSTGRES, &(struct store_options){ .wait_ms = 60000 });
        ck_assert_int_eq(insert_one(&agent), 0);
        for (int i = 0; i < 10; i++) {
                ck_assert_int_eq(get(&agent.agent_id), 0);
                ask(&db, format("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s' "
                                "AND pid <> pg_backend_pid() ORDER BY backend_start DESC LIMIT 1", db.name));
        }
        server_stop(&own);
        LOOP_UNTIL(!status().available);
        postgres_start(&own);
        ck_assert_int_eq(get(&agent.agent_id), 0);
        close_store(store);
        stop_own();
}
END_TEST

START_TEST(test_reads_follow_the_writer_when_another_file_lies_in_the_place_of_its_own)
{
        struct store_daemon daemon = { .daemon_id = id_new(), .host = "host", .run_dir = "/run/a", .url = "" };
        struct store_options options = { .daemon = &daemon };
        struct store_agent agent, other;
        struct database second;
        char moved[sizeof db.path + 8];

        database_new(&db, SQLITE);
        store = open_store(db.url, &options);
        ck_assert_int_eq(insert_one(&other), 0);
        close_store(store);
        second = db;
        database_new(&db, SQLITE);
        store = open_store(db.url, &options);
        ck_assert_int_eq(insert_one(&agent), 0);
        /* No read has opened the file yet. */
        snprintf(moved, sizeof moved, "%s.moved", db.path);
        must(rename(db.path, moved) == 0 && rename(second.path, db.path) == 0);
        ck_assert_int_eq(get(&agent.agent_id), 0);
        ck_assert_int_eq(get(&other.agent_id), -ENOENT);
        must(rename(moved, db.path) == 0);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(get(&agent.agent_id), 0);
        ck_assert_int_eq(insert_one(&other), 0);
        close_store(store);
}
END_TEST

START_TEST(test_close_answers_reads_when_they_hang)
{
        struct answer answer = { .calls = 0 };
        struct holder holder = { NULL, NULL };
        struct store_agent agent;
        PGresult *result;

        database_new(&db, POSTGRES);
        store = open_store(db.url, &(struct store_options){ .wait_ms = 60000 });
        ck_assert_int_eq(insert_one(&agent), 0);
        ck_assert_int_eq(get(&agent.agent_id), 0);
        hold(&db, &holder);
        result = PQexec(holder.connection, "LOCK TABLE agents");
        must(PQresultStatus(result) == PGRES_COMMAND_OK);
        PQclear(result);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(store_agent_get(store, &agent.agent_id, on_agents, &answer), 0);
        store_close(store, 200);
        ck_assert_uint_eq(answer.calls, 3);
        ck_assert_int_eq(answer.error, -EAGAIN);
        let_go(&holder);
        event_base_free(base);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("store reads");
        TCase *tcase = tcase_create("reads");

        tcase_set_timeout(tcase, TIMEOUT_S);
        tcase_add_loop_test(tcase, test_reads_are_answered_while_a_write_waits, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_read_sees_each_write_when_that_was_answered, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_keys_are_looked_up_behind_the_writes_submitted_before, 0, BACKENDS);
        tcase_add_test(tcase, test_reads_share_the_writers_connection_when_there_can_be_no_other);
        tcase_add_loop_test(tcase, test_reads_are_answered_when_their_session_was_ended, 0, 2);
        tcase_add_test(tcase, test_reads_follow_the_writer_when_another_file_lies_in_the_place_of_its_own);
        tcase_add_test(tcase, test_close_answers_reads_when_they_hang);
        suite_add_tcase(suite, tcase);
        return run_suite(suite);
}
