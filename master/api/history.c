/* What the store remembers: executions, events, utilisation over time; and the streams of what happens now. */
#include "common/clock.h"
#include "master/api/api.h"
#include "master/control/streams.h"
#include "sql/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXECUTIONS "executions"
#define AUDIT "audit" /* the event that says who asked */

static void answer_store_error(struct http_request *request, int error)
{
        if (error == -ENOENT) {
                http_answer_problem(request, 404, "no such record");
        } else if (error == -EBADMSG) {
                http_answer_problem(request, 503, "the record cannot be read: mend or delete its row in the database");
        } else if (error == -EINVAL) {
                http_answer_problem(request, 400, "\"cursor\" is none of ours; start again without it");
        } else {
                http_answer_retry_after(request, 1);
                http_answer_problem(request, 503, "the store is not available; try again");
        }
}

/* {"executions": […], "next_cursor": …} becomes the list and a Link header. */
static void on_executions(void *arg, int error, const char *json)
{
        struct http_request *request = arg;
        struct json_error why;
        cJSON *tree = NULL;
        const char *cursor;

        if (error == 0)
                error = json_parse(json, strlen(json), JSON_STRICT, &tree, &why);
        if (error < 0) {
                answer_store_error(request, error);
                return;
        }
        cursor = json_string(tree, "next_cursor");
        if (cursor)
                api_next_link(request, cursor);
        api_answer(request, 200, cJSON_DetachItemFromObjectCaseSensitive(tree, EXECUTIONS));
        cJSON_Delete(tree);
}

static void on_object(void *arg, int error, const char *json)
{
        struct http_request *request = arg;

        if (error == 0)
                http_answer(request, 200, "application/json", json, strlen(json));
        else
                answer_store_error(request, error);
}

/* limit, cursor, status, pool_name, project_id (kept in *project_id) of an executions query. False: answered already. */
static bool read_query(struct http_request *request, struct store_query *query, struct id *project_id)
{
        static const char *const names[] = { "limit", "cursor", "status", "pool_name", "project_id", NULL };
        int64_t limit;

        if (!api_check_query(request, names) || !api_query_id(request, "project_id", project_id) ||
                !api_query_integer(request, "limit", 100, 1, 1000, &limit))
                return false;
        query->limit = (unsigned)limit;
        query->cursor = http_request_query(request, "cursor");
        query->status = http_request_query(request, "status");
        query->pool_name = http_request_query(request, "pool_name");
        query->project_id = http_request_query(request, "project_id") ? project_id : NULL;
        return true;
}

void api_executions_list(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct store_query query = { 0 };
        struct id project_id;
        int r;

        if (!read_query(request, &query, &project_id))
                return;
        r = store_executions(master->store, &query, on_executions, request);
        if (r < 0)
                answer_store_error(request, r);
}

void api_executions_get(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct store_query query = { 0 };
        int r;

        if (id_parse(http_request_param(request, "execution_id"), &query.execution_id) < 0) {
                http_answer_problem(request, 400, "the execution id in the path is no UUID");
                return;
        }
        r = store_executions(master->store, &query, on_object, request);
        if (r < 0)
                answer_store_error(request, r);
}

void api_executions_summary(struct http_request *request, void *arg)
{
        struct master *master = arg;
        struct store_query query = { 0 };
        struct id project_id;
        int r;

        if (!read_query(request, &query, &project_id))
                return;
        r = store_executions_summary(master->store, &query, on_object, request);
        if (r < 0)
                answer_store_error(request, r);
}

/* How far back a series goes and how much time one point covers: about 60 to 170 points each. */
static const struct time_range {
        const char *name;
        int64_t range_ms, bucket_ms;
} time_ranges[] = {
        { "1h", 3600000, 60000 },
        { "6h", 6 * 3600000, 300000 },
        { "24h", 24 * 3600000, 900000 },
        { "7d", 7 * 86400000LL, 3600000 },
        { "30d", 30 * 86400000LL, 6 * 3600000 },
};

static const struct time_range *find_range(const char *name)
{
        for (size_t i = 0; i < sizeof time_ranges / sizeof *time_ranges; i++)
                if (strcmp(time_ranges[i].name, name) == 0)
                        return &time_ranges[i];
        return NULL;
}

static bool known_metric(const char *type)
{
        return strcmp(type, "utilization") == 0 || strcmp(type, EXECUTIONS) == 0 || strcmp(type, "success_rate") == 0;
}

void api_timeseries(struct http_request *request, void *arg)
{
        static const char *const names[] = { "metric_type", "time_range", "pool_name", NULL };
        struct master *master = arg;
        const char *type = http_request_query(request, "metric_type"), *name = http_request_query(request, "time_range");
        const struct time_range *range = find_range(name ? name : "24h");
        struct store_query query = { .metric_type = type ? type : "utilization", .limit = 1000,
                .pool_name = http_request_query(request, "pool_name") };
        int r;

        if (!api_check_query(request, names))
                return;
        if (!known_metric(query.metric_type)) {
                http_answer_problem(request, 400, "query parameter \"metric_type\" must be utilization, executions or success_rate");
        } else if (!range) {
                http_answer_problem(request, 400, "query parameter \"time_range\" must be 1h, 6h, 24h, 7d or 30d");
        } else {
                query.since = clock_wall_ms() - range->range_ms;
                query.bucket_ms = range->bucket_ms;
                r = store_timeseries(master->store, &query, on_object, request);
                if (r < 0)
                        answer_store_error(request, r);
        }
}

/* An agent's record that waits for what the store knows besides. */
struct record {
        struct http_request *request;
        struct master *master;
        struct id agent_id;
        cJSON *tree;
};

/* Should memory lack, there is no record left: no answer by half. */
static void add_events(struct record *record, const char *name, int error, const char *json)
{
        struct json_error why;
        cJSON *tree = NULL, *events = NULL;

        if (error == 0 && json_parse(json, strlen(json), JSON_STRICT, &tree, &why) == 0)
                events = cJSON_DetachItemFromObjectCaseSensitive(tree, "events");
        cJSON_Delete(tree);
        if (record->tree && json_add_item(record->tree, name, events ? events : cJSON_CreateNull()) < 0) {
                cJSON_Delete(record->tree);
                record->tree = NULL;
        }
}

static void on_history(void *arg, int error, const char *json)
{
        struct record *record = arg;

        add_events(record, "history", error, json);
        api_add_last_words(record->master, &record->agent_id, record->tree);
        api_answer(record->request, 200, record->tree);
        free(record);
}

static void ask_history(struct record *record)
{
        struct store_query query = { .agent_id = record->agent_id, .not_event = AUDIT, .limit = 20 };

        if (store_events(record->master->store, &query, on_history, record) < 0)
                on_history(record, -EAGAIN, NULL);
}

static void on_asked(void *arg, int error, const char *json)
{
        add_events(arg, "asked", error, json);
        ask_history(arg);
}

void api_answer_with_history(struct http_request *request, struct master *master, const struct id *agent_id, bool asked,
        cJSON *take_tree)
{
        struct store_query query = { .agent_id = *agent_id, .event = AUDIT, .limit = 20 };
        struct record *record = take_tree ? malloc(sizeof *record) : NULL;

        if (!record) {
                cJSON_Delete(take_tree);
                api_answer(request, 200, NULL);
                return;
        }
        *record = (struct record){ request, master, *agent_id, take_tree };
        if (!asked)
                ask_history(record);
        else if (store_events(master->store, &query, on_asked, record) < 0)
                on_asked(record, -EAGAIN, NULL);
}

void api_pools_events(struct http_request *request, void *arg)
{
        static const struct id all;
        struct master *master = arg;

        streams_add(master->streams, request, &all, "");
}

void api_agents_events(struct http_request *request, void *arg)
{
        struct master *master = arg;
        const struct agent *agent = api_path_agent(request, master);
        char client[API_CLIENT_SIZE];

        if (agent && api_client(request, client))
                streams_add(master->streams, request, &agent->agent_id, client);
}
