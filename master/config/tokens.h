/* Who may use the API: named secrets with a role, from a file of lines
 *   NAME ROLE SECRET      # comment
 * ROLE is read, operate or admin; SECRET the secret itself, or "sha256:" and the 64 hex digits of its SHA-256. Only
 * digests are kept in memory. */
#ifndef MASTER_CONFIG_TOKENS_H
#define MASTER_CONFIG_TOKENS_H
#include <stdbool.h>
#include <stddef.h>

/* Each may do what those before it may. */
enum token_role { TOKEN_NOBODY = 0, TOKEN_READ, TOKEN_OPERATE, TOKEN_ADMIN, TOKEN_ROLE_COUNT };

#define TOKENS_MAX 1024
#define TOKEN_SECRET_MIN 16 /* bytes: what is shorter can be guessed */

struct token {
        char name[65];
        enum token_role role;
        unsigned char sha256[32];
};
struct tokens {
        size_t count; /* at least one */
        struct token list[];
};

/* 0; -EINVAL with reason, which names the line and never a secret; -ENOMEM. */
int tokens_parse(const char *text, size_t len, struct tokens **ret_tokens, char *reason, size_t size);
/* The same of a file, which nobody but its owner and group may read. */
int tokens_load(const char *path, struct tokens **ret_tokens, char *reason, size_t size);
/* Lines that tokens_parse reads, with digests only. The caller's to free(); NULL when out of memory. */
char *tokens_print(const struct tokens *tokens);
struct tokens *tokens_free(struct tokens *tokens); /* NULL is fine; returns NULL */
/* The index of the token with this secret, -1: none. Takes as long whichever it is. */
int tokens_find(const struct tokens *tokens, const char *secret);
const char *token_role_name(enum token_role role);
#endif
