#include "master/config/tokens.h"

#include "common/fd.h"
#include "common/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX 262144
#define BLANKS " \t\r"

static const char *const role_names[TOKEN_ROLE_COUNT] = {
        [TOKEN_NOBODY] = "none", [TOKEN_READ] = "read", [TOKEN_OPERATE] = "operate", [TOKEN_ADMIN] = "admin",
};

const char *token_role_name(enum token_role role)
{
        return role_names[role];
}

static int fail(char *reason, size_t size, size_t line, const char *what)
{
        snprintf(reason, size, "line %zu: %s", line, what);
        return -EINVAL;
}

static int hex_digit(char c)
{
        static const char digits[] = "0123456789abcdef";
        const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

        return at ? (int)(at - digits) : -1;
}

static bool read_digest(const char *hex, unsigned char ret_sha256[32])
{
        for (size_t i = 0; i < 32; i++) {
                int high = hex_digit(hex[2 * i]), low = high < 0 ? -1 : hex_digit(hex[2 * i + 1]);

                if (low < 0)
                        return false;
                ret_sha256[i] = (unsigned char)(high << 4 | low);
        }
        return hex[64] == '\0';
}

static enum token_role read_role(const char *word)
{
        for (unsigned role = TOKEN_READ; role < TOKEN_ROLE_COUNT; role++)
                if (strcmp(word, role_names[role]) == 0)
                        return (enum token_role)role;
        return TOKEN_NOBODY;
}

/* NULL, or what is wrong with the line; words are its three. */
static const char *read_token(char *const words[3], struct token *token)
{
        static const char known[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
        size_t len = strlen(words[0]);

        if (len >= sizeof token->name || strspn(words[0], known) != len)
                return "a token's name is 1 to 64 letters, digits, \"_\", \".\" or \"-\"";
        memcpy(token->name, words[0], len + 1);
        token->role = read_role(words[1]);
        if (token->role == TOKEN_NOBODY)
                return "the role must be read, operate or admin";
        if (strncmp(words[2], "sha256:", 7) == 0)
                return read_digest(words[2] + 7, token->sha256) ? NULL : "\"sha256:\" takes 64 hexadecimal digits";
        if (strlen(words[2]) < TOKEN_SECRET_MIN)
                return "the secret is shorter than 16 bytes; make one with: openssl rand -hex 32";
        return SHA256((const unsigned char *)words[2], strlen(words[2]), token->sha256) ? NULL : "out of memory";
}

static const char *check_unique(const struct tokens *tokens)
{
        const struct token *last = &tokens->list[tokens->count - 1];

        for (const struct token *at = tokens->list; at < last; at++) {
                if (strcmp(at->name, last->name) == 0)
                        return "this name is taken by a line above";
                if (memcmp(at->sha256, last->sha256, sizeof at->sha256) == 0)
                        return "this secret is that of a line above";
        }
        return NULL;
}

/* 0, also for a line without a token, or -EINVAL. */
static int read_line(char *line, size_t number, struct tokens *tokens, char *reason, size_t size)
{
        char *words[3] = { NULL }, *word, *rest = line;
        const char *wrong = NULL;
        unsigned count = 0;

        while ((word = strsep(&rest, BLANKS)) && *word != '#') {
                if (!*word)
                        continue;
                if (count < 3)
                        words[count] = word;
                count++;
        }
        if (count == 0)
                return 0;
        if (count != 3)
                wrong = "expected NAME ROLE SECRET";
        else if (tokens->count == TOKENS_MAX)
                wrong = "more than 1024 tokens";
        else
                wrong = read_token(words, &tokens->list[tokens->count]);
        tokens->count += !wrong;
        wrong = wrong ? wrong : check_unique(tokens);
        return wrong ? fail(reason, size, number, wrong) : 0;
}

int tokens_parse(const char *text, size_t len, struct tokens **ret_tokens, char *reason, size_t size)
{
        struct tokens *tokens = calloc(1, sizeof *tokens + TOKENS_MAX * sizeof tokens->list[0]), *smaller;
        size_t number = 0, mark = utf8_mark(text, len);
        char *copy = malloc((len -= mark) + 1), *rest = copy, *line;
        int r = tokens && copy ? 0 : -ENOMEM;

        if (r == 0) {
                memcpy(copy, text + mark, len);
                copy[len] = '\0';
                if (strlen(copy) != len)
                        r = fail(reason, size, 1, "the file holds a NUL byte: it is no text");
        }
        while (r == 0 && (line = strsep(&rest, "\n")))
                r = read_line(line, ++number, tokens, reason, size);
        if (r == 0 && tokens->count == 0)
                r = fail(reason, size, 1, "there is no token; a line is NAME ROLE SECRET");
        if (copy)
                OPENSSL_cleanse(copy, len);
        free(copy);
        if (r < 0)
                free(tokens);
        if (r < 0)
                return r;
        smaller = realloc(tokens, sizeof *tokens + tokens->count * sizeof tokens->list[0]);
        *ret_tokens = smaller ? smaller : tokens;
        return 0;
}

static int read_open_file(int fd, struct tokens **ret_tokens, char *reason, size_t size)
{
        char *text;
        struct stat st;
        ssize_t n;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_mode & 07) {
                snprintf(reason, size, "others than its owner and group may read it; remedy: chmod o= FILE");
                return -EINVAL;
        }
        text = malloc(FILE_MAX);
        n = text ? read(fd, text, FILE_MAX) : -1;
        r = !text ? -ENOMEM : n < 0 ? -errno : n == FILE_MAX ? -EFBIG : 0;
        if (r == 0 && n >= 0)
                r = tokens_parse(text, (size_t)n, ret_tokens, reason, size);
        if (n > 0)
                OPENSSL_cleanse(text, (size_t)n);
        free(text);
        return r;
}

int tokens_load(const char *path, struct tokens **ret_tokens, char *reason, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r;

        r = fd < 0 ? -errno : read_open_file(fd, ret_tokens, reason, size);
        fd_close(fd);
        if (r == 0 || r == -EINVAL || r == -ENOMEM)
                return r;
        snprintf(reason, size, "cannot be read: %s", strerror(-r));
        return -EINVAL;
}

char *tokens_print(const struct tokens *tokens)
{
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        if (!out)
                return NULL;
        for (const struct token *at = tokens->list; at < tokens->list + tokens->count; at++) {
                fprintf(out, "%s %s sha256:", at->name, role_names[at->role]);
                for (size_t i = 0; i < sizeof at->sha256; i++)
                        fprintf(out, "%02x", at->sha256[i]);
                fputc('\n', out);
        }
        if (fclose(out) == 0)
                return text;
        free(text);
        return NULL;
}

struct tokens *tokens_free(struct tokens *tokens)
{
        free(tokens);
        return NULL;
}

int tokens_find(const struct tokens *tokens, const char *secret)
{
        unsigned char sha256[32];
        int found = -1;

        if (!SHA256((const unsigned char *)secret, strlen(secret), sha256)) /* no memory: nobody */
                return -1;
        for (size_t i = 0; i < tokens->count; i++)
                if (CRYPTO_memcmp(tokens->list[i].sha256, sha256, sizeof sha256) == 0)
                        found = (int)i;
        return found;
}
