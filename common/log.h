/* One line per event: a stable event name, then key=value. Values with spaces or quotes are quoted and escaped
 * by the writer's format: use LOG_Q for anything that came from outside. Safe to call from any thread; allocates
 * nothing, waits for nobody; a line that cannot be written (disk or pipe full, reader gone, file-size limit) is dropped and
 * counted in the next that can. The program ignores SIGPIPE and SIGXFSZ. As JSON, a pair becomes a member (digits a
 * number), words without '=' become "message". */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define LOG_LINE_MAX 4096 /* bytes with the newline; what is longer is cut */

enum log_level { LOG_DEBUG = 1, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVEL_COUNT };
/* LOG_JOURNAL: systemd's journal, by its own protocol: each pair is a field AGENTPOOL_KEY, the event AGENTPOOL_EVENT. Source:
 * systemd.io/JOURNAL_NATIVE_PROTOCOL. */
enum log_format { LOG_TEXT = 1, LOG_JSON, LOG_JOURNAL, LOG_FORMAT_COUNT };

/* path NULL or "" is stderr; the file is appended to and created 0640. For LOG_JOURNAL path is its socket, unless the usual one.
 * 0 or -errno: the old target then stays. */
int log_open(const char *path, enum log_level level, enum log_format format);
void log_set(enum log_level level, enum log_format format);
/* Opens the same path again (after rotation). 0 or -errno: the old file then stays. */
int log_reopen(void);
/* The descriptor that lines go to: a forked child must keep it (fd_close_all_but). It never changes once a path is
 * open. */
int log_fd(void);
/* The role printed in each line: "forker", "master", "worker". Static storage, not copied. */
void log_set_role(const char *role);
/* -EINVAL unless text is debug, info, warn or error. */
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Text from outside as one quoted value: control bytes, quotes and backslashes escaped as in JSON, malformed UTF-8 as
 * U+FFFD, cut at the buffer (size >= 3). Returns buffer. The macro's buffer lives for the expression's block. */
char *log_quote(const char *text, size_t len, char *buffer, size_t size);
#define LOG_Q(text) log_quote((text), strlen(text), (char[256]){ 0 }, 256)

#define log_debug(event, ...) (log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, event, __VA_ARGS__) : (void)0)
#define log_info(event, ...) (log_enabled(LOG_INFO) ? log_write(LOG_INFO, event, __VA_ARGS__) : (void)0)
#define log_warn(event, ...) (log_enabled(LOG_WARN) ? log_write(LOG_WARN, event, __VA_ARGS__) : (void)0)
#define log_error(event, ...) (log_enabled(LOG_ERROR) ? log_write(LOG_ERROR, event, __VA_ARGS__) : (void)0)
#endif
