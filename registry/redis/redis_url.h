/* Which Redis: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], unix://[[USER]:PASSWORD@]/PATH[?db=N] (redis+unix:// is the
 * same), or "embedded:" (a private one on a socket under run_dir). User, password and path are percent-decoded. */
#ifndef REGISTRY_REDIS_REDIS_URL_H
#define REGISTRY_REDIS_REDIS_URL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

struct redis_url {
        bool embedded;  /* everything else is then empty */
        char *path;     /* unix socket; NULL: TCP */
        char *host;     /* TCP: name or address without brackets */
        uint16_t port;  /* TCP; 6379 unless given */
        char *user;     /* NULL: none (the default user) */
        char *password; /* NULL: none */
        unsigned db;
};

#define REDIS_URL_REASON_SIZE 128
/* 0 and *ret_url (redis_url_done); -EINVAL with what is wrong and the remedy in words, never the password; -ENOMEM. */
int redis_url_parse(const char *text, struct redis_url *ret_url, char reason[REDIS_URL_REASON_SIZE]);
void redis_url_done(struct redis_url *url);
/* The URL again; mask writes "***" for the password. The caller's to free(); NULL when out of memory. */
char *redis_url_format(const struct redis_url *url, bool mask);
/* Deep. 0 or -ENOMEM; redis_url_done either way. */
int redis_url_copy(struct redis_url *ret_url, const struct redis_url *url);
/* Of a path. 0 or -ENAMETOOLONG. */
int redis_url_unix(const struct redis_url *url, struct sockaddr_un *ret_address);
#endif
