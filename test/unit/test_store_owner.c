/* One daemon per database: who has it, who waits, who takes over, who stops; and which database it is. */
#include "test/unit/store_fixture.h"

#define LEASE_MS 1000

static struct database db;
static struct store *store;
static char taken[2][256]; /* what a daemon was told: index as in daemons */

static void on_taken(void *arg, const char *reason)
{
        snprintf(taken[(size_t)((struct store_daemon *)arg)->pid], sizeof taken[0], "%s", reason);
}

static struct store_daemon daemons[2] = {
        { .host = "first.example", .run_dir = "/run/first", .url = "127.0.0.1:1", .pid = 0, .on_taken = on_taken, .arg = &daemons[0] },
        { .host = "second.example", .run_dir = "/run/second", .url = "127.0.0.1:2", .pid = 1, .on_taken = on_taken, .arg = &daemons[1] },
};

static struct store_options as(size_t index)
{
        if (id_is_zero(&daemons[index].daemon_id))
                daemons[index].daemon_id = id_new();
        return (struct store_options){ .daemon = &daemons[index], .lease_ms = LEASE_MS, .start_away = true, .wait_ms = 300 };
}

static struct store *open_as(size_t index)
{
        struct store_options options = as(index);

        return open_store(db.url, &options);
}

static int refusal_as(size_t index, char reason[256])
{
        struct store_options options = as(index);
        struct store *opened = NULL;
        int error;

        if (!base)
                base = event_base_new();
        error = store_open(db.url, &options, base, &opened, reason, 256);
        ck_assert_ptr_null(opened);
        return error;
}

static struct store_status status_of(struct store *of)
{
        struct store_status now;

        store_status(of, &now);
        return now;
}

/* As if that daemon, or another life of it, had taken the row. */
static void plant(size_t index)
{
        struct id life = id_new();

        ask(&db, format("UPDATE store_owner SET life = '%s', daemon_id = '%s', host = '%s', run_dir = '%s', pid = 77, "
                        "renewals = renewals + 1", ID_TEXT(&life), ID_TEXT(&daemons[index].daemon_id), daemons[index].host,
                daemons[index].run_dir));
}

static const char *holder(void)
{
        return ask(&db, "SELECT host FROM store_owner WHERE life IS NOT NULL");
}

START_TEST(test_second_daemon_is_told_who_has_it_when_the_first_lives)
{
        struct store *second;
        struct store_agent agent = an_agent();

        database_new(&db, (enum backend)_i);
        store = open_as(0);
        ck_assert(status_of(store).available);
        second = open_as(1);
        ck_assert(!status_of(second).available);
        ck_assert_ptr_nonnull(strstr(status_of(second).reason, "waiting to see whether it lives"));
        LOOP_UNTIL(taken[1][0]);
        ck_assert_ptr_nonnull(strstr(taken[1], "on first.example with pid 0 and run_dir /run/first"));
        ck_assert_ptr_nonnull(strstr(taken[1], "database.schema"));
        ck_assert_int_eq(FINISH(store_agent_insert, second, &agent), -EAGAIN);
        ck_assert_int_eq(FINISH(store_agent_insert, store, &agent), 0);
        ck_assert_str_eq(taken[0], "");
        store_close(second, 1000);
        ck_assert_str_eq(holder(), "first.example");
        close_store(store);
}
END_TEST

START_TEST(test_second_daemon_takes_over_when_the_first_stands_still)
{
        database_new(&db, (enum backend)_i);
        store = open_as(0);
        close_store(store);
        as(1);
        plant(0);
        store = open_as(1);
        ck_assert(!status_of(store).available);
        LOOP_UNTIL(status_of(store).available);
        ck_assert_str_eq(holder(), "second.example");
        ck_assert_str_eq(taken[1], "");
        close_store(store);
}
END_TEST

START_TEST(test_another_life_takes_over_at_once_when_it_is_the_same_daemon)
{
        database_new(&db, (enum backend)_i);
        store = open_as(0);
        close_store(store);
        plant(0);
        store = open_as(0);
        ck_assert(status_of(store).available);
        close_store(store);
        /* An orderly end: nobody has to wait. */
        ck_assert_str_eq(holder(), "");
        store = open_as(1);
        ck_assert(status_of(store).available);
        close_store(store);
}
END_TEST

/* A session that has written the rows of which each new connection of the store writes, too, and stands still. */
static PGconn *stop_with_rows_locked(void)
{
        static const char *const steps[] = { "SET search_path = agentpool", "BEGIN", "UPDATE store_owner SET renewals = renewals",
                "UPDATE schema_migrations SET version = version" };
        PGconn *session = PQconnectdb(format("host=127.0.0.1 port=%d user=postgres dbname=%s", db.server->port, db.name));

        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                PGresult *result = PQexec(session, steps[i]);

                must(PQresultStatus(result) == PGRES_COMMAND_OK);
                PQclear(result);
        }
        ask(&db, format("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s' "
                        "AND pid NOT IN (pg_backend_pid(), %d)", db.name, PQbackendPID(session)));
        must(kill(PQbackendPID(session), SIGSTOP) == 0);
        return session;
}

START_TEST(test_new_connection_goes_on_when_a_stopped_session_has_its_rows)
{
        struct store_agent agent;
        PGconn *session;
        char renewals[32];
        int64_t end;

        database_new(&db, _i ? PGBOUNCER : POSTGRES);
        store = open_as(0);
        session = stop_with_rows_locked();
        do
                agent = an_agent();
        while (FINISH(store_agent_insert, store, &agent) != 0);
        end = clock_mono_ms() + 2 * LEASE_MS; /* several renewals */
        LOOP_UNTIL(clock_mono_ms() >= end);
        ck_assert(status_of(store).available);
        ck_assert_str_eq(taken[0], "");
        snprintf(renewals, sizeof renewals, "%s", ask(&db, "SELECT renewals FROM store_owner"));
        must(kill(PQbackendPID(session), SIGCONT) == 0);
        PQfinish(session);
        LOOP_UNTIL(strcmp(ask(&db, "SELECT renewals FROM store_owner"), renewals) != 0);
        close_store(store);
        ck_assert_str_eq(holder(), "");
}
END_TEST

START_TEST(test_nothing_is_tidied_up_when_left_to_the_next_of_its_daemon)
{
        struct store_agent agent = an_agent();

        database_new(&db, (enum backend)_i);
        store = open_as(0);
        ck_assert_int_eq(FINISH(store_agent_insert, store, &agent), 0);
        store_leave(store, 30000);
        event_base_free(base);
        base = NULL;
        if (_i == SQLITE) /* the last to close a file writes its log into it, and waits for the disk */
                ck_assert_int_eq(access(format("%s-wal", db.path), F_OK), 0);
        ck_assert_str_eq(holder(), "first.example");
        store = open_as(0);
        ck_assert(status_of(store).available);
        close_store(store);
        ck_assert_str_eq(holder(), "");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "1");
}
END_TEST

START_TEST(test_first_daemon_writes_no_more_when_another_took_it)
{
        struct store_agent agent = an_agent();

        database_new(&db, (enum backend)_i);
        store = open_as(0);
        as(1);
        plant(1);
        LOOP_UNTIL(taken[0][0]);
        ck_assert_ptr_nonnull(strstr(taken[0], "second.example"));
        ck_assert_ptr_nonnull(strstr(taken[0], "took it over"));
        ck_assert_int_eq(FINISH(store_agent_insert, store, &agent), -EAGAIN);
        close_store(store);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "0");
        ck_assert_str_eq(holder(), "second.example");
}
END_TEST

START_TEST(test_older_master_only_falls_silent_when_a_newer_one_of_its_daemon_took_it)
{
        database_new(&db, (enum backend)_i);
        store = open_as(0);
        plant(0);
        LOOP_UNTIL(!status_of(store).available);
        ck_assert_ptr_nonnull(strstr(status_of(store).reason, "a newer master"));
        ck_assert_str_eq(taken[0], "");
        close_store(store);
}
END_TEST

START_TEST(test_open_refuses_when_the_database_is_not_the_known_one)
{
        struct store_agent agent = an_agent();
        char reason[256];
        struct id known;

        database_new(&db, (enum backend)_i);
        store = open_as(0);
        LOOP_UNTIL(store_database_id(store, &known));
        ck_assert_int_eq(FINISH(store_agent_insert, store, &agent), 0);
        close_store(store);
        daemons[0].database_id = known;
        store = open_as(0);
        ck_assert(status_of(store).available);
        close_store(store);
        /* Another one. */
        database_new(&db, (enum backend)_i);
        daemons[0].database_id = (struct id){ { 0 } };
        store = open_as(0);
        close_store(store);
        daemons[0].database_id = known;
        ck_assert_int_eq(refusal_as(0, reason), -EPROTO);
        ck_assert_ptr_nonnull(strstr(reason, "remove /run/first/database_id"));
        /* An empty one stays empty. */
        database_new(&db, (enum backend)_i);
        ck_assert_int_eq(refusal_as(0, reason), -EPROTO);
        ck_assert_ptr_nonnull(strstr(reason, "remove /run/first/database_id"));
        if (db.backend == SQLITE)
                ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM sqlite_master"), "0");
        else
                ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'agentpool'"), "0");
        event_base_free(base);
        base = NULL;
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("store owner");
        TCase *tcase = tcase_create("owner");

        tcase_set_timeout(tcase, TIMEOUT_S);
        tcase_add_loop_test(tcase, test_second_daemon_is_told_who_has_it_when_the_first_lives, POSTGRES, BACKENDS);
        tcase_add_loop_test(tcase, test_second_daemon_takes_over_when_the_first_stands_still, POSTGRES, BACKENDS);
        tcase_add_loop_test(tcase, test_another_life_takes_over_at_once_when_it_is_the_same_daemon, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_new_connection_goes_on_when_a_stopped_session_has_its_rows, 0, 2);
        tcase_add_loop_test(tcase, test_nothing_is_tidied_up_when_left_to_the_next_of_its_daemon, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_first_daemon_writes_no_more_when_another_took_it, POSTGRES, BACKENDS);
        tcase_add_loop_test(tcase, test_older_master_only_falls_silent_when_a_newer_one_of_its_daemon_took_it, POSTGRES, BACKENDS);
        tcase_add_loop_test(tcase, test_open_refuses_when_the_database_is_not_the_known_one, 0, BACKENDS);
        suite_add_tcase(suite, tcase);
        return run_suite(suite);
}
