#include "worker/registration.h"

#include "common/fault.h"
#include "common/log.h"
#include "common/proc.h"
#include "worker/hosting.h"
#include "worker/refusal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Attempts to connect that fail before the master is told: its own fail at the same time when Redis is down. */
#define CONNECTS_MAX 3

static void beat(struct worker *worker);

/* The whole list first: a master that knew less than it would place again what is about to start here. */
static void announce(struct worker *worker)
{
        worker->revision = 0;
        worker->announcing = true;
        beat(worker);
}

/* Should that be lost, the next registration says it. */
static void tell_draining(struct worker *worker)
{
        if (roster_draining(worker->roster))
                registry_drain(worker->registry, &worker->process_id, NULL, NULL);
        else
                registry_undrain(worker->registry, &worker->process_id, NULL, NULL);
}

static void on_registered(void *arg, int error, const struct registry_reported *reported, size_t count);

static void describe_self(const struct worker *worker, struct registry_process *self)
{
        *self = (struct registry_process){ .process_id = worker->process_id, .master_id = worker->welcome->master_id,
                .pool_name = worker->pool_name, .host = worker->welcome->host, .pid = getpid(),
                .max_agents = (unsigned)worker->welcome->pool->max_agents_per_worker, .started_at = worker->started_at };
}

static enum agent_state state_of(const struct hosted *hosted)
{
        if (hosted->next)
                return AGENT_STARTING;
        if (hosted->state == HOSTED_RUNNING)
                return AGENT_IDLE;
        return hosted->state == HOSTED_STOPPING ? AGENT_STOPPING : AGENT_STARTING;
}

/* Agents that run here and were in no part yet, as many as one takes, each with its command (commands[i]: free()). Returns
 * how many, and whether others are left; -ENOMEM. */
static ssize_t list_part(const struct worker *worker, struct registry_agent *agents, char **commands, bool *ret_more)
{
        size_t count = 0, bytes = 0;

        *ret_more = false;
        for (struct hosted *h = roster_first(worker->roster); h && !*ret_more; h = h->hh.next) {
                const struct command *spawn = h->shown ? NULL : roster_spawn(h);

                if (!spawn)
                        continue;
                if (count == REGISTRY_PART_AGENTS || bytes >= REGISTRY_PART_BYTES) {
                        *ret_more = true;
                        break;
                }
                commands[count] = command_encode(spawn);
                if (!commands[count])
                        return -ENOMEM;
                h->shown = true;
                bytes += strlen(commands[count]);
                agents[count] = (struct registry_agent){ .agent_id = h->agent_id, .epoch = spawn->epoch,
                        .command = commands[count], .state = state_of(h) };
                count++;
        }
        return (ssize_t)count;
}

static void register_part(struct worker *worker, bool continues)
{
        struct registry_agent agents[REGISTRY_PART_AGENTS];
        char *commands[REGISTRY_PART_AGENTS] = { 0 };
        struct registry_process self;
        ssize_t count;

        describe_self(worker, &self);
        self.continues = continues;
        count = list_part(worker, agents, commands, &self.more);
        worker->parts_left = self.more;
        worker->registering = count >= 0 && registry_register(worker->registry, &self, agents, (size_t)count, on_registered,
                                                    worker) == 0;
        for (size_t i = 0; i < REGISTRY_PART_AGENTS; i++)
                free(commands[i]);
}

/* Not done for want of memory or Redis: the next heartbeat tries again. Meanwhile nothing is reported: Redis would take
 * what it was not told of yet for what belongs elsewhere. */
static void register_self(struct worker *worker)
{
        worker->registered = false;
        if (worker->registering || FAULT_POINT("worker.register") < 0)
                return;
        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next)
                h->shown = false;
        register_part(worker, false);
}

static void registered(struct worker *worker)
{
        worker->registered = true;
        hosting_forget_states(worker); /* it says idle of what runs */
        tell_draining(worker); /* a new one is ready, an old one as it was */
        announce(worker);
}

static void on_registered(void *arg, int error, const struct registry_reported *reported, size_t count)
{
        struct worker *worker = arg;

        worker->registering = false;
        if (error == -ESTALE) {
                roster_fence(worker->roster);
        } else if (error == -ECANCELED) {
                return; /* let go of, or this worker ends */
        } else if (error == -ENOENT) {
                register_self(worker); /* a FLUSHALL between two parts */
        } else if (error < 0) {
                log_warn("worker.not_registered", "error=%s", LOG_Q(strerror(-error)));
                refusal_tell(worker, error);
        } else {
                for (size_t i = 0; i < count; i++)
                        if (reported[i].result == -ESTALE)
                                roster_reported(worker->roster, &reported[i].agent_id, reported[i].epoch, -ESTALE);
                if (worker->parts_left)
                        register_part(worker, true);
                else
                        registered(worker);
        }
        worker_wake(worker);
}

static void take_listing(struct worker *worker, const struct registry_listing *listing)
{
        struct id *ids = calloc(listing->count + 1, sizeof *ids);
        uint64_t *epochs = calloc(listing->count + 1, sizeof *epochs);

        if (ids && epochs) {
                for (size_t i = 0; i < listing->count; i++) {
                        ids[i] = listing->agents[i].agent_id;
                        epochs[i] = listing->agents[i].epoch;
                        if (epochs[i] == 0) { /* nobody but us knows of it */
                                epochs[i] = UINT64_MAX;
                                worker->registered = false;
                        }
                        if (listing->agents[i].command)
                                hosting_command_text(worker, listing->agents[i].command, listing->agents[i].command_len);
                }
                roster_listed(worker->roster, ids, epochs, listing->count);
                worker->revision = listing->revision;
        }
        free(ids);
        free(epochs);
        if (!worker->registered)
                register_self(worker);
}

static void on_listing(void *arg, const struct registry_listing *listing)
{
        struct worker *worker = arg;

        if (listing->result == -ENOENT) {
                register_self(worker);
        } else if (listing->result == -ESTALE) {
                log_error("worker.fenced", "process=%s", ID_TEXT(&worker->process_id));
                roster_fence(worker->roster);
        } else if (listing->result == 0) {
                if (listing->changed)
                        take_listing(worker, listing);
                roster_retry(worker->roster);
                if (worker->announcing)
                        worker_send_ready(worker);
                worker->announcing = false;
        } else {
                refusal_tell(worker, listing->result);
        }
        worker_wake(worker);
}

static void beat(struct worker *worker)
{
        struct registry_beat beat = { .revision = worker->revision, .rss_bytes = proc_own_rss(), .cpu_ms = proc_own_cpu_ms(),
                .agent_count = roster_count(worker->roster) };

        if (!worker_registry_up(worker) || FAULT_POINT("worker.heartbeat") < 0)
                return;
        if (worker->registered)
                registry_heartbeat(worker->registry, &worker->process_id, &beat, on_listing, worker);
        else
                register_self(worker);
}

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        beat(arg);
        oom_look(&((struct worker *)arg)->host.oom);
        hosting_tell_states(arg);
        hosting_tell_activity(arg);
}

static void on_registry_up(void *arg)
{
        struct worker *worker = arg;

        worker->connects_failed = 0;
        register_self(worker);
}

static void on_registry_down(void *arg, int error, const char *why)
{
        struct worker *worker = arg;

        log_warn("registry.down", "why=%s", LOG_Q(why));
        if (refusal_is(error) || ++worker->connects_failed >= CONNECTS_MAX)
                refusal_say(worker, why);
}

static void on_registry_message(void *arg, const char *data, size_t len)
{
        hosting_command_text(arg, data, len);
}

static int connect_registry(struct worker *worker, char *reason, size_t size)
{
        static const struct registry_events events = { .on_up = on_registry_up, .on_down = on_registry_down,
                .on_message = on_registry_message };
        const struct welcome *welcome = worker->welcome;
        char channel[64];
        struct registry_config config = { .channel = channel, .connect_timeout_ms = welcome->redis_connect_timeout_ms,
                .request_timeout_ms = welcome->redis_request_timeout_ms,
                .ping_interval_ms = welcome->redis_ping_interval_ms };

        snprintf(channel, sizeof channel, "process:%s:commands", ID_TEXT(&worker->process_id));
        worker->registry = registry_new(worker->base, &welcome->redis_url, &config, &events, worker);
        if (worker->registry)
                return 0;
        snprintf(reason, size, "out of memory");
        return -ENOMEM;
}

static int start_heartbeat(struct worker *worker)
{
        int64_t interval = worker->welcome->pool->heartbeat_interval_ms;
        struct timeval tv = { .tv_sec = interval / 1000, .tv_usec = interval % 1000 * 1000 };

        worker->heartbeat = event_new(worker->base, -1, EV_PERSIST, on_heartbeat, worker);
        return worker->heartbeat && event_add(worker->heartbeat, &tv) == 0 ? 0 : -ENOMEM;
}

int registration_start(struct worker *worker, char *reason, size_t size)
{
        int r = worker->welcome->registry_up ? connect_registry(worker, reason, size) : 0;

        r = r ? r : start_heartbeat(worker);
        if (r == 0 && !worker->registry)
                worker_send_ready(worker);
        return r;
}

/* Replies that Redis may have published without saying so go the other way, too: ends before the list without them. */
static void let_go(struct worker *worker)
{
        struct registry *registry = worker->registry;

        worker->registry = NULL;
        worker->registered = worker->announcing = false;
        registry_free(registry);
        worker->registering = false;
        roster_retry(worker->roster);
        hosting_act(worker);
        worker_send_ready(worker);
}

int registration_use(struct worker *worker, bool up)
{
        char reason[160];

        up = up && (worker->welcome->redis_url.path || worker->welcome->redis_url.host);
        if (up && !worker->registry)
                return connect_registry(worker, reason, sizeof reason);
        if (up && worker_registry_up(worker))
                announce(worker);
        else if (!up && worker->registry)
                let_go(worker);
        else if (!up)
                worker_send_ready(worker);
        return 0;
}

void registration_drain(struct worker *worker, bool draining)
{
        if (draining)
                roster_drain(worker->roster, false);
        else
                roster_undrain(worker->roster);
        if (worker_registry_up(worker) && worker->registered)
                tell_draining(worker);
}

bool worker_registry_up(const struct worker *worker)
{
        return worker->registry && registry_up(worker->registry);
}
