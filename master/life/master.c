#include "master/life/master.h"

#include "common/capture.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/config/credentials.h"
#include "master/api/api.h"
#include "master/api/auth.h"
#include "master/control/control.h"
#include "master/control/degraded.h"
#include "master/http/http.h"
#include "master/http/http_tls.h"
#include "master/life/known_database.h"
#include "master/life/life.h"
#include "master/control/messages.h"
#include "master/control/pools.h"
#include "master/control/pools_act.h"
#include "master/control/replies.h"
#include "master/control/restore.h"
#include "master/control/strays.h"
#include "master/control/streams.h"
#include "master/control/usages.h"
#include "master/control/workers.h"
#include "registry/redis/registry_redis.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define ANNOUNCE_INTERVAL_S 5
#define ALIVE_INTERVAL_S 1
#define PRUNE_INTERVAL_S 3600

void life_end(struct life *life, int status)
{
        life->status = status;
        event_base_loopbreak(life->master.base);
}

/* ---- the registry ---- */

static void on_registry_up(void *arg)
{
        struct life *life = arg;

        life->registry_was_up = true;
        log_info("registry.up", "url=%s", life->master.redis_url_masked);
        life_announce(life);
}

static void on_registry_down(void *arg, int error, const char *why)
{
        struct life *life = arg;

        life->master.registry_up = false;
        life->seen_at = 0; /* it may have moved unseen */
        degraded_link_down(life->master.degraded, why);
        /* What the operator must change before anything can work: said at the start, by an end. Agents that run already
         * are not given up for it. */
        if (life->first && !life->registry_was_up && (error == -EPERM || error == -EACCES) && pools_empty(life->master.pools))
                life_end(life, EX_CONFIG);
}

static void on_registry_message(void *arg, const char *data, size_t len)
{
        struct life *life = arg;

        replies_take_text(&life->master, data, len);
}

static int open_registry(struct life *life)
{
        static const struct registry_events events = { .on_up = on_registry_up, .on_down = on_registry_down,
                .on_message = on_registry_message };
        struct master *master = &life->master;
        const struct config_redis *config = &master->config->redis;
        char channel[64], reason[REDIS_URL_REASON_SIZE];
        struct registry_config settings = {
                .master_id = master->master_id,
                .channel = channel,
                .refuse_eviction = true,
                .connect_timeout_ms = (uint32_t)config->connect_timeout_ms,
                .request_timeout_ms = (uint32_t)config->request_timeout_ms,
                .ping_interval_ms = (uint32_t)config->ping_interval_ms,
        };
        struct redis_url url;
        int r = redis_url_parse(master->redis_url, &url, reason);

        if (r < 0)
                return r;
        snprintf(channel, sizeof channel, "master:%s:replies", ID_TEXT(&master->master_id));
        master->redis_url_masked = redis_url_format(&url, true);
        master->registry = registry_new(master->base, &url, &settings, &events, life);
        redis_url_done(&url);
        return master->registry && master->redis_url_masked ? 0 : -ENOMEM;
}

/* ---- start ---- */

/* The same id for every life of a daemon on this run_dir: what it left in Redis is recognised. */
static int read_master_id(struct master *master)
{
        char path[4096], text[ID_TEXT_SIZE] = "";
        int fd, r;

        snprintf(path, sizeof path, "%s/master_id", master->config->run_dir);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = read(fd, text, sizeof text - 1) < 0 ? -errno : 0;
        if (r == 0 && id_parse(text, &master->master_id) < 0) {
                master->master_id = id_new();
                id_format(&master->master_id, text);
                if (pwrite(fd, text, sizeof text - 1, 0) != (ssize_t)(sizeof text - 1))
                        r = -EIO;
        }
        fd_close(fd);
        return r;
}

static int effective_redis_url(struct master *master)
{
        const char *url = master->config->redis.url;
        int n = strcmp(url, "embedded:") == 0
                        ? asprintf(&master->redis_url, "unix://%s/redis.sock", master->config->run_dir)
                        : asprintf(&master->redis_url, "%s", url);

        return n < 0 ? -ENOMEM : 0;
}

/* Without its certificate the master still answers on the other listeners, and the agents go on. */
static void open_tls(struct master *master)
{
        const struct config_tls *tls = &master->config->server.tls;
        struct http_tls_files files = { tls->certificate, tls->key, tls->client_ca };
        char reason[HTTP_TLS_REASON_SIZE];

        if (!tls->key)
                return;
        master->tls = http_tls_new(&files, reason);
        if (!master->tls)
                log_error("tls.unusable", "reason=%s", LOG_Q(reason));
}

static int open_http(struct master *master)
{
        const struct config_server *server = &master->config->server;
        struct http_config config = {
                .routes = api_routes,
                .refuse = api_refuse,
                .admit = auth_admit,
                .resumes = api_resumes,
                .arg = master,
                .max_connections = server->max_connections,
                .max_connections_per_address = server->max_connections_per_address,
                .max_body_bytes = server->max_body_bytes,
                .request_timeout_ms = server->request_timeout_ms,
                .idle_timeout_ms = server->idle_timeout_ms,
                .write_timeout_ms = server->write_timeout_ms,
                .server_name = "agentpool/" AGENTPOOL_VERSION,
        };

        open_tls(master);
        master->auth = auth_new(master->config);
        master->http = http_server_new(master->base, &config);
        return master->auth && master->http ? 0 : -ENOMEM;
}

static void on_store_taken(void *arg, const char *reason)
{
        /* The other daemon starts every agent that it finds there: those of this one must not go on. */
        log_error("store.taken", "reason=%s", LOG_Q(reason));
        life_end(arg, EX_CONFIG);
}

static int open_store(struct life *life)
{
        struct master *master = &life->master;
        const struct config_database *config = &master->config->database;
        struct store_options options = { .daemon = &life->daemon, .schema = config->schema, .wait_ms = (int)config->max_wait_ms, .start_away = true,
                .start_anyhow = !life->first };
        char reason[256];
        int r;

        life->daemon = (struct store_daemon){ .daemon_id = master->master_id, .host = master->host,
                .run_dir = master->config->run_dir, .url = master->config->server.listen[0], .pid = getpid(),
                .database_id = known_database_read(master->config), .on_taken = on_store_taken, .arg = life };
        r = store_open(config->url, &options, master->base, &master->store, reason, sizeof reason);

        if (r < 0)
                log_error("store.open_failed", "reason=%s", LOG_Q(reason));
        return r;
}

/* A short wait goes unnoticed; in a long one clients are told, and TERM is heard. */
static void on_store_away(void *arg)
{
        struct life *life = arg;

        life->store_away = true;
        life_open_doors(life);
}

static void remember_database(const struct life *life)
{
        struct id id;

        if (store_database_id(life->master.store, &id) && !id_equal(&id, &life->daemon.database_id))
                known_database_write(life->master.config, &id);
}

static void on_restored(void *arg, int error)
{
        struct life *life = arg;

        if (error < 0) {
                log_error("restore.failed", "error=%s", LOG_Q(strerror(-error)));
                life_end(life, EXIT_FAILURE);
                return;
        }
        life->master.restoring = false;
        remember_database(life);
        if (life->master.closing)
                return;
        life_catch_up(life);
        if (!life->look)
                life_open_doors(life); /* for what waited until now */
}

static void on_announce(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        life_announce(arg);
}

/* From the loop itself: when it hangs, this does not come either. */
static void on_alive(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        life_tell_forker(arg, FORKER_ALIVE);
}

static void on_pruned(void *arg, int error, const struct store_count *counts, size_t count)
{
        const struct master *master = arg;

        (void)error;
        for (size_t i = 0; i < count; i++) {
                struct master_pool *pool = pools_find(master->pools, counts[i].pool_name);

                if (pool)
                        pool->ended -= counts[i].count;
        }
}

static void on_prune(evutil_socket_t fd, short what, void *arg)
{
        struct life *life = arg;
        const struct config *config = life->master.config;
        int64_t keep_ms = config->database.history_days * 86400000;

        (void)fd;
        (void)what;
        store_prune(life->master.store, clock_wall_ms(), keep_ms, on_pruned, &life->master);
        if (config_keeps_agent_files(&config->log))
                capture_prune(config->log.agents_dir, clock_wall_ms() - keep_ms);
}

static int add_timer(struct event **ret_event, struct life *life, event_callback_fn fire, long every_s)
{
        struct timeval tv = { .tv_sec = every_s };

        *ret_event = event_new(life->master.base, -1, EV_PERSIST, fire, life);
        return *ret_event && event_add(*ret_event, &tv) == 0 ? 0 : -ENOMEM;
}

static struct event_base *new_base(void)
{
        struct event_config *config = event_config_new();
        struct event_base *base;

        if (!config)
                return NULL;
        event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
        base = event_base_new_with_config(config);
        event_config_free(config);
        return base;
}

static void make_agents_dir(const struct config *config)
{
        const struct config_log *log = &config->log;

        if (config_keeps_agent_files(log) && mkdir(log->agents_dir, 0750) < 0 && errno != EEXIST)
                log_warn("agents_dir.unusable", "path=%s error=%s", LOG_Q(log->agents_dir), LOG_Q(strerror(errno)));
}

static int start(struct life *life)
{
        struct master *master = &life->master;
        int r;

        gethostname(master->host, sizeof master->host - 1);
        master->started_at = clock_wall_ms();
        admission_init(&master->admission, &master->config->admission, "/proc");
        make_agents_dir(master->config);
        credentials_prepare(master->config);
        errno = ENOMEM;
        master->base = new_base();
        r = master->base ? FAULT_POINT("master.start") : -errno;
        r = r ? r : read_master_id(master);
        r = r ? r : effective_redis_url(master);
        r = r ? r : open_store(life);
        r = r ? r : open_http(master);
        r = r ? r : open_registry(life);
        if (r < 0)
                return r;
        if (life->first)
                totals_forget(master->config->run_dir);
        master->control = control_new(master);
        master->strays = strays_new(master);
        master->messages = messages_new(master);
        master->streams = streams_new();
        master->usages = usages_new(master);
        if (!master->control || !master->usages || !master->streams || !master->messages || !master->strays)
                return -ENOMEM;
        r = add_timer(&life->announce, life, on_announce, ANNOUNCE_INTERVAL_S);
        r = r ? r : add_timer(&life->alive, life, on_alive, ALIVE_INTERVAL_S);
        r = r ? r : add_timer(&life->prune, life, on_prune, PRUNE_INTERVAL_S);
        r = r ? r : life_prepare_close(life);
        r = r ? r : life_open_doors_soon(life);
        if (r < 0)
                return r;
        master->restoring = true;
        r = life_attend(life);
        if (r < 0)
                return r;
        life->restore = restore_new(master, on_store_away, on_restored, life);
        return life->restore ? 0 : -ENOMEM;
}

static struct event *timer_free(struct event *timer)
{
        if (timer)
                event_free(timer);
        return NULL;
}

void life_release(struct life *life)
{
        struct master *master = &life->master;

        usages_free(master->usages);
        master->usages = NULL;
        master->streams = streams_free(master->streams);
        master->workers = workers_free(master->workers);
        master->registry = registry_free(master->registry);
        master->degraded = degraded_free(master->degraded);
        master->store = life->step == LIFE_RETIRED ? store_leave(master->store, 1000) : store_close(master->store, 1000);
        master->strays = strays_free(master->strays);
        life->restore = restore_free(life->restore);
        backlog_done(&life->backlog);
        backlog_done(&life->doors);
        life->look = timer_free(life->look);
        master->pools = pools_free(master->pools);
        master->control = control_free(master->control);
        life->announce = timer_free(life->announce);
        life->prune = timer_free(life->prune);
        life->alive = timer_free(life->alive);
        life->give_up = timer_free(life->give_up);
        life->answering = timer_free(life->answering);
}

static void life_done(struct life *life)
{
        struct master *master = &life->master;

        if (master->messages)
                messages_free(master->messages);
        http_server_free(master->http);
        life_retire_done(life);
        auth_free(master->auth);
        SSL_CTX_free(master->tls);
        life_release(life);
        channel_free(master->forker);
        fd_close(life->forker_socket);
        free(master->redis_url);
        free(master->redis_url_masked);
        if (master->base)
                event_base_free(master->base);
}

int master_run(int forker, bool first, const struct config *config, const char *config_path, const char *cgroup)
{
        struct life life = { .master = { .config = config, .cgroup = cgroup }, .config_path = config_path,
                .forker_socket = forker, .forker_fd = forker, .first = first, .next = { -1, -1 },
                .status = EXIT_FAILURE };
        int r;

        log_set_role("master");
        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN);
        r = start(&life);
        if (r == 0)
                event_base_dispatch(life.master.base);
        else
                log_error("master.start_failed", "error=%s", LOG_Q(strerror(-r)));
        if (r == -EPROTO || (r == -EBUSY && first))
                life.status = EX_CONFIG;
        if (life.status == EX_CONFIG)
                life_tell_forker(&life, FORKER_BYE); /* another try would fail alike */
        life_done(&life);
        return life.status;
}
