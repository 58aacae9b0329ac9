/* The database dies, hangs, fills up, turns read-only, loses its answers; several processes migrate at once. After each:
 * nothing that was answered is lost, nothing is doubled. */
#include "test/unit/store_fixture.h"

#include <sched.h>
#include <sys/mount.h>

static struct database db;
static struct store *store;
static struct server own, own_bouncer; /* of the tests that break them */

static void stop_own(void)
{
        server_stop(&own_bouncer);
        server_stop(&own);
}

static void open_own(enum backend backend, const struct store_options *options)
{
        postgres_new(&own, format("own%d", (int)getpid()));
        if (backend == PGBOUNCER)
                bouncer_new(&own_bouncer, &own, format("bouncer%d", (int)getpid()));
        database_on(&db, backend, &own, &own_bouncer);
        store = open_store(db.url, options);
}

static struct store_status status(void)
{
        struct store_status now;

        store_status(store, &now);
        return now;
}

static int insert_one(struct store_agent *agent)
{
        *agent = an_agent();
        return FINISH(store_agent_insert, store, agent);
}

static bool has_row(const struct id *agent_id)
{
        return strcmp(ask(&db, format("SELECT COUNT(*) FROM agents WHERE agent_id = '%s'", ID_TEXT(agent_id))), "1") == 0;
}

/* ---- a stream of inserts ---- */

enum { STREAM = 3000, IN_FLIGHT = 50 };

static struct {
        struct store_agent agents[STREAM];
        int error[STREAM];
        unsigned sent, answered, good;
} stream;

static void send_next(void);
static void on_streamed(void *arg, int error)
{
        struct store_agent *agent = arg;

        stream.error[agent - stream.agents] = error;
        stream.answered++;
        stream.good += error == 0;
        send_next();
}

static void send_next(void)
{
        struct store_agent *agent = &stream.agents[stream.sent];

        if (stream.sent == STREAM)
                return;
        *agent = an_agent();
        stream.sent++;
        ck_assert_int_eq(store_agent_insert(store, agent, on_streamed, agent), 0);
        ck_assert_int_eq(store_event_add(store,
                                 &(struct store_event){ .at = agent->created_at, .event = "agent_spawned",
                                         .agent_id = agent->agent_id, .epoch = 1 }),
                0);
}

START_TEST(test_nothing_is_lost_or_doubled_when_server_crashes_under_writes)
{
        enum backend backend = _i ? PGBOUNCER : POSTGRES;

        open_own(backend, &(struct store_options){ .wait_ms = 120000 });
        for (int i = 0; i < IN_FLIGHT; i++)
                send_next();
        for (unsigned crash = 1; crash <= 3; crash++) {
                LOOP_UNTIL(stream.answered >= crash * 500);
                server_stop(&own);
                postgres_start(&own);
        }
        LOOP_UNTIL(stream.answered == STREAM);
        ck_assert_uint_eq(stream.good, STREAM);
        LOOP_UNTIL(status().queued == 0);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), format("%d", STREAM));
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), format("%d", STREAM));
        ck_assert_str_eq(ask(&db, "SELECT COUNT(DISTINCT agent_id) FROM agent_events"), format("%d", STREAM));
        ck_assert(status().available);
        close_store(store);
        stop_own();
}
END_TEST

START_TEST(test_waiting_is_bounded_and_facts_are_kept_when_server_is_away)
{
        struct store_agent kept, refused;
        struct store_status now;

        open_own(POSTGRES, &(struct store_options){ .wait_ms = 300 });
        ck_assert_int_eq(insert_one(&kept), 0);
        server_stop(&own);
        ck_assert_int_eq(insert_one(&refused), -EAGAIN);
        now = status();
        ck_assert(!now.available);
        ck_assert_ptr_nonnull(strstr(now.reason, format("cannot connect to postgresql://postgres:***@127.0.0.1:%d/", own.port)));
        ck_assert_ptr_null(strstr(now.reason, "secret"));
        kept.state = "terminated";
        ck_assert_int_eq(FINISH(store_agent_update, store, &kept), -EINPROGRESS);
        ck_assert_int_eq(FINISH(store_agent_delete, store, &refused.agent_id), -EINPROGRESS);
        ck_assert_int_eq(store_event_add(store, &(struct store_event){ .at = 1, .event = "e" }), 0);
        ck_assert_uint_ge(status().queued, 3); /* more if the first insert may have been carried out: with its undo */
        postgres_start(&own);
        LOOP_UNTIL(status().queued == 0);
        ck_assert_str_eq(ask(&db, "SELECT state FROM agents"), "terminated");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "1");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "1");
        ck_assert_int_eq(insert_one(&refused), 0);
        close_store(store);
        stop_own();
}
END_TEST

START_TEST(test_idle_store_notices_when_server_goes_and_returns)
{
        open_own(POSTGRES, NULL);
        server_stop(&own);
        LOOP_UNTIL(!status().available);
        ck_assert_str_ne(status().reason, "");
        postgres_start(&own);
        LOOP_UNTIL(status().available);
        ck_assert_str_eq(status().reason, "");
        close_store(store);
        stop_own();
}
END_TEST

START_TEST(test_open_waits_for_server_when_asked_to)
{
        struct store_agent agent;
        char url[256];

        open_own(POSTGRES, NULL);
        close_store(store);
        server_stop(&own);
        snprintf(url, sizeof url, "%s", db.url);
        store = open_store(url, &(struct store_options){ .start_away = true, .wait_ms = 60000 });
        ck_assert(!status().available);
        agent = an_agent();
        ck_assert_int_eq(store_agent_insert(store, &agent, NULL, NULL), 0);
        postgres_start(&own);
        LOOP_UNTIL(status().queued == 0);
        ck_assert(has_row(&agent.agent_id));
        close_store(store);
        stop_own();
}
END_TEST

/* ---- a proxy that can lose answers ---- */

enum proxy_mode { PASS, EAT_ANSWER, HOLE, REFUSE };

static struct {
        int listener, port, upstream_port;
        _Atomic int mode;
        _Atomic bool stop;
        const char *_Atomic eat_after; /* in what the client sends */
        _Atomic unsigned eaten;
        pthread_t thread;
} proxy;

struct pair {
        int client, server;
        bool eating; /* the next answer is lost, and the connection with it */
};

static void pair_close(struct pair *pair)
{
        close(pair->client);
        close(pair->server);
        *pair = (struct pair){ .client = -1, .server = -1 };
}

static int connect_upstream(void)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                .sin_port = htons((uint16_t)proxy.upstream_port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        must(fd >= 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
                abort();
        return fd;
}

static void proxy_move(struct pair *pair, bool from_client)
{
        static char data[1 << 16];
        const char *after = proxy.eat_after;
        ssize_t len = recv(from_client ? pair->client : pair->server, data, sizeof data, MSG_DONTWAIT);

        if (len < 0 && errno == EAGAIN)
                return;
        if (from_client && len > 0 && proxy.mode == EAT_ANSWER && memmem(data, (size_t)len, after, strlen(after)))
                pair->eating = true;
        if (!from_client && pair->eating) {
                proxy.eaten++;
                proxy.mode = REFUSE;
                len = 0;
        }
        if (len <= 0 || send(from_client ? pair->server : pair->client, data, (size_t)len, MSG_NOSIGNAL) != len)
                pair_close(pair);
}

static void proxy_accept(struct pair *pair)
{
        int client = accept4(proxy.listener, NULL, NULL, SOCK_CLOEXEC);

        if (client < 0)
                return;
        if (proxy.mode == REFUSE || pair->client >= 0) {
                close(client);
                return;
        }
        *pair = (struct pair){ .client = client, .server = connect_upstream() };
}

static void *run_proxy(void *arg)
{
        struct pair pair = { .client = -1, .server = -1 };

        while (!proxy.stop) {
                bool hole = proxy.mode == HOLE;
                struct pollfd fds[] = { { .fd = proxy.listener, .events = POLLIN },
                        { .fd = hole ? -1 : pair.client, .events = POLLIN },
                        { .fd = hole ? -1 : pair.server, .events = POLLIN } };

                poll(fds, 3, 20);
                if (fds[1].revents)
                        proxy_move(&pair, true);
                if (fds[2].revents && pair.server >= 0)
                        proxy_move(&pair, false);
                if (hole && pair.client >= 0 && recv(pair.client, &(char){ 0 }, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
                        pair_close(&pair);
                if (fds[0].revents)
                        proxy_accept(&pair);
        }
        pair_close(&pair);
        return arg;
}

static void proxy_stop(void)
{
        proxy.stop = true;
        pthread_join(proxy.thread, NULL);
        close(proxy.listener);
}

static void open_behind_proxy(enum backend backend, const struct store_options *options)
{
        database_new(&db, backend);
        proxy.upstream_port = backend == PGBOUNCER ? bouncer.port : postgres.port;
        proxy.listener = bound_socket(&proxy.port);
        must(listen(proxy.listener, 16) == 0);
        must(pthread_create(&proxy.thread, NULL, run_proxy, NULL) == 0);
        snprintf(db.url, sizeof db.url, "postgresql://postgres:secret@127.0.0.1:%d/%s", proxy.port, db.name);
        store = open_store(db.url, options);
}

static void close_behind_proxy(void)
{
        close_store(store);
        proxy_stop();
}

static void eat_answer(const char *after)
{
        proxy.eat_after = after;
        proxy.mode = EAT_ANSWER;
}

START_TEST(test_commit_is_not_doubled_when_its_answer_was_lost)
{
        struct store_key key = { .scope = "spawn", .key = "k", .body_sha256 = "00", .created_at = 1, .expires_at = 2 };
        struct outcome outcome = { .calls = 0 };
        struct store_agent agent;

        open_behind_proxy(_i ? PGBOUNCER : POSTGRES, &(struct store_options){ .wait_ms = 120000 });
        agent = an_agent();
        eat_answer("INSERT INTO agents");
        ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
        WAIT_UNTIL(proxy.eaten == 1);
        ck_assert(has_row(&agent.agent_id));
        ck_assert_uint_eq(outcome.calls, 0);
        proxy.mode = PASS;
        LOOP_UNTIL(outcome.calls == 1);
        ck_assert_int_eq(outcome.error, 0);
        /* Several statements: the answer to COMMIT. */
        proxy.mode = HOLE;
        for (int i = 0; i < 20; i++) {
                agent = an_agent();
                ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
                agent.state = "idle";
                ck_assert_int_eq(store_agent_update(store, &agent, on_outcome, &outcome), 0);
                ck_assert_int_eq(store_event_add(store, &(struct store_event){ .at = 1, .event = "e" }), 0);
        }
        ck_assert_int_eq(store_key_insert(store, &key, on_outcome, &outcome), 0);
        eat_answer("COMMIT");
        WAIT_UNTIL(proxy.eaten == 2);
        proxy.mode = PASS;
        LOOP_UNTIL(outcome.calls == 42 && status().queued == 0);
        ck_assert_uint_eq(outcome.good, 42);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "21");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "20");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM idempotency_keys"), "1");
        close_behind_proxy();
}
END_TEST

START_TEST(test_given_up_insert_leaves_nothing_when_its_commit_was_done)
{
        struct store_key key = { .scope = "spawn", .key = "k", .body_sha256 = "00", .created_at = 1, .expires_at = 2 };
        struct outcome outcome = { .calls = 0 };
        struct store_agent agent, other;

        open_behind_proxy(POSTGRES, &(struct store_options){ .wait_ms = 400 });
        ck_assert_int_eq(insert_one(&other), 0);
        agent = an_agent();
        eat_answer("INSERT INTO agents");
        ck_assert_int_eq(FINISH(store_agent_insert, store, &agent), -EAGAIN);
        ck_assert_uint_eq(proxy.eaten, 1);
        ck_assert(has_row(&agent.agent_id));
        proxy.mode = PASS;
        LOOP_UNTIL(status().queued == 0 && status().available);
        ck_assert(!has_row(&agent.agent_id));
        ck_assert(has_row(&other.agent_id));
        eat_answer("INSERT INTO idempotency_keys");
        ck_assert_int_eq(store_key_insert(store, &key, on_outcome, &outcome), 0);
        LOOP_UNTIL(outcome.calls);
        ck_assert_int_eq(outcome.error, -EAGAIN);
        proxy.mode = PASS;
        LOOP_UNTIL(status().queued == 0 && status().available);
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM idempotency_keys"), "0");
        /* The same again is a new promise. */
        ck_assert_int_eq(FINISH(store_agent_insert, store, &agent), 0);
        ck_assert(has_row(&agent.agent_id));
        close_behind_proxy();
}
END_TEST

START_TEST(test_hung_server_counts_as_away_when_no_answer_comes)
{
        struct store_agent agent;

        open_behind_proxy(POSTGRES, &(struct store_options){ .wait_ms = 100 });
        proxy.mode = HOLE;
        ck_assert_int_eq(insert_one(&agent), -EAGAIN);
        ck_assert_ptr_nonnull(strstr(status().reason, "no answer in time"));
        proxy.mode = PASS;
        LOOP_UNTIL(status().queued == 0 && status().available);
        ck_assert(!has_row(&agent.agent_id));
        ck_assert_int_eq(insert_one(&agent), 0);
        close_behind_proxy();
}
END_TEST

START_TEST(test_close_is_bounded_when_server_hangs)
{
        struct outcome outcome = { .calls = 0 };
        struct store_agent agent = an_agent();

        open_behind_proxy(POSTGRES, NULL);
        proxy.mode = HOLE;
        ck_assert_int_eq(store_agent_insert(store, &agent, on_outcome, &outcome), 0);
        store_close(store, 200); /* well before ANSWER_MS: the test would see the next line's error otherwise */
        ck_assert_uint_eq(outcome.calls, 1);
        ck_assert_int_eq(outcome.error, -EAGAIN);
        event_base_free(base);
        proxy_stop();
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
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
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
        unsigned good = 0;
        int error;

        memset(large, 'x', 200000);
        large[200000] = '\0';
        do {
                agent = an_agent();
                agent.labels = large;
                error = FINISH(store_agent_insert, store, &agent);
                good += error == 0;
        } while (!error);
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
        ck_assert_msg(strstr(reason, "schema has version 99, this agentpoold knows up to 1"), "%s", reason);
        ask(&db, "DELETE FROM schema_migrations WHERE version = 99");
        ck_assert_int_eq(try_open(url, reason), 0);
        ask(&db, "UPDATE schema_migrations SET sha256 = 'ab' WHERE version = 1");
        ck_assert_int_eq(try_open(url, reason), -EPROTO);
        ck_assert_msg(strstr(reason, "0001_initial was applied to the database with other contents"), "%s", reason);
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
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM schema_migrations"), "1");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("store faults");
        TCase *tcase = tcase_create("faults");

        tcase_set_timeout(tcase, TIMEOUT_S);
        tcase_add_loop_test(tcase, test_nothing_is_lost_or_doubled_when_server_crashes_under_writes, 0, 2);
        tcase_add_test(tcase, test_waiting_is_bounded_and_facts_are_kept_when_server_is_away);
        tcase_add_test(tcase, test_idle_store_notices_when_server_goes_and_returns);
        tcase_add_test(tcase, test_open_waits_for_server_when_asked_to);
        tcase_add_loop_test(tcase, test_commit_is_not_doubled_when_its_answer_was_lost, 0, 2);
        tcase_add_test(tcase, test_given_up_insert_leaves_nothing_when_its_commit_was_done);
        tcase_add_test(tcase, test_hung_server_counts_as_away_when_no_answer_comes);
        tcase_add_test(tcase, test_close_is_bounded_when_server_hangs);
        tcase_add_loop_test(tcase, test_read_only_is_told_when_server_refuses_writes, 0, 2);
        tcase_add_test(tcase, test_sqlite_waits_when_its_file_is_moved_away);
        tcase_add_test(tcase, test_sqlite_says_read_only_when_file_may_not_be_written);
        tcase_add_test(tcase, test_disk_full_is_told_when_sqlite_cannot_grow);
        tcase_add_test(tcase, test_disk_full_is_told_when_postgresql_cannot_grow);
        tcase_add_loop_test(tcase, test_open_refuses_when_schema_is_newer_or_changed, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_schema_is_made_once_when_processes_race, 0, BACKENDS);
        suite_add_tcase(suite, tcase);
        return run_suite(suite);
}
