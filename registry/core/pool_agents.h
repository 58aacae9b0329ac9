/* An agent's row in the store, its answers, and its end. Pure. */
#ifndef REGISTRY_CORE_POOL_AGENTS_H
#define REGISTRY_CORE_POOL_AGENTS_H
#include "registry/core/pool_books.h"

void pool_store(struct agent *agent);                /* its row as it is now, after the write under way */
void pool_take_stored(struct pool *pool, const struct id *agent_id, uint64_t epoch, int error, int64_t now);
void pool_answer_if_due(struct agent *agent);
/* A spawn that is not answered fails: nothing is left behind. */
void pool_abandon(struct agent *agent, enum pool_error error, const char *detail, int64_t now);
void pool_answer_end(struct agent *agent, enum pool_error error, const char *detail); /* to the terminate that waits */
int64_t pool_end_ms(const struct pool *pool); /* the longest that an agent's end takes in its worker */
void pool_tell_end(struct agent *agent, int64_t now);   /* sends its terminate command, until it has ended */
void pool_withdraw(struct agent *agent, bool graceful, int64_t now);
void pool_finish_if_stored(struct agent *agent, int64_t now);
void pool_agent_gone(struct agent *agent, int64_t now); /* stopping, and certainly gone */
void pool_keep_exit(struct agent *agent, const struct agent_exit *exit);
#endif
