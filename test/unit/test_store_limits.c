/* The database turns read-only, fills up, has a schema that is not ours; several processes migrate at once. */
#include "test/unit/store_breakable.h"

#include <sched.h>
#include <sys/mount.h>

/* ---- opening ---- */

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
        database_new(&db, SQLITE);
        store = open_store(db.url, NULL);
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

/* ---- read-only ---- */

static unsigned read_rows;
static bool read_done;
static int read_error;
static void on_read(void *arg, int error, const struct store_agent *agents, size_t count)
{
        (void)arg;
        (void)agents;
        read_error = error;
        read_rows += (unsigned)count;
        read_done = error || !count;
}

static void check_still_readable(unsigned rows)
{
        read_rows = 0;
        read_done = false;
        ck_assert_int_eq(store_agents_load(store, NULL, true, on_read, NULL), 0);
        LOOP_UNTIL(read_done);
        ck_assert_int_eq(read_error, 0);
        ck_assert_uint_eq(read_rows, rows);
}

static void set_read_only(const char *value)
{
        pg_ask(own.port, "postgres", format("ALTER SYSTEM SET default_transaction_read_only = %s", value));
        pg_ask(own.port, "postgres", "SELECT pg_reload_conf()");
        WAIT_UNTIL(strcmp(pg_ask(own.port, "postgres", "SHOW default_transaction_read_only"), value) == 0);
}

START_TEST(test_read_only_is_told_when_server_refuses_writes)
{
        struct store_agent agent;

        open_own(_i ? PGBOUNCER : POSTGRES, &(struct store_options){ .wait_ms = 1000 });
        ck_assert_int_eq(insert_one(&agent), 0);
        set_read_only("on");
        ck_assert_int_eq(insert_one(&agent), -EROFS);
        ck_assert(!status().available);
        ck_assert_int_eq(strncmp(status().reason, "read-only: ", 11), 0);
        ck_assert_ptr_nonnull(strstr(status().reason, "default_transaction_read_only"));
        check_still_readable(1);
        ck_assert_int_eq(FINISH(store_pool_put, store, (&(struct store_pool){ "p", "{}", 1 })), -EROFS);
        ck_assert_int_eq(store_event_add(store, &(struct store_event){ .at = 1, .event = "e" }), 0);
        set_read_only("off");
        LOOP_UNTIL(status().queued == 0 && status().available);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "1");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "1");
        ck_assert_int_eq(insert_one(&agent), 0);
        close_store(store);
        stop_own();
}
END_TEST

START_TEST(test_sqlite_waits_when_its_file_is_moved_away)
{
        struct store_agent agent;
        char aside[224];

        database_new(&db, SQLITE);
        store = open_store(db.url, &(struct store_options){ .wait_ms = 300 });
        ck_assert_int_eq(insert_one(&agent), 0);
        snprintf(aside, sizeof aside, "%s.aside", db.path);
        must(rename(db.path, aside) == 0);
        ck_assert_int_eq(insert_one(&agent), -EROFS);
        ck_assert_ptr_nonnull(strstr(status().reason, "was moved or deleted; put it back"));
        ck_assert_int_eq(access(db.path, F_OK), -1); /* no empty one in its place */
        check_still_readable(1);
        ck_assert_int_eq(store_event_add(store, &(struct store_event){ .at = 1, .event = "e" }), 0);
        must(rename(aside, db.path) == 0);
        LOOP_UNTIL(status().queued == 0 && status().available);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "1");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "1");
        close_store(store);
}
END_TEST

START_TEST(test_sqlite_says_read_only_when_file_may_not_be_written)
{
        char reason[256];

        database_new(&db, SQLITE);
        if (geteuid() == 0) { /* to whom no file is read-only */
                become_server_user();
        }
        store = open_store(db.url, NULL);
        close_store(store);
        must(chmod(db.path, 0400) == 0);
        base = event_base_new();
        ck_assert_int_eq(store_open(db.url, NULL, base, &store, reason, sizeof reason), -EROFS);
        ck_assert_msg(strncmp(reason, "read-only: ", 11) == 0, "%s", reason);
        event_base_free(base);
}
END_TEST

/* ---- disk full ---- */

static char small_disk[128];

/* A small file system that only this test sees; false when this user may not mount one. */
static bool mount_small(const char *size)
{
        snprintf(small_disk, sizeof small_disk, "%s/small%d", root, (int)getpid());
        must(mkdir(small_disk, 0755) == 0);
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("tmpfs", small_disk, "tmpfs", MS_NODEV | MS_NOSUID, size) < 0) {
                fprintf(stderr, "SKIPPED: disk full: cannot mount a small tmpfs: %s\n", strerror(errno));
                return false;
        }
        give_to_server_user(small_disk);
        return true;
}

/* Fills the disk from inside, until it says so; then makes room and checks that all is well again. */
static void fill_and_recover(const char *ballast)
{
        char *large = malloc(200001);
        struct store_agent agent;
        unsigned good = 0, slow = 0;
        int error;

        memset(large, 'x', 200000);
        memcpy(large, "{\"x\":\"", 6);
        memcpy(large + 199998, "\"}", 3);
        do {
                agent = an_agent();
                agent.labels = large;
                error = FINISH(store_agent_insert, store, &agent);
                good += error == 0;
                slow += error == -EAGAIN; /* a busy machine's disk took longer than wait_ms */
        } while (error == 0 || (error == -EAGAIN && slow < 10));
        free(large);
        ck_assert_int_eq(error, -ENOSPC);
        ck_assert(!status().available);
        ck_assert_msg(strncmp(status().reason, "disk full: ", 11) == 0, "%s", status().reason);
        check_still_readable(good);
        must(unlink(ballast) == 0);
        LOOP_UNTIL(status().available && status().queued == 0);
        ck_assert_int_eq(insert_one(&agent), 0);
        check_still_readable(good + 1);
}

static const char *put_ballast(void)
{
        const char *path = format("%s/ballast", small_disk);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        must(fd >= 0 && posix_fallocate(fd, 0, 6 << 20) == 0 && close(fd) == 0);
        return path;
}

START_TEST(test_disk_full_is_told_when_sqlite_cannot_grow)
{
        char ballast[160];

        if (!mount_small("size=12m"))
                return;
        snprintf(ballast, sizeof ballast, "%s", put_ballast());
        database_new(&db, SQLITE);
        snprintf(db.path, sizeof db.path, "%s/agentpool.db", small_disk);
        snprintf(db.url, sizeof db.url, "sqlite:%s", db.path);
        store = open_store(db.url, &(struct store_options){ .wait_ms = 1000 });
        fill_and_recover(ballast);
        close_store(store);
}
END_TEST

START_TEST(test_disk_full_is_told_when_postgresql_cannot_grow)
{
        char ballast[160], space[160];

        if (!mount_small("size=24m"))
                return;
        snprintf(ballast, sizeof ballast, "%s", put_ballast());
        snprintf(space, sizeof space, "%s/space", small_disk);
        must(mkdir(space, 0700) == 0);
        give_to_server_user(space);
        postgres_new(&own, format("own%d", (int)getpid()));
        pg_ask(own.port, "postgres", format("CREATE TABLESPACE small LOCATION '%s'", space));
        pg_ask(own.port, "postgres", "CREATE DATABASE full_one TABLESPACE small");
        db = (struct database){ .backend = POSTGRES, .name = "full_one", .server = &own };
        snprintf(db.url, sizeof db.url, "postgresql://postgres@127.0.0.1:%d/full_one", own.port);
        /* Rows that do not shrink. */
        store = open_store(db.url, &(struct store_options){ .wait_ms = 1000 });
        ask(&db, "ALTER TABLE agents ALTER COLUMN labels SET STORAGE EXTERNAL");
        fill_and_recover(ballast);
        close_store(store);
        stop_own();
}
END_TEST

/* ---- migrations ---- */

static int try_open(const char *url, char reason[256])
{
        struct event_base *loop = event_base_new();
        struct store *opened = NULL;
        int error = store_open(url, NULL, loop, &opened, reason, 256);

        store_close(opened, 1000);
        event_base_free(loop);
        return error;
}

START_TEST(test_open_refuses_when_schema_is_newer_or_changed)
{
        char reason[256], url[256];

        database_new(&db, (enum backend)_i);
        snprintf(url, sizeof url, "%s", db.url);
        ck_assert_int_eq(try_open(url, reason), 0);
        ck_assert_int_eq(try_open(url, reason), 0);
        ask(&db, "INSERT INTO schema_migrations VALUES (99, '0099_future', 'x', 0)");
        ck_assert_int_eq(try_open(url, reason), -EPROTO);
        ck_assert_msg(strstr(reason, "schema has version 99, this agentpoold knows up to 3"), "%s", reason);
        ask(&db, "DELETE FROM schema_migrations WHERE version = 99");
        ck_assert_int_eq(try_open(url, reason), 0);
        ask(&db, "UPDATE schema_migrations SET sha256 = 'ab' WHERE version = 1");
        ck_assert_int_eq(try_open(url, reason), -EPROTO);
        ck_assert_msg(strstr(reason, "0001_initial was applied to the database with other contents"), "%s", reason);
}
END_TEST

static const char rails[] = "CREATE TABLE schema_migrations (version TEXT PRIMARY KEY)";
static const char stranger[] = "CREATE TABLE agents (id INTEGER PRIMARY KEY, name TEXT)";

/* Puts a table of another application where the test says; the store's own are then made beside it, or not at all. */
static void plant(const char *schema, const char *table)
{
        if (db.backend == SQLITE) {
                *strrchr(db.path, '/') = '\0';
                must(mkdir(db.path, 0700) == 0);
                db.path[strlen(db.path)] = '/';
                close(open(db.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
                ask(&db, table);
                return;
        }
        if (strcmp(schema, "public") != 0)
                ask(&db, format("CREATE SCHEMA %s", schema));
        ask(&db, format("SET search_path = %s; %s", schema, table));
}

START_TEST(test_open_refuses_when_tables_are_of_another_application)
{
        const char *const tables[] = { rails, stranger };
        struct store_options options = { .schema = "taken", .start_away = true };
        struct store *opened = NULL;
        char reason[256];

        for (size_t i = 0; i < 2; i++) {
                database_new(&db, (enum backend)_i);
                plant("taken", tables[i]);
                base = event_base_new();
                ck_assert_int_eq(store_open(db.url, &options, base, &opened, reason, sizeof reason), -EPROTO);
                ck_assert_msg(strstr(reason, "of another application"), "%s", reason);
                ck_assert_ptr_nonnull(strstr(reason, db.backend == SQLITE ? "database.url" : "database.schema"));
                event_base_free(base);
                /* Nothing of ours was left there. */
                ck_assert_str_eq(ask(&db, db.backend == SQLITE ? "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'"
                                                               : "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'taken'"),
                        "1");
        }
}
END_TEST

START_TEST(test_tables_get_a_schema_of_their_own_when_public_has_others)
{
        struct store_agent agent;

        database_new(&db, (enum backend)_i);
        plant("public", rails);
        ask(&db, "SET search_path = public; CREATE TABLE agents (id INTEGER PRIMARY KEY)");
        store = open_store(db.url, NULL);
        ck_assert_int_eq(insert_one(&agent), 0);
        close_store(store);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agentpool.agents"), "1");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM public.agents"), "0");
}
END_TEST

START_TEST(test_tables_stay_where_they_are_when_an_older_daemon_made_them_in_public)
{
        struct store_agent agent;

        database_new(&db, (enum backend)_i);
        store = open_store(db.url, &(struct store_options){ .schema = "public" });
        ck_assert_int_eq(insert_one(&agent), 0);
        close_store(store);
        store = open_store(db.url, NULL);
        check_still_readable(1);
        close_store(store);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM pg_namespace WHERE nspname = 'agentpool'"), "0");
        /* Another daemon beside it. */
        store = open_store(db.url, &(struct store_options){ .schema = "Second" });
        check_still_readable(0);
        close_store(store);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM \"Second\".agents"), "0");
}
END_TEST

START_TEST(test_open_says_what_to_grant_when_role_may_not_make_tables)
{
        char reason[256], url[256];

        database_new(&db, POSTGRES);
        ask(&db, format("CREATE ROLE r%s LOGIN", db.name));
        snprintf(url, sizeof url, "postgresql+psycopg://r%s@127.0.0.1:%d/%s", db.name, postgres.port, db.name);
        ck_assert_int_eq(try_open(url, reason), -EPROTO);
        ck_assert_msg(strstr(reason, "let this role create and own it"), "%s", reason);
        ask(&db, format("CREATE SCHEMA agentpool AUTHORIZATION r%s", db.name));
        ck_assert_int_eq(try_open(url, reason), 0);
}
END_TEST

START_TEST(test_open_refuses_when_file_is_no_database)
{
        char reason[256];
        FILE *file;

        database_new(&db, SQLITE);
        snprintf(db.path, sizeof db.path, "%s/notes%d.txt", root, (int)getpid());
        file = fopen(db.path, "w");
        must(file && fputs("a letter, and far longer than a header of SQLite, so that it is read as one: it is none\n", file) >= 0);
        must(fclose(file) == 0);
        ck_assert_int_eq(try_open(format("sqlite:%s", db.path), reason), -EPROTO);
        ck_assert_msg(strstr(reason, "is no SQLite database"), "%s", reason);
}
END_TEST

START_TEST(test_schema_is_made_once_when_processes_race)
{
        enum { PROCESSES = 6 };
        pid_t pids[PROCESSES];
        int gate[2], status_of;
        char reason[256];

        database_new(&db, (enum backend)_i);
        must(pipe(gate) == 0);
        for (int i = 0; i < PROCESSES; i++) {
                pids[i] = fork();
                if (pids[i] == 0) {
                        int error;

                        close(gate[1]);
                        must(read(gate[0], &(char){ 0 }, 1) == 0); /* all begin when the gate closes */
                        do /* the second daemon on a file is refused, then it is free */
                                error = try_open(db.url, reason);
                        while (error == -EBUSY);
                        if (error)
                                fprintf(stderr, "%s\n", reason);
                        _exit(error != 0);
                }
        }
        close(gate[0]);
        close(gate[1]);
        for (int i = 0; i < PROCESSES; i++) {
                must(waitpid(pids[i], &status_of, 0) == pids[i]);
                ck_assert_int_eq(status_of, 0);
        }
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM schema_migrations"), "3");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("store limits");
        TCase *tcase = tcase_create("limits");

        tcase_set_timeout(tcase, TIMEOUT_S);
        tcase_add_test(tcase, test_open_says_why_when_url_is_no_use);
        tcase_add_test(tcase, test_sqlite_file_is_private_and_has_one_daemon);
        tcase_add_loop_test(tcase, test_read_only_is_told_when_server_refuses_writes, 0, 2);
        tcase_add_test(tcase, test_sqlite_waits_when_its_file_is_moved_away);
        tcase_add_test(tcase, test_sqlite_says_read_only_when_file_may_not_be_written);
        tcase_add_test(tcase, test_disk_full_is_told_when_sqlite_cannot_grow);
        tcase_add_test(tcase, test_disk_full_is_told_when_postgresql_cannot_grow);
        tcase_add_loop_test(tcase, test_open_refuses_when_schema_is_newer_or_changed, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_open_refuses_when_tables_are_of_another_application, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_tables_get_a_schema_of_their_own_when_public_has_others, POSTGRES, BACKENDS);
        tcase_add_loop_test(tcase, test_tables_stay_where_they_are_when_an_older_daemon_made_them_in_public, POSTGRES, BACKENDS);
        tcase_add_test(tcase, test_open_says_what_to_grant_when_role_may_not_make_tables);
        tcase_add_test(tcase, test_open_refuses_when_file_is_no_database);
        tcase_add_loop_test(tcase, test_schema_is_made_once_when_processes_race, 0, BACKENDS);
        suite_add_tcase(suite, tcase);
        return run_suite(suite);
}
