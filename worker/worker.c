#include "worker/worker.h"

#include "common/cgroup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/identity.h"
#include "common/log.h"
#include "common/proc.h"
#include "registry/core/agent.h"
#include "worker/runtime/credentials.h"
#include "worker/runtime/agent_cgroup.h"
#include "worker/context.h"
#include "worker/hosting.h"
#include "worker/registration.h"
#include "worker/usage.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Agents that are told to end when everything above is gone get this much on top of their graces; a master that does not
 * take the last answers is waited for as long. */
#define LAST_WORD_MS 1000

void worker_wake(struct worker *worker)
{
        event_active(worker->settle, 0, 0);
}

void worker_end(struct worker *worker, int status)
{
        worker->status = status;
        event_base_loopbreak(worker->base);
}

/* ---- to the master ---- */

/* take_text NULL: out of memory. */
static int send_text(struct worker *worker, char *take_text)
{
        int r = !worker->control ? -EPIPE : !take_text ? -ENOMEM : channel_send(worker->control, take_text, strlen(take_text));

        free(take_text);
        return r;
}

int worker_send(struct worker *worker, const struct control *control)
{
        return send_text(worker, control_encode(control));
}

int worker_send_reply(struct worker *worker, const char *reply)
{
        return send_text(worker, control_wrap(CONTROL_REPLY, reply));
}

static void send_control(struct worker *worker, const struct control *control)
{
        int r = worker_send(worker, control);

        if (r < 0 && r != -EPIPE)
                log_error("control.not_sent", "type=%d error=%s", (int)control->type, LOG_Q(strerror(-r)));
}

static void send_failed(struct worker *worker, const char *reason)
{
        struct control failed = { .type = CONTROL_FAILED };

        failed.reason = strdup(reason);
        log_error("worker.failed", "reason=%s", LOG_Q(reason));
        if (failed.reason)
                send_control(worker, &failed);
        free(failed.reason);
        worker_end(worker, EXIT_FAILURE);
}

void worker_send_ready(struct worker *worker)
{
        struct hosted_agent portion[HOSTED_MAX];
        struct control message = { .type = CONTROL_HOSTED, .hosted = portion };

        roster_obey(worker->roster, &worker->welcome->master_id);
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next) {
                /* One that is being ended because it is not ours takes its place until it is gone. */
                const struct command *spawn = h->fenced && !h->next && h->state != HOSTED_ENDED ? h->spawn : roster_spawn(h);

                if (!spawn)
                        continue;
                portion[message.hosted_count++] = (struct hosted_agent){ .agent_id = h->agent_id, .epoch = spawn->epoch,
                        .start_reason = hosted_start_reason(spawn->start_reason),
                        .starting = h->next || h->fenced || h->state == HOSTED_STARTING };
                if (message.hosted_count < HOSTED_MAX)
                        continue;
                send_control(worker, &message);
                message.hosted_count = 0;
        }
        if (message.hosted_count > 0)
                send_control(worker, &message);
        send_control(worker, &(struct control){ .type = CONTROL_READY, .generation = worker->generation,
                .away = worker->was_away, .number = worker->welcome->pool->max_agents_per_worker });
        worker->was_away = false;
}

/* ---- the control socket ---- */

static int send_line(void *arg, const struct id *agent_id, int64_t at, const char *line, size_t len)
{
        struct control control = { .type = CONTROL_LINE, .agent_id = *agent_id, .number = at, .line = strndup(line, len) };
        int r = control.line ? worker_send(arg, &control) : -ENOMEM;

        free(control.line);
        return r;
}

/* Another user than the daemon's opens no file of the daemon's: it writes to the log that it was forked with. */
static void use_log(struct worker *worker, const struct welcome *welcome)
{
        int r = 0;

        if (worker->place->apart)
                log_set(welcome->log_level, welcome->log_format);
        else
                r = log_open(welcome->log_file, welcome->log_level, welcome->log_format);
        if (worker->welcome->agents_to_master)
                worker->welcome->agents.hand_over = send_line;
        worker->welcome->agents.arg = worker;

        if (r < 0)
                log_error("log.unusable", "file=%s error=%s", LOG_Q(welcome->log_file), LOG_Q(strerror(-r)));
}

static void prepare_host(struct worker *worker)
{
        const struct pool_config *pool = worker->welcome->pool;

        limits_init(&worker->host.limits, worker->place->open_files);
        oom_begin(&worker->host.oom);
        worker->host.drain_ms = pool->drain_timeout_ms;
        if (worker->place->cgroup && pool->runtime.type == POOL_RUNTIME_COMMAND)
                worker->cgroup = agent_cgroup_parent(worker->place->cgroup, &worker->process_id);
        worker->host.cgroup = worker->cgroup;
        limits_apply(&pool->worker_limits); /* only lowers what is ours to lower */
}

/* The forker makes it so, by the settings that it began with. */
static int check_user(const struct worker *worker, char *reason, size_t size)
{
        const struct pool_config *pool = worker->welcome->pool;
        struct identity wanted;
        int r = pool->user ? identity_find(pool->user, pool->group, &wanted, reason, size) : 0;

        if (r < 0 || (pool->user ? wanted.uid == geteuid() && wanted.gid == getgid() : !worker->place->apart))
                return r;
        snprintf(reason, size, "it should run as %s%s; a change of \"user\" or \"group\" takes effect with USR2, or a new start",
                pool->user ? "user " : "the daemon's user", pool->user ? pool->user : "");
        return -EPERM;
}

/* The first WELCOME brings everything up; READY follows from on_registered. */
static void begin(struct worker *worker)
{
        char reason[160] = "out of memory";
        int r;

        use_log(worker, worker->welcome);
        prepare_host(worker);
        agent_log_open(&worker->welcome->agents);
        worker->roster = roster_new((unsigned)worker->welcome->pool->max_agents_per_worker);
        r = worker->roster ? FAULT_POINT("worker.begin") : -ENOMEM;
        r = r ? r : check_user(worker, reason, sizeof reason);
        r = r ? r : credentials_open(worker->welcome->run_dir, &worker->process_id, worker->welcome->credentials, reason, sizeof reason);
        r = r ? r : runtime_new(worker->base, worker->welcome->pool, &worker->host, &worker->runtime, reason, sizeof reason);
        r = r ? r : registration_start(worker, reason, sizeof reason);
        if (r < 0)
                send_failed(worker, reason);
}

/* What the master has decided for all: to use the registry, or to do without. */
static void take_registry(struct worker *worker, bool up, uint64_t generation)
{
        worker->generation = generation;
        if (worker->roster && registration_use(worker, up) < 0)
                send_failed(worker, "out of memory");
}

static void take_welcome(struct worker *worker, const cJSON *settings)
{
        struct welcome *welcome = welcome_read(settings);

        if (!welcome) {
                send_failed(worker, "the master's settings make no sense to this worker");
        } else if (!worker->welcome) {
                worker->welcome = welcome;
                worker->generation = welcome->registry_generation;
                begin(worker);
        } else { /* a new master: whom to answer changes, and the log; what runs does not */
                struct agent_log_target agents = worker->welcome->agents;

                worker->welcome->agents = welcome->agents;
                worker->welcome->agents_to_master = welcome->agents_to_master;
                welcome->agents = agents;
                use_log(worker, welcome);
                worker->welcome->master_id = welcome->master_id;
                if (!worker->ending)
                        registration_drain(worker, false);
                worker->was_away = !worker->registry;
                if (welcome->registry_up && !worker_registry_up(worker)) {
                        worker->generation = welcome->registry_generation;
                        worker_send_ready(worker);
                }
                take_registry(worker, welcome->registry_up, welcome->registry_generation);
                welcome_free(welcome);
        }
}

/* Ends in any case once the agents' graces are over. */
static void arm_last_word(struct worker *worker)
{
        const struct pool_config *pool = worker->welcome->pool;
        int64_t ms = LAST_WORD_MS + pool->kill_grace_ms + (worker->now ? 0 : worker->host.drain_ms + pool->stop_grace_ms);
        struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

        event_add(worker->last_word, &tv);
}

/* drain_ms: what its agents have for their answers, at most. */
static void stop(struct worker *worker, enum control_stop how, int64_t drain_ms)
{
        if (!worker->roster) {
                worker_end(worker, EXIT_SUCCESS);
                return;
        }
        if (drain_ms < worker->host.drain_ms)
                hosting_drain(worker, drain_ms);
        worker->ending |= how != CONTROL_STOP_DRAIN;
        registration_drain(worker, true);
        roster_drain(worker->roster, worker->ending);
        if (how == CONTROL_STOP_NOW)
                hosting_kill(worker);
        if (worker->ending)
                arm_last_word(worker);
        worker_wake(worker);
}

static void handle_control(struct worker *worker, struct control *control)
{
        switch (control->type) {
        case CONTROL_WELCOME:
                take_welcome(worker, control->settings);
                break;
        case CONTROL_COMMAND:
                if (worker->roster)
                        hosting_command(worker, &control->command);
                break;
        case CONTROL_STOP:
                stop(worker, (enum control_stop)control->number, control->drain_ms);
                break;
        case CONTROL_PING:
                send_control(worker, &(struct control){ .type = CONTROL_PONG, .number = control->number,
                                             .rss_bytes = proc_own_rss(), .cpu_ms = proc_own_cpu_ms() });
                break;
        case CONTROL_REOPEN_LOGS:
                log_reopen();
                break;
        case CONTROL_REGISTRY:
                take_registry(worker, control->up, control->generation);
                break;
        case CONTROL_USAGE:
                if (worker->roster)
                        usage_tell(worker, control->number);
                break;
        case CONTROL_HOSTED:
        case CONTROL_READY:
        case CONTROL_FAILED:
        case CONTROL_PONG:
        case CONTROL_REPLY:
        case CONTROL_USED:
        case CONTROL_REFUSED:
        case CONTROL_LINE:
        case CONTROL_TYPE_COUNT:
                log_warn("control.unexpected", "type=%d", (int)control->type);
                break;
        }
}

static void on_control(void *arg, const char *data, size_t len, int fd)
{
        struct control control;

        fd_close(fd);
        if (control_decode(data, len, &control) < 0) {
                log_warn("control.bad", "text=%s", LOG_Q(data));
                return;
        }
        handle_control(arg, &control);
        control_done(&control);
}

/* Forker and master are gone: nobody watches these agents any more, and nobody hears their answers. */
static void on_control_closed(void *arg)
{
        struct worker *worker = arg;

        log_warn("control.closed", "detail=\"ending the agents\"");
        worker->control = channel_free(worker->control);
        stop(worker, CONTROL_STOP_END, 0);
}

static void on_sigterm(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        stop(arg, CONTROL_STOP_END, INT64_MAX);
}

static void on_last_word(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        log_warn("worker.agents_left", "detail=\"their graces are over\"");
        worker_end(arg, EXIT_FAILURE);
}

/* ---- start and end ---- */

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
        struct worker *worker = arg;

        (void)fd;
        (void)what;
        if (worker->roster)
                hosting_act(worker);
}

static int start(struct worker *worker, int control)
{
        static const struct channel_events events = { .on_packet = on_control, .on_closed = on_control_closed };

        worker->base = event_base_new();
        if (!worker->base)
                return -ENOMEM;
        worker->settle = event_new(worker->base, -1, 0, on_settle, worker);
        worker->last_word = event_new(worker->base, -1, 0, on_last_word, worker);
        worker->sigterm = evsignal_new(worker->base, SIGTERM, on_sigterm, worker);
        worker->control = channel_new(worker->base, control, &events, worker);
        if (!worker->settle || !worker->last_word || !worker->sigterm || !worker->control)
                return -ENOMEM;
        return event_add(worker->sigterm, NULL) < 0 ? -ENOMEM : 0;
}

static void worker_done(struct worker *worker)
{
        struct event *events[] = { worker->settle, worker->heartbeat, worker->last_word, worker->sigterm };

        if (worker->control && channel_flush(worker->control, LAST_WORD_MS) == -ETIMEDOUT)
                log_warn("control.not_sent", "detail=\"the master does not read\"");
        registry_free(worker->registry);
        for (size_t i = 0; i < sizeof events / sizeof *events; i++)
                if (events[i])
                        event_free(events[i]);
        channel_free(worker->control);
        credentials_close();
        roster_free(worker->roster);
        if (worker->status == EXIT_SUCCESS)
                runtime_free(worker->runtime); /* else agents may be left in it: the exit ends them */
        if (worker->cgroup)
                cgroup_remove(worker->cgroup);
        free(worker->cgroup);
        welcome_free(worker->welcome);
        event_base_free(worker->base);
}

int worker_run(int control, const struct id *process_id, const char *pool_name, const struct worker_place *place)
{
        struct worker worker = { .process_id = *process_id, .pool_name = pool_name, .place = place,
                .started_at = clock_wall_ms() };

        log_set_role("worker");
        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN);
        prctl(PR_SET_CHILD_SUBREAPER, 1); /* what an agent's program leaves behind lands here */
        if (start(&worker, control) < 0)
                return EXIT_FAILURE;
        event_base_dispatch(worker.base);
        worker_done(&worker);
        return worker.status;
}
