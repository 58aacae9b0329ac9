#include "master/boot/daemon.h"

#include "common/fd.h"
#include "common/log.h"
#include "common/proc.h"
#include "master/config/config_keep.h"
#include "master/boot/daemon_config.h"
#include "master/config/config_env.h"
#include "master/boot/daemon_users.h"
#include "master/boot/delegation.h"
#include "master/forker/forker.h"
#include "master/forker/forker_upgrade.h"
#include "master/boot/leftovers.h"
#include "master/http/listen.h"
#include "master/life/master.h"
#include "master/forker/program.h"
#include "master/boot/run_lock.h"
#include "master/boot/seccomp.h"
#include "worker/worker.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define LEFTOVER_MARGIN_MS 5000
#define OPEN_FILES_VARIABLE "AGENTPOOL_FORKER_OPEN_FILES"

struct daemon {
        struct config *config;
        struct daemon_users users;
        const char *config_path;
        char lock_path[PATH_MAX], listen_path[PATH_MAX], redis_socket[PATH_MAX], redis_log[PATH_MAX], redis_program[PATH_MAX];
        char program[PATH_MAX]; /* absolute */
        char **check_argv;      /* argv with -t */
        int name_len;           /* of argv[0] */
        int lock;
        int listeners[FORKER_LISTENERS_MAX];
        unsigned listener_count;
        bool lent; /* they are the service manager's: it goes on listening when this has ended */
        struct delegation delegation;
        struct worker_place place; /* what its workers are told */
        int state; /* what the program before this one left; -1: nothing */
};

static void fill(char path[PATH_MAX], const char *directory, const char *name)
{
        if (snprintf(path, PATH_MAX, "%s/%s", directory, name) >= PATH_MAX)
                path[0] = '\0'; /* no file has that name: opening it says so */
}

/* Where the kernel or a container does not let it, there is one fence less. */
static void filter_calls(const struct daemon *d, int (*install)(void))
{
        int r = d->config->seccomp ? install() : 0;

        if (r < 0)
                log_warn("seccomp.unavailable", "error=%s", LOG_Q(strerror(-r)));
}

/* ---- what the children are ---- */

static int run_master(int forker, bool first, void *arg)
{
        struct daemon *d = arg;
        struct config *config;
        int status;

        /* libbsd marks the end of a title that is shorter than argv[0]: pad to that. */
        setproctitle("-%-*s", d->name_len, "agentpoold: master");
        log_set_role("master");
        if (privileges_shed() < 0)
                return EXIT_FAILURE;
        filter_calls(d, seccomp_master);
        config = daemon_config_read(d->config_path, d->config, &d->users);
        if (config && log_open(config->log.file, (enum log_level)config->log.level, (enum log_format)config->log.format) < 0)
                log_error("log.unusable", "file=%s detail=\"going on with the one before\"", LOG_Q(config->log.file));
        status = master_run(forker, first, config ? config : d->config, d->config_path, d->place.cgroup);
        config_free(config);
        return status;
}

static int run_worker(int control, const struct id *process_id, const char *pool_name, void *arg)
{
        const struct daemon *d = arg;
        char title[160];
        struct worker_place place = d->place;
        int r = daemon_users_become(&d->users, d->config, pool_name, &place);

        snprintf(title, sizeof title, "agentpoold: worker %s %s", pool_name, ID_TEXT(process_id));
        setproctitle("-%-*s", d->name_len, title);
        log_set_role("worker");
        if (r < 0) {
                log_error("worker.user_refused", "pool=%s error=%s", pool_name, LOG_Q(strerror(-r)));
                return EXIT_FAILURE;
        }
        return worker_run(control, process_id, pool_name, &place);
}

/* ---- listening ---- */

/* The sockets that the program before this one listened on, where they are still wanted. */
static int take_inherited(const struct forker_inheritance *inheritance, bool *taken, const char *text)
{
        for (unsigned i = 0; i < inheritance->listener_count; i++)
                if (!taken[i] && listen_matches(inheritance->listeners[i], text)) {
                        taken[i] = true;
                        return inheritance->listeners[i];
                }
        return -1;
}

static int take_lent(struct daemon *d, const struct forker_inheritance *inheritance)
{
        unsigned count = d->state < 0 ? listen_lent() : inheritance->listener_count;
        char reason[256];

        if (count > FORKER_LISTENERS_MAX) {
                log_error("listen.failed", "reason=\"LISTEN_FDS has more than %d sockets\"", FORKER_LISTENERS_MAX);
                return -E2BIG;
        }
        for (unsigned i = 0; i < count; i++) {
                int fd = d->state < 0 ? LISTEN_LENT + (int)i : inheritance->listeners[i];
                int r = listen_take_lent(fd, reason, sizeof reason);

                if (r == 0 && d->state < 0 && !d->config->tokens && !listen_is_local(fd)) {
                        snprintf(reason, sizeof reason, "descriptor %d of LISTEN_FDS may be reached from other machines, and there "
                                "are no tokens: set server.tokens_file, or ListenStream= to loopback or a path", fd);
                        r = -EPERM;
                }
                if (r < 0) {
                        log_error("listen.failed", "reason=%s", LOG_Q(reason));
                        return r;
                }
                d->listeners[d->listener_count++] = fd;
        }
        return 0;
}

static int open_listeners(struct daemon *d, const struct forker_inheritance *inheritance)
{
        struct listen_owner owner = daemon_users_socket(&d->users, d->config);
        bool taken[FORKER_LISTENERS_MAX] = { false };
        char reason[512];

        if (d->lent)
                return take_lent(d, inheritance);
        for (char **text = d->config->server.listen; *text; text++) {
                int fd = -1, r = -E2BIG;

                snprintf(reason, sizeof reason, "server.listen has more than %d addresses", FORKER_LISTENERS_MAX);
                if (d->listener_count < FORKER_LISTENERS_MAX) {
                        fd = take_inherited(inheritance, taken, *text);
                        r = fd >= 0 ? 0 : listen_open(*text, &owner, &fd, reason, sizeof reason);
                }
                if (r == 0)
                        d->listeners[d->listener_count++] = fd;
                else
                        log_error("listen.failed", "reason=%s", LOG_Q(reason));
                /* In an upgrade there is no way back: the rest goes on. */
                if (r < 0 && d->state < 0)
                        return r;
        }
        for (unsigned i = 0; i < inheritance->listener_count; i++)
                if (!taken[i])
                        listen_close(inheritance->listeners[i]);
        return 0;
}

/* Where it listens, one address a line, in a file that is there whole or not at all. */
static int write_listen_file(const struct daemon *d)
{
        char text[LISTEN_TEXT_SIZE], first[LISTEN_TEXT_SIZE] = "", path[PATH_MAX + 4];
        FILE *file;
        int r = 0;

        snprintf(path, sizeof path, "%s.new", d->listen_path);
        file = fopen(path, "we");
        if (!file)
                return -errno;
        for (unsigned i = 0; i < d->listener_count; i++)
                if (listen_describe_as(d->listeners[i], i, d->config->server.listen, text) == 0) {
                        fprintf(file, "%s\n", text);
                        log_info("listening", "address=%s", text);
                        memcpy(first, first[0] ? first : text, sizeof first);
                }
        if (ferror(file))
                r = -EIO;
        if (fclose(file) != 0 || (r == 0 && rename(path, d->listen_path) < 0))
                r = -errno;
        return r ? r : run_lock_write(d->lock, first);
}

/* ---- the surroundings ---- */

/* Standard input is nothing, and no descriptor of ours takes the place of a standard one that was closed. */
static void settle_standard_descriptors(void)
{
        int fd = open("/dev/null", O_RDWR);

        while (fd >= 0 && fd < 3)
                fd = dup(fd);
        if (fd >= 0)
                dup2(fd, STDIN_FILENO);
        fd_close(fd);
}

/* What a careless parent left open is not for Redis either. */
static void close_strange_descriptors(void)
{
        int keep[FORKER_LISTENERS_MAX];
        unsigned count = listen_lent();

        if (count > FORKER_LISTENERS_MAX)
                count = FORKER_LISTENERS_MAX; /* open_listeners says that it is too many */
        for (unsigned i = 0; i < count; i++)
                keep[i] = LISTEN_LENT + (int)i;
        fd_close_all_but(keep, count);
}

/* For the daemon itself: agents get back the soft limit that was found at the start, which a program executed anew knows from
 * the one before it. */
static void raise_descriptor_limit(struct daemon *d)
{
        const char *known = d->state >= 0 ? getenv(OPEN_FILES_VARIABLE) : NULL;
        struct rlimit limit;
        char text[24];

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        d->place.open_files = known ? strtoul(known, NULL, 10) : limit.rlim_cur;
        snprintf(text, sizeof text, "%lu", d->place.open_files);
        setenv(OPEN_FILES_VARIABLE, text, 1);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
}

static bool has_embedded_redis(const struct daemon *d)
{
        return strcmp(d->config->redis.url, "embedded:") == 0;
}

/* Debian's redis-tools has the server under another name, and no service that would be enabled along with it. */
static int find_redis(struct daemon *d)
{
        if (!has_embedded_redis(d) || program_find("redis-server", d->redis_program) == 0 ||
                program_find("redis-check-rdb", d->redis_program) == 0)
                return 0;
        log_error("redis.missing", "detail=\"redis.url is embedded: and there is no redis-server in PATH; install redis-server or redis-tools, or "
                "set redis.url to one that runs\"");
        return -ENOENT;
}

/* What USR2 executes is found now: the name may mean something else then, as it should, but not the directory. */
static int prepare_upgrade(struct daemon *d, int argc, char **argv)
{
        static char option[] = "-t";

        d->check_argv = calloc((size_t)argc + 2, sizeof *d->check_argv);
        if (!d->check_argv)
                return -ENOMEM;
        d->check_argv[0] = argv[0];
        d->check_argv[1] = option;
        memcpy(d->check_argv + 2, argv + 1, (size_t)(argc - 1) * sizeof *argv);
        if (program_find(argv[0], d->program) < 0)
                log_warn("upgrade.impossible", "program=%s detail=\"not found: USR2 will not work\"", LOG_Q(argv[0]));
        return 0;
}

static int find_state(void)
{
        const char *text = getenv(FORKER_STATE_VARIABLE);

        return text ? atoi(text) : -1;
}

int daemon_check_state(void)
{
        struct forker_inheritance inheritance;
        int state = find_state();

        return state < 0 ? 0 : forker_inherit(state, &inheritance);
}

/* ---- life ---- */

/* No worker needs longer to end its agents. */
static int64_t longest_end_ms(const struct config *config)
{
        int64_t longest = 0;

        for (size_t i = 0; i < config->pool_count; i++) {
                int64_t ms = config->pools[i]->stop_grace_ms + config->pools[i]->kill_grace_ms;

                if (ms > longest)
                        longest = ms;
        }
        return longest + LEFTOVER_MARGIN_MS;
}

static int take_lock(struct daemon *d)
{
        char path[PATH_MAX], master_id[ID_TEXT_SIZE] = "", reason[PATH_MAX * 2];
        FILE *file;
        int r;

        fill(path, d->config->run_dir, "master_id");
        file = fopen(path, "re");
        if (file && !fgets(master_id, sizeof master_id, file))
                master_id[0] = '\0';
        if (file)
                fclose(file);
        r = leftovers_await(d->lock_path, master_id, longest_end_ms(d->config), &d->lock, reason, sizeof reason);
        if (r < 0)
                log_error("run_dir.locked", "reason=%s", LOG_Q(reason));
        return r;
}

/* Who it is, where, and that it is the only one there. 0 or the exit status. */
static int settle(struct daemon *d, struct forker_inheritance *inheritance)
{
        const char *flaw = proc_flaw();
        int r;

        if (flaw) {
                log_error("proc.unusable", "reason=%s", LOG_Q(flaw));
                return EX_CONFIG;
        }
        r = daemon_users_find(d->config, &d->users);
        if (r < 0)
                return r == -ENOMEM ? EXIT_FAILURE : EX_CONFIG;
        daemon_users_give(&d->users, log_fd());
        if (daemon_config_place(d->config, &d->users) < 0)
                return EXIT_FAILURE;
        fill(d->lock_path, d->config->run_dir, "agentpoold.lock");
        fill(d->listen_path, d->config->run_dir, "agentpoold.listen");
        fill(d->redis_socket, d->config->run_dir, "redis.sock");
        fill(d->redis_log, d->config->run_dir, "redis.log");
        if (d->state >= 0 && forker_inherit(d->state, inheritance) < 0) {
                log_error("upgrade.state_unknown", "detail=\"the program before this one left what this one cannot read\"");
                return EXIT_FAILURE;
        }
        d->lock = inheritance->lock;
        if (d->lock < 0) {
                if (take_lock(d) < 0)
                        return EXIT_FAILURE;
                config_forget(d->config->run_dir);
        }
        daemon_users_give(&d->users, d->lock);
        return 0;
}

/* What only root could do is done. 0 or the exit status. */
static int fence_in(const struct daemon *d)
{
        if (daemon_users_drop(&d->users) < 0)
                return EXIT_FAILURE;
        if (d->users.from_root && daemon_users_check_files(d->config, d->config_path) < 0)
                return EX_CONFIG;
        /* The filter of the program before this one is still there, and each costs every call. */
        if (d->state < 0 || prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0)
                filter_calls(d, seccomp_everywhere);
        return 0;
}

/* 0 and everything that the forker needs, or the exit status. */
static int begin(struct daemon *d, int argc, char **argv)
{
        struct forker_inheritance inheritance = { .lock = -1 };
        char reason[PATH_MAX + 128];
        int r = settle(d, &inheritance);

        if (r != 0)
                return r;
        if (find_redis(d) < 0)
                return EX_CONFIG;
        if (delegation_take(d->config->cgroup, &d->delegation, reason, sizeof reason) < 0) {
                log_error("cgroup.unusable", "reason=%s", LOG_Q(reason));
                if (d->state < 0) /* in an upgrade there is no way back */
                        return EX_CONFIG;
        }
        delegation_warn(&d->delegation, d->config);
        if (d->users.from_root && delegation_give(&d->delegation, d->users.self.uid, d->users.self.gid) < 0)
                log_warn("cgroup.kept_by_root", "detail=\"agents have none\"");
        d->place.cgroup = d->delegation.agents[0] ? d->delegation.agents : NULL;
        if (d->state < 0 && has_embedded_redis(d))
                unlink(d->redis_socket);
        r = open_listeners(d, &inheritance);
        if (r < 0)
                return r == -EPERM ? EX_CONFIG : EXIT_FAILURE;
        r = fence_in(d);
        if (r != 0)
                return r;
        if (prepare_upgrade(d, argc, argv) < 0)
                return EXIT_FAILURE;
        r = write_listen_file(d);
        if (r < 0)
                log_error("run_dir.unusable", "path=%s error=%s", LOG_Q(d->listen_path), LOG_Q(strerror(-r)));
        return r < 0 ? EXIT_FAILURE : 0;
}

static int run_forker(struct daemon *d, char **argv)
{
        const char *redis[] = { "redis-server", "--port", "0", "--unixsocket", d->redis_socket,
                "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", d->config->run_dir,
                "--daemonize", "no", "--logfile", d->redis_log, NULL };
        struct forker_roles roles = { .master = run_master, .worker = run_worker, .arg = d };
        struct forker_config config = { .listeners = d->listeners, .listener_count = d->listener_count,
                .listeners_lent = d->lent, .lock = d->lock, .max_workers = (unsigned)d->config->max_workers_total,
                .redis_argv = has_embedded_redis(d) ? redis : NULL, .redis_program = d->redis_program,
                .shutdown_timeout_ms = (int)d->config->shutdown_timeout_ms,
                .master_lease_ms = d->config->master_lease_ms, .upgrade_path = d->program,
                .upgrade_argv = argv, .check_argv = d->check_argv };

        return forker_run(&config, &roles, d->state);
}

/* Whatever way it went, nothing is left in run_dir that says it runs. */
static void end(struct daemon *d)
{
        for (unsigned i = 0; i < d->listener_count && !d->lent; i++)
                listen_close(d->listeners[i]);
        if (d->lock >= 0) {
                unlink(d->listen_path);
                config_forget(d->config->run_dir);
                if (has_embedded_redis(d))
                        unlink(d->redis_socket);
        }
        d->lock = run_lock_drop(d->lock_path, d->lock);
        fd_close(d->delegation.lock);
        free(d->check_argv);
        daemon_users_done(&d->users);
}

static void warn_of_ignored(void)
{
        char names[128];

        if (*config_env_ignored(environ, names, sizeof names))
                log_warn("config.ignored", "variables=%s detail=\"they have no meaning here: one master serves, workers are forked as "
                                           "they are needed, Redis and SQL have one connection each\"", LOG_Q(names));
}

int daemon_run(struct config *config, const char *config_path, int argc, char **argv)
{
        struct daemon d = { .config = config, .config_path = config_path, .lock = -1, .delegation.lock = -1,
                .state = find_state(), .name_len = (int)strlen(argv[0]), .lent = listen_lent() > 0 };
        int r, status;

        signal(SIGPIPE, SIG_IGN); /* before the first line of log */
        signal(SIGXFSZ, SIG_IGN);
        settle_standard_descriptors();
        if (d.state < 0)
                close_strange_descriptors();
        privileges_forbid_new();
        log_set_role("forker");
        r = log_open(config->log.file, (enum log_level)config->log.level, (enum log_format)config->log.format);
        if (r < 0) {
                log_error("log.unusable", "file=%s error=%s", LOG_Q(config->log.file), LOG_Q(strerror(-r)));
                return EXIT_FAILURE;
        }
        if (geteuid() == 0 && !config->user && d.state < 0)
                log_warn("user.root", "detail=\"everything here runs as root, agents too: set user, or start the daemon as another user\"");
        warn_of_ignored();
        raise_descriptor_limit(&d);
        status = begin(&d, argc, argv);
        if (status == 0) {
                log_info("daemon.begins", "version=%s pid=%d run_dir=%s", AGENTPOOL_VERSION, (int)getpid(),
                        LOG_Q(config->run_dir));
                status = run_forker(&d, argv);
                log_info("daemon.ended", "status=%d", status);
        }
        end(&d);
        return status;
}
