/* Listening sockets: opened once by the daemon, kept by the forker over masters and upgrades. */
#ifndef MASTER_HTTP_LISTEN_H
#define MASTER_HTTP_LISTEN_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define LISTEN_TEXT_SIZE 300

/* Who may connect to a socket file. */
struct listen_owner {
        mode_t mode;
        uid_t uid; /* -1: as it is */
        gid_t gid; /* the same */
};
/* text as in server.listen. 0 and *ret_fd (close-on-exec, non-blocking); else -errno, and reason names the address, what
 * is wrong and the remedy. A socket file that nobody listens on any more is replaced. */
int listen_open(const char *text, const struct listen_owner *owner, int *ret_fd, char *reason, size_t size);
/* Where fd really listens, as in server.listen: with the port that 0 became. 0 or -errno. */
int listen_describe(int fd, char text[LISTEN_TEXT_SIZE]);
/* fd, opened by an earlier program, is what listen_open(text) would open. */
bool listen_matches(int fd, const char *text);
/* How many sockets the service manager opened for this process (LISTEN_FDS), from LISTEN_LENT on; they stay its own. */
#define LISTEN_LENT 3
unsigned listen_lent(void);
/* Makes one of them as listen_open makes its own. 0, or -errno and the reason. */
int listen_take_lent(int fd, char *reason, size_t size);
/* Which of texts (server.listen) fd is of, the one at index for choice; NULL: none. */
const char *listen_text(int fd, size_t index, char *const *texts);
/* As listen_describe, and after "tls://" when that text is. */
int listen_describe_as(int fd, size_t index, char *const *texts, char text[LISTEN_TEXT_SIZE]);
/* Only this machine's own processes can connect. */
bool listen_is_local(int fd);
bool listen_wants_tls(const char *text);
/* Closes it and removes its socket file. Returns -1. */
int listen_close(int fd);
#endif
