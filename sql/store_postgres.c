/* PostgreSQL behind the store. Unnamed parameterised statements only, nothing that outlives a transaction in a session:
 * so PgBouncer in transaction pooling works. A batch of rows is one statement (unnest of one array per column). */
#include "common/clock.h"
#include "common/log.h"
#include "sql/store_backend.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_MS 5000            /* a statement without an answer for so long: the connection counts as lost */
#define PATIENT_MS 60000
#define CONNECT_TIMEOUT "5"       /* seconds, unless the URL says otherwise */
#define SLICE_MS 100              /* how often a waiting thread looks at give_up_at */
#define MIGRATION_LOCK "72061992484" /* any number that is always the same */
#define SCHEMA_SIZE 64       /* NAMEDATALEN */
#define DEFAULT_SCHEMA "agentpool"

struct postgres {
        struct store_backend backend;
        PGconn *connection; /* NULL: none */
        char *url;
        char *name;         /* the URL without its password, for people */
        char schema[SCHEMA_SIZE]; /* as configured; "": find_tables looks */
};

static struct postgres *postgres_of(struct store_backend *backend)
{
        return (struct postgres *)backend;
}

static void postgres_disconnect(struct store_backend *backend)
{
        struct postgres *pg = postgres_of(backend);

        PQfinish(pg->connection);
        pg->connection = NULL;
        backend->connected = false;
}

static void postgres_free(struct store_backend *backend)
{
        struct postgres *pg = postgres_of(backend);

        postgres_disconnect(backend);
        free(pg->url);
        free(pg->name);
        free(pg);
}

static int lost(struct postgres *pg, const char *why)
{
        const struct linger at_once = { .l_onoff = 1 };

        /* What a dead network still holds must not arrive after all, once we have gone on without it. */
        if (setsockopt(PQsocket(pg->connection), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) < 0)
                errno = 0;
        store_backend_fail(&pg->backend, 0, "lost the connection to %s: %s", pg->name, why);
        postgres_disconnect(&pg->backend);
        pg->backend.lost = true;
        return -EAGAIN;
}

static void print_prefix(struct store_backend *backend, const char *schema)
{
        char *end = backend->prefix;

        *end++ = '"';
        for (; *schema && end < backend->prefix + sizeof backend->prefix - 5; schema++) {
                if (*schema == '"')
                        *end++ = '"';
                *end++ = *schema;
        }
        memcpy(end, "\".", sizeof "\".");
}

/* Of the schema alone, without the dot. */
static int quoted_len(const struct store_backend *backend)
{
        return (int)strlen(backend->prefix) - 1;
}

/* In a migration: what is there is not what we made, or may not be made. */
static int foreign(struct postgres *pg, const char *text, const char *state)
{
        const char *remedy = strcmp(state, "42501") == 0
                                     ? "let this role create and own it, or name one that it owns with database.schema"
                                     : "it has tables of another application; name another with database.schema";

        return store_backend_fail(&pg->backend, -EPROTO, "%s, schema %.*s: %s (%s); %s", pg->name,
                quoted_len(&pg->backend), pg->backend.prefix, text, state, remedy);
}

/* An answer that says no. Only the classes 22, 23 and 54 are the row's own fault. */
static int refused(struct postgres *pg, const PGresult *result)
{
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        struct store_backend *backend = &pg->backend;

        if (!text)
                text = PQresultErrorMessage(result);
        if (!state || strncmp(state, "08", 2) == 0 || strncmp(state, "57P", 3) == 0)
                return lost(pg, text);
        if (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 || strncmp(state, "54", 2) == 0)
                return store_backend_fail(backend, -EINVAL, "%s: %s (%s)", pg->name, text, state);
        if (backend->migrating && (strncmp(state, "42", 2) == 0 || strncmp(state, "3F", 2) == 0))
                return foreign(pg, text, state);
        if (backend->brief && strcmp(state, "55P03") == 0)
                return store_backend_fail(backend, -ETIME, "%s: %s; end the session that has the lock", pg->name, text);
        if (strcmp(state, "53100") == 0)
                return store_backend_fail(
                        backend, -ENOSPC, "disk full: %s; free space on the server of %s", text, pg->name);
        if (strcmp(state, "25006") == 0)
                return store_backend_fail(backend, -EROFS,
                        "read-only: %s: %s; end default_transaction_read_only, or name the primary", pg->name, text);
        return store_backend_fail(backend, -EAGAIN, "%s: %s (%s)", pg->name, text, state);
}

/* Until a result can be taken without blocking. */
static int await(struct postgres *pg, int64_t deadline)
{
        for (;;) {
                struct pollfd fd = { .fd = PQsocket(pg->connection), .events = POLLIN };
                int flushing = PQflush(pg->connection);
                int64_t now = clock_mono_ms();

                if (flushing < 0)
                        return lost(pg, PQerrorMessage(pg->connection));
                if (!flushing && !PQisBusy(pg->connection))
                        return 0;
                if (now >= deadline || now >= pg->backend.give_up_at)
                        return lost(pg, "no answer in time");
                if (flushing)
                        fd.events |= POLLOUT;
                if (poll(&fd, 1, SLICE_MS) > 0 && (fd.revents & ~POLLOUT) && !PQconsumeInput(pg->connection))
                        return lost(pg, PQerrorMessage(pg->connection));
        }
}

/* All results of what was sent; the last good one is the caller's (PQclear), the first bad one the error. */
static int answer(struct postgres *pg, PGresult **ret_result)
{
        int64_t deadline = clock_mono_ms() + (pg->backend.migrating ? PATIENT_MS : ANSWER_MS);
        PGresult *result, *last = NULL;
        int error = 0;

        for (;;) {
                int gone = await(pg, deadline);

                if (gone) {
                        PQclear(last);
                        return gone;
                }
                result = PQgetResult(pg->connection);
                if (!result)
                        break;
                if (!error && PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
                        error = refused(pg, result);
                if (!pg->connection) { /* it went with the refusal */
                        PQclear(result);
                        break;
                }
                PQclear(last);
                last = result;
        }
        if (error || !ret_result)
                PQclear(last);
        else
                *ret_result = last;
        return error;
}

static int postgres_exec(struct store_backend *backend, const char *script)
{
        struct postgres *pg = postgres_of(backend);

        pg->backend.lost = false;
        if (!PQsendQuery(pg->connection, script))
                return lost(pg, PQerrorMessage(pg->connection));
        return answer(pg, NULL);
}

static int run(struct postgres *pg, const char *sql, int count, const Oid *types, const char *const *values,
        PGresult **ret_result)
{
        pg->backend.lost = false;
        if (!PQsendQueryParams(pg->connection, sql, count, types, values, NULL, NULL, 0))
                return lost(pg, PQerrorMessage(pg->connection));
        return answer(pg, ret_result);
}

static void postgres_rollback(struct store_backend *backend)
{
        struct postgres *pg = postgres_of(backend);
        char reason[STORE_REASON_SIZE];

        if (!pg->connection || PQtransactionStatus(pg->connection) == PQTRANS_IDLE)
                return;
        memcpy(reason, backend->reason, sizeof reason);
        if (postgres_exec(backend, "ROLLBACK") < 0)
                postgres_disconnect(backend);
        memcpy(backend->reason, reason, sizeof reason);
}

/* A server that may forget what it has committed is the operator's choice, but no silent one. */
static void warn_if_not_durable(struct postgres *pg)
{
        PGresult *result;

        if (pg->backend.reads_only ||
                run(pg, "SELECT name FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off'", 0,
                        NULL, NULL, &result) < 0)
                return;
        for (int i = 0; i < PQntuples(result); i++)
                log_warn("store.not_durable", "server=%s setting=%s value=off", pg->name, PQgetvalue(result, i, 0));
        PQclear(result);
}

static int postgres_connect(struct store_backend *backend)
{
        static const char *const names[] = { "connect_timeout", "fallback_application_name", "dbname", "client_encoding",
                NULL };
        struct postgres *pg = postgres_of(backend);
        const char *const values[] = { CONNECT_TIMEOUT, "agentpoold", pg->url, "UTF8", NULL };

        if (pg->connection)
                return 0;
        pg->connection = PQconnectdbParams(names, values, 1);
        if (!pg->connection)
                return -ENOMEM;
        if (PQstatus(pg->connection) != CONNECTION_OK || PQsetnonblocking(pg->connection, 1) < 0) {
                store_backend_fail(backend, 0, "cannot connect to %s: %s", pg->name, PQerrorMessage(pg->connection));
                postgres_disconnect(backend);
                return -EAGAIN;
        }
        backend->connected = true;
        warn_if_not_durable(pg);
        return backend->connected ? 0 : -EAGAIN;
}

static void print_quoted(struct store_text *text, const char *string)
{
        store_text_puts(text, "\"");
        while (*string) {
                size_t plain = strcspn(string, "\"\\");

                store_text_add(text, string, plain);
                string += plain;
                if (*string)
                        store_text_add(text, (const char[]){ '\\', *string++ }, 2);
        }
        store_text_puts(text, "\"");
}

/* One column as an array's text: {"a","b",NULL}. */
static void print_array(struct store_text *text, char type, const struct store_value *const *values, size_t column,
        size_t count)
{
        for (size_t row = 0; row < count; row++) {
                const struct store_value *value = &values[row][column];
                char number[24];

                store_text_puts(text, row ? "," : "{");
                if (type == 'i' || (type == 'z' && value->integer)) {
                        snprintf(number, sizeof number, "%lld", (long long)value->integer);
                        store_text_puts(text, number);
                } else if (type == 'z' || !value->text) {
                        store_text_puts(text, "NULL");
                } else {
                        print_quoted(text, value->text);
                }
        }
        store_text_add(text, "}", 2); /* with its NUL: the next array follows */
}

/* The rows are "unnest($1::uuid[], $2::bigint[]) AS v(agent_id, epoch)". */
static void print_write(struct store_text *sql, const struct store_backend *backend, const struct store_kind *kind)
{
        const char *rest = strstr(kind->sql, "%s");

        store_text_sql(sql, backend, kind->sql, (size_t)(rest - kind->sql));
        for (size_t i = 0; kind->types[i]; i++) {
                const char *type = kind->types[i] == 'u' ? "uuid" : kind->types[i] == 't' ? "text" : "bigint";
                char parameter[40];

                snprintf(parameter, sizeof parameter, "%s$%zu::%s[]", i ? ", " : "unnest(", i + 1, type);
                store_text_puts(sql, parameter);
        }
        store_text_puts(sql, ") AS v(");
        store_text_puts(sql, kind->columns);
        store_text_puts(sql, ")");
        store_text_sql(sql, backend, rest + 2, strlen(rest + 2));
}

static int postgres_write(struct store_backend *backend, const struct store_kind *kind,
        const struct store_value *const *values, size_t count, uint64_t *ret_affected)
{
        struct store_text sql = { 0 }, arrays = { 0 };
        const char *parameters[STORE_VALUES_MAX];
        size_t starts[STORE_VALUES_MAX];
        PGresult *result = NULL;
        size_t columns = strlen(kind->types);
        int error = -ENOMEM;

        print_write(&sql, backend, kind);
        for (size_t i = 0; i < columns; i++) {
                starts[i] = arrays.len;
                print_array(&arrays, kind->types[i], values, i, count);
        }
        if (!sql.failed && !arrays.failed) {
                for (size_t i = 0; i < columns; i++)
                        parameters[i] = arrays.data + starts[i];
                error = run(postgres_of(backend), sql.data, (int)columns, NULL, parameters, &result);
        }
        if (!error) {
                *ret_affected = strtoull(PQcmdTuples(result), NULL, 10);
                PQclear(result);
        }
        free(sql.data);
        free(arrays.data);
        return error;
}

static int collect(const PGresult *result, struct store_rows *ret_rows)
{
        struct store_rows rows = { .count = (size_t)PQntuples(result), .columns = (size_t)PQnfields(result) };
        int error = 0;

        for (int row = 0; row < PQntuples(result) && !error; row++)
                for (int i = 0; i < PQnfields(result) && !error; i++)
                        error = store_rows_add(&rows, PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i));
        if (error) {
                store_rows_done(&rows);
                return error;
        }
        *ret_rows = rows;
        return 0;
}

static int postgres_query(struct store_backend *backend, const char *sql, const char *types,
        const struct store_value *values, struct store_rows *ret_rows)
{
        const char *parameters[STORE_VALUES_MAX];
        char numbers[STORE_VALUES_MAX][24];
        Oid oids[STORE_VALUES_MAX];
        struct store_text text = { 0 };
        PGresult *result;
        int count = 0, error;

        for (; types[count]; count++) {
                char type = types[count];

                parameters[count] = values[count].text;
                oids[count] = type == 'u' ? 2950 : type == 't' ? 25 : 20; /* uuid, text, bigint: pg_type.dat */
                if (type == 'i') {
                        snprintf(numbers[count], sizeof numbers[count], "%lld", (long long)values[count].integer);
                        parameters[count] = numbers[count];
                }
        }
        store_text_sql(&text, backend, sql, strlen(sql));
        error = text.failed ? -ENOMEM : run(postgres_of(backend), text.data, count, oids, parameters, &result);
        free(text.data);
        if (error)
                return error;
        error = collect(result, ret_rows);
        if (!error)
                ret_rows->affected = strtoull(PQcmdTuples(result), NULL, 10);
        PQclear(result);
        return error;
}

/* The schema that was configured; else the one of the search path where our tables are, else DEFAULT_SCHEMA. Not
 * to_regclass, which may remember what was not there before the lock was waited for. */
static int postgres_find_tables(struct store_backend *backend, bool *ret_ours)
{
        struct postgres *pg = postgres_of(backend);
        const struct store_value wanted[] = { { .text = pg->schema }, { .text = pg->schema[0] ? pg->schema : DEFAULT_SCHEMA } };
        struct store_rows rows;
        bool foreign_there = false;
        int error = postgres_query(backend,
                "SELECT n.nspname, (SELECT COUNT(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 "
                "AND NOT a.attisdropped AND a.attname IN " STORE_MIGRATION_COLUMNS "), n.nspname = $2 "
                "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                "WHERE c.relname = 'schema_migrations' AND "
                "(n.nspname = $2 OR ($1 = '' AND pg_catalog.pg_table_is_visible(c.oid))) "
                "ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC", "tt", wanted, &rows);

        if (error)
                return error;
        *ret_ours = false;
        print_prefix(backend, wanted[1].text);
        for (size_t i = 0; i < rows.count && !*ret_ours; i++) {
                *ret_ours = store_cell_integer(&rows, i, 1) == STORE_MIGRATION_COLUMN_COUNT;
                foreign_there |= !*ret_ours && *store_cell(&rows, i, 2) == 't';
                if (*ret_ours)
                        print_prefix(backend, store_cell(&rows, i, 0));
        }
        store_rows_done(&rows);
        return *ret_ours || !foreign_there ? 0 : foreign(pg, "schema_migrations has other columns", "42703");
}

static int postgres_begin_migration(struct store_backend *backend)
{
        struct postgres *pg = postgres_of(backend);
        const struct store_value schema = { .text = pg->schema[0] ? pg->schema : DEFAULT_SCHEMA };
        struct store_rows rows;
        char script[2 * STORE_PREFIX_SIZE];
        bool there;
        int error = postgres_exec(backend, "BEGIN; SELECT pg_advisory_xact_lock(" MIGRATION_LOCK ")");

        if (!error)
                error = postgres_query(backend, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", "t", &schema, &rows);
        if (error)
                return error;
        there = rows.count > 0; /* IF NOT EXISTS asks for the right to create it all the same */
        store_rows_done(&rows);
        snprintf(script, sizeof script, "CREATE SCHEMA %.*s", quoted_len(backend), backend->prefix);
        if (!there)
                error = postgres_exec(backend, script);
        snprintf(script, sizeof script, "SET LOCAL search_path = %.*s", quoted_len(backend), backend->prefix);
        return error ? error : postgres_exec(backend, script);
}

static const struct store_backend_class postgres_class = {
        .name = "postgresql",
        .find_tables = postgres_find_tables,
        .begin_migration = postgres_begin_migration,
        .begin_briefly = "BEGIN; SET LOCAL lock_timeout = 200",
        .one_statement = true,
        .connect = postgres_connect,
        .disconnect = postgres_disconnect,
        .free = postgres_free,
        .exec = postgres_exec,
        .rollback = postgres_rollback,
        .write = postgres_write,
        .query = postgres_query,
};

static const char *option(const PQconninfoOption *options, const char *keyword)
{
        for (; options->keyword; options++)
                if (strcmp(options->keyword, keyword) == 0)
                        return options->val;
        return NULL;
}

/* "postgresql://user:***@host:port/database" of what libpq read. NULL when out of memory. */
static char *masked(const PQconninfoOption *options)
{
        const char *user = option(options, "user"), *host = option(options, "host"), *port = option(options, "port");
        const char *database = option(options, "dbname");
        char *text;

        if (asprintf(&text, "postgresql://%s%s%s%s%s%s/%s", user ? user : "", option(options, "password") ? ":***" : "",
                    user ? "@" : "", host ? host : "", port ? ":" : "", port ? port : "", database ? database : "") < 0)
                return NULL;
        return text;
}

int store_postgres_new(const char *address, const char *schema, struct store_backend **ret_backend, char *reason, size_t size)
{
        PQconninfoOption *options;
        struct postgres *pg;
        char *url;

        if (asprintf(&url, "postgresql://%s", address) < 0)
                return -ENOMEM;
        options = PQconninfoParse(url, NULL); /* libpq's own message may quote the URL with its password */
        if (!options) {
                free(url);
                snprintf(reason, size,
                        "the database's URL is no valid postgresql://user:password@host:port/database?option=value "
                        "(special characters as %%XX)");
                return -EINVAL;
        }
        pg = calloc(1, sizeof *pg);
        if (pg) {
                pg->backend.class = &postgres_class;
                pg->url = url;
                pg->name = masked(options);
                snprintf(pg->schema, sizeof pg->schema, "%s", schema ? schema : "");
        } else {
                free(url);
        }
        PQconninfoFree(options);
        if (pg && !pg->name) {
                postgres_free(&pg->backend);
                pg = NULL;
        }
        if (!pg)
                return -ENOMEM;
        *ret_backend = &pg->backend;
        return 0;
}
