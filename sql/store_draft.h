/* A query under construction: SQL text with its values. Filters that are absent leave no trace, so that each query gets the
 * plan it deserves. */
#ifndef SQL_STORE_DRAFT_H
#define SQL_STORE_DRAFT_H
#include "sql/store_op.h"

#define STORE_TIME_MAX 253402300799999 /* the end of 9999 */

struct store_draft {
        char sql[1024];
        size_t len;
        char types[STORE_VALUES_MAX];
        struct store_value values[STORE_VALUES_MAX];
        char ids[STORE_VALUES_MAX][ID_TEXT_SIZE];
        unsigned count;
};

void store_draft_add(struct store_draft *draft, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "$n" for a value; a text is borrowed until store_draft_op. */
void store_draft_value_text(struct store_draft *draft, const char *text);
void store_draft_value_integer(struct store_draft *draft, int64_t integer);
void store_draft_value_id(struct store_draft *draft, const struct id *id);
/* " AND <condition> $n", unless the filter is NULL or zero. */
void store_draft_text(struct store_draft *draft, const char *condition, const char *text);
void store_draft_integer(struct store_draft *draft, const char *condition, int64_t integer);
void store_draft_id(struct store_draft *draft, const char *condition, const struct id *id);
struct store_op *store_draft_op(const struct store_draft *draft, const struct store_reader *reader, void *arg);
/* The reader's run that keeps the rows. */
int store_run_query(struct store_op *op, struct store_backend *backend);
#endif
