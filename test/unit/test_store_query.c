/* The queries for the API: the same text from every back end. */
#include "test/unit/store_fixture.h"

static struct database db;
static struct store *store;

static void open_new(int backend)
{
        database_new(&db, (enum backend)backend);
        store = open_store(db.url, NULL);
}

static char *json;
static int json_error;
static bool json_came;
static void on_json(void *arg, int error, const char *text)
{
        (void)arg;
        json_error = error;
        free(json);
        json = text ? strdup(text) : NULL;
        json_came = true;
}

typedef int query_function(struct store *, const struct store_query *, store_json_cb, void *);
static const char *query_json(query_function *function, struct store_query query)
{
        settle(store);
        json_came = false;
        ck_assert_int_eq(function(store, &query, on_json, NULL), 0);
        LOOP_UNTIL(json_came);
        return json ? json : "";
}
#define QUERY(function, ...) query_json(function, (struct store_query){ __VA_ARGS__ })

#define AT 1700000000000

static struct id numbered_id(int number)
{
        struct id id;

        ck_assert_int_eq(id_parse(format("6f1c8a52-3a55-4f0b-9d3e-%012d", number), &id), 0);
        return id;
}

static void add_executions(int count)
{
        static const char *const statuses[] = { "completed", "failed", "timeout", "completed" };

        for (int i = 0; i < count; i++) {
                struct store_execution e = { .execution_id = numbered_id(i), .agent_id = numbered_id(i % 3),
                        .project_id = numbered_id(i % 2), .pool_name = i % 2 ? "developer_pool" : "tester_pool",
                        .method = "tools/call", .status = "running", .started_at = AT + i / 2 };

                ck_assert_int_eq(store_execution_add(store, &e), 0);
                if (i % 5 == 4)
                        continue; /* runs */
                e.status = statuses[i % 4];
                e.error = i % 4 == 1 ? "it \"broke\"" : NULL;
                e.completed_at = e.started_at + i;
                e.duration_ms = i;
                ck_assert_int_eq(store_execution_add(store, &e), 0);
        }
}

START_TEST(test_executions_are_told_alike_when_asked)
{
        const struct id stranger = numbered_id(5);
        open_new(_i);
        ck_assert_str_eq(QUERY(store_executions, .limit = 5), "{\"executions\":[],\"next_cursor\":null}");
        add_executions(10);
        ck_assert_str_eq(QUERY(store_executions, .limit = 2),
                "{\"executions\":["
                "{\"execution_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000009\",\"agent_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000000\","
                "\"project_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000001\",\"pool_name\":\"developer_pool\",\"method\":\"tools/call\","
                "\"status\":\"running\",\"error\":null,\"started_at\":\"2023-11-14T22:13:20.004Z\",\"completed_at\":null,"
                "\"duration_ms\":null},"
                "{\"execution_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000008\",\"agent_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000002\","
                "\"project_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000000\",\"pool_name\":\"tester_pool\",\"method\":\"tools/call\","
                "\"status\":\"completed\",\"error\":null,\"started_at\":\"2023-11-14T22:13:20.004Z\","
                "\"completed_at\":\"2023-11-14T22:13:20.012Z\",\"duration_ms\":8}],"
                "\"next_cursor\":\"1700000000004.6f1c8a52-3a55-4f0b-9d3e-000000000008\"}");
        ck_assert_str_eq(QUERY(store_executions, .execution_id = numbered_id(1)),
                "{\"execution_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000001\",\"agent_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000001\","
                "\"project_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000001\",\"pool_name\":\"developer_pool\",\"method\":\"tools/call\","
                "\"status\":\"failed\",\"error\":\"it \\\"broke\\\"\",\"started_at\":\"2023-11-14T22:13:20.000Z\","
                "\"completed_at\":\"2023-11-14T22:13:20.001Z\",\"duration_ms\":1}");
        QUERY(store_executions, .execution_id = numbered_id(99));
        ck_assert_int_eq(json_error, -ENOENT);
        ck_assert_ptr_nonnull(strstr(QUERY(store_executions, .status = "timeout"), "000000000006\",\"agent_id\""));
        ck_assert_str_eq(QUERY(store_executions, .pool_name = "nobody"), "{\"executions\":[],\"next_cursor\":null}");
        ck_assert_str_eq(QUERY(store_executions_summary, .limit = 0),
                "{\"total_executions\":10,\"running_executions\":2,\"successful_executions\":4,\"failed_executions\":2,"
                "\"timed_out_executions\":2,\"success_rate\":0.5,\"average_duration_ms\":4,\"max_duration_ms\":8,"
                "\"truncated\":false}");
        ck_assert_str_eq(QUERY(store_executions_summary, .project_id = &stranger),
                "{\"total_executions\":0,\"running_executions\":0,\"successful_executions\":0,\"failed_executions\":0,"
                "\"timed_out_executions\":0,\"success_rate\":null,\"average_duration_ms\":null,\"max_duration_ms\":0,"
                "\"truncated\":false}");
        ck_assert_int_eq(store_executions(store, &(struct store_query){ .cursor = "17x" }, on_json, NULL), -EINVAL);
        free(json);
        close_store(store);
}
END_TEST

static size_t count_of(const char *text, const char *part)
{
        size_t count = 0;

        while ((text = strstr(text, part))) {
                text += strlen(part);
                count++;
        }
        return count;
}

/* The text of "next_cursor", or NULL. */
static char *next_cursor(const char *text)
{
        const char *cursor = strstr(text, "\"next_cursor\":\"");

        return cursor ? strndup(cursor + 15, strcspn(cursor + 15, "\"")) : NULL;
}

START_TEST(test_every_execution_is_told_once_when_paged)
{
        size_t seen = 0, pages = 0;
        char *cursor = NULL;

        open_new(_i);
        add_executions(157);
        do {
                const char *page = QUERY(store_executions, .limit = 10, .cursor = cursor,
                        .since = AT + 3, .until = AT + 73, .agent_id = numbered_id(0));

                free(cursor);
                seen += count_of(page, "\"execution_id\"");
                cursor = next_cursor(page);
                pages++;
        } while (cursor);
        ck_assert_uint_eq(seen, 47); /* 6..145, every third */
        ck_assert_uint_eq(pages, 5);
        free(json);
        close_store(store);
}
END_TEST

START_TEST(test_events_are_told_alike_and_in_order_when_of_one_moment)
{
        const char *text;
        char *cursor;

        open_new(_i);
        for (int i = 0; i < 300; i++) {
                struct store_event event = { .at = AT + i / 100, .pool_name = i % 2 ? "developer_pool" : NULL,
                        .event = format("event_%03d", i), .detail = i % 3 ? NULL : "why", .epoch = (uint64_t)i };

                if (i % 2)
                        event.agent_id = numbered_id(i % 5);
                if (i == 299) {
                        event.who = "ops@[::1]:5";
                        event.request_id = numbered_id(7);
                }
                ck_assert_int_eq(store_event_add(store, &event), 0);
        }
        text = QUERY(store_events, .limit = 100);
        for (int i = 299; i >= 200; i--) {
                text = strstr(text, format("\"event\":\"event_%03d\"", i));
                ck_assert_ptr_nonnull(text);
        }
        cursor = next_cursor(json);
        text = QUERY(store_events, .limit = 1, .cursor = cursor);
        free(cursor);
        ck_assert_str_eq(strstr(text, ",\"at\":"),
                format(",\"at\":\"2023-11-14T22:13:20.001Z\",\"pool_name\":\"developer_pool\",\"event\":\"event_199\","
                       "\"detail\":null,\"agent_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000004\",\"process_id\":null,\"epoch\":199,"
                       "\"who\":null,\"request_id\":null}],"
                       "\"next_cursor\":%.38s}",
                        strstr(text, "\"event_id\":") + 11));
        ck_assert_uint_eq(count_of(QUERY(store_events, .agent_id = numbered_id(4), .limit = 1000), "\"event\":"), 30);
        ck_assert_uint_eq(count_of(QUERY(store_events, .pool_name = "developer_pool", .limit = 1000), "\"event\":"), 150);
        ck_assert_uint_eq(count_of(QUERY(store_events, .since = AT + 1, .until = AT + 2, .limit = 1000), "\"event\":"), 100);
        ck_assert_uint_eq(count_of(QUERY(store_events, .event = "event_299"), "\"event\":"), 1);
        ck_assert_ptr_nonnull(strstr(json, "\"who\":\"ops@[::1]:5\",\"request_id\":\"6f1c8a52-3a55-4f0b-9d3e-000000000007\""));
        ck_assert_uint_eq(count_of(QUERY(store_events, .not_event = "event_299", .limit = 1000), "\"event\":"), 299);
        ck_assert_int_eq(store_events(store, &(struct store_query){ .cursor = "x" }, on_json, NULL), -EINVAL);
        free(json);
        close_store(store);
}
END_TEST

START_TEST(test_timeseries_is_told_alike_when_asked)
{
        open_new(_i);
        for (int i = 0; i < 8; i++)
                for (int pool = 0; pool < 2; pool++) {
                        struct store_metric metric = { .at = AT + i * 15000, .pool_name = pool ? "a" : "b", .capacity = 20,
                                .used = i + pool, .executions = i < 4 ? 0 : 3, .executions_ok = i < 4 ? 0 : 2 + pool };

                        ck_assert_int_eq(store_metric_add(store, &metric), 0);
                        ck_assert_int_eq(store_metric_add(store, &metric), 0);
                }
        ck_assert_str_eq(QUERY(store_timeseries, .metric_type = "utilization", .bucket_ms = 60000),
                "{\"metric_type\":\"utilization\",\"bucket_ms\":60000,\"points\":["
                "{\"at\":\"2023-11-14T22:13:00.000Z\",\"value\":0.075},{\"at\":\"2023-11-14T22:14:00.000Z\",\"value\":0.25},"
                "{\"at\":\"2023-11-14T22:15:00.000Z\",\"value\":0.375}]}");
        ck_assert_str_eq(QUERY(store_timeseries, .metric_type = "success_rate", .bucket_ms = 30000, .pool_name = "b"),
                "{\"metric_type\":\"success_rate\",\"bucket_ms\":30000,\"points\":["
                "{\"at\":\"2023-11-14T22:13:00.000Z\",\"value\":null},{\"at\":\"2023-11-14T22:13:30.000Z\",\"value\":null},"
                "{\"at\":\"2023-11-14T22:14:00.000Z\",\"value\":0.6667},{\"at\":\"2023-11-14T22:14:30.000Z\",\"value\":0.6667},"
                "{\"at\":\"2023-11-14T22:15:00.000Z\",\"value\":0.6667}]}");
        ck_assert_str_eq(QUERY(store_timeseries, .metric_type = "executions", .limit = 1, .until = AT + 90000),
                "{\"metric_type\":\"executions\",\"bucket_ms\":60000,\"points\":["
                "{\"at\":\"2023-11-14T22:14:00.000Z\",\"value\":12}]}");
        ck_assert_int_eq(store_timeseries(store, &(struct store_query){ .metric_type = "mood" }, on_json, NULL), -EINVAL);
        free(json);
        close_store(store);
}
END_TEST

static char counted[256]; /* "pool:number " for each */
static unsigned counts_came;
static int counts_error;
static void on_counts(void *arg, int error, const struct store_count *counts, size_t count)
{
        size_t len = 0;

        (void)arg;
        counted[0] = '\0';
        for (size_t i = 0; i < count && len < sizeof counted; i++)
                len += (size_t)snprintf(counted + len, sizeof counted - len, "%s:%d ", counts[i].pool_name, (int)counts[i].count);
        counts_error = error;
        counts_came++;
}

#define COUNTS(function, ...)                                                                                \
        __extension__({                                                                                      \
                settle(store);                                                                               \
                counts_came = 0;                                                                             \
                ck_assert_int_eq(function(store, ##__VA_ARGS__, on_counts, NULL), 0);                        \
                LOOP_UNTIL(counts_came);                                                                     \
                ck_assert_uint_eq(counts_came, 1);                                                           \
                ck_assert_int_eq(counts_error, 0);                                                           \
                counted;                                                                                     \
        })

START_TEST(test_prune_takes_only_what_is_old)
{
        struct store_agent agent = an_agent();
        struct store_key key = { .scope = "s", .body_sha256 = "00", .created_at = AT, .expires_at = AT + 1 };

        open_new(_i);
        for (int i = 0; i < 5000; i++) /* more than one step of each */
                ck_assert_int_eq(store_event_add(store, &(struct store_event){ .at = AT + i, .event = "e" }), 0);
        add_executions(10);
        for (int i = 0; i < 5; i++) {
                ck_assert_int_eq(store_metric_add(store, &(struct store_metric){ .at = AT + i, .pool_name = "p" }), 0);
                key.key = format("k%d", i);
                key.expires_at = AT + 10000 + i;
                ck_assert_int_eq(store_key_insert(store, &key, NULL, NULL), 0);
                agent = an_agent();
                agent.state = i % 2 ? "terminated" : "idle";
                agent.updated_at = AT + i;
                ck_assert_int_eq(store_agent_insert(store, &agent, NULL, NULL), 0);
        }
        ck_assert_str_eq(COUNTS(store_agents_count_ended), "developer_pool:2 ");
        ck_assert_str_eq(COUNTS(store_prune, AT + 10002, 10000), "developer_pool:1 ");
        ck_assert_str_eq(COUNTS(store_agents_count_ended), "developer_pool:1 ");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "4998");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_executions"), "6");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM pool_metrics"), "3");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM idempotency_keys"), "2");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "4");
        ck_assert_str_eq(COUNTS(store_prune, AT + 100000, 10000), "developer_pool:1 ");
        ck_assert_str_eq(COUNTS(store_agents_count_ended), "");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agent_events"), "0");
        ck_assert_str_eq(ask(&db, "SELECT COUNT(*) FROM agents"), "3");
        close_store(store);
}
END_TEST

START_TEST(test_queries_are_empty_when_nothing_is_kept)
{
        store = open_store("none:", NULL);
        ck_assert_str_eq(QUERY(store_events, .limit = 1), "{\"events\":[],\"next_cursor\":null}");
        ck_assert_str_eq(QUERY(store_timeseries, .metric_type = "utilization"),
                "{\"metric_type\":\"utilization\",\"bucket_ms\":60000,\"points\":[]}");
        ck_assert_str_eq(COUNTS(store_prune, AT, 1), "");
        ck_assert_str_eq(QUERY(store_executions, .status = "failed"), "{\"executions\":[],\"next_cursor\":null}");
        free(json);
        close_store(store);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("store queries");
        TCase *tcase = tcase_create("queries");

        tcase_set_timeout(tcase, TIMEOUT_S);
        tcase_add_loop_test(tcase, test_executions_are_told_alike_when_asked, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_every_execution_is_told_once_when_paged, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_events_are_told_alike_and_in_order_when_of_one_moment, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_timeseries_is_told_alike_when_asked, 0, BACKENDS);
        tcase_add_loop_test(tcase, test_prune_takes_only_what_is_old, 0, BACKENDS);
        tcase_add_test(tcase, test_queries_are_empty_when_nothing_is_kept);
        suite_add_tcase(suite, tcase);
        return run_suite(suite);
}
