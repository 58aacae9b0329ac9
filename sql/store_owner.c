#include "sql/store_owner.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_MS 15000

enum { DATABASE_ID, LIFE, DAEMON_ID, HOST, PID, RUN_DIR, RENEWALS };

void store_owner_init(struct store_owner *owner, const struct store_daemon *daemon, int lease_ms)
{
        *owner = (struct store_owner){ .daemon = daemon, .life = id_new(), .lease_ms = lease_ms ? lease_ms : LEASE_MS };
        owner->renew_ms = owner->lease_ms / 5;
        if (daemon)
                owner->database_id = daemon->database_id;
}

void store_owner_look_away(struct store_owner *owner)
{
        owner->seen_at = 0;
}

static int query(struct store_backend *backend, const char *sql, const char *types, const struct store_value *values,
        struct store_rows *ret_rows)
{
        *ret_rows = (struct store_rows){ 0 };
        return backend->class->query(backend, sql, types, values, ret_rows);
}

static bool is(const struct store_rows *rows, size_t column, const char *text)
{
        const char *cell = store_cell(rows, 0, column);

        return cell && strcmp(cell, text) == 0;
}

static bool is_same_daemon(const struct store_owner *owner, const struct store_rows *row)
{
        return is(row, DAEMON_ID, ID_TEXT(&owner->daemon->daemon_id)) && is(row, HOST, owner->daemon->host) &&
                is(row, RUN_DIR, owner->daemon->run_dir);
}

static const char *cell_or(const struct store_rows *rows, size_t column, const char *otherwise)
{
        const char *cell = store_cell(rows, 0, column);

        return cell ? cell : otherwise;
}

static int busy(struct store_backend *backend, const struct store_rows *row, const char *remedy)
{
        return store_backend_fail(backend, -EBUSY, "the database belongs to the agentpoold on %s with pid %s and run_dir %s; %s",
                cell_or(row, HOST, "?"), cell_or(row, PID, "?"), cell_or(row, RUN_DIR, "?"), remedy);
}

/* The row as it is, made if there is none. */
static int read_row(struct store_backend *backend, struct store_rows *ret_row)
{
        struct id fresh = id_new();
        const struct store_value values[] = { { .text = ID_TEXT(&fresh) }, { .integer = clock_wall_ms() } };
        struct store_rows none;
        int error;

        for (int i = 0; i < 2; i++) {
                error = query(backend, "SELECT database_id, life, daemon_id, host, pid, run_dir, renewals FROM @store_owner",
                        "", NULL, ret_row);
                if (error || ret_row->count > 0)
                        return error;
                store_rows_done(ret_row);
                error = query(backend, "INSERT INTO @store_owner (one, database_id, renewals, renewed_at) "
                                       "VALUES (1, $1, 0, $2) ON CONFLICT (one) DO NOTHING", "ui", values, &none);
                store_rows_done(&none);
                if (error)
                        return error;
        }
        return store_backend_fail(backend, -EAGAIN, "the table store_owner keeps no row");
}

static int check_identity(struct store_owner *owner, struct store_backend *backend, const struct store_rows *row)
{
        struct id database_id;

        if (id_parse(store_cell(row, 0, DATABASE_ID), &database_id) < 0)
                return store_backend_fail(backend, -EPROTO, "the database's store_owner.database_id is no UUID");
        if (id_is_zero(&owner->database_id))
                owner->database_id = database_id;
        if (id_equal(&owner->database_id, &database_id))
                return 0;
        return store_backend_fail(backend, -EPROTO, STORE_NOT_KNOWN, owner->daemon->run_dir);
}

/* Only while it is as it was read: of two that take it, one does. */
static int take(struct store_owner *owner, struct store_backend *backend, const struct store_rows *row)
{
        const struct store_daemon *daemon = owner->daemon;
        const struct store_value values[] = { { .text = ID_TEXT(&owner->life) }, { .text = ID_TEXT(&daemon->daemon_id) },
                { .text = daemon->host }, { .integer = daemon->pid }, { .text = daemon->run_dir }, { .text = daemon->url },
                { .integer = clock_wall_ms() }, { .integer = store_cell_integer(row, 0, RENEWALS) } };
        struct store_rows result;
        int error = store_query_briefly(backend,
                "UPDATE @store_owner SET life = $1, daemon_id = $2, host = $3, pid = $4, run_dir = $5, url = $6, "
                "renewed_at = $7, renewals = renewals + 1 WHERE one = 1 AND renewals = $8", "uutittii", values, &result);
        bool taken = !error && result.affected == 1;

        store_rows_done(&result);
        if (error)
                return error == -ETIME ? -EAGAIN : error;
        if (!taken) { /* the next look tells more */
                owner->seen_at = clock_mono_ms();
                owner->seen_renewals = store_cell_integer(row, 0, RENEWALS) + 1;
                return busy(backend, row, "or did until now: another one was faster to take it");
        }
        owner->seen_at = 0;
        owner->held = true;
        owner->renewed_at = clock_mono_ms();
        return 0;
}

/* Another daemon's: does it live? */
static int watch(struct store_owner *owner, struct store_backend *backend, const struct store_rows *row)
{
        int64_t renewals = store_cell_integer(row, 0, RENEWALS), now = clock_mono_ms();

        if (!owner->seen_at) {
                owner->seen_at = now;
                owner->seen_renewals = renewals;
        }
        if (renewals != owner->seen_renewals) {
                owner->taken = true;
                return busy(backend, row, "stop that one, or give this one a database.url or database.schema of its own");
        }
        if (now - owner->seen_at < owner->lease_ms)
                return busy(backend, row, "waiting to see whether it lives");
        log_warn("store.taken_over", "host=%s pid=%s run_dir=%s detail=\"it stood still for %lld ms\"",
                LOG_Q(cell_or(row, HOST, "?")), cell_or(row, PID, "?"), LOG_Q(cell_or(row, RUN_DIR, "?")),
                (long long)(now - owner->seen_at));
        return take(owner, backend, row);
}

/* Ours no more. */
static int lose(struct store_owner *owner, struct store_backend *backend)
{
        struct store_rows row;
        int error = read_row(backend, &row);

        if (error)
                return error;
        error = check_identity(owner, backend, &row);
        if (!error) {
                owner->lost = true;
                owner->taken = !is_same_daemon(owner, &row);
                error = busy(backend, &row, owner->taken ? "it took it over while this one stood still; end one of the two"
                                                         : "a newer master");
        }
        store_rows_done(&row);
        return error;
}

/* Somebody has the row locked; whoever took it over from us would have changed it before. */
static int renew_later(struct store_owner *owner, struct store_backend *backend)
{
        struct store_rows row;
        int error = read_row(backend, &row);
        bool ours = !error && is(&row, LIFE, ID_TEXT(&owner->life));

        store_rows_done(&row);
        if (error)
                return error;
        if (!ours)
                return lose(owner, backend);
        if (!owner->locked)
                log_warn("store.owner_locked", "detail=\"another session has the row of store_owner locked: end it\"");
        owner->locked = true;
        return 0;
}

int store_owner_renew(struct store_owner *owner, struct store_backend *backend)
{
        const struct store_value values[] = { { .text = ID_TEXT(&owner->life) }, { .integer = clock_wall_ms() } };
        struct store_rows result;
        int error = store_query_briefly(backend,
                "UPDATE @store_owner SET renewals = renewals + 1, renewed_at = $2 WHERE one = 1 AND life = $1", "ui", values,
                &result);
        bool renewed = !error && result.affected == 1;

        store_rows_done(&result);
        owner->locked &= !renewed;
        if (error == -ETIME)
                error = renew_later(owner, backend);
        else if (!error && !renewed)
                error = lose(owner, backend);
        if (!error)
                owner->renewed_at = clock_mono_ms();
        return error;
}

int store_owner_claim(struct store_owner *owner, struct store_backend *backend)
{
        struct store_rows row;
        int error;

        if (!owner->daemon || !backend->class->find_tables)
                return 0;
        if (owner->lost)
                return -EBUSY;
        if (owner->held)
                return store_owner_renew(owner, backend);
        error = read_row(backend, &row);
        if (error)
                return error;
        error = check_identity(owner, backend, &row);
        if (!error && (backend->class->exclusive || !store_cell(&row, 0, LIFE) || is_same_daemon(owner, &row)))
                error = take(owner, backend, &row);
        else if (!error)
                error = watch(owner, backend, &row);
        store_rows_done(&row);
        return error;
}

void store_owner_release(struct store_owner *owner, struct store_backend *backend)
{
        const struct store_value life = { .text = ID_TEXT(&owner->life) };
        struct store_rows result;

        if (!owner->held || owner->lost || !backend->connected)
                return;
        store_query_briefly(backend, "UPDATE @store_owner SET life = NULL, renewals = renewals + 1 WHERE one = 1 AND life = $1",
                "u", &life, &result);
        store_rows_done(&result);
}
