/* Many writes in one transaction: of each kind one statement with many rows. Rows that touch the same key keep their
 * order: a row whose key was seen begins a new round of statements. */
#include "common/fault.h"
#include "common/log.h"
#include "sql/store_op.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_SIZE (4 * STORE_BATCH_MAX) /* a power of two */

struct store_batch {
        struct store_backend *backend;
        /* The round: */
        size_t count, kinds;
        size_t counts[STORE_KINDS_MAX];
        struct store_op *by_kind[STORE_KINDS_MAX][STORE_BATCH_MAX];
        const struct store_op *seen[SEEN_SIZE]; /* a hash table by key */
        const struct store_value *values[STORE_BATCH_MAX];
};

static size_t hash_key(const struct store_op *op)
{
        size_t hash = 14695981039346656037u; /* FNV-1a */

        for (unsigned i = 0; i < op->kind->key_values; i++)
                for (const char *p = op->values[i].text ? op->values[i].text : ""; *p; p++)
                        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
        return hash;
}

static bool same_key(const struct store_op *a, const struct store_op *b)
{
        bool same = a->kind->key_values == b->kind->key_values;

        for (unsigned i = 0; same && i < a->kind->key_values; i++)
                same = strcmp(a->values[i].text ? a->values[i].text : "", b->values[i].text ? b->values[i].text : "") == 0;
        return same;
}

/* False when the key was claimed before. */
static bool claim(struct store_batch *batch, const struct store_op *op)
{
        size_t i;

        if (!op->kind->key_values)
                return true;
        for (i = hash_key(op) % SEEN_SIZE; batch->seen[i]; i = (i + 1) % SEEN_SIZE)
                if (same_key(batch->seen[i], op))
                        return false;
        batch->seen[i] = op;
        return true;
}

/* As many of ops as touch each key once. */
static void fill_round(struct store_batch *batch, struct store_op *const *ops, size_t count)
{
        memset(batch->seen, 0, sizeof batch->seen);
        memset(batch->counts, 0, sizeof batch->counts);
        batch->kinds = 0;
        for (batch->count = 0; batch->count < count; batch->count++) {
                struct store_op *op = ops[batch->count];
                unsigned kind = op->kind->index;

                if (!claim(batch, op))
                        break;
                batch->kinds += batch->counts[kind] == 0;
                batch->by_kind[kind][batch->counts[kind]++] = op;
                op->error = 0;
        }
}

/* Whether the row is there as wanted, although this statement did not touch it. */
static int probe(struct store_backend *backend, struct store_op *op)
{
        const struct store_kind *kind = op->kind;
        char types[STORE_VALUES_MAX];
        struct store_rows rows;
        int error;

        snprintf(types, kind->probe_values + 1, "%s", kind->types);
        error = backend->class->query(backend, kind->probe, types, op->values, &rows);
        if (error)
                return error;
        if (rows.count == 0)
                op->error = kind->absent;
        else if (store_cell_integer(&rows, 0, 0) != 0)
                op->error = kind->refused;
        store_rows_done(&rows);
        return 0;
}

static int write_kind(struct store_batch *batch, unsigned kind)
{
        struct store_backend *backend = batch->backend;
        struct store_op *const *ops = batch->by_kind[kind];
        size_t count = batch->counts[kind];
        uint64_t affected;
        int error;

        for (size_t i = 0; i < count; i++)
                batch->values[i] = ops[i]->values;
        error = backend->class->write(backend, ops[0]->kind, batch->values, count, &affected);
        if (!error && affected < count && ops[0]->kind->probe)
                for (size_t i = 0; i < count && !error; i++)
                        error = probe(backend, ops[i]);
        return error;
}

static int write_round(struct store_batch *batch)
{
        int error = 0;

        for (unsigned kind = 0; kind < STORE_KINDS_MAX && !error; kind++)
                if (batch->counts[kind])
                        error = write_kind(batch, kind);
        return error;
}

static int commit(struct store_backend *backend, bool *ret_unknown)
{
        int error = backend->class->exec(backend, "COMMIT");

        *ret_unknown = backend->lost || error == -EAGAIN;
        return error;
}

/* All of ops or none; *ret_unknown: or nobody knows. */
static int transaction(struct store_batch *batch, struct store_op *const *ops, size_t count, bool *ret_unknown)
{
        struct store_backend *backend = batch->backend;
        bool bare;
        int error = 0;

        *ret_unknown = false;
        fill_round(batch, ops, count);
        bare = backend->class->one_statement && batch->count == count && batch->kinds == 1;
        if (!bare)
                error = backend->class->exec(backend, "BEGIN");
        for (size_t done = 0; done < count && !error; done += batch->count) {
                if (done)
                        fill_round(batch, ops + done, count - done);
                error = write_round(batch);
        }
        if (!error)
                error = FAULT_POINT("store.before_commit");
        if (bare)
                *ret_unknown = error && error != -ENOSPC && error != -EROFS; /* the statement was its own commit */
        else if (!error)
                error = commit(backend, ret_unknown);
        if (!error && (error = FAULT_POINT("store.after_commit")) < 0)
                *ret_unknown = true;
        if (error)
                backend->class->rollback(backend);
        return error;
}

/* One of ops cannot be written: alone, each shows whether it is the one. */
static size_t run_one_by_one(struct store_batch *batch, struct store_op *const *ops, size_t count, int *ret_error)
{
        for (size_t i = 0; i < count; i++) {
                bool unknown;
                int error = transaction(batch, ops + i, 1, &unknown);

                if (error == -EINVAL) {
                        log_error("store.refused", "kind=%s reason=%s", ops[i]->kind->name, LOG_Q(batch->backend->reason));
                        ops[i]->error = error;
                } else if (error) {
                        ops[i]->unknown |= unknown;
                        *ret_error = error;
                        return i;
                }
        }
        return count;
}

size_t store_batch_run(struct store_batch *batch, struct store_op *const *ops, size_t count, int *ret_error)
{
        bool unknown;
        int error = transaction(batch, ops, count, &unknown);

        assert(count <= STORE_BATCH_MAX);
        if (!error)
                return count;
        if (error == -EINVAL)
                return run_one_by_one(batch, ops, count, ret_error);
        for (size_t i = 0; i < count; i++)
                ops[i]->unknown |= unknown;
        *ret_error = error;
        return 0;
}

struct store_batch *store_batch_new(struct store_backend *backend)
{
        struct store_batch *batch = malloc(sizeof *batch);

        if (batch)
                batch->backend = backend;
        return batch;
}

struct store_batch *store_batch_free(struct store_batch *batch)
{
        free(batch);
        return NULL;
}
