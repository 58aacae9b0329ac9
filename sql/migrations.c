/* The tables' versions. Each file of sql/migrations is applied once, in order, in one transaction that only one process
 * can be in; its SHA-256 is kept, so that a file changed later is noticed. */
#include "common/clock.h"
#include "common/embed.h"
#include "common/log.h"
#include "sql/store_owner.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

EMBED(migration_1, "sql/migrations/0001_initial.sql");
EMBED(migration_2, "sql/migrations/0002_audit.sql");
EMBED(migration_3, "sql/migrations/0003_owner.sql");

static const struct migration {
        const char *name, *sql, *end;
} migrations[] = {
        { "0001_initial", migration_1, migration_1_end },
        { "0002_audit", migration_2, migration_2_end },
        { "0003_owner", migration_3, migration_3_end },
};
#define SUM_SIZE (2 * SHA256_DIGEST_LENGTH + 1)
#define KNOWN (sizeof migrations / sizeof migrations[0])

static void checksum(const struct migration *migration, char ret_text[SUM_SIZE])
{
        unsigned char sum[SHA256_DIGEST_LENGTH];

        SHA256((const unsigned char *)migration->sql, (size_t)(migration->end - migration->sql), sum);
        for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
                snprintf(ret_text + 2 * i, 3, "%02x", sum[i]);
}

static int check_applied(struct store_backend *backend, const struct store_rows *rows)
{
        char sum[SUM_SIZE];

        for (size_t i = 0; i < rows->count; i++) {
                int64_t version = store_cell_integer(rows, i, 0);

                if (version > (int64_t)KNOWN)
                        return store_backend_fail(backend, -EPROTO,
                                "the database's schema has version %lld, this agentpoold knows up to %zu; "
                                "start the newer agentpoold again",
                                (long long)version, KNOWN);
                if (version != (int64_t)i + 1)
                        return store_backend_fail(backend, -EPROTO,
                                "the database's schema_migrations lacks version %zu; restore it from a backup", i + 1);
                checksum(&migrations[i], sum);
                if (strcmp(sum, store_cell(rows, i, 1)) != 0)
                        return store_backend_fail(backend, -EPROTO,
                                "migration %s was applied to the database with other contents (its SHA-256 differs); "
                                "start the agentpoold that applied it",
                                migrations[i].name);
        }
        return 0;
}

/* How many are applied, all of them as this program knows them. */
static int read_applied(struct store_backend *backend, size_t *ret_count)
{
        struct store_rows rows;
        bool ours;
        int error = backend->class->find_tables(backend, &ours);

        *ret_count = 0;
        if (error || !ours)
                return error;
        error = backend->class->query(
                backend, "SELECT version, sha256 FROM @schema_migrations ORDER BY version", "", NULL, &rows);
        if (error)
                return error;
        error = check_applied(backend, &rows);
        if (!error)
                *ret_count = rows.count;
        store_rows_done(&rows);
        return error;
}

static int apply(struct store_backend *backend, size_t index)
{
        char sum[SUM_SIZE];
        struct store_value values[] = {
                { .integer = (int64_t)index + 1 },
                { .text = migrations[index].name },
                { .text = sum },
                { .integer = clock_wall_ms() },
        };
        struct store_rows rows;
        int error = backend->class->exec(backend, migrations[index].sql);

        checksum(&migrations[index], sum);
        if (!error)
                error = backend->class->query(backend,
                        "INSERT INTO @schema_migrations (version, name, sha256, applied_at) VALUES ($1, $2, $3, $4)",
                        "itti", values, &rows);
        if (error)
                return error;
        store_rows_done(&rows);
        log_info("store.migrated", "backend=%s migration=%s", backend->class->name, migrations[index].name);
        return 0;
}

static int apply_missing(struct store_backend *backend)
{
        size_t applied;
        int error = backend->class->begin_migration(backend);

        if (!error)
                error = read_applied(backend, &applied); /* again: another process may have been faster */
        if (!error && !applied)
                error = backend->class->exec(backend,
                        "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, "
                        "sha256 TEXT NOT NULL, applied_at BIGINT NOT NULL)");
        for (size_t i = error ? KNOWN : applied; i < KNOWN && !error; i++)
                error = apply(backend, i);
        if (!error)
                error = backend->class->exec(backend, "COMMIT");
        if (error)
                backend->class->rollback(backend);
        return error;
}

int store_migrate(struct store_backend *backend, const struct store_owner *owner)
{
        struct store_rows rows = { 0 };
        size_t applied;
        int error;

        if (!backend->class->find_tables)
                return 0;
        backend->migrating = true;
        error = read_applied(backend, &applied);
        if (!error && !applied && !id_is_zero(&owner->database_id))
                error = store_backend_fail(backend, -EPROTO, STORE_NOT_KNOWN, owner->daemon->run_dir);
        if (!error && applied < KNOWN)
                error = apply_missing(backend);
        if (!error)
                error = store_query_briefly(backend, "UPDATE @schema_migrations SET version = version WHERE version = 1",
                        "", NULL, &rows);
        if (error == -ETIME) /* somebody writes it */
                error = 0;
        store_rows_done(&rows);
        backend->migrating = false;
        return error;
}
