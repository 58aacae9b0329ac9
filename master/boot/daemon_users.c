#include "master/boot/daemon_users.h"

#include "common/log.h"
#include "master/config/config_server.h"
#include "master/config/tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(int error, const char *pointer, const char *reason)
{
        log_error("user.refused", "setting=%s reason=%s", pointer, LOG_Q(reason));
        return error;
}

static bool is_same(const struct identity *a, const struct identity *b)
{
        return a->uid == b->uid && a->gid == b->gid;
}

/* Members of pools that name none are those of the daemon. */
static int find_pools(const struct config *config, struct daemon_users *users)
{
        char reason[200], pointer[100];

        for (size_t i = 0; i < config->pool_count; i++) {
                const struct pool_config *pool = config->pools[i];

                snprintf(pointer, sizeof pointer, "pools.%s.user", pool->pool_name);
                users->pools[i] = users->self;
                if (pool->user && identity_find(pool->user, pool->group, &users->pools[i], reason, sizeof reason) < 0)
                        return refuse(-ENOENT, pointer, reason);
                if (is_same(&users->pools[i], &users->self))
                        continue;
                users->others = true;
                if (geteuid() == 0 && !config->user)
                        return refuse(-EPERM, pointer, "the daemon itself should not stay root then: set user, too");
                if (!privileges_can_change())
                        return refuse(-EPERM, pointer, "only a daemon that root started, or one with CAP_SETUID, CAP_SETGID "
                                "and CAP_KILL, can run workers as another user");
        }
        return 0;
}

int daemon_users_find(const struct config *config, struct daemon_users *ret_users)
{
        struct daemon_users users = { .pools = calloc(config->pool_count + 1, sizeof *users.pools) };
        char reason[200];
        int r = users.pools ? 0 : -ENOMEM;

        if (r == 0 && identity_find(config->user, config->group, &users.self, reason, sizeof reason) < 0)
                r = refuse(-ENOENT, "user", reason);
        users.from_root = geteuid() == 0 && users.self.uid != 0;
        if (r == 0 && users.self.uid != geteuid() && geteuid() != 0)
                r = refuse(-EPERM, "user", "only root can become another user: start the daemon as root, or as that user");
        r = r ? r : find_pools(config, &users);
        if (r < 0)
                daemon_users_done(&users);
        else
                *ret_users = users;
        return r;
}

void daemon_users_done(struct daemon_users *users)
{
        free(users->pools);
        users->pools = NULL;
}

void daemon_users_give(const struct daemon_users *users, int fd)
{
        struct stat st;

        if (users->from_root && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
                fchown(fd, users->self.uid, users->self.gid) < 0)
                log_warn("user.file_kept", "error=%s", LOG_Q(strerror(errno)));
}

int daemon_users_give_directory(const struct daemon_users *users, const char *path, bool created)
{
        return users->from_root && created && chown(path, users->self.uid, users->self.gid) < 0 ? -errno : 0;
}

int daemon_users_drop(const struct daemon_users *users)
{
        int r = geteuid() == 0 && !users->from_root ? 0
                                                    : privileges_drop(users->from_root ? &users->self : NULL, users->others);

        if (r < 0)
                return refuse(r, "user", "root could not be given up");
        return 0;
}

int daemon_users_become(const struct daemon_users *users, const struct config *config, const char *pool_name,
        struct worker_place *place)
{
        bool cgroups;
        size_t i = 0;

        while (i < config->pool_count && strcmp(config->pools[i]->pool_name, pool_name) != 0)
                i++;
        if (i == config->pool_count || is_same(&users->pools[i], &users->self))
                return privileges_shed();
        /* Of the daemon it keeps nothing, but where it makes cgroups for its programs the group to which they are delegated;
         * code of others never runs in such a worker. */
        place->apart = true;
        cgroups = place->cgroup && config->pools[i]->runtime.type == POOL_RUNTIME_COMMAND;
        return privileges_become(&users->pools[i], cgroups ? users->self.gid : users->pools[i].gid);
}

struct listen_owner daemon_users_socket(const struct daemon_users *users, const struct config *settings)
{
        const struct config_unix *config = &settings->server.unix_socket;
        struct listen_owner owner = { config->mode_bits, (uid_t)-1, (gid_t)-1 };
        struct identity identity;
        char reason[200];

        if (users->from_root)
                owner = (struct listen_owner){ config->mode_bits, users->self.uid, users->self.gid };
        if (config->user && identity_find(config->user, NULL, &identity, reason, sizeof reason) == 0)
                owner = (struct listen_owner){ config->mode_bits, identity.uid, identity.gid };
        if (config->group && identity_find(NULL, config->group, &identity, reason, sizeof reason) == 0)
                owner.gid = identity.gid;
        return owner;
}

int daemon_users_check_files(const struct config *config, const char *config_path)
{
        struct schema_errors errors = { 0 };
        struct tokens *tokens = NULL;
        int r = config_server_check_files(&config->server, &tokens, &errors);

        tokens_free(tokens);
        for (unsigned i = 0; i < errors.count; i++)
                log_error("config.invalid", "user=%s error=%s", config->user, LOG_Q(errors.errors[i].detail));
        if (access(config_path, R_OK) < 0)
                log_warn("config.unreadable", "file=%s user=%s detail=\"HUP will not work\"", LOG_Q(config_path),
                        config->user);
        return errors.count ? -EINVAL : r;
}
