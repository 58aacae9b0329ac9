/* Real databases for the store's tests: one PostgreSQL per test binary (initdb once) with a PgBouncer in transaction pooling
 * in front, more of each on demand, a TCP proxy that can lose answers; SQLite files; what is in the tables, asked without
 * the store. Everything ends with the binary, whatever happens to it. Included by the one .c file of a test. */
#ifndef TEST_UNIT_STORE_FIXTURE_H
#define TEST_UNIT_STORE_FIXTURE_H
#include "sql/store.h"

#include "common/clock.h"
#include "common/log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_S 240 /* of a test, for valgrind on a busy machine */

enum backend { SQLITE, POSTGRES, PGBOUNCER, BACKENDS };

struct server {
        pid_t pid;
        int port;
        char directory[128];
};

static char root[64]; /* "/tmp/agentpool-store-XXXXXX" */
static struct server postgres, bouncer;

#define must(condition)                                                                                      \
        do {                                                                                                 \
                if (!(condition)) {                                                                          \
                        fprintf(stderr, "%s:%d: %s failed: %s\n", __FILE__, __LINE__, #condition, strerror(errno)); \
                        exit(1); /* not abort: the servers and files go */                                   \
                }                                                                                            \
        } while (0)

static inline const char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline const char *format(const char *fmt, ...)
{
        static char texts[8][1024];
        static unsigned next;
        char *text = texts[next++ % 8];
        va_list args;

        va_start(args, fmt);
        vsnprintf(text, sizeof texts[0], fmt, args);
        va_end(args);
        return text;
}

/* A program of the PostgreSQL that Debian's release has. */
static inline const char *pg_program(const char *name)
{
        glob_t found;
        const char *path;

        must(glob(format("/usr/lib/postgresql/*/bin/%s", name), 0, NULL, &found) == 0);
        path = format("%s", found.gl_pathv[found.gl_pathc - 1]);
        globfree(&found);
        return path;
}

/* One look every 10 ms until condition; the test's timeout bounds it. */
#define WAIT_UNTIL(condition)                                                                                \
        while (!(condition))                                                                                 \
        poll(NULL, 0, 10)

/* Servers refuse to run as root: then they run as the user postgres. */
static inline void become_server_user(void)
{
        const struct passwd *user;

        if (geteuid() != 0)
                return;
        user = getpwnam("postgres");
        must(user && setgroups(0, NULL) == 0 && setgid(user->pw_gid) == 0 && setuid(user->pw_uid) == 0);
}

static inline void give_to_server_user(const char *path)
{
        const struct passwd *user = getpwnam("postgres");

        must(geteuid() != 0 || (user && chown(path, user->pw_uid, user->pw_gid) == 0));
}

static inline pid_t spawn(const char *const *argv)
{
        pid_t parent = getpid(), pid = fork();
        int fd;

        must(pid >= 0);
        if (pid > 0)
                return pid;
        signal(SIGQUIT, SIG_DFL); /* a test run in the background by a shell ignores it */
        become_server_user();
        prctl(PR_SET_PDEATHSIG, SIGQUIT);
        if (getppid() != parent)
                _exit(1);
        fd = open(format("%s/log", root), O_WRONLY | O_APPEND | O_CREAT, 0666);
        must(fd >= 0 && dup2(fd, 1) >= 0 && dup2(fd, 2) >= 0);
        must(chdir(root) == 0);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
}

static inline void run_to_end(const char *const *argv)
{
        pid_t pid = spawn(argv);
        int status;

        must(waitpid(pid, &status, 0) == pid && status == 0);
}

static inline int bound_socket(int *ret_port)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        must(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0);
        must(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
        *ret_port = ntohs(address.sin_port);
        return fd;
}

static inline int free_port(void)
{
        int port, fd = bound_socket(&port);

        close(fd);
        return port;
}

static inline bool is_up(int port, const char *database)
{
        return PQping(format("host=127.0.0.1 port=%d user=postgres dbname=%s connect_timeout=2", port, database)) ==
                PQPING_OK;
}

static inline void postgres_start(struct server *server)
{
        const char *port = format("port=%d", server->port), *sockets = format("unix_socket_directories=%s", server->directory);

        server->pid = spawn((const char *const[]){ pg_program("postgres"), "-D", server->directory, "-c", port, "-c", sockets,
                "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=32MB", "-c", "autovacuum=off", "-c",
                "jit=off", NULL });
        WAIT_UNTIL(is_up(server->port, "postgres"));
}

/* SIGQUIT is "immediate": like a crash. */
static inline void server_stop(struct server *server)
{
        if (server->pid <= 0)
                return;
        kill(server->pid, SIGQUIT);
        waitpid(server->pid, NULL, 0);
        server->pid = 0;
}

/* A cluster of its own, for a test that breaks it. */
static inline void postgres_new(struct server *server, const char *name)
{
        snprintf(server->directory, sizeof server->directory, "%s/%s", root, name);
        server->port = free_port();
        run_to_end((const char *const[]){ "/bin/cp", "-a", format("%s/template", root), server->directory, NULL });
        postgres_start(server);
}

static inline void bouncer_new(struct server *server, const struct server *behind, const char *name)
{
        FILE *file;

        snprintf(server->directory, sizeof server->directory, "%s/%s", root, name);
        server->port = free_port();
        must(mkdir(server->directory, 0755) == 0);
        file = fopen(format("%s/users", server->directory), "w");
        must(file && fputs("\"postgres\" \"secret\"\n", file) >= 0 && fclose(file) == 0);
        file = fopen(format("%s/ini", server->directory), "w");
        must(file);
        fprintf(file,
                "[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"
                "unix_socket_dir =\nauth_type = trust\nauth_file = %s/users\npool_mode = transaction\n"
                "default_pool_size = 2\nserver_login_retry = 1\nadmin_users = postgres\n",
                behind->port, server->port, server->directory);
        must(fclose(file) == 0);
        server->pid = spawn(
                (const char *const[]){ "/usr/sbin/pgbouncer", "-q", format("%s/ini", server->directory), NULL });
        WAIT_UNTIL(is_up(server->port, "postgres"));
}

static pid_t fixture_pid;

static inline void fixture_stop(void)
{
        if (getpid() != fixture_pid)
                return; /* a forked test that calls exit */
        server_stop(&bouncer);
        server_stop(&postgres);
        if (fork() == 0) {
                execl("/bin/rm", "rm", "-rf", root, (char *)NULL);
                _exit(127);
        }
        wait(NULL);
}

static inline void fixture_start(void)
{
        char template[128];

        snprintf(root, sizeof root, "/tmp/agentpool-store-XXXXXX");
        must(mkdtemp(root) && chmod(root, 0755) == 0);
        give_to_server_user(root);
        fixture_pid = getpid();
        atexit(fixture_stop);
        snprintf(template, sizeof template, "%s/template", root);
        run_to_end((const char *const[]){ pg_program("initdb"), "-D", template, "-A", "trust", "-U", "postgres", "-E",
                "UTF8", "--locale=C", "--no-sync", "--wal-segsize=4", NULL });
        postgres_new(&postgres, "main");
        bouncer_new(&bouncer, &postgres, "bouncer");
}

/* The first cell of a statement's result, asked past the store; "" without one. */
static inline const char *pg_ask(int port, const char *database, const char *sql)
{
        PGconn *connection =
                PQconnectdb(format("host=127.0.0.1 port=%d user=postgres dbname=%s options=-csearch_path=agentpool,public",
                        port, database));
        PGresult *result;
        const char *text;

        must(PQstatus(connection) == CONNECTION_OK);
        result = PQexec(connection, sql);
        if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
                ck_abort_msg("%s: %s", sql, PQerrorMessage(connection));
        text = format("%s", PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
        PQclear(result);
        PQfinish(connection);
        return text;
}

/* One test's database: new and empty. */
struct database {
        enum backend backend;
        char name[64];       /* of the PostgreSQL database */
        char path[192];      /* of the SQLite file */
        const struct server *server, *front;
        char url[256];
};

static inline void database_on(
        struct database *db, enum backend backend, const struct server *server, const struct server *front)
{
        static unsigned count;

        *db = (struct database){ .backend = backend, .server = server, .front = front };
        snprintf(db->name, sizeof db->name, "t%d_%u", (int)getpid(), count);
        snprintf(db->path, sizeof db->path, "%s/t%d_%u/agentpool.db", root, (int)getpid(), count++);
        if (backend == SQLITE) {
                snprintf(db->url, sizeof db->url, "sqlite:%s", db->path);
                return;
        }
        pg_ask(server->port, "postgres", format("CREATE DATABASE %s", db->name));
        snprintf(db->url, sizeof db->url, "postgresql://postgres:secret@127.0.0.1:%d/%s",
                backend == PGBOUNCER ? front->port : server->port, db->name);
}

static inline void database_new(struct database *db, enum backend backend)
{
        database_on(db, backend, &postgres, &bouncer);
}

static inline const char *ask(const struct database *db, const char *sql)
{
        const char *text;
        sqlite3_stmt *statement;
        sqlite3 *sqlite;

        if (db->backend != SQLITE)
                return pg_ask(db->server->port, db->name, sql);
        must(sqlite3_open_v2(db->path, &sqlite, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
        sqlite3_busy_timeout(sqlite, 5000);
        if (sqlite3_prepare_v2(sqlite, sql, -1, &statement, NULL) != SQLITE_OK)
                ck_abort_msg("%s: %s", sql, sqlite3_errmsg(sqlite));
        text = format("%s", sqlite3_step(statement) == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : "");
        must(sqlite3_finalize(statement) == SQLITE_OK);
        sqlite3_close(sqlite);
        return text;
}

/* Another session holds the tables: nothing can be written until it lets go. */
struct holder {
        sqlite3 *sqlite;
        PGconn *connection;
};

static inline void hold(const struct database *db, struct holder *holder)
{
        static const char *const steps[] = { "SET search_path = agentpool", "BEGIN",
                "LOCK TABLE agents, agent_events, idempotency_keys IN EXCLUSIVE MODE" };

        if (db->backend == SQLITE) {
                must(sqlite3_open_v2(db->path, &holder->sqlite, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
                must(sqlite3_exec(holder->sqlite, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
                return;
        }
        holder->connection = PQconnectdb(format("host=127.0.0.1 port=%d user=postgres dbname=%s", db->server->port, db->name));
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                PGresult *result = PQexec(holder->connection, steps[i]);

                must(PQresultStatus(result) == PGRES_COMMAND_OK);
                PQclear(result);
        }
}

static inline void let_go(struct holder *holder)
{
        sqlite3_close(holder->sqlite);
        PQfinish(holder->connection);
}

/* A store on a loop of its own. */
static struct event_base *base;

static inline struct store *open_store(const char *url, const struct store_options *options)
{
        struct store *store = NULL;
        char reason[256];
        int error;

        if (!base)
                base = event_base_new();
        error = store_open(url, options, base, &store, reason, sizeof reason);
        if (error)
                ck_abort_msg("%s: %s", url, reason);
        return store;
}

static inline void close_store(struct store *store)
{
        store_close(store, 30000);
        event_base_free(base);
        base = NULL;
}

/* Runs the loop until condition, looking every 10 ms. */
static inline void on_tick(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        (void)arg;
}
#define LOOP_UNTIL(condition)                                                                                \
        do {                                                                                                 \
                struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);                         \
                event_add(tick, &(struct timeval){ .tv_usec = 10000 });                                      \
                while (!(condition))                                                                         \
                        event_base_loop(base, EVLOOP_ONCE);                                                  \
                event_free(tick);                                                                            \
        } while (0)

struct outcome {
        unsigned calls, good;
        int error; /* of the last call */
};

static inline void on_outcome(void *arg, int error)
{
        struct outcome *outcome = arg;

        outcome->calls++;
        outcome->good += error == 0;
        outcome->error = error;
}

/* Runs one submission to its callback and returns its error. */
#define FINISH(function, ...)                                                                                \
        __extension__({                                                                                      \
                struct outcome finished = { .calls = 0 };                                                    \
                ck_assert_int_eq(function(__VA_ARGS__, on_outcome, &finished), 0);                           \
                LOOP_UNTIL(finished.calls);                                                                  \
                ck_assert_uint_eq(finished.calls, 1);                                                        \
                finished.error;                                                                              \
        })

static inline unsigned queued(struct store *store)
{
        struct store_status status;

        store_status(store, &status);
        return status.queued;
}

/* Until all that was submitted is on the disk: a read waits for that for a moment only. */
static inline void settle(struct store *store)
{
        LOOP_UNTIL(queued(store) == 0);
}

static inline struct store_agent an_agent(void)
{
        return (struct store_agent){ .agent_id = id_new(), .project_id = id_new(), .pool_name = "developer_pool",
                .role_type = "developer", .state = "starting", .epoch = 1, .heartbeat_interval = 30,
                .max_idle_time = 300, .created_at = clock_wall_ms(), .updated_at = clock_wall_ms() };
}

static inline int run_suite(Suite *suite)
{
        SRunner *runner;
        int failed;

        log_open("/dev/null", LOG_ERROR, LOG_TEXT);
        fixture_start();
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
#endif
