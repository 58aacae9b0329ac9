/* Memory of a command that cannot go on without it. */
#ifndef CLI_CLIENT_MEMORY_H
#define CLI_CLIENT_MEMORY_H
/* Says so and exits: what is half printed or half sent is worse than nothing. */
_Noreturn void memory_exhausted(void);
/* memory itself, unless it is NULL. */
void *memory_need(void *memory) __attribute__((returns_nonnull));
#endif
