#include "common/log.h"

#include "common/clock.h"
#include "common/log_target.h"
#include "common/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* Written by the thread that opens, read by all. path is touched by log_open and log_reopen only. */
static atomic_int target = STDERR_FILENO;
static atomic_int min_level = LOG_INFO;
static atomic_int line_format = LOG_TEXT;
static const char *_Atomic role = "agentpool";
static char path[PATH_MAX];
static atomic_ulong dropped; /* lines lost since the last report of it */
static atomic_bool torn;     /* the target ends in half a line */

static const char *const level_names[LOG_LEVEL_COUNT] = {
        [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"
};

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

struct line {
        char bytes[1 + LOG_LINE_MAX + 1]; /* bytes[0] is a newline, for a target that ends in half a line */
        size_t len;
};

/* In one step and under the same number: another thread may be writing, a child may keep it. 0 or -errno. */
static int replace_target(int take_fd)
{
        int old = atomic_load(&target), r;

        if (old == STDERR_FILENO) {
                atomic_store(&target, take_fd);
                return 0;
        }
        r = dup3(take_fd, old, O_CLOEXEC) < 0 ? -errno : 0;
        close(take_fd);
        return r;
}

static int open_target(const char *name, enum log_format format)
{
        int fd = log_target_open(name, format == LOG_JOURNAL);

        return fd < 0 ? fd : replace_target(fd);
}

static int open_stderr(void)
{
        int old = atomic_load(&target), fd;

        if (!*path && old != STDERR_FILENO)
                return 0; /* it is what we write to */
        fd = log_target_stderr();
        if (fd != STDERR_FILENO)
                return replace_target(fd);
        atomic_store(&target, fd);
        if (old != STDERR_FILENO)
                close(old);
        return 0;
}

int log_open(const char *name, enum log_level level, enum log_format format)
{
        int r;

        if (format == LOG_JOURNAL && (!name || !*name))
                name = JOURNAL_SOCKET;
        if (name && strlen(name) >= sizeof path)
                return -ENAMETOOLONG;
        r = name && *name ? open_target(name, format) : open_stderr();
        if (r < 0)
                return r;
        if (name != path)
                snprintf(path, sizeof path, "%s", name ? name : "");
        atomic_store(&line_format, (int)format);
        log_set(level, format);
        return 0;
}

void log_set(enum log_level level, enum log_format format)
{
        atomic_store(&min_level, (int)level);
        /* From or to the journal it takes another target. */
        if ((format == LOG_JOURNAL) == (atomic_load(&line_format) == LOG_JOURNAL))
                atomic_store(&line_format, (int)format);
}

int log_reopen(void)
{
        return *path ? open_target(path, (enum log_format)atomic_load(&line_format)) : 0;
}

int log_fd(void)
{
        return atomic_load(&target);
}

void log_set_role(const char *name)
{
        atomic_store(&role, name);
}

bool log_enabled(enum log_level level)
{
        return (int)level >= atomic_load_explicit(&min_level, memory_order_relaxed);
}

static size_t room(const struct line *line)
{
        return LOG_LINE_MAX - 1 - line->len; /* the newline's byte stays free */
}

static void append(struct line *line, const char *bytes, size_t len)
{
        size_t n = utf8_cut(bytes, len, room(line));

        memcpy(line->bytes + 1 + line->len, bytes, n);
        line->len += n;
}

static void append_text(struct line *line, const char *text)
{
        append(line, text, strlen(text));
}

/* As the inside of a JSON string. Keeps a reserve so that quotes and braces still fit. */
static void append_escaped(struct line *line, const char *text, size_t len)
{
        const char *end = text + len;
        char escape[UTF8_ESCAPE_SIZE];

        while (text < end && room(line) > 16) {
                text += utf8_escape(text, end, escape);
                append_text(line, escape);
        }
}

/* Bytes of the escape at p (a backslash), 0 when JSON has no such escape. */
static size_t escape_length(const char *p, const char *end)
{
        size_t n = 2;

        if (end - p < 2 || !memchr("\"\\/bfnrtu", p[1], 9))
                return 0;
        while (p[1] == 'u' && n < 6 && p + n < end && isxdigit((unsigned char)p[n]))
                n++;
        return p[1] == 'u' && n < 6 ? 0 : n;
}

/* Bytes of the quoted value at text with both quotes, 0 when it is no JSON string. */
static size_t quoted_length(const char *text, const char *end)
{
        const char *p = text + 1;

        while (p < end && *p != '"') {
                size_t n = *p == '\\' ? escape_length(p, end) : utf8_length(p, end);

                if (n == 0)
                        return 0;
                p += n;
        }
        return p < end ? (size_t)(p - text) + 1 : 0;
}

static bool is_number(const char *text, size_t len)
{
        size_t i = len > 1 && text[0] == '-';

        if (len == i || len > 15 || (text[i] == '0' && len > 1))
                return false;
        for (; i < len; i++)
                if (text[i] < '0' || text[i] > '9')
                        return false;
        return true;
}

static void append_value(struct line *line, const char *text, size_t len)
{
        if (len >= 2 && *text == '"' && quoted_length(text, text + len) == len && room(line) > len + 16) {
                append(line, text, len);
        } else if (is_number(text, len) && room(line) > len + 16) {
                append(line, text, len);
        } else {
                append_text(line, "\"");
                append_escaped(line, text, len);
                append_text(line, "\"");
        }
}

/* One word of the text: up to the next space that is outside a quoted value. */
struct word {
        const char *text;
        size_t len, key_len; /* key_len 0: no key=value */
};

static bool next_word(const char **at, const char *end, struct word *ret_word)
{
        const char *p = *at, *start;

        while (p < end && *p == ' ')
                p++;
        if (p == end)
                return false;
        start = p;
        while (p < end && *p != ' ' && *p != '=')
                p++;
        ret_word->key_len = p < end && *p == '=' ? (size_t)(p - start) : 0;
        if (ret_word->key_len && p + 1 < end && p[1] == '"')
                p += 1 + quoted_length(p + 1, end);
        while (p < end && *p != ' ')
                p++;
        ret_word->text = start;
        ret_word->len = (size_t)(p - start);
        *at = p;
        return true;
}

static void append_pairs(struct line *line, const char *text, size_t len)
{
        const char *end = text + len, *at = text;
        struct word word;
        size_t words = 0;

        while (next_word(&at, end, &word) && room(line) > word.key_len + 32) {
                if (word.key_len == 0)
                        continue;
                append_text(line, ",\"");
                append_escaped(line, word.text, word.key_len);
                append_text(line, "\":");
                append_value(line, word.text + word.key_len + 1, word.len - word.key_len - 1);
        }
        for (at = text; next_word(&at, end, &word) && room(line) > 32;) {
                if (word.key_len != 0)
                        continue;
                append_text(line, words++ ? " " : ",\"message\":\"");
                append_escaped(line, word.text, word.len);
        }
        if (words)
                append_text(line, "\"");
}

/* A value without its quotes; its escapes stay, so that it is one line. */
static void append_field(struct line *line, const struct word *word)
{
        const char *value = word->text + word->key_len + 1;
        size_t len = word->len - word->key_len - 1;
        bool quoted = len >= 2 && *value == '"' && value[len - 1] == '"';

        append_text(line, "AGENTPOOL_");
        for (size_t i = 0; i < word->key_len; i++)
                append(line, isalnum((unsigned char)word->text[i]) ? &(char){ (char)toupper((unsigned char)word->text[i]) } : "_", 1);
        append_text(line, "=");
        append(line, value + quoted, len - (quoted ? 2 : 0));
        append_text(line, "\n");
}

static void compose_journal(struct line *line, enum log_level level, const char *event, const char *text, size_t len)
{
        static const char *const priorities[LOG_LEVEL_COUNT] = { [LOG_DEBUG] = "7", [LOG_INFO] = "6", [LOG_WARN] = "4", [LOG_ERROR] = "3" };
        const char *end = text + len, *at = text;
        struct word word;
        char head[256];
        int n = snprintf(head, sizeof head, "PRIORITY=%s\nSYSLOG_IDENTIFIER=agentpoold\nAGENTPOOL_ROLE=%s\nAGENTPOOL_EVENT=%s\nMESSAGE=%s ",
                priorities[level], atomic_load(&role), event, event);

        line->len = 0;
        append(line, head, (size_t)n < sizeof head ? (size_t)n : sizeof head - 1);
        append(line, text, utf8_cut(text, len, LOG_LINE_MAX / 2));
        append_text(line, "\n");
        while (next_word(&at, end, &word))
                if (word.key_len && word.key_len < 48 && room(line) > word.len + 16)
                        append_field(line, &word);
}

static void compose(struct line *line, enum log_level level, const char *event, const char *text, size_t len)
{
        bool json = atomic_load(&line_format) == LOG_JSON;
        char head[256];
        int n;

        if (atomic_load(&line_format) == LOG_JOURNAL) {
                compose_journal(line, level, event, text, len);
                return;
        }
        n = snprintf(head, sizeof head,
                json ? "{\"time\":\"%s\",\"level\":\"%s\",\"role\":\"%s\",\"role_pid\":%d,\"event\":\"%s\"" :
                       "%s %s %s[%d] %s",
                CLOCK_TEXT(clock_wall_ms()), level_names[level], atomic_load(&role), (int)getpid(), event);
        line->bytes[0] = '\n';
        line->len = 0;
        append(line, head, n < 0 ? 0 : (size_t)n < sizeof head ? (size_t)n : sizeof head - 1);
        if (json) {
                append_pairs(line, text, len);
                append_text(line, "}");
        } else if (len) {
                append_text(line, " ");
                append(line, text, len);
        }
        line->bytes[1 + line->len++] = '\n';
}

/* The journal was started again. */
static bool is_gone(int error)
{
        return error == ECONNREFUSED || error == ENOTCONN || error == ECONNRESET;
}

static bool emit(const struct line *line)
{
        bool journal = atomic_load(&line_format) == LOG_JOURNAL, mend = !journal && atomic_exchange(&torn, false);
        const char *bytes = line->bytes + !mend;
        size_t len = line->len + mend;
        unsigned again = 0;
        ssize_t n;

        do
                n = log_target_put(atomic_load(&target), bytes, len);
        while (n < 0 && (errno == EINTR || (journal && !again++ && is_gone(errno) && log_reopen() == 0)));
        if (n == (ssize_t)len)
                return true;
        if (!journal && (n > 0 || mend))
                atomic_store(&torn, true);
        atomic_fetch_add(&dropped, 1);
        return false;
}

static void report_dropped(struct line *line)
{
        unsigned long count = atomic_exchange(&dropped, 0);
        char text[48];
        int n;

        if (count == 0)
                return;
        n = snprintf(text, sizeof text, "lines=%lu", count);
        compose(line, LOG_WARN, "log.dropped", text, (size_t)n);
        /* This line's own loss is no loss. */
        if (!emit(line))
                atomic_fetch_add(&dropped, count - 1);
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
        int saved = errno;
        char text[LOG_LINE_MAX];
        struct line line;
        va_list args;
        size_t len;
        int n;

        va_start(args, format);
        n = vsnprintf(text, sizeof text, format, args);
        va_end(args);
        len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
        for (size_t i = 0; i < len; i++)
                if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
                        text[i] = ' ';
        report_dropped(&line);
        compose(&line, level, event, text, len);
        emit(&line);
        errno = saved;
}

char *log_quote(const char *text, size_t len, char *buffer, size_t size)
{
        const char *end = text + len;
        char escape[UTF8_ESCAPE_SIZE];
        size_t n = 0;

        buffer[n++] = '"';
        while (text < end) {
                size_t used = utf8_escape(text, end, escape), escaped = strlen(escape);

                if (n + escaped + 2 > size)
                        break;
                memcpy(buffer + n, escape, escaped);
                n += escaped;
                text += used;
        }
        buffer[n++] = '"';
        buffer[n] = '\0';
        return buffer;
}
