/* Whom the daemon and its pools' workers become: found once at the start, when nothing is forked yet. */
#ifndef MASTER_BOOT_DAEMON_USERS_H
#define MASTER_BOOT_DAEMON_USERS_H
#include "master/config/config.h"
#include "master/http/listen.h"
#include "master/forker/privileges.h"
#include "worker/worker.h"

struct daemon_users {
        struct identity self;   /* the daemon, once root is given up */
        bool from_root;         /* there is root to give up */
        bool others;            /* a pool has a user that is not the daemon's */
        struct identity *pools; /* in the order of config->pools, owned */
};

/* 0; -EPERM when this process may not become them, -ENOENT, -ENOMEM: logged, with the remedy. */
int daemon_users_find(const struct config *config, struct daemon_users *ret_users);
void daemon_users_done(struct daemon_users *users);
/* fd's file, opened by root, becomes the daemon's. */
void daemon_users_give(const struct daemon_users *users, int fd);
/* The daemon's own directory. 0 or -errno. */
int daemon_users_give_directory(const struct daemon_users *users, const char *path, bool created);
/* Root is given up now, and stays so. 0 or -errno. */
int daemon_users_drop(const struct daemon_users *users);
/* In a worker's process: it becomes the user of its pool; place learns whether that is another than the daemon's. 0 or -errno. */
int daemon_users_become(const struct daemon_users *users, const struct config *config, const char *pool_name,
        struct worker_place *place);
/* Of socket files: as server.unix says, else the daemon's. */
struct listen_owner daemon_users_socket(const struct daemon_users *users, const struct config *settings);
/* What root could read, its successor may not: better said now than at the next master. 0, or -errno (logged). */
int daemon_users_check_files(const struct config *config, const char *config_path);
#endif
