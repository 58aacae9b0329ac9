/* The forker with small roles: its master hands its end of the channel to the test, which then speaks the protocol
 * itself; its workers do what the first byte of a packet on their control socket says. */
#ifndef TEST_UNIT_FORKER_HARNESS_H
#define TEST_UNIT_FORKER_HARNESS_H
#include "common/fd.h"
#include "common/log.h"
#include "master/forker/forker.h"
#include "master/forker/forker_upgrade.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 30000 /* for a condition; only a failure takes that long */
#define LISTENERS 2

static const char *program; /* absolute */
static bool slow;           /* under valgrind: fewer of everything */

struct master {
        int channel; /* to the forker */
        int leash;   /* to the process; a byte is its exit status, closing it is SIGKILL */
        pid_t pid;
};

struct worker {
        struct id process_id;
        pid_t pid;
        int control;
};

static struct {
        char dir[64], leash_path[100], log_path[100];
        int leash_listener;
        int listeners[LISTENERS];
        pid_t pid;
        const char *const *redis_argv;
        char *const *check_argv;
        int shutdown_timeout_ms, master_lease_ms; /* 0: 20 s, none */
        unsigned max_workers;
        rlim_t process_limit; /* as a user of its own with so many processes; 0: no */
} daemon_;

/* ---- the roles, in processes of their own ---- */

static inline int connect_leash(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
                return -1;
        return fd;
}

static inline int run_master(int forker, bool first, void *arg)
{
        pid_t self = getpid();
        unsigned char status;
        int leash = connect_leash(arg);

        (void)first;
        if (leash < 0 || fd_send(leash, &self, sizeof self, forker) < 0)
                return 9;
        if (recv(leash, &status, 1, 0) == 1)
                return status;
        raise(SIGKILL);
        return 9;
}

static inline pid_t start_stray(bool daemonize)
{
        int fds[2];
        pid_t pid;

        if (pipe(fds) < 0)
                return -1;
        if (fork() == 0) {
                setpgid(0, 0);
                if (daemonize) {
                        setsid();
                        if (fork() > 0)
                                _exit(0);
                }
                signal(SIGTERM, SIG_IGN);
                alarm(60);
                pid = getpid();
                if (write(fds[1], &pid, sizeof pid) == (ssize_t)sizeof pid)
                        for (;;)
                                pause();
                _exit(1);
        }
        if (read(fds[0], &pid, sizeof pid) != (ssize_t)sizeof pid)
                pid = -1;
        close(fds[0]);
        close(fds[1]);
        return pid;
}

static inline void start_strays(int control)
{
        pid_t pids[2] = { start_stray(false), start_stray(true) };

        fd_send(control, pids, sizeof pids, -1);
}

static inline int run_worker(int control, const struct id *process_id, const char *pool_name, void *arg)
{
        struct pollfd poll_control = { .fd = control, .events = POLLIN };
        bool stubborn = strcmp(pool_name, "stubborn") == 0;
        char packet[64];
        ssize_t n;
        int fd;

        (void)process_id;
        (void)arg;
        if (strncmp(pool_name, "exit", 4) == 0)
                return atoi(pool_name + 4);
        alarm(120); /* a test that fails leaves nothing for long */
        if (stubborn)
                signal(SIGTERM, SIG_IGN);
        for (;;) {
                poll(&poll_control, 1, -1);
                n = fd_receive(control, packet, sizeof packet, &fd);
                while (n == 0 && stubborn)
                        pause();
                if (n == 0)
                        return 0;
                if (n > 0 && packet[0] == 's')
                        start_strays(control);
                else if (n > 0)
                        fd_send(control, packet, (size_t)n, -1); /* an echo */
        }
}

static inline int run_forker(const char *leash_path, const int *listeners, int state)
{
        char leash[100], name[200], upgraded[] = "--upgraded", timeout[16];
        char *upgrade_argv[] = { name, upgraded, leash, timeout, NULL };
        struct forker_roles roles = { .master = run_master, .worker = run_worker, .arg = leash };
        struct forker_config config = { .listeners = listeners, .listener_count = LISTENERS, .lock = -1,
                .max_workers = daemon_.max_workers ? daemon_.max_workers : 1000, .redis_argv = daemon_.redis_argv,
                .redis_program = daemon_.redis_argv ? daemon_.redis_argv[0] : NULL,
                .shutdown_timeout_ms = daemon_.shutdown_timeout_ms ? daemon_.shutdown_timeout_ms : 20000,
                .master_lease_ms = daemon_.master_lease_ms, .upgrade_path = program, .upgrade_argv = upgrade_argv, .check_argv = daemon_.check_argv };

        snprintf(leash, sizeof leash, "%s", leash_path);
        snprintf(name, sizeof name, "%s", program);
        snprintf(timeout, sizeof timeout, "%d", config.shutdown_timeout_ms);
        return forker_run(&config, &roles, state);
}

/* What the test program is once it was executed by USR2. */
static inline int run_upgraded(const char *leash_path, const char *shutdown_timeout_ms)
{
        const char *state = getenv(FORKER_STATE_VARIABLE);
        struct forker_inheritance inheritance;

        if (!state || forker_inherit(atoi(state), &inheritance) < 0 || inheritance.listener_count != LISTENERS)
                return 8;
        daemon_.shutdown_timeout_ms = atoi(shutdown_timeout_ms);
        return run_forker(leash_path, inheritance.listeners, atoi(state));
}

/* ---- the daemon as the test sees it ---- */

static inline int limit_processes(void)
{
        struct rlimit limit = { daemon_.process_limit, daemon_.process_limit };

        if (setrlimit(RLIMIT_NPROC, &limit) < 0)
                return -1;
        return setuid(100000 + (uid_t)getpid());
}

static inline void start_daemon(void)
{
        daemon_.pid = fork();
        ck_assert_int_ge(daemon_.pid, 0);
        if (daemon_.pid)
                return;
        log_open(daemon_.log_path, LOG_DEBUG, LOG_TEXT);
        fd_close(daemon_.leash_listener);
        if (daemon_.process_limit && limit_processes() < 0)
                _exit(7);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing */
        _exit(run_forker(daemon_.leash_path, daemon_.listeners, -1));
}

static inline void wait_readable(int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };

        ck_assert_msg(poll(&p, 1, WAIT_MS) == 1, "nothing came");
}

static inline struct master accept_master(void)
{
        struct master master = { .channel = -1 };
        struct ucred peer;
        socklen_t size = sizeof peer;

        wait_readable(daemon_.leash_listener);
        master.leash = accept4(daemon_.leash_listener, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(master.leash, 0);
        wait_readable(master.leash);
        ck_assert_int_eq(fd_receive(master.leash, &master.pid, sizeof master.pid, &master.channel), sizeof master.pid);
        ck_assert_int_ge(master.channel, 0);
        ck_assert_int_eq(getsockopt(master.leash, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
        ck_assert_int_eq(peer.pid, master.pid);
        return master;
}

static inline void end_master(struct master *master, unsigned char status)
{
        ck_assert_int_eq(send(master->leash, &status, 1, MSG_NOSIGNAL), 1);
        fd_close(master->leash);
        fd_close(master->channel);
}

static inline void kill_master(struct master *master)
{
        fd_close(master->leash);
        fd_close(master->channel);
}

static inline void request(const struct master *master, enum forker_message_type type, const struct id *process_id,
        const char *pool_name, int number)
{
        struct forker_message message = { .version = FORKER_PROTOCOL, .type = type, .process_id = *process_id,
                .number = number };
        struct pollfd p = { .fd = master->channel, .events = POLLOUT };

        snprintf(message.pool_name, sizeof message.pool_name, "%s", pool_name);
        ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1);
        ck_assert_int_eq(fd_send(master->channel, &message, sizeof message, -1), 0);
}

static inline struct id request_fork(const struct master *master, const char *pool_name)
{
        struct id process_id = id_new();

        request(master, FORKER_FORK, &process_id, pool_name, 0);
        return process_id;
}

static inline void say(const struct master *master, enum forker_message_type type)
{
        struct id none = { 0 };

        request(master, type, &none, "", 0);
}

static inline struct forker_message hear(const struct master *master, enum forker_message_type type, int *ret_fd)
{
        struct forker_message message = { 0 };
        int fd;

        wait_readable(master->channel);
        ck_assert_int_eq(fd_receive(master->channel, &message, sizeof message, &fd), sizeof message);
        ck_assert_int_eq(message.version, FORKER_PROTOCOL);
        ck_assert_int_eq(message.type, type);
        if (ret_fd)
                *ret_fd = fd;
        else
                ck_assert_int_eq(fd, -1);
        return message;
}

static inline void hear_signal(const struct master *master, int number)
{
        ck_assert_int_eq(hear(master, FORKER_SIGNAL, NULL).number, number);
}

static inline struct worker hear_worker(const struct master *master, bool adopted)
{
        struct worker worker;
        struct forker_message message = hear(master, FORKER_WORKER, &worker.control);

        ck_assert_int_eq(message.adopted, adopted);
        ck_assert_int_gt(message.started_at, 1700000000000);
        ck_assert_int_ge(worker.control, 0);
        worker.pid = message.pid;
        worker.process_id = message.process_id;
        return worker;
}

static inline void hear_listeners(const struct master *master)
{
        for (int i = 0; i < LISTENERS; i++) {
                int fd, value = 0;
                socklen_t size = sizeof value;

                ck_assert_int_eq(hear(master, FORKER_LISTENER, &fd).number, i);
                ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size), 0);
                ck_assert_int_eq(value, 1);
                fd_close(fd);
        }
}

static inline struct master accept_synced_master(void)
{
        struct master master = accept_master();

        hear_listeners(&master);
        hear(&master, FORKER_SYNCED, NULL);
        return master;
}

static inline struct worker fork_worker(const struct master *master, const char *pool_name)
{
        struct id process_id = request_fork(master, pool_name);
        struct worker worker = hear_worker(master, false);

        ck_assert(id_equal(&process_id, &worker.process_id));
        return worker;
}

static inline void check_echo(const struct worker *worker)
{
        char answer[8] = "";
        int fd;

        ck_assert_int_eq(fd_send(worker->control, "echo", 5, -1), 0);
        wait_readable(worker->control);
        ck_assert_int_eq(fd_receive(worker->control, answer, sizeof answer, &fd), 5);
        ck_assert_str_eq(answer, "echo");
}

/* A worker that ignores SIGTERM, and does so already. */
static inline struct worker fork_stubborn_worker(const struct master *master)
{
        struct worker worker = fork_worker(master, "stubborn");

        check_echo(&worker);
        return worker;
}

static inline int wait_exit(pid_t pid)
{
        int status = -1;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return status;
}

static inline void check_daemon_exits(int status)
{
        int actual = wait_exit(daemon_.pid);

        daemon_.pid = 0;
        ck_assert_msg(WIFEXITED(actual) && WEXITSTATUS(actual) == status, "wait status %d", actual);
}

static inline void end_daemon(struct master *master)
{
        say(master, FORKER_BYE);
        end_master(master, 0);
        check_daemon_exits(0);
}

static inline void wait_gone(pid_t pid)
{
        for (int i = 0; i < WAIT_MS && kill(pid, 0) == 0; i++)
                usleep(1000);
        ck_assert_int_eq(kill(pid, 0), -1);
}

/* The n-th child of the daemon that is not among known; 0 when there is none. */
static inline pid_t other_child(const pid_t *known, size_t count)
{
        char path[64];
        FILE *file;
        int pid = 0;

        snprintf(path, sizeof path, "/proc/%d/task/%d/children", daemon_.pid, daemon_.pid);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        while (fscanf(file, "%d", &pid) == 1) {
                size_t i = 0;

                while (i < count && known[i] != pid)
                        i++;
                if (i == count)
                        break;
                pid = 0;
        }
        fclose(file);
        return pid;
}

static inline pid_t wait_other_child(const pid_t *known, size_t count)
{
        pid_t pid = 0;

        for (int i = 0; i < WAIT_MS && (pid = other_child(known, count)) == 0; i++)
                usleep(1000);
        ck_assert_int_gt(pid, 0);
        return pid;
}

static inline unsigned count_descriptors(pid_t pid)
{
        char path[64];
        unsigned count = 0;
        struct dirent *entry;
        DIR *dir;

        snprintf(path, sizeof path, "/proc/%d/fd", pid);
        dir = opendir(path);
        ck_assert_ptr_nonnull(dir);
        while ((entry = readdir(dir)))
                count += entry->d_name[0] != '.' && atoi(entry->d_name) < 256; /* valgrind keeps its own high up */
        closedir(dir);
        return count;
}

/* How often needle stands in the log; *ret_last is the number after the last. */
static inline int count_in_log(const char *needle, long *ret_last)
{
        char line[4096];
        FILE *file = fopen(daemon_.log_path, "re");
        int count = 0;

        while (file && fgets(line, sizeof line, file)) {
                const char *at = strstr(line, needle);

                if (at && ret_last)
                        *ret_last = strtol(at + strlen(needle), NULL, 10);
                count += at != NULL;
        }
        if (file)
                fclose(file);
        return count;
}

static inline void wait_for_log(const char *needle)
{
        for (int i = 0; i < WAIT_MS && count_in_log(needle, NULL) == 0; i++)
                usleep(1000);
        ck_assert_msg(count_in_log(needle, NULL) > 0, "not in the log: %s", needle);
}

static inline int listen_unix(const char *path, int type)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(listen(fd, 64), 0);
        ck_assert_int_eq(chmod(path, 0777), 0);
        return fd;
}

static inline void setup(void)
{
        char path[100];

        memset(&daemon_, 0, sizeof daemon_);
        ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* whatever the daemon leaves behind comes here */
        snprintf(daemon_.dir, sizeof daemon_.dir, "/tmp/test_forker.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(daemon_.dir));
        ck_assert_int_eq(chmod(daemon_.dir, 0777), 0);
        snprintf(daemon_.leash_path, sizeof daemon_.leash_path, "%s/leash", daemon_.dir);
        snprintf(daemon_.log_path, sizeof daemon_.log_path, "%s/log", daemon_.dir);
        daemon_.leash_listener = listen_unix(daemon_.leash_path, SOCK_SEQPACKET);
        for (int i = 0; i < LISTENERS; i++) {
                snprintf(path, sizeof path, "%s/listener%d", daemon_.dir, i);
                daemon_.listeners[i] = listen_unix(path, SOCK_STREAM);
        }
}

static inline void teardown(void)
{
        char command[128];

        if (daemon_.pid) {
                kill(daemon_.pid, SIGKILL);
                while (waitpid(-1, NULL, 0) > 0)
                        continue;
        }
        snprintf(command, sizeof command, "rm -rf %s", daemon_.dir);
        ck_assert_int_eq(system(command), 0);
        /* Nothing is left, not even a zombie. */
        ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
        ck_assert_int_eq(errno, ECHILD);
}
#endif
