#include "master/forker/forker_upgrade.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/forker/forker_child.h"
#include "master/forker/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Before the live workers in the state. Another layout of either gets another version. */
struct head {
        char magic[8];
        uint32_t version, head_size, worker_size, worker_count;
        pid_t master_pid, redis_pid; /* 0: none */
        int lock, previous;
        uint32_t listener_count;
        int64_t at;
        int listeners[FORKER_LISTENERS_MAX];
        struct forker_retired retired;
};
static const char MAGIC[8] = "agpfork";
#define VERSION 3

static char variable[sizeof FORKER_STATE_VARIABLE + 16];

static void name_state(int state)
{
        snprintf(variable, sizeof variable, FORKER_STATE_VARIABLE "=%d", state);
}

int forker_upgrade_init(void)
{
        name_state(-1);
        return putenv(variable) == 0 ? 0 : -ENOMEM;
}

static int write_all(int fd, const void *data, size_t len)
{
        ssize_t n = write(fd, data, len);

        if (n < 0)
                return -errno;
        return (size_t)n == len ? 0 : -EIO;
}

/* A descriptor (close-on-exec), named in the environment, or -errno. previous: what the next program may go back to. */
static int save(const struct forker_config *config, const struct forker_table *table, const struct forker_retired *retired,
        int previous, pid_t master_pid, pid_t redis_pid)
{
        struct head head = { .version = VERSION, .head_size = sizeof head, .worker_size = sizeof *table->workers,
                .worker_count = table->live, .master_pid = master_pid, .redis_pid = redis_pid, .lock = config->lock,
                .previous = previous, .at = clock_wall_ms(),
                .listener_count = config->listener_count, .retired = *retired };
        int r, state = memfd_create("agentpoold", MFD_CLOEXEC);

        if (state < 0)
                return -errno;
        memcpy(head.magic, MAGIC, sizeof head.magic);
        for (unsigned i = 0; i < config->listener_count; i++)
                head.listeners[i] = config->listeners[i];
        r = write_all(state, &head, sizeof head);
        for (uint32_t i = 0; r == 0 && i < table->capacity; i++)
                if (table->workers[i].state == FORKER_WORKER_LIVE)
                        r = write_all(state, &table->workers[i], sizeof table->workers[i]);
        if (r < 0) {
                fd_close(state);
                return r;
        }
        name_state(state);
        return state;
}

static void forget(int state)
{
        name_state(-1);
        fd_close(state);
}

static void set_inherited(int fd, bool inherited)
{
        if (fd >= 0)
                fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC);
}

static void set_all_inherited(const struct forker_config *config, const struct forker_table *table,
        const struct forker_retired *retired, bool inherited)
{
        for (uint32_t i = 0; i < table->capacity; i++)
                set_inherited(table->workers[i].control, inherited);
        for (unsigned i = 0; i < config->listener_count; i++)
                set_inherited(config->listeners[i], inherited);
        for (unsigned i = 0; i < retired->count; i++)
                set_inherited(retired->sockets[i], inherited);
        set_inherited(config->lock, inherited);
}

static const char *name_of(const struct forker_config *config, const struct forker_upgrade *upgrade)
{
        return upgrade->back ? "the previous one" : config->upgrade_path;
}

static void log_failure(const struct forker_config *config, const struct forker_upgrade *upgrade, int error)
{
        log_error("upgrade.exec_failed", "program=%s error=%s", LOG_Q(name_of(config, upgrade)), strerrorname_np(error));
}

void forker_upgrade_refused(const struct forker_config *config, const struct forker_upgrade *upgrade, int status)
{
        log_error("upgrade.refused", "program=%s status=%d signal=%d detail=\"its check failed; nothing changed\"",
                LOG_Q(name_of(config, upgrade)), forker_exit_status(status), forker_exit_signal(status));
}

static void execute(const struct forker_config *config, const struct forker_upgrade *upgrade, char *const *argv)
{
        int r = FAULT_POINT("upgrade.exec");

        if (r < 0)
                errno = -r;
        else if (upgrade->back)
                execveat(upgrade->previous, "", argv, environ, AT_EMPTY_PATH);
        else
                execv(config->upgrade_path, argv);
}

void forker_upgrade_exec(const struct forker_config *config, const struct forker_table *table,
        const struct forker_retired *retired, struct forker_upgrade *upgrade, pid_t master_pid, pid_t redis_pid)
{
        int self = upgrade->back ? -1 : open("/proc/self/exe", O_PATH | O_CLOEXEC);
        int state = save(config, table, retired, self, master_pid, redis_pid);

        upgrade->by = 0;
        if (state < 0) {
                log_failure(config, upgrade, -state);
        } else {
                set_inherited(state, true);
                set_inherited(self, true);
                set_all_inherited(config, table, retired, true);
                privileges_carry(true);
                execute(config, upgrade, config->upgrade_argv);
                log_failure(config, upgrade, errno);
                privileges_carry(false);
                set_all_inherited(config, table, retired, false);
                forget(state);
        }
        fd_close(self);
}

void forker_upgrade_check(const struct forker_config *config, const struct forker_table *table,
        struct forker_upgrade *upgrade)
{
        int state = save(config, table, &(struct forker_retired){ 0 }, -1, 0, 0); /* here: children do not have the table */
        pid_t pid;

        if (state < 0) {
                log_failure(config, upgrade, -state);
                return;
        }
        pid = forker_fork();
        if (pid == 0) {
                set_inherited(state, true);
                execute(config, upgrade, config->check_argv);
                log_failure(config, upgrade, errno);
                _exit(127);
        }
        forget(state);
        if (pid > 0)
                upgrade->check_pid = pid;
        else
                log_failure(config, upgrade, -pid);
}

static int read_head(int state, struct head *ret_head)
{
        struct stat st;

        if (pread(state, ret_head, sizeof *ret_head, 0) != (ssize_t)sizeof *ret_head || fstat(state, &st) < 0)
                return -EPROTO;
        if (memcmp(ret_head->magic, MAGIC, sizeof ret_head->magic) != 0 || ret_head->version != VERSION ||
                ret_head->head_size != sizeof *ret_head || ret_head->worker_size != sizeof(struct forker_worker) ||
                ret_head->listener_count > FORKER_LISTENERS_MAX || ret_head->retired.count > FORKER_RETIRED_MAX)
                return -EPROTO;
        if ((uint64_t)st.st_size != sizeof *ret_head + (uint64_t)ret_head->worker_count * ret_head->worker_size)
                return -EPROTO;
        return 0;
}

static int read_worker(int state, uint32_t i, struct forker_worker *ret_worker)
{
        off_t at = (off_t)(sizeof(struct head) + (size_t)i * sizeof *ret_worker);

        if (pread(state, ret_worker, sizeof *ret_worker, at) != (ssize_t)sizeof *ret_worker || ret_worker->pid <= 1 ||
                ret_worker->pool_name[FORKER_NAME_SIZE - 1])
                return -EPROTO;
        return 0;
}

int forker_upgrade_load(int state, const struct forker_config *config, struct forker_table *table,
        struct forker_retired *ret_retired, struct forker_upgrade *ret_upgrade, pid_t *ret_master_pid, pid_t *ret_redis_pid)
{
        struct forker_worker saved, *worker;
        struct head head;
        int r = read_head(state, &head);

        if (r < 0)
                return r;
        r = forker_table_init(table, head.worker_count > config->max_workers ? head.worker_count : config->max_workers);
        for (uint32_t i = 0; r == 0 && i < head.worker_count; i++) {
                r = read_worker(state, i, &saved);
                if (r < 0) {
                        forker_table_done(table);
                        return r;
                }
                worker = forker_table_take(table);
                *worker = saved;
                worker->tell = 0;
                forker_table_add(table, worker);
        }
        if (r < 0)
                return r;
        *ret_retired = head.retired;
        set_all_inherited(config, table, ret_retired, false);
        set_inherited(head.previous, false);
        *ret_upgrade = (struct forker_upgrade){ .previous = head.previous, .at = head.at };
        *ret_master_pid = head.master_pid;
        *ret_redis_pid = head.redis_pid;
        return 0;
}

int forker_inherit(int state, struct forker_inheritance *ret_inheritance)
{
        struct head head;
        int r = read_head(state, &head);

        if (r < 0)
                return r;
        *ret_inheritance = (struct forker_inheritance){ .lock = head.lock, .listener_count = head.listener_count };
        memcpy(ret_inheritance->listeners, head.listeners, sizeof head.listeners);
        return 0;
}
