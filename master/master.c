#include "master/master.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/api/api.h"
#include "master/backlog.h"
#include "master/context.h"
#include "master/forker.h"
#include "master/http/http.h"
#include "master/listen.h"
#include "master/messages.h"
#include "master/pools.h"
#include "master/pools_act.h"
#include "master/restore.h"
#include "master/streams.h"
#include "master/workers.h"
#include "registry/registry_redis.h"
#include "sql/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#define ANNOUNCE_TTL_MS 30000
#define ANNOUNCE_INTERVAL_S 10
#define PRUNE_INTERVAL_S 3600
#define FAST_BUDGET_MS 1000

/* One life of a master, from its start to its exit status. */
struct life {
        struct master master; /* first: what the parts see */
        const char *config_path;
        int forker_socket;    /* until the channel has it */
        struct restore *restore;
        struct backlog backlog; /* while master.restoring */
        struct event *announce, *prune;
        struct event *give_up; /* the end of the shutdown budget */
        int64_t end_by;        /* the same, mono ms */
        unsigned clearing;     /* registry calls of the last step of shutdown under way */
        int listeners[FORKER_LISTENERS_MAX]; /* the server's own */
        unsigned listener_count;
        bool registry_was_up;
        bool reloading;        /* the next master takes over once the requests under way are answered */
        int status;
};

static void end(struct life *life, int status)
{
        life->status = status;
        event_base_loopbreak(life->master.base);
}

/* ---- shutdown: stop accepting, end workers, clear the registry, flush the store, say goodbye ---- */

static void tell_forker(struct life *life, enum forker_message_type type)
{
        struct forker_message message = { .version = FORKER_PROTOCOL, .type = type };

        if (life->master.forker)
                channel_send(life->master.forker, &message, sizeof message);
        else
                fd_send(life->forker_socket, &message, sizeof message, -1);
}

static void say_goodbye(struct life *life)
{
        int64_t left = life->end_by - clock_mono_ms();

        life->master.store = store_close(life->master.store, left > 0 ? (int)left : 0);
        tell_forker(life, FORKER_BYE);
        log_info("master.ended", "uptime_ms=%lld", (long long)(clock_wall_ms() - life->master.started_at));
        end(life, 0);
}

static void on_cleared(void *arg, int error)
{
        struct life *life = arg;

        if (error < 0)
                log_warn("registry.not_cleared", "error=%s", LOG_Q(strerror(-error)));
        if (--life->clearing == 0)
                say_goodbye(life);
}

static void on_pools_closed(void *arg)
{
        struct life *life = arg;
        struct master *master = &life->master;

        life->clearing = 1;
        for (size_t i = 0; i < pools_count(master->pools); i++)
                life->clearing += registry_clear(master->registry, pools_at(master->pools, i)->config->pool_name,
                                          on_cleared, life) == 0;
        life->clearing += registry_withdraw(master->registry, on_cleared, life) == 0;
        on_cleared(life, 0);
}

/* The budget is spent: what has not ended is killed, and its exit ends the rest. */
static void on_give_up(evutil_socket_t fd, short what, void *arg)
{
        struct life *life = arg;
        struct master *master = &life->master;

        (void)fd;
        (void)what;
        if (life->reloading) {
                end(life, EXIT_SUCCESS);
                return;
        }
        log_warn("shutdown.timeout", "detail=\"killing what has not ended\"");
        for (size_t i = 0; i < pools_count(master->pools); i++)
                for (struct pool_worker *w = pool_first_worker(pools_at(master->pools, i)->rules); w; w = w->hh.next)
                        pools_kill(master, &w->process_id);
}

static void arm_give_up(struct life *life, int64_t budget_ms)
{
        struct timeval tv = { .tv_sec = budget_ms / 1000, .tv_usec = budget_ms % 1000 * 1000 };

        life->end_by = clock_mono_ms() + budget_ms;
        event_add(life->give_up, &tv);
}

/* The forker has these sockets, too: closed here alone, they would let clients in to wait for nobody. */
static void refuse_connections(struct life *life)
{
        for (unsigned i = 0; i < life->listener_count; i++)
                shutdown(life->listeners[i], SHUT_RD);
        life->listener_count = 0;
}

static void shut_down(struct life *life, bool fast)
{
        struct master *master = &life->master;
        bool hurry = fast && master->closing && !master->fast;

        life->reloading = false;
        arm_give_up(life, fast ? FAST_BUDGET_MS : master->config->shutdown_timeout_ms);
        if (master->closing && !fast)
                return;
        log_info("shutdown.begins", "fast=%d", fast);
        master->fast = fast;
        if (hurry) {
                pools_hurry(master->pools);
        } else if (!master->closing) {
                master->closing = true;
                refuse_connections(life);
                http_server_drain(master->http, NULL, NULL);
                pools_close(master->pools, on_pools_closed, life);
        }
}

/* ---- reload: one way for a new configuration, a new program and a crash: a new master takes over ---- */

static void on_answered(void *arg)
{
        struct life *life = arg;

        if (life->reloading)
                end(life, EXIT_SUCCESS);
}

static void reload(struct life *life)
{
        struct config_errors errors = { 0 };
        struct config *config = NULL;

        if (life->reloading || life->master.closing)
                return;
        if (config_load(life->config_path, environ, &config, &errors) < 0) {
                for (unsigned i = 0; i < errors.count; i++)
                        log_error("config.invalid", "error=%s", LOG_Q(errors.lines[i]));
                log_error("config.kept", "file=%s detail=\"nothing was changed\"", LOG_Q(life->config_path));
                return;
        }
        config_free(config);
        log_info("config.reloading", "file=%s", LOG_Q(life->config_path));
        life->reloading = true;
        arm_give_up(life, life->master.config->shutdown_timeout_ms);
        life->master.streams = streams_free(life->master.streams);
        life->master.streams = streams_new();
        life->listener_count = 0; /* closed now */
        http_server_drain(life->master.http, on_answered, life);
}

/* ---- the forker ---- */

static void handle_signal(struct life *life, int number)
{
        switch (number) {
        case SIGTERM:
                shut_down(life, false);
                break;
        case SIGINT:
        case SIGQUIT:
                shut_down(life, true);
                break;
        case SIGHUP:
                reload(life);
                break;
        case SIGUSR1:
                log_reopen();
                workers_reopen_logs(life->master.workers);
                break;
        default:
                log_warn("signal.ignored", "number=%d", number);
        }
}

static void on_announce(evutil_socket_t fd, short what, void *arg)
{
        struct life *life = arg;
        const struct master *master = &life->master;
        char url[LISTEN_TEXT_SIZE + 8] = "http://", *address = url + strlen(url);
        struct registry_master self = { .host = master->host, .url = url, .version = AGENTPOOL_VERSION, .pid = getpid() };

        (void)fd;
        (void)what;
        if (life->listener_count == 0 || listen_describe(life->listeners[0], address) < 0)
                return; /* the forker hands the first one over */
        if (strncmp(address, "unix:", 5) == 0)
                self.url = address;
        registry_announce(master->registry, &self, ANNOUNCE_TTL_MS);
}

static void take_listener(struct life *life, int fd)
{
        int r = http_server_listen(life->master.http, fd);

        if (r < 0) {
                log_error("http.listen_failed", "error=%s", LOG_Q(strerror(-r)));
                end(life, EXIT_FAILURE);
        } else if (life->listener_count < FORKER_LISTENERS_MAX) {
                life->listeners[life->listener_count++] = fd;
                if (life->listener_count == 1 && life->master.registry_up)
                        on_announce(-1, 0, life);
        }
}

static void handle_forker(struct life *life, const struct forker_message *message, int fd)
{
        struct pools *pools = life->master.pools;

        switch (message->type) {
        case FORKER_LISTENER:
                take_listener(life, fd);
                return;
        case FORKER_WORKER:
                pools_worker_forked(pools, &message->process_id, message->pool_name, message->pid,
                        message->started_at, message->adopted, fd);
                return;
        case FORKER_SYNCED:
                tell_forker(life, FORKER_READY);
                log_info("master.ready", "pools=%zu", pools_count(pools));
                pools_synced(pools);
                break;
        case FORKER_FORK_FAILED:
                pools_worker_fork_failed(pools, &message->process_id, message->number);
                break;
        case FORKER_EXITED:
                pools_worker_exited(pools, &message->process_id, message->number);
                break;
        case FORKER_SIGNAL:
                handle_signal(life, message->number);
                break;
        case FORKER_FORK:
        case FORKER_KILL:
        case FORKER_BYE:
        case FORKER_READY:
        case FORKER_MESSAGE_TYPE_COUNT:
                log_error("forker.unexpected", "type=%d", (int)message->type);
                break;
        }
        fd_close(fd);
}

static void on_known(void *arg, const struct forker_message *message, int fd)
{
        handle_forker(arg, message, fd);
}

/* Workers wait until it is known what they should run. */
static void on_forker_packet(void *arg, const char *data, size_t len, int fd)
{
        struct life *life = arg;
        struct forker_message message;

        if (len != sizeof message) {
                log_error("forker.bad_packet", "len=%zu", len);
                fd_close(fd);
                return;
        }
        memcpy(&message, data, sizeof message);
        if (!life->master.restoring || message.type == FORKER_LISTENER || message.type == FORKER_SIGNAL) {
                handle_forker(life, &message, fd);
        } else if (backlog_add(&life->backlog, &message, fd) < 0) {
                log_error("backlog.out_of_memory", "detail=\"ending\"");
                fd_close(fd);
                end(life, EXIT_FAILURE);
        }
}

/* It executes a new program, whose master takes over; or it is gone, and the workers, who see the same, end their agents. */
static void on_forker_closed(void *arg)
{
        log_info("master.leaves", "detail=\"its forker let it go\"");
        end(arg, EXIT_FAILURE);
}

/* ---- the registry ---- */

static void on_registry_up(void *arg)
{
        struct life *life = arg;

        life->registry_was_up = true;
        life->master.registry_up = true;
        log_info("registry.up", "url=%s", life->master.redis_url_masked);
        on_announce(-1, 0, life);
        pools_registry_up(life->master.pools);
}

static void on_registry_down(void *arg, int error, const char *why)
{
        struct life *life = arg;

        life->master.registry_up = false;
        log_warn("registry.down", "url=%s why=%s", life->master.redis_url_masked, LOG_Q(why));
        /* What the operator must change before anything can work: said at the start, by an end. */
        if (!life->registry_was_up && (error == -EPERM || error == -EACCES))
                end(life, EX_CONFIG);
}

static void tell_emitted(const struct life *life, const struct reply *reply)
{
        char *text = json_print(reply->message);

        if (text)
                streams_emitted(life->master.streams, &reply->agent_id, text);
        free(text);
}

static void on_registry_message(void *arg, const char *data, size_t len)
{
        struct life *life = arg;
        struct reply reply;

        if (reply_decode(data, len, &reply) < 0) {
                log_warn("reply.bad", "text=%s", LOG_Q(data));
                return;
        }
        if (reply.type == REPLY_ANSWER || reply.type == REPLY_MESSAGE_FAILED)
                messages_reply(life->master.messages, &reply);
        else if (reply.type == REPLY_EVENT)
                tell_emitted(life, &reply);
        else
                pools_reply(life->master.pools, &reply);
        reply_done(&reply);
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

static int open_http(struct master *master)
{
        const struct config_server *server = &master->config->server;
        struct http_config config = {
                .routes = api_routes,
                .refuse = api_refuse,
                .arg = master,
                .max_connections = server->max_connections,
                .max_connections_per_address = server->max_connections_per_address,
                .max_body_bytes = server->max_body_bytes,
                .request_timeout_ms = server->request_timeout_ms,
                .idle_timeout_ms = server->idle_timeout_ms,
                .write_timeout_ms = server->write_timeout_ms,
                .server_name = "agentpool/" AGENTPOOL_VERSION,
        };

        master->http = http_server_new(master->base, &config);
        return master->http ? 0 : -ENOMEM;
}

static int open_store(struct master *master)
{
        const struct config_database *config = &master->config->database;
        struct store_options options = { .wait_ms = (int)config->max_wait_ms, .start_away = true };
        char reason[256];
        int r = store_open(config->url, &options, master->base, &master->store, reason, sizeof reason);

        if (r < 0)
                log_error("store.open_failed", "reason=%s", LOG_Q(reason));
        return r;
}

/* From now on connections are taken and the forker is heard. */
static int attend(struct life *life)
{
        static const struct channel_events events = { .on_packet = on_forker_packet, .on_closed = on_forker_closed };

        if (life->master.forker)
                return 0;
        life->master.forker = channel_new(life->master.base, life->forker_socket, &events, life);
        if (!life->master.forker)
                return -ENOMEM;
        life->forker_socket = -1;
        return 0;
}

/* A short wait goes unnoticed; in a long one clients are told, and TERM is heard. */
static void on_store_away(void *arg)
{
        struct life *life = arg;

        if (attend(life) < 0)
                end(life, EXIT_FAILURE);
}

static void on_restored(void *arg, int error)
{
        struct life *life = arg;

        if (error == 0)
                error = attend(life);
        if (error < 0) {
                log_error("restore.failed", "error=%s", LOG_Q(strerror(-error)));
                end(life, EXIT_FAILURE);
                return;
        }
        life->master.restoring = false;
        if (!life->master.closing)
                backlog_replay(&life->backlog, on_known, life);
}

static void on_prune(evutil_socket_t fd, short what, void *arg)
{
        struct life *life = arg;

        (void)fd;
        (void)what;
        store_prune(life->master.store, clock_wall_ms(), life->master.config->database.history_days * 86400000, NULL, NULL);
}

static int add_timer(struct event **ret_event, struct life *life, event_callback_fn fire, long every_s)
{
        struct timeval tv = { .tv_sec = every_s };

        *ret_event = event_new(life->master.base, -1, every_s ? EV_PERSIST : 0, fire, life);
        if (!*ret_event)
                return -ENOMEM;
        return every_s && event_add(*ret_event, &tv) < 0 ? -ENOMEM : 0;
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

static int start(struct life *life)
{
        struct master *master = &life->master;
        int r;

        gethostname(master->host, sizeof master->host - 1);
        master->started_at = clock_wall_ms();
        master->base = new_base();
        r = master->base ? 0 : -ENOMEM;
        r = r ? r : read_master_id(master);
        r = r ? r : effective_redis_url(master);
        r = r ? r : open_store(master);
        r = r ? r : open_http(master);
        r = r ? r : open_registry(life);
        if (r < 0)
                return r;
        master->pools = pools_new(master);
        master->workers = workers_new(master);
        master->messages = messages_new(master);
        master->streams = streams_new();
        if (!master->streams || !master->pools || !master->workers || !master->messages)
                return -ENOMEM;
        r = add_timer(&life->announce, life, on_announce, ANNOUNCE_INTERVAL_S);
        r = r ? r : add_timer(&life->prune, life, on_prune, PRUNE_INTERVAL_S);
        r = r ? r : add_timer(&life->give_up, life, on_give_up, 0);
        if (r < 0)
                return r;
        master->restoring = true;
        life->restore = restore_new(master, on_store_away, on_restored, life);
        return life->restore ? 0 : -ENOMEM;
}

static void life_done(struct life *life)
{
        struct master *master = &life->master;

        if (master->messages)
                messages_free(master->messages);
        streams_free(master->streams);
        http_server_free(master->http);
        workers_free(master->workers);
        registry_free(master->registry);
        store_close(master->store, 1000);
        restore_free(life->restore);
        backlog_done(&life->backlog);
        pools_free(master->pools);
        channel_free(master->forker);
        fd_close(life->forker_socket);
        if (life->announce)
                event_free(life->announce);
        if (life->prune)
                event_free(life->prune);
        if (life->give_up)
                event_free(life->give_up);
        free(master->redis_url);
        free(master->redis_url_masked);
        if (master->base)
                event_base_free(master->base);
}

int master_run(int forker, const struct config *config, const char *config_path)
{
        struct life life = { .master = { .config = config }, .config_path = config_path, .forker_socket = forker,
                .status = EXIT_FAILURE };
        int r;

        log_set_role("master");
        signal(SIGPIPE, SIG_IGN);
        r = start(&life);
        if (r == 0)
                event_base_dispatch(life.master.base);
        else
                log_error("master.start_failed", "error=%s", LOG_Q(strerror(-r)));
        if (r == -EPROTO)
                life.status = EX_CONFIG;
        if (life.status == EX_CONFIG)
                tell_forker(&life, FORKER_BYE); /* another try would fail alike */
        life_done(&life);
        return life.status;
}
