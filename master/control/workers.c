/* One entry a worker: its channel, and what it said so far. */
#include "master/control/workers.h"

#include "common/capture.h"
#include "common/fd.h"
#include "common/json/json.h"
#include "common/log.h"
#include "common/oom.h"
#include "common/timer.h"
#include "master/config/credentials.h"
#include "registry/protocol/agent_exit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define PING_INTERVAL_MAX_MS 1000

struct workers_entry {
        struct id process_id;
        struct workers *workers;
        struct channel *channel;    /* NULL: its end is closed, its exit is awaited */
        struct hosted_agent *hosted; /* what it said so far, until READY */
        size_t hosted_count;
        char *failure;              /* why it cannot serve; NULL: it did not say so */
        unsigned unanswered;        /* PINGs since its last PONG */
        char dismissed_from[65];    /* the pool that is not configured any more; "": its pool is */
        UT_hash_handle hh;
};

struct workers {
        struct master *master;
        const struct workers_events *events;
        void *arg;
        struct workers_entry *entries;
        struct timer ping;
        int64_t pings;
        int64_t interval_ms; /* between two of them */
        struct oom_watch oom;
};

static struct workers_entry *find(const struct workers *workers, const struct id *process_id)
{
        struct workers_entry *entry;

        HASH_FIND(hh, workers->entries, process_id, sizeof *process_id, entry);
        return entry;
}

/* take_text NULL: out of memory. */
static int send_text(struct workers_entry *entry, char *take_text)
{
        int r = !entry->channel ? -EPIPE : !take_text ? -ENOMEM : channel_send(entry->channel, take_text, strlen(take_text));

        free(take_text);
        return r;
}

static int send_control(struct workers_entry *entry, const struct control *control)
{
        return send_text(entry, control_encode(control));
}

static void take_hosted(struct workers_entry *entry, const struct control *control)
{
        size_t count = entry->hosted_count + control->hosted_count;
        struct hosted_agent *grown = realloc(entry->hosted, (count + 1) * sizeof *grown);

        if (!grown) {
                log_error("worker.hosted_lost", "process=%s detail=\"out of memory\"", ID_TEXT(&entry->process_id));
                return;
        }
        memcpy(grown + entry->hosted_count, control->hosted, control->hosted_count * sizeof *grown);
        entry->hosted = grown;
        entry->hosted_count = count;
}

static struct master_pool *pool_of(const struct workers_entry *entry)
{
        return pools_of_worker(entry->workers->master->pools, &entry->process_id);
}

/* It has no connection to Redis at any time. */
static bool is_apart(const struct workers_entry *entry)
{
        const struct master_pool *pool = pool_of(entry);

        return pool && pool->apart;
}

static void take_pong(struct workers_entry *entry, const struct control *control)
{
        struct master_pool *pool = pool_of(entry);
        struct pool_worker *worker = pool ? pool_worker(pool->rules, &entry->process_id) : NULL;

        entry->unanswered = 0;
        if (!worker)
                return;
        worker->rss_bytes = control->rss_bytes;
        worker->cpu_ms = control->cpu_ms;
        entry->workers->events->on_alive(entry->workers->arg, pool, worker);
}

/* Into the file of an agent of its own pool. */
static void take_line(const struct workers_entry *entry, const struct control *control)
{
        const struct config_log *log = &entry->workers->master->config->log;
        const struct master_pool *pool = pool_of(entry);

        if (pool && pool->apart && config_keeps_agent_files(log) && pool_agent(pool->rules, &control->agent_id))
                capture_append(log->agents_dir, log->agents_max_bytes, &control->agent_id, control->number, control->line,
                        strlen(control->line));
}

/* What a worker says is of its own agents. */
static void take_reply(const struct workers_entry *entry, const struct reply *reply)
{
        if (id_equal(&reply->process_id, &entry->process_id))
                entry->workers->events->on_reply(entry->workers->arg, reply);
        else
                log_warn("reply.foreign", "process=%s says=%s", ID_TEXT(&entry->process_id), ID_TEXT(&reply->process_id));
}

/* Of an earlier generation, or for an earlier master: void. */
static void take_ready(struct workers_entry *entry, const struct control *control)
{
        const struct workers *workers = entry->workers;
        const struct mode *mode = &workers->master->mode;

        if (control->generation >= mode->since && control->generation <= mode->generation)
                workers->events->on_ready(workers->arg, &entry->process_id, (unsigned)control->number, entry->hosted,
                        entry->hosted_count);
        entry->hosted_count = 0;
        if (control->away && !is_apart(entry))
                workers->events->on_distrust(workers->arg);
}

static void handle_control(struct workers_entry *entry, const struct control *control)
{
        const struct workers *workers = entry->workers;

        switch (control->type) {
        case CONTROL_HOSTED:
                take_hosted(entry, control);
                break;
        case CONTROL_READY:
                take_ready(entry, control);
                break;
        case CONTROL_FAILED:
                log_error("worker.failed", "process=%s reason=%s", ID_TEXT(&entry->process_id), LOG_Q(control->reason));
                free(entry->failure);
                entry->failure = strdup(control->reason);
                break;
        case CONTROL_PONG:
                take_pong(entry, control);
                break;
        case CONTROL_REPLY:
                take_reply(entry, &control->reply);
                break;
        case CONTROL_LINE:
                take_line(entry, control);
                break;
        case CONTROL_USED:
                workers->events->on_used(workers->arg, &entry->process_id, control);
                break;
        case CONTROL_REFUSED:
                if (!is_apart(entry))
                        workers->events->on_refused(workers->arg, control->generation, control->reason);
                break;
        case CONTROL_USAGE:
        case CONTROL_WELCOME:
        case CONTROL_COMMAND:
        case CONTROL_STOP:
        case CONTROL_PING:
        case CONTROL_REOPEN_LOGS:
        case CONTROL_REGISTRY:
        case CONTROL_TYPE_COUNT:
                log_warn("worker.unexpected_control", "process=%s", ID_TEXT(&entry->process_id));
                break;
        }
}

static void on_packet(void *arg, const char *data, size_t len, int fd)
{
        struct workers_entry *entry = arg;
        struct control control;
        int r = control_decode(data, len, &control);

        fd_close(fd);
        if (r < 0) {
                log_warn("worker.bad_control", "process=%s error=%d", ID_TEXT(&entry->process_id), r);
                return;
        }
        handle_control(entry, &control);
        control_done(&control);
}

static void on_closed(void *arg)
{
        struct workers_entry *entry = arg;

        entry->channel = channel_free(entry->channel);
}

static void on_ping(void *arg)
{
        struct workers *workers = arg;
        struct control ping = { .type = CONTROL_PING, .number = ++workers->pings };
        struct workers_entry *entry, *next;

        oom_look(&workers->oom);
        HASH_ITER(hh, workers->entries, entry, next) {
                send_control(entry, &ping);
                entry->unanswered++;
        }
}

struct workers *workers_new(struct master *master, const struct workers_events *events, void *arg)
{
        struct workers *workers = calloc(1, sizeof *workers);
        int64_t interval = config_sweep_interval_ms(master->config);

        if (!workers)
                return NULL;
        *workers = (struct workers){ .master = master, .events = events, .arg = arg,
                .interval_ms = interval < PING_INTERVAL_MAX_MS ? interval : PING_INTERVAL_MAX_MS };
        oom_begin(&workers->oom);
        timer_init(&workers->ping, master->base, on_ping, workers);
        return timer_every(&workers->ping, workers->interval_ms) < 0 ? workers_free(workers) : workers;
}

static void entry_free(struct workers_entry *entry)
{
        HASH_DEL(entry->workers->entries, entry);
        channel_free(entry->channel);
        free(entry->hosted);
        free(entry->failure);
        free(entry);
}

struct workers *workers_free(struct workers *workers)
{
        struct workers_entry *entry, *next;

        if (!workers)
                return NULL;
        HASH_ITER(hh, workers->entries, entry, next)
                entry_free(entry);
        timer_stop(&workers->ping);
        free(workers);
        return NULL;
}

/* What a worker needs to know; worker/worker.c reads it. */
static cJSON *welcome_settings(const struct master *master, const struct pool_config *config)
{
        const struct config *all = master->config;
        const struct master_pool *pool = pools_find(master->pools, config->pool_name);
        bool apart = pool && pool->apart, files = config_keeps_agent_files(&all->log);
        cJSON *settings = cJSON_CreateObject();
        int r = settings ? 0 : -ENOMEM;

        r = r ? r : json_add_item(settings, "pool", pool_config_print(config, false));
        r = r ? r : json_add_item(settings, "credentials", credentials_read(config));
        r = r ? r : json_add_string(settings, "master_id", ID_TEXT(&master->master_id));
        r = r ? r : json_add_string(settings, "host", master->host);
        r = r ? r : json_add_string(settings, "run_dir", all->run_dir);
        r = r ? r : json_add_string(settings, "redis_url", apart ? "" : master->redis_url);
        r = r ? r : json_add_integer(settings, "redis_connect_timeout_ms", all->redis.connect_timeout_ms);
        r = r ? r : json_add_integer(settings, "redis_request_timeout_ms", all->redis.request_timeout_ms);
        r = r ? r : json_add_integer(settings, "redis_ping_interval_ms", all->redis.ping_interval_ms);
        r = r ? r : json_add_bool(settings, "registry_up", !apart && !master->mode.degraded);
        r = r ? r : json_add_integer(settings, "registry_generation", (int64_t)master->mode.generation);
        r = r ? r : json_add_string(settings, "log_file", all->log.file ? all->log.file : "");
        r = r ? r : json_add_integer(settings, "log_level", all->log.level);
        r = r ? r : json_add_bool(settings, "agents_to_log", all->log.agents == CONFIG_AGENT_LOG_BOTH || all->log.agents == CONFIG_AGENT_LOG_LOG);
        r = r ? r : json_add_string(settings, "agents_dir", files && !apart ? all->log.agents_dir : "");
        r = r ? r : json_add_bool(settings, "agents_to_master", files && apart);
        r = r ? r : json_add_integer(settings, "agents_max_bytes", all->log.agents_max_bytes);
        r = r ? r : json_add_integer(settings, "log_format", all->log.format);
        if (r == 0)
                return settings;
        cJSON_Delete(settings);
        return NULL;
}

/* Takes over its control socket, on which it says nothing longer than a line of its agents. NULL when out of memory or
 * descriptors: the socket is closed. */
static struct workers_entry *entry_new(struct workers *workers, const struct id *process_id, size_t longest, int take_socket)
{
        static const struct channel_events events = { .on_packet = on_packet, .on_closed = on_closed };
        struct workers_entry *entry = take_socket < 0 ? NULL : calloc(1, sizeof *entry); /* no room for its socket */

        if (entry)
                *entry = (struct workers_entry){ .process_id = *process_id, .workers = workers,
                        .channel = channel_new(workers->master->base, take_socket, &events, entry) };
        if (!entry || !entry->channel) {
                fd_close(take_socket);
                free(entry);
                return NULL;
        }
        channel_limit(entry->channel, longest + CONTROL_OVERHEAD);
        HASH_ADD(hh, workers->entries, process_id, sizeof entry->process_id, entry);
        return entry;
}

int workers_add(struct workers *workers, const struct id *process_id, const struct pool_config *config, int take_socket)
{
        struct control welcome = { .type = CONTROL_WELCOME };
        struct workers_entry *entry = entry_new(workers, process_id, (size_t)config->runtime.max_line_bytes, take_socket);
        int r;

        if (!entry)
                return -ENOMEM;
        welcome.settings = welcome_settings(workers->master, config);
        r = welcome.settings ? send_control(entry, &welcome) : -ENOMEM;
        cJSON_Delete(welcome.settings);
        return r;
}

int workers_dismiss(struct workers *workers, const struct id *process_id, const char *pool_name, int take_socket)
{
        struct workers_entry *entry = entry_new(workers, process_id, 0, take_socket);

        struct control stop = { .type = CONTROL_STOP, .number = CONTROL_STOP_END, .drain_ms = INT32_MAX }; /* as its pool says */

        if (!entry)
                return -ENOMEM;
        snprintf(entry->dismissed_from, sizeof entry->dismissed_from, "%s", pool_name);
        return send_control(entry, &stop);
}

const char *workers_dismissed_from(const struct workers *workers, const struct id *process_id)
{
        const struct workers_entry *entry = find(workers, process_id);

        return entry && entry->dismissed_from[0] ? entry->dismissed_from : NULL;
}

void workers_remove(struct workers *workers, const struct id *process_id)
{
        struct workers_entry *entry = find(workers, process_id);

        if (entry)
                entry_free(entry);
}

bool workers_has(const struct workers *workers, const struct id *process_id)
{
        return find(workers, process_id);
}

int workers_send(struct workers *workers, const struct id *process_id, const struct control *control)
{
        struct workers_entry *entry = find(workers, process_id);

        return entry ? send_control(entry, control) : -ENOENT;
}

int workers_send_command(struct workers *workers, const struct id *process_id, const char *command)
{
        struct workers_entry *entry = find(workers, process_id);

        return entry ? send_text(entry, control_wrap(CONTROL_COMMAND, command)) : -ENOENT;
}

static void send_all(struct workers *workers, const struct control *control)
{
        struct workers_entry *entry, *next;

        HASH_ITER(hh, workers->entries, entry, next)
                send_control(entry, control);
}

void workers_reopen_logs(struct workers *workers)
{
        send_all(workers, &(struct control){ .type = CONTROL_REOPEN_LOGS });
}

void workers_tell_registry(struct workers *workers)
{
        const struct mode *mode = &workers->master->mode;
        struct workers_entry *entry, *next;

        HASH_ITER(hh, workers->entries, entry, next)
                send_control(entry, &(struct control){ .type = CONTROL_REGISTRY, .generation = mode->generation,
                                            .up = !mode->degraded && !is_apart(entry) });
}

void workers_explain(const struct workers *workers, const struct id *process_id, const struct pool_worker *worker, int status,
        char *why, size_t size)
{
        const struct workers_entry *entry = find(workers, process_id);
        struct agent_exit exit = agent_exit_from_status(status);
        bool unasked = worker && worker->state != WORKER_STALE;

        if (entry && entry->channel)
                channel_hear_out(entry->channel); /* its last words may come after the news of its end */
        snprintf(why, size, "%s", entry && entry->failure ? entry->failure : exit.reason);
        if (unasked && exit.signal == SIGKILL && oom_happened(&workers->oom))
                snprintf(why, size, "out of memory: killed by the kernel");
        else if (unasked && exit.code != 0)
                oom_suspect(why, size, worker->rss_bytes, pool_config(worker->pool)->worker_limits.memory_bytes,
                        "worker_limits.memory_bytes");
}

int64_t workers_silent_ms(const struct workers *workers, const struct id *process_id)
{
        const struct workers_entry *entry = find(workers, process_id);

        return entry ? (int64_t)entry->unanswered * workers->interval_ms : INT64_MAX;
}

void workers_forgive(struct workers *workers)
{
        struct workers_entry *entry, *next;

        HASH_ITER(hh, workers->entries, entry, next)
                entry->unanswered = 0;
}
