/* SQLite behind the store: one file, WAL, every commit on the disk before it is answered (synchronous=FULL). */
#include "common/fd.h"
#include "sql/store_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_MS 2000 /* another program (the sqlite3 shell) may hold the write lock that long */

#define FOREIGN "%s has tables of another application; give database.url a file of its own"

struct sqlite {
        struct store_backend backend;
        sqlite3 *db; /* NULL: not open */
        int lock_fd; /* flock on the file: no second daemon. Closed last: closing drops all of SQLite's own locks */
        bool existed; /* was open once: a file that is gone since is not made anew, its rows would be missing */
        sqlite3_stmt *writes[STORE_KINDS_MAX];
        char *path;
};

static struct sqlite *sqlite_of(struct store_backend *backend)
{
        return (struct sqlite *)backend;
}

static void sqlite_disconnect(struct store_backend *backend)
{
        struct sqlite *s = sqlite_of(backend);

        for (size_t i = 0; i < STORE_KINDS_MAX; i++) {
                sqlite3_finalize(s->writes[i]);
                s->writes[i] = NULL;
        }
        if (s->db && backend->leaves)
                sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_close(s->db);
        s->db = NULL;
        backend->connected = false;
}

static void sqlite_free(struct store_backend *backend)
{
        sqlite_disconnect(backend);
        fd_close(sqlite_of(backend)->lock_fd);
        free(sqlite_of(backend)->path);
        free(backend);
}

/* What the last call's failure means. A connection of which more cannot be said is opened anew. */
static int sqlite_error(struct sqlite *s)
{
        struct store_backend *backend = &s->backend;
        int code = sqlite3_errcode(s->db) & 0xff;
        const char *text = sqlite3_errmsg(s->db);

        if (code == SQLITE_NOMEM)
                return store_backend_fail(backend, -ENOMEM, "%s: out of memory", s->path);
        if (code == SQLITE_CONSTRAINT || code == SQLITE_MISMATCH || code == SQLITE_TOOBIG || code == SQLITE_RANGE)
                return store_backend_fail(backend, -EINVAL, "%s: %s", s->path, text);
        if (code == SQLITE_NOTADB)
                return store_backend_fail(
                        backend, -EPROTO, "%s is no SQLite database; give database.url a file of its own", s->path);
        if (code == SQLITE_ERROR && backend->migrating)
                return store_backend_fail(backend, -EPROTO, FOREIGN " (%s)", s->path, text);
        if (code == SQLITE_FULL || sqlite3_system_errno(s->db) == ENOSPC)
                return store_backend_fail(
                        backend, -ENOSPC, "disk full: cannot write %s; free space on its file system", s->path);
        if (code == SQLITE_READONLY)
                store_backend_fail(backend, 0, "read-only: cannot write %s (%s); make the file writable or put it back",
                        s->path, text);
        else if (code == SQLITE_BUSY)
                store_backend_fail(
                        backend, 0, "%s is locked by another program; end its transaction", s->path);
        else
                store_backend_fail(backend, 0, "%s: %s", s->path, text);
        sqlite_disconnect(backend);
        return code == SQLITE_READONLY ? -EROFS : -EAGAIN;
}

static bool is_in_place(const struct sqlite *s)
{
        struct stat open_file, file;

        return fstat(s->lock_fd, &open_file) == 0 && stat(s->path, &file) == 0 && file.st_ino == open_file.st_ino &&
                file.st_dev == open_file.st_dev;
}

/* What is written to a file that was moved or deleted is lost at the next start. Not disconnected: whoever did it may still
 * rescue what is in there. */
static int check_in_place(struct sqlite *s)
{
        if (is_in_place(s))
                return 0;
        return store_backend_fail(&s->backend, -EROFS,
                "read-only: %s was moved or deleted; put it back (it is still open as /proc/%d/fd/%d)", s->path,
                (int)getpid(), s->lock_fd);
}

static int sqlite_exec(struct store_backend *backend, const char *script)
{
        struct sqlite *s = sqlite_of(backend);

        if (sqlite3_exec(s->db, script, NULL, NULL, NULL) != SQLITE_OK)
                return sqlite_error(s);
        return 0;
}

static void sqlite_rollback(struct store_backend *backend)
{
        struct sqlite *s = sqlite_of(backend);

        if (s->db && !sqlite3_get_autocommit(s->db) &&
                sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
                sqlite_disconnect(backend);
}

/* The directory, if only it is missing: 0700. */
static void make_directory(const char *path)
{
        const char *slash = strrchr(path, '/');
        char *directory = slash && slash != path ? strndup(path, (size_t)(slash - path)) : NULL;

        /* Any failure shows when the file is opened, in better words. */
        if (directory && mkdir(directory, 0700) < 0)
                errno = 0;
        free(directory);
}

/* Who has the file, as its row says. */
static int name_holder(struct sqlite *s)
{
        sqlite3 *db = NULL;
        sqlite3_stmt *row = NULL;
        char who[128] = "";

        if (sqlite3_open_v2(s->path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
                sqlite3_prepare_v2(db, "SELECT host, pid, run_dir FROM store_owner WHERE host IS NOT NULL", -1, &row, NULL) == SQLITE_OK &&
                sqlite3_step(row) == SQLITE_ROW)
                snprintf(who, sizeof who, " on %s with pid %d and run_dir %s", (const char *)sqlite3_column_text(row, 0),
                        sqlite3_column_int(row, 1), (const char *)sqlite3_column_text(row, 2));
        sqlite3_finalize(row);
        sqlite3_close(db);
        return store_backend_fail(&s->backend, -EBUSY,
                "%.100s is in use by another agentpoold%s; stop that one or give this one a database.url of its own", s->path, who);
}

/* The file, made 0600 (SQLite's own files take its mode), with the lock that keeps a second daemon out. */
static int lock_file(struct sqlite *s)
{
        if (s->lock_fd >= 0 && is_in_place(s))
                return 0;
        s->lock_fd = fd_close(s->lock_fd);
        make_directory(s->path);
        s->lock_fd = open(s->path, O_RDWR | O_CLOEXEC | (s->existed ? 0 : O_CREAT), 0600);
        if (s->lock_fd < 0 && (errno == EROFS || errno == EACCES))
                return store_backend_fail(&s->backend, -EROFS,
                        "read-only: cannot write %s: %s; make it writable for this user", s->path, strerror(errno));
        if (s->lock_fd < 0 && errno == ENOSPC)
                return store_backend_fail(&s->backend, -ENOSPC,
                        "disk full: cannot create %s; free space on its file system", s->path);
        if (s->lock_fd < 0)
                return store_backend_fail(&s->backend, -EAGAIN, "cannot open %s: %s%s", s->path, strerror(errno),
                        s->existed ? "; put the file back" : "");
        if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
                return 0;
        s->lock_fd = fd_close(s->lock_fd);
        return name_holder(s);
}

static int sqlite_query(struct store_backend *backend, const char *sql, const char *types,
        const struct store_value *values, struct store_rows *ret_rows);

/* Ours, or a file without tables. */
static int sqlite_find_tables(struct store_backend *backend, bool *ret_ours)
{
        struct store_rows rows;
        bool empty;
        int error = sqlite_query(backend,
                "SELECT (SELECT COUNT(*) FROM pragma_table_info('schema_migrations') WHERE name IN " STORE_MIGRATION_COLUMNS
                "), (SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_')",
                "", NULL, &rows);

        if (error)
                return error;
        *ret_ours = store_cell_integer(&rows, 0, 0) == STORE_MIGRATION_COLUMN_COUNT;
        empty = store_cell_integer(&rows, 0, 1) == 0;
        store_rows_done(&rows);
        return *ret_ours || empty ? 0 : store_backend_fail(backend, -EPROTO, FOREIGN, sqlite_of(backend)->path);
}

static int sqlite_begin_migration(struct store_backend *backend)
{
        return sqlite_exec(backend, "BEGIN EXCLUSIVE");
}

static int open_file(struct sqlite *s, int flags)
{
        struct store_backend *backend = &s->backend;

        if (sqlite3_open_v2(s->path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
                store_backend_fail(
                        backend, 0, "cannot open %s: %s", s->path, s->db ? sqlite3_errmsg(s->db) : "out of memory");
                sqlite_disconnect(backend);
                return -EAGAIN;
        }
        backend->connected = true;
        sqlite3_busy_timeout(s->db, BUSY_MS);
        return 0;
}

static int sqlite_connect(struct store_backend *backend)
{
        struct sqlite *s = sqlite_of(backend);
        bool ours;
        int error;

        if (backend->reads_only)
                return s->db ? 0 : open_file(s, SQLITE_OPEN_READONLY);
        if (s->db)
                return check_in_place(s);
        error = lock_file(s);
        if (!error)
                error = open_file(s, SQLITE_OPEN_READWRITE);
        if (error)
                return error;
        error = sqlite_find_tables(backend, &ours); /* before anything is changed in a file that is not ours */
        if (!error)
                error = sqlite_exec(backend, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                     "PRAGMA journal_size_limit = 67108864;"
                                     /* Pages that many commits change are written back once, not every 4 MiB. */
                                     "PRAGMA wal_autocheckpoint = 8192; PRAGMA cache_size = -32768");
        if (!error)
                s->existed = true;
        else
                sqlite_disconnect(backend);
        return error;
}

static int bind(sqlite3_stmt *statement, int index, char type, const struct store_value *value)
{
        if (type == 'i' || (type == 'z' && value->integer))
                return sqlite3_bind_int64(statement, index, value->integer);
        if (type == 'z' || !value->text)
                return sqlite3_bind_null(statement, index);
        return sqlite3_bind_text(statement, index, value->text, -1, SQLITE_STATIC);
}

/* The rows are "(SELECT ?1 AS agent_id, ?2 AS epoch) AS v": one, run once per row with the same prepared statement. */
static int prepare_write(struct sqlite *s, const struct store_kind *kind, sqlite3_stmt **ret_statement)
{
        const char *rest = strstr(kind->sql, "%s"), *column = kind->columns;
        struct store_text sql = { 0 };
        int error = -ENOMEM;

        store_text_sql(&sql, &s->backend, kind->sql, (size_t)(rest - kind->sql));
        for (size_t i = 0; kind->types[i]; i++) {
                size_t len = strcspn(column, ",");
                char parameter[40];

                snprintf(parameter, sizeof parameter, "%s ?%zu AS ", i ? "," : "(SELECT", i + 1);
                store_text_puts(&sql, parameter);
                store_text_add(&sql, column, len);
                column += len + strspn(column + len, ", ");
        }
        store_text_puts(&sql, ") AS v");
        store_text_sql(&sql, &s->backend, rest + 2, strlen(rest + 2));
        if (!sql.failed)
                error = sqlite3_prepare_v3(s->db, sql.data, -1, SQLITE_PREPARE_PERSISTENT, ret_statement, NULL) ?
                        sqlite_error(s) :
                        0;
        free(sql.data);
        return error;
}

static int sqlite_write(struct store_backend *backend, const struct store_kind *kind,
        const struct store_value *const *values, size_t count, uint64_t *ret_affected)
{
        struct sqlite *s = sqlite_of(backend);
        sqlite3_stmt **statement = &s->writes[kind->index];
        uint64_t affected = 0;
        int error = check_in_place(s);

        if (!error && !*statement)
                error = prepare_write(s, kind, statement);
        for (size_t row = 0; row < count && !error; row++) {
                bool ok = true;

                for (int i = 0; kind->types[i] && ok; i++)
                        ok = bind(*statement, i + 1, kind->types[i], &values[row][i]) == SQLITE_OK;
                if (ok && sqlite3_step(*statement) == SQLITE_DONE) {
                        affected += (uint64_t)sqlite3_changes64(s->db);
                        sqlite3_reset(*statement);
                        continue;
                }
                error = sqlite_error(s);
                if (s->db)
                        sqlite3_reset(*statement);
        }
        *ret_affected = affected;
        return error;
}

/* SQLite takes any value in any column. What is no text as we write it is absent: it would not be found again by what is read. */
static const char *cell(sqlite3_stmt *statement, int column)
{
        const char *text = sqlite3_column_type(statement, column) == SQLITE_BLOB
                ? NULL : (const char *)sqlite3_column_text(statement, column);

        return text && strlen(text) == (size_t)sqlite3_column_bytes(statement, column) ? text : NULL;
}

static int collect(struct sqlite *s, sqlite3_stmt *statement, struct store_rows *rows)
{
        int status, error = 0;

        rows->columns = (size_t)sqlite3_column_count(statement);
        while ((status = sqlite3_step(statement)) == SQLITE_ROW && !error) {
                for (size_t i = 0; i < rows->columns && !error; i++)
                        error = store_rows_add(rows, cell(statement, (int)i));
                rows->count++;
        }
        rows->affected = (uint64_t)sqlite3_changes64(s->db);
        return error ? error : status == SQLITE_DONE ? 0 : -EIO;
}

static int sqlite_query(struct store_backend *backend, const char *sql, const char *types,
        const struct store_value *values, struct store_rows *ret_rows)
{
        struct sqlite *s = sqlite_of(backend);
        struct store_rows rows = { 0 };
        struct store_text text = { 0 };
        sqlite3_stmt *statement;
        int error;

        store_text_sql(&text, backend, sql, strlen(sql));
        error = text.failed ? SQLITE_NOMEM : sqlite3_prepare_v2(s->db, text.data, -1, &statement, NULL);
        free(text.data);
        if (error)
                return error == SQLITE_NOMEM ? -ENOMEM : sqlite_error(s);
        for (int i = 0; types[i]; i++) {
                char name[16];

                /* To SQLite $2 is a name, numbered by its first appearance. */
                snprintf(name, sizeof name, "$%d", i + 1);
                bind(statement, sqlite3_bind_parameter_index(statement, name), types[i], &values[i]);
        }
        error = collect(s, statement, &rows);
        sqlite3_finalize(statement);
        if (error) {
                store_rows_done(&rows);
                return error == -EIO ? sqlite_error(s) : error;
        }
        *ret_rows = rows;
        return 0;
}

static const struct store_backend_class sqlite_class = {
        .name = "sqlite",
        .exclusive = true, /* the file is locked */
        .find_tables = sqlite_find_tables,
        .begin_migration = sqlite_begin_migration,
        .connect = sqlite_connect,
        .disconnect = sqlite_disconnect,
        .free = sqlite_free,
        .exec = sqlite_exec,
        .rollback = sqlite_rollback,
        .write = sqlite_write,
        .query = sqlite_query,
};

int store_sqlite_new(const char *path, struct store_backend **ret_backend, char *reason, size_t size)
{
        struct sqlite *s;

        if (!*path || *path == ':') {
                snprintf(reason, size, "\"sqlite:%s\" names no file; write sqlite:PATH, or none: to keep nothing", path);
                return -EINVAL;
        }
        s = calloc(1, sizeof *s);
        if (!s)
                return -ENOMEM;
        s->backend.class = &sqlite_class;
        s->lock_fd = -1;
        s->path = strdup(path);
        if (!s->path) {
                free(s);
                return -ENOMEM;
        }
        *ret_backend = &s->backend;
        return 0;
}
