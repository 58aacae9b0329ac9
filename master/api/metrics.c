/* GET /metrics: Prometheus' text format, version 0.0.4. Counters begin at zero with each master. No agent's id is a label. */
#include "common/proc.h"
#include "master/api/api.h"
#include "master/control/messages.h"
#include "sql/store.h"

#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

static void family(FILE *out, const char *name, const char *type, const char *help)
{
        fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(FILE *out, const char *name, const char *type, const char *help, double value)
{
        family(out, name, type, help);
        fprintf(out, "%s %.17g\n", name, value);
}

static void put_count(FILE *out, const char *name, const char *pool_name, const char *label, const char *value,
        unsigned long long count)
{
        fprintf(out, "%s{pool=\"%s\",%s=\"%s\"} %llu\n", name, pool_name, label, value, count);
}

/* ---- this process ---- */

static unsigned count_files(void)
{
        DIR *directory = opendir("/proc/self/fd");
        unsigned count = 0;

        if (!directory)
                return 0;
        while (readdir(directory))
                count++;
        closedir(directory);
        return count > 3 ? count - 3 : 0; /* ".", "..", and this directory itself */
}

static void print_process(FILE *out, const struct master *master)
{
        struct rlimit files;

        getrlimit(RLIMIT_NOFILE, &files);
        single(out, "agentpool_self_suspicions_total", "counter", "How often most workers were silent at once, and none was ended.",
                (double)master->suspicion.times);
        single(out, "process_start_time_seconds", "gauge", "When this master began, in seconds since 1970.",
                (double)master->started_at / 1e3);
        single(out, "process_cpu_seconds_total", "counter", "Processor time that this master used.", (double)proc_own_cpu_ms() / 1e3);
        single(out, "process_resident_memory_bytes", "gauge", "Resident memory of this master.", (double)proc_own_rss());
        single(out, "process_open_fds", "gauge", "Open descriptors of this master.", count_files());
        single(out, "process_max_fds", "gauge", "Descriptors this master may open.", (double)files.rlim_cur);
}

/* ---- pools ---- */

static const struct pool_family {
        const char *name, *type, *help;
        size_t offset; /* in struct pool_stats */
        bool wide;     /* uint64_t, else unsigned */
} pool_families[] = {
        { "agentpool_slots", "gauge", "Slots of ready workers.", offsetof(struct pool_stats, capacity), false },
        { "agentpool_slots_used", "gauge", "Slots that an agent holds.", offsetof(struct pool_stats, used), false },
        { "agentpool_waiting_spawns", "gauge", "Spawns without a slot yet.", offsetof(struct pool_stats, waiting), false },
        { "agentpool_workers_started_total", "counter", "Workers forked.", offsetof(struct pool_stats, workers_spawned), true },
        { "agentpool_workers_ended_total", "counter", "Workers that are gone.",
                offsetof(struct pool_stats, workers_terminated), true },
};

static double stat_value(const struct pool_stats *stats, const struct pool_family *of)
{
        const char *at = (const char *)stats + of->offset;

        return of->wide ? (double)*(const uint64_t *)(const void *)at : (double)*(const unsigned *)(const void *)at;
}

static void print_pool_families(FILE *out, const struct master *master, const struct pool_stats *stats)
{
        for (size_t f = 0; f < sizeof pool_families / sizeof *pool_families; f++) {
                family(out, pool_families[f].name, pool_families[f].type, pool_families[f].help);
                for (size_t i = 0; i < pools_count(master->pools); i++)
                        fprintf(out, "%s{pool=\"%s\"} %.17g\n", pool_families[f].name,
                                pools_at(master->pools, i)->config->pool_name, stat_value(&stats[i], &pool_families[f]));
        }
        family(out, "agentpool_worker_crashes_total", "counter", "Workers that ended otherwise than in order.");
        for (size_t i = 0; i < pools_count(master->pools); i++)
                fprintf(out, "agentpool_worker_crashes_total{pool=\"%s\"} %llu\n",
                        pools_at(master->pools, i)->config->pool_name,
                        (unsigned long long)pools_at(master->pools, i)->metrics.worker_crashes);
        family(out, "agentpool_pool_degraded", "gauge", "1 while a breaker of the pool is not closed, or Redis is away.");
        for (size_t i = 0; i < pools_count(master->pools); i++)
                fprintf(out, "agentpool_pool_degraded{pool=\"%s\"} %d\n", pools_at(master->pools, i)->config->pool_name,
                        stats[i].tripped || master->mode.degraded);
}

static void print_breakers(FILE *out, const struct master *master)
{
        static const unsigned values[BREAKER_STATE_COUNT] = { [BREAKER_HALF_OPEN] = 1, [BREAKER_OPEN] = 2 };

        family(out, "agentpool_breaker_state", "gauge", "Breakers of the pool: 0 closed, 1 half open, 2 open.");
        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const struct master_pool *pool = pools_at(master->pools, i);

                put_count(out, "agentpool_breaker_state", pool->config->pool_name, "breaker", "workers",
                        values[pool_breaker(pool->rules, POOL_WORKERS)->state]);
                put_count(out, "agentpool_breaker_state", pool->config->pool_name, "breaker", "agents",
                        values[pool_breaker(pool->rules, POOL_AGENTS)->state]);
        }
}

static void print_states(FILE *out, const struct master *master, const struct pool_stats *stats)
{
        family(out, "agentpool_agents", "gauge", "Agents on record, by state.");
        for (size_t i = 0; i < pools_count(master->pools); i++)
                for (unsigned state = 1; state < AGENT_TERMINATED; state++)
                        put_count(out, "agentpool_agents", pools_at(master->pools, i)->config->pool_name, "state",
                                agent_state_name((enum agent_state)state), stats[i].by_state[state]);
        family(out, "agentpool_workers", "gauge", "Worker processes, by state.");
        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const char *pool_name = pools_at(master->pools, i)->config->pool_name;

                put_count(out, "agentpool_workers", pool_name, "state", "starting", stats[i].workers_starting);
                put_count(out, "agentpool_workers", pool_name, "state", "ready", stats[i].workers_ready);
                put_count(out, "agentpool_workers", pool_name, "state", "draining", stats[i].workers_draining);
                put_count(out, "agentpool_workers", pool_name, "state", "stale", stats[i].workers_stale);
        }
}

/* One that struct pool_metrics has at offset. */
static void print_counter(FILE *out, const struct master *master, const char *name, const char *help, size_t offset)
{
        family(out, name, "counter", help);
        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const struct master_pool *pool = pools_at(master->pools, i);
                uint64_t value;

                memcpy(&value, (const char *)&pool->metrics + offset, sizeof value);
                fprintf(out, "%s{pool=\"%s\"} %llu\n", name, pool->config->pool_name, (unsigned long long)value);
        }
}

static void print_outcomes(FILE *out, const struct master *master, const struct pool_stats *stats)
{
        static const char *const results[] = { "completed", "failed", "timeout" };

        family(out, "agentpool_spawns_total", "counter", "Spawns answered, by result.");
        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const char *pool_name = pools_at(master->pools, i)->config->pool_name;

                put_count(out, "agentpool_spawns_total", pool_name, "result", "ok", stats[i].spawns_ok);
                put_count(out, "agentpool_spawns_total", pool_name, "result", "failed", stats[i].spawns_failed);
        }
        family(out, "agentpool_messages_total", "counter", "Requests to agents that have ended, by result.");
        for (size_t i = 0; i < pools_count(master->pools); i++)
                for (unsigned r = 0; r < sizeof results / sizeof *results; r++)
                        put_count(out, "agentpool_messages_total", pools_at(master->pools, i)->config->pool_name, "result",
                                results[r], pools_at(master->pools, i)->metrics.messages_by_status[r]);
        print_counter(out, master, "agentpool_agent_noise_lines_total", "Lines of agents' standard output that were no JSON-RPC.",
                offsetof(struct pool_metrics, noise_lines));
        print_counter(out, master, "agentpool_agent_events_dropped_total", "Notifications of agents that were lost on the way.",
                offsetof(struct pool_metrics, events_dropped));
        family(out, "agentpool_events_total", "counter", "What happened, by the event's name.");
        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const struct master_pool *pool = pools_at(master->pools, i);

                for (unsigned e = 0; pool_metrics_event_name(e); e++)
                        put_count(out, "agentpool_events_total", pool->config->pool_name, "event", pool_metrics_event_name(e),
                                pool->metrics.events[e]);
        }
}

static const struct pool_histogram {
        const char *name, *help;
        size_t offset; /* in struct pool_metrics */
} pool_histograms[] = {
        { "agentpool_spawn_duration_seconds", "From a spawn's request to its answer, of those that succeeded.",
                offsetof(struct pool_metrics, spawns) },
        { "agentpool_message_duration_seconds", "From a request to the agent's answer.", offsetof(struct pool_metrics, messages) },
        { "agentpool_worker_start_duration_seconds", "From a worker's fork to ready.", offsetof(struct pool_metrics, worker_starts) },
        { "agentpool_heartbeat_age_seconds", "Age of workers' last heartbeat as each sweep found it.",
                offsetof(struct pool_metrics, heartbeat_ages) },
};

static void print_histograms(FILE *out, const struct master *master)
{
        for (size_t h = 0; h < sizeof pool_histograms / sizeof *pool_histograms; h++) {
                family(out, pool_histograms[h].name, "histogram", pool_histograms[h].help);
                for (size_t i = 0; i < pools_count(master->pools); i++) {
                        const struct master_pool *pool = pools_at(master->pools, i);
                        const void *at = (const char *)&pool->metrics + pool_histograms[h].offset;
                        char label[96];

                        snprintf(label, sizeof label, "pool=\"%s\"", pool->config->pool_name);
                        histogram_print(at, out, pool_histograms[h].name, label);
                }
        }
}

static void print_pools(FILE *out, const struct master *master)
{
        size_t count = pools_count(master->pools);
        struct pool_stats *stats = calloc(count + 1, sizeof *stats);

        if (!stats)
                return;
        for (size_t i = 0; i < count; i++)
                pool_stats(pools_at(master->pools, i)->rules, &stats[i]);
        print_pool_families(out, master, stats);
        print_breakers(out, master);
        print_states(out, master, stats);
        print_outcomes(out, master, stats);
        print_histograms(out, master);
        free(stats);
}

/* ---- what it stands on ---- */

static void print_store(FILE *out, const struct master *master)
{
        struct store_status status;

        store_status(master->store, &status);
        single(out, "agentpool_store_available", "gauge", "1 while the database takes writes.", status.available);
        single(out, "agentpool_store_queued_writes", "gauge", "Writes that are not durable yet.", status.queued);
        single(out, "agentpool_store_commits_total", "counter", "Transactions committed.", (double)status.commits);
        single(out, "agentpool_store_writes_total", "counter", "Writes that became durable.", (double)status.operations);
        single(out, "agentpool_store_dropped_history_total", "counter", "Rows of history lost while the database was away.",
                (double)status.dropped);
        single(out, "agentpool_store_broken_rows_total", "counter", "Rows met that could not be read, and were left out.",
                (double)status.broken);
        family(out, "agentpool_store_commit_duration_seconds", "histogram", "One transaction with all that it shares.");
        histogram_print(&status.commit_times, out, "agentpool_store_commit_duration_seconds", "");
}

static void print_http(FILE *out, const struct master *master)
{
        struct http_stats http;

        http_server_stats(master->http, &http);
        single(out, "agentpool_http_connections", "gauge", "Open connections of clients.", http.connections);
        single(out, "agentpool_http_requests_active", "gauge", "Requests without an answer yet.", http.requests_active);
        single(out, "agentpool_http_connections_accepted_total", "counter", "Connections accepted.", (double)http.accepted);
        single(out, "agentpool_http_connections_refused_total", "counter", "Connections closed for want of room.",
                (double)http.refused);
        family(out, "agentpool_http_answers_total", "counter", "Answers, by the class of their status.");
        fprintf(out, "agentpool_http_answers_total{class=\"2xx\"} %llu\n", (unsigned long long)http.answers_2xx);
        fprintf(out, "agentpool_http_answers_total{class=\"4xx\"} %llu\n", (unsigned long long)http.answers_4xx);
        fprintf(out, "agentpool_http_answers_total{class=\"5xx\"} %llu\n", (unsigned long long)http.answers_5xx);
}

static void print_all(FILE *out, const struct master *master)
{
        family(out, "agentpool_build_info", "gauge", "The version of this master.");
        fprintf(out, "agentpool_build_info{version=\"%s\"} 1\n", AGENTPOOL_VERSION);
        single(out, "agentpool_registry_available", "gauge", "1 while Redis answers.", master->registry_up);
        single(out, "agentpool_waiting_messages", "gauge", "Requests that agents work on.",
                (double)messages_waiting(master->messages));
        print_store(out, master);
        print_http(out, master);
        print_pools(out, master);
        print_process(out, master);
}

void api_metrics(struct http_request *request, void *arg)
{
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);

        if (out)
                print_all(out, arg);
        if (out && fclose(out) == 0)
                http_answer(request, 200, CONTENT_TYPE, text, len);
        else
                http_answer_problem(request, 503, "out of memory; try again");
        free(text);
}
