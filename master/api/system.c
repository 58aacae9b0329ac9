/* Health and counters of the whole service. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/control/messages.h"
#include "sql/store.h"

#include <errno.h>
#include <string.h>

void api_livez(struct http_request *request, void *arg)
{
        (void)arg;
        http_answer(request, 200, "application/json", "{\"status\":\"alive\"}", strlen("{\"status\":\"alive\"}"));
}

/* Why a spawn would fail now; NULL: it would not. */
static const char *not_ready(struct master *master, struct store_status *status)
{
        store_status(master->store, status);
        if (master->closing)
                return "the daemon is shutting down";
        if (!status->available)
                return status->reason;
        if (master->restoring)
                return "the agents are being loaded";
        if (!master->mode.decided)
                return "Redis has not answered yet";
        return admission_refusal(&master->admission, clock_mono_ms());
}

bool api_refuse(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct store_status status;

        if (!master->restoring || strncmp(http_request_path(request), "/api/", 5) != 0)
                return false;
        http_answer_retry_after(request, 1);
        http_answer_problem(request, 503, "which agents should run is not known yet: %s", not_ready(master, &status));
        return true;
}

static bool all_draining(const struct master *master)
{
        struct pool_stats stats;

        for (size_t i = 0; i < pools_count(master->pools); i++) {
                pool_stats(pools_at(master->pools, i)->rules, &stats);
                if (!stats.held)
                        return false;
        }
        return pools_count(master->pools) > 0;
}

void api_readyz(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct store_status status;
        const char *why = not_ready(master, &status), *away = mode_reason(&master->mode);
        cJSON *tree;

        if (!why && all_draining(master))
                why = "every pool was told to drain: POST …/pools/NAME/resume ends that";

        if (why) {
                http_answer_retry_after(request, 1);
                http_answer_problem(request, 503, "%s", why);
                return;
        }
        json_watch();
        tree = cJSON_CreateObject();
        json_add_string(tree, "status", "ready");
        if (away) { /* everything is served all the same; whoever asks is told */
                json_add_bool(tree, "degraded", true);
                json_add_string(tree, "reason", away);
        }
        api_answer_whole(request, tree);
}

static cJSON *print_redis(const struct master *master)
{
        const char *away = mode_reason(&master->mode);
        cJSON *tree = cJSON_CreateObject();

        json_add_bool(tree, "available", !away && master->registry_up);
        if (away)
                json_add_string(tree, "reason", away);
        return tree;
}

static cJSON *print_database(const struct store_status *status)
{
        cJSON *tree = cJSON_CreateObject();

        json_add_bool(tree, "available", status->available);
        json_add_string(tree, "backend", status->backend);
        json_add_integer(tree, "queued", status->queued);
        if (!status->available)
                json_add_string(tree, "reason", status->reason);
        return tree;
}

static cJSON *print_pools(const struct master *master)
{
        cJSON *tree = cJSON_CreateObject();

        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const struct master_pool *pool = pools_at(master->pools, i);
                cJSON *item = cJSON_CreateObject();
                struct pool_stats stats;

                pool_stats(pool->rules, &stats);
                json_add_integer(item, "agents", stats.agents);
                json_add_integer(item, "workers", stats.workers_ready);
                json_add_bool(item, "degraded", stats.tripped || master->mode.degraded);
                json_add_item(tree, pool->config->pool_name, item);
        }
        return tree;
}

void api_health(struct http_request *request, void *arg)
{
        struct master *master = arg;
        cJSON *tree = cJSON_CreateObject();
        struct store_status status;
        const char *why = not_ready(master, &status), *away = mode_reason(&master->mode);
        struct http_stats http;

        json_watch();
        http_server_stats(master->http, &http);
        json_add_string(tree, "status", why || away ? "degraded" : "healthy");
        if (why || away)
                json_add_string(tree, "reason", why ? why : away);
        json_add_bool(tree, "degraded", away);
        json_add_integer(tree, "connections", http.connections);
        json_add_item(tree, "redis", print_redis(master));
        json_add_item(tree, "database", print_database(&status));
        json_add_item(tree, "pools", print_pools(master));
        json_add_string(tree, "version", AGENTPOOL_VERSION);
        api_answer_whole(request, tree);
}

static cJSON *print_connections(const struct http_stats *http)
{
        cJSON *tree = cJSON_CreateObject();

        json_add_integer(tree, "open", http->connections);
        json_add_integer(tree, "accepted", (int64_t)http->accepted);
        json_add_integer(tree, "refused", (int64_t)http->refused);
        return tree;
}

static cJSON *print_requests(const struct http_stats *http)
{
        cJSON *tree = cJSON_CreateObject();

        json_add_integer(tree, "total", (int64_t)http->requests);
        json_add_integer(tree, "active", http->requests_active);
        json_add_integer(tree, "answers_2xx", (int64_t)http->answers_2xx);
        json_add_integer(tree, "answers_4xx", (int64_t)http->answers_4xx);
        json_add_integer(tree, "answers_5xx", (int64_t)http->answers_5xx);
        json_add_integer(tree, "parse_errors", (int64_t)http->parse_errors);
        return tree;
}

/* Sums over all pools. */
static struct pool_stats total_stats(const struct master *master)
{
        struct pool_stats total = { 0 };

        for (size_t i = 0; i < pools_count(master->pools); i++) {
                struct pool_stats stats;

                pool_stats(pools_at(master->pools, i)->rules, &stats);
                total.agents += stats.agents;
                total.used += stats.used;
                total.capacity += stats.capacity;
                total.waiting += stats.waiting;
                total.workers_ready += stats.workers_ready;
                total.workers_starting += stats.workers_starting;
                total.workers_draining += stats.workers_draining;
                total.spawns_ok += stats.spawns_ok;
                total.spawns_failed += stats.spawns_failed;
        }
        return total;
}

static cJSON *print_agents(const struct pool_stats *total)
{
        cJSON *tree = cJSON_CreateObject();

        json_add_integer(tree, "wanted", total->agents);
        json_add_integer(tree, "placed", total->used);
        json_add_integer(tree, "spawns_ok", (int64_t)total->spawns_ok);
        json_add_integer(tree, "spawns_failed", (int64_t)total->spawns_failed);
        return tree;
}

static cJSON *print_workers(const struct pool_stats *total)
{
        cJSON *tree = cJSON_CreateObject();

        json_add_integer(tree, "ready", total->workers_ready);
        json_add_integer(tree, "starting", total->workers_starting);
        json_add_integer(tree, "draining", total->workers_draining);
        json_add_integer(tree, "capacity", total->capacity);
        return tree;
}

static cJSON *print_queue(const struct master *master, const struct pool_stats *total)
{
        cJSON *tree = cJSON_CreateObject();
        struct store_status status;

        store_status(master->store, &status);
        json_add_integer(tree, "waiting_spawns", total->waiting);
        json_add_integer(tree, "waiting_messages", messages_waiting(master->messages));
        json_add_integer(tree, "waiting_writes", status.queued);
        return tree;
}

void api_stats(struct http_request *request, void *arg)
{
        const struct master *master = arg;
        struct pool_stats total = total_stats(master);
        cJSON *tree = cJSON_CreateObject();
        struct http_stats http;

        json_watch();
        http_server_stats(master->http, &http);
        json_add_item(tree, "connections", print_connections(&http));
        json_add_item(tree, "requests", print_requests(&http));
        json_add_item(tree, "agents", print_agents(&total));
        json_add_item(tree, "workers", print_workers(&total));
        json_add_item(tree, "queue", print_queue(master, &total));
        json_add_bool(tree, "degraded", master->mode.degraded);
        json_add_integer(tree, "uptime_seconds", (clock_wall_ms() - master->started_at) / 1000);
        api_answer_whole(request, tree);
}
