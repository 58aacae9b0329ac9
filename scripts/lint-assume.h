/* Included before everything when clang-tidy reads our sources (scripts/lint), never when they are compiled: what its
 * analyzer cannot know. What left a list, tree or hash is not found there again (else each loop that empties a list is
 * reported as a use after free), and a cJSON string is not NULL. */
#include <bsd/sys/tree.h>
#include <cjson/cJSON.h>
#include <sys/queue.h>
#include <uthash.h>

void lint_forget(void *container);
void *lint_any(void *element);

#undef HASH_DELETE
#undef LIST_FIRST
#undef RB_REMOVE
#undef STAILQ_FIRST
#undef TAILQ_FIRST
#undef TAILQ_REMOVE
#define HASH_DELETE(hh, head, element) lint_forget(&(head))
#define LIST_FIRST(head) ((__typeof__((head)->lh_first))lint_any((head)->lh_first))
#define RB_REMOVE(name, head, element) lint_forget(head)
#define STAILQ_FIRST(head) ((__typeof__((head)->stqh_first))lint_any((head)->stqh_first))
#define TAILQ_FIRST(head) ((__typeof__((head)->tqh_first))lint_any((head)->tqh_first))
#define TAILQ_REMOVE(head, element, field) lint_forget(head)
#define cJSON_IsString(item) ((item) && cJSON_IsString(item))
