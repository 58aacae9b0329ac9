#include "common/log.h"
#include "master/config/config.h"
#include "master/config/config_keep.h"
#include "master/config/tokens.h"
#include "master/http/listen_address.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENV(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })
#define ENV_MAX 32
#define POOL "{ \"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"/bin/cat\"] } }"

static char directory[] = "/tmp/test_config.XXXXXX";
static char path[64];

static void make_directory(void)
{
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/c.json", directory);
}

static void remove_directory(void)
{
        unlink(path);
        ck_assert_int_eq(rmdir(directory), 0);
}

static int load(const char *text, const char *const *environment, struct config **ret_config, struct config_errors *errors)
{
        char *copies[ENV_MAX] = { NULL }; /* gone when config_load has returned */
        FILE *file = fopen(path, "w");
        int r;

        ck_assert_ptr_nonnull(file);
        fputs(text, file);
        ck_assert_int_eq(fclose(file), 0);
        for (size_t i = 0; environment[i]; i++) {
                ck_assert_uint_lt(i, ENV_MAX - 1);
                copies[i] = strdup(environment[i]);
        }
        r = config_load(path, copies, ret_config, errors);
        for (size_t i = 0; copies[i]; i++)
                free(copies[i]);
        return r;
}

static struct config *load_good(const char *text, const char *const *environment)
{
        struct config_errors errors;
        struct config *config = NULL;
        int r = load(text, environment, &config, &errors);

        ck_assert_msg(r == 0, "%d: %s", r, errors.count ? errors.lines[0] : "");
        ck_assert_uint_eq(errors.count, 0);
        return config;
}

/* Every line but for the file's own name before the position. */
static void assert_refused(const char *text, const char *const *environment, unsigned count, const char *const *lines)
{
        struct config_errors errors;
        struct config *config = NULL;

        ck_assert_int_eq(load(text, environment, &config, &errors), -EINVAL);
        ck_assert_ptr_null(config);
        for (unsigned i = 0; i < count && i < errors.count; i++) {
                const char *line = errors.lines[i];
                size_t len = strlen(path);

                if (strncmp(line, path, len) == 0)
                        line += len + 1;
                ck_assert_str_eq(line, lines[i]);
        }
        ck_assert_uint_eq(errors.count, count);
}
#define ASSERT_REFUSED(text, environment, ...)                                  \
        assert_refused(text, environment,                                       \
                sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(const char *), \
                (const char *const[]){ __VA_ARGS__ })

START_TEST(test_passes_over_a_byte_order_mark)
{
        struct config_errors errors;
        struct config *config = load_good("\xef\xbb\xbf{ \"pools\": {} }", ENV());

        config_free(config);
        assert_refused("\xef\xbb\xbf{\n \"bad\": 1 }", ENV(), 1, (const char *const[]){ "2:2: bad: unknown field \"bad\"" });
        ck_assert_int_eq(load("\xff\xfe{", ENV(), &config, &errors), -EINVAL);
        ck_assert_ptr_nonnull(strstr(errors.lines[0], "c.json: is UTF-16: save it as UTF-8"));
}
END_TEST

START_TEST(test_gives_defaults_when_the_object_is_empty)
{
        struct config *config = load_good("{}", ENV());

        ck_assert_str_eq(config->server.listen[0], "127.0.0.1:8000");
        ck_assert_ptr_null(config->server.listen[1]);
        ck_assert_int_eq(config->server.max_connections, 1000);
        ck_assert_int_eq(config->server.max_connections_per_address, 1000);
        ck_assert_str_eq(config->redis.url, "embedded:");
        ck_assert_str_eq(config->database.url, "sqlite:run/agentpool.db");
        ck_assert(!config->database.pooled);
        ck_assert_ptr_null(config->log.file);
        ck_assert_int_eq(config->log.level, LOG_INFO);
        ck_assert_int_eq(config->log.format, LOG_TEXT);
        ck_assert_str_eq(config->run_dir, "run");
        ck_assert_int_eq(config->shutdown_timeout_ms, 30000);
        ck_assert_int_eq(config->master_lease_ms, 10000);
        ck_assert_int_eq(config->max_workers_total, 4096);
        ck_assert_int_eq(config->idempotency_ttl_seconds, 86400);
        ck_assert_uint_eq(config->pool_count, 0);
        ck_assert_ptr_null(config_free(config));
        ck_assert_ptr_null(config_free(NULL));
}
END_TEST

START_TEST(test_reads_every_section_when_all_are_there)
{
        struct config *config = load_good(
                "{ // comment\n"
                "\"server\": { \"listen\": [\"[::1]:80\", \"unix:/tmp/s\"], \"max_connections\": 7,\n"
                " \"max_connections_per_address\": 3, \"max_body_bytes\": 2048, \"request_timeout_ms\": 11,\n"
                " \"idle_timeout_ms\": 12, \"write_timeout_ms\": 13 }, /* and\n another */\n"
                "\"redis\": { \"url\": \"redis://:s@h:1/2\", \"connect_timeout_ms\": 14, \"request_timeout_ms\": 15,\n"
                " \"ping_interval_ms\": 16 },\n"
                "\"database\": { \"url\": \"postgresql://h/d\", \"pooled\": true, \"max_wait_ms\": 17, \"history_days\": 18 },\n"
                "\"log\": { \"file\": \"/tmp/l\", \"level\": \"debug\", \"format\": \"json\" },\n"
                "\"run_dir\": \"/r\", \"shutdown_timeout\": 1.5, \"max_workers_total\": 100, \"idempotency_ttl_seconds\": 20,\n"
                "\"pools\": { \"b\": " POOL ", \"a\": " POOL " } }", ENV());

        ck_assert_str_eq(config->server.listen[0], "[::1]:80");
        ck_assert_str_eq(config->server.listen[1], "unix:/tmp/s");
        ck_assert_int_eq(config->server.max_connections, 7);
        ck_assert_int_eq(config->server.max_connections_per_address, 3);
        ck_assert_int_eq(config->server.max_body_bytes, 2048);
        ck_assert_int_eq(config->server.request_timeout_ms, 11);
        ck_assert_int_eq(config->server.idle_timeout_ms, 12);
        ck_assert_int_eq(config->server.write_timeout_ms, 13);
        ck_assert_str_eq(config->redis.url, "redis://:s@h:1/2");
        ck_assert_int_eq(config->redis.connect_timeout_ms, 14);
        ck_assert_int_eq(config->redis.request_timeout_ms, 15);
        ck_assert_int_eq(config->redis.ping_interval_ms, 16);
        ck_assert_str_eq(config->database.url, "postgresql://h/d");
        ck_assert(config->database.pooled);
        ck_assert_int_eq(config->database.max_wait_ms, 17);
        ck_assert_int_eq(config->database.history_days, 18);
        ck_assert_str_eq(config->log.file, "/tmp/l");
        ck_assert_int_eq(config->log.level, LOG_DEBUG);
        ck_assert_int_eq(config->log.format, LOG_JSON);
        ck_assert_str_eq(config->run_dir, "/r");
        ck_assert_int_eq(config->shutdown_timeout_ms, 1500);
        ck_assert_int_eq(config->max_workers_total, 100);
        ck_assert_int_eq(config->idempotency_ttl_seconds, 20);
        ck_assert_uint_eq(config->pool_count, 2);
        ck_assert_str_eq(config->pools[0]->pool_name, "b");
        ck_assert_str_eq(config->pools[1]->pool_name, "a");
        config_free(config);
}
END_TEST

START_TEST(test_keeps_the_database_in_run_dir_when_no_url_is_given)
{
        struct config *config = load_good("{ \"run_dir\": \"/elsewhere\" }", ENV());

        ck_assert_str_eq(config->database.url, "sqlite:/elsewhere/agentpool.db");
        config_free(config);
}
END_TEST

START_TEST(test_names_line_and_column_when_the_syntax_is_wrong)
{
        ASSERT_REFUSED("{ // \"é\"\n  \"server\" 1 }", ENV(), "2:12: expected a colon after the name");
        ASSERT_REFUSED("", ENV(), "1:1: the text ends too early");
        ASSERT_REFUSED("[]", ENV(), "1:1: expected an object, found an array");
        ASSERT_REFUSED("{ \"run_dir\": \"a\",\n\"run_dir\": \"b\" }", ENV(),
                "2:1: the name \"run_dir\" appears twice");
}
END_TEST

START_TEST(test_reports_all_at_their_places_when_several_are_wrong)
{
        ASSERT_REFUSED(
                "{\n"
                "  \"server\": { \"max_conections\": 5, \"max_body_bytes\": 1.5 },\n"
                "  \"log\": { \"level\": \"inform\" }, \"shutdown_timeout\": -1,\n"
                "  \"pols\": {}, \"pools\": {\n"
                "    \"a\": { \"role_type\": \"r\" },\n"
                "    \"b c\": " POOL ",\n"
                "    \"d\": 5 } }",
                ENV(),
                "4:3: pols: unknown field \"pols\"; did you mean \"pools\"?",
                "2:15: server.max_conections: unknown field \"max_conections\"; did you mean \"max_connections\"?",
                "2:36: server.max_body_bytes: must be an integer from 1024 to 1073741824, is 1.5",
                "3:12: log.level: must be one of \"debug\", \"info\", \"warn\", \"error\", is \"inform\"; did you mean \"info\"?",
                "3:33: shutdown_timeout: must be a number from 0 to 3600, is -1",
                "5:5: pools.a.runtime: the field \"runtime\" is required",
                "6:5: pools.b c: the pool's name \"b c\" is no name: 1 to 64 letters, digits, '_', '.', '-', beginning with a letter or digit",
                "7:5: pools.d: expected an object, found a number");
}
END_TEST

START_TEST(test_places_the_error_at_the_element_when_a_list_is_wrong)
{
        ASSERT_REFUSED("{ \"server\": { \"listen\": [\"127.0.0.1:1\",\n \"b\", \"127.0.0.1:1\"] } }", ENV(),
                "2:2: server.listen.1: must be HOST:PORT, [IPV6]:PORT, *:PORT, one of these after tls://, or unix:PATH",
                "2:7: server.listen.2: appears twice");
        ASSERT_REFUSED("{ \"server\": { \"listen\": [] } }", ENV(),
                "1:15: server.listen: must have from 1 to 16 elements, has 0");
}
END_TEST

START_TEST(test_refuses_when_settings_contradict_each_other)
{
        ASSERT_REFUSED("{ \"redis\": { \"url\": \"redi://h\" } }", ENV(),
                "1:14: redis.url: must be redis://HOST:PORT/DB, unix:///PATH?db=N or embedded:");
        ASSERT_REFUSED("{ \"database\": { \"url\": \"sqlite:\" } }", ENV(),
                "1:17: database.url: must be sqlite:PATH, postgresql://USER@HOST/NAME or none:");
        ASSERT_REFUSED("{ \"database\": { \"pooled\": true } }", ENV(),
                "1:17: database.pooled: is for PgBouncer; database.url is no postgresql://");
        ASSERT_REFUSED("{ \"max_workers_total\": 50, \"pools\": { \"a\": " POOL " } }", ENV(),
                "1:39: pools.a.max_workers: is 100, more than max_workers_total 50");
        ASSERT_REFUSED("{ \"max_workers_total\": 3, \"pools\": {"
                " \"a\": { \"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"p\" }, \"min_workers\": 2, \"max_workers\": 2 },"
                " \"b\": { \"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"p\" }, \"min_workers\": 2, \"max_workers\": 2 } } }",
                ENV(), "1:3: max_workers_total: is 3, less than all min_workers together, 4");
        ASSERT_REFUSED("{ \"pools\": null }", ENV(),
                "1:3: pools: must be an object: a pool's name and its settings");
}
END_TEST

START_TEST(test_refuses_run_dir_when_its_socket_has_too_long_a_path)
{
        char text[256], long_path[98] = "/";
        struct config *config;

        memset(long_path + 1, 'x', 96); /* with "/redis.sock" 108 */
        snprintf(text, sizeof text, "{ \"run_dir\": \"%s\" }", long_path);
        ASSERT_REFUSED(text, ENV(),
                "1:3: run_dir: the path of its Redis socket, run_dir/redis.sock, would be 108 bytes long; the system "
                "takes at most 107: choose a shorter directory");
        config_free(load_good(text, ENV("REDIS_HOST=127.0.0.1")));
        long_path[96] = '\0';
        snprintf(text, sizeof text, "{ \"run_dir\": \"%s\" }", long_path);
        config = load_good(text, ENV());
        config_free(config);
        /* Relative to a long current directory. */
        ck_assert_int_eq(chdir(directory), 0);
        snprintf(text, sizeof text, "{ \"run_dir\": \"%s\" }", long_path + 20);
        assert_refused(text, ENV(), 1, (const char *const[]){
                "1:3: run_dir: the path of its Redis socket, run_dir/redis.sock, would be 111 bytes long; the system "
                "takes at most 107: choose a shorter directory" });
        ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(test_names_the_file_when_it_cannot_be_read)
{
        struct config_errors errors;
        struct config *config;
        char expected[128];

        ck_assert_int_eq(config_load("/nonexistent/c.json", (char *[]){ NULL }, &config, &errors), -EINVAL);
        ck_assert_uint_eq(errors.count, 1);
        ck_assert_str_eq(errors.lines[0], "/nonexistent/c.json: cannot be read: No such file or directory");
        ck_assert_int_eq(config_load(directory, (char *[]){ NULL }, &config, &errors), -EINVAL);
        snprintf(expected, sizeof expected, "%s: cannot be read: Is a directory", directory);
        ck_assert_str_eq(errors.lines[0], expected);
}
END_TEST

START_TEST(test_refuses_a_file_when_it_is_huge)
{
        struct config_errors errors;
        struct config *config;
        char expected[128];

        fclose(fopen(path, "w"));
        ck_assert_int_eq(truncate(path, 20 << 20), 0);
        ck_assert_int_eq(config_load(path, (char *[]){ NULL }, &config, &errors), -EINVAL);
        snprintf(expected, sizeof expected, "%s: cannot be read: File too large", path);
        ck_assert_str_eq(errors.lines[0], expected);
}
END_TEST

START_TEST(test_takes_the_environment_when_it_overrides_the_file)
{
        struct config *config = load_good("{ \"server\": { \"max_connections\": 5 }, \"run_dir\": \"a\" }",
                ENV("AGENTPOOL_SERVER_LISTEN=127.0.0.1:1, [::1]:2 ", "AGENTPOOL_SERVER_MAX_CONNECTIONS=9",
                        "AGENTPOOL_SERVER_MAX_CONNECTIONS_PER_ADDRESS=4", "AGENTPOOL_SERVER_MAX_BODY_BYTES=4096",
                        "AGENTPOOL_SERVER_REQUEST_TIMEOUT_MS=21", "AGENTPOOL_SERVER_IDLE_TIMEOUT_MS=22",
                        "AGENTPOOL_SERVER_WRITE_TIMEOUT_MS=23", "AGENTPOOL_REDIS_URL=redis://h",
                        "AGENTPOOL_REDIS_CONNECT_TIMEOUT_MS=24", "AGENTPOOL_REDIS_REQUEST_TIMEOUT_MS=25",
                        "AGENTPOOL_REDIS_PING_INTERVAL_MS=26", "AGENTPOOL_DATABASE_URL=postgresql://h/d",
                        "AGENTPOOL_DATABASE_POOLED=yes", "AGENTPOOL_DATABASE_MAX_WAIT_MS=27",
                        "AGENTPOOL_DATABASE_HISTORY_DAYS=28", "AGENTPOOL_LOG_FILE=/l", "AGENTPOOL_LOG_LEVEL=error",
                        "AGENTPOOL_LOG_FORMAT=json", "AGENTPOOL_RUN_DIR=/b", "AGENTPOOL_SHUTDOWN_TIMEOUT=0.25",
                        "AGENTPOOL_MAX_WORKERS_TOTAL=29", "AGENTPOOL_IDEMPOTENCY_TTL_SECONDS=30"));

        ck_assert_str_eq(config->server.listen[0], "127.0.0.1:1");
        ck_assert_str_eq(config->server.listen[1], "[::1]:2");
        ck_assert_ptr_null(config->server.listen[2]);
        ck_assert_int_eq(config->server.max_connections, 9);
        ck_assert_int_eq(config->server.max_connections_per_address, 4);
        ck_assert_int_eq(config->server.max_body_bytes, 4096);
        ck_assert_int_eq(config->server.request_timeout_ms, 21);
        ck_assert_int_eq(config->server.idle_timeout_ms, 22);
        ck_assert_int_eq(config->server.write_timeout_ms, 23);
        ck_assert_str_eq(config->redis.url, "redis://h");
        ck_assert_int_eq(config->redis.connect_timeout_ms, 24);
        ck_assert_int_eq(config->redis.request_timeout_ms, 25);
        ck_assert_int_eq(config->redis.ping_interval_ms, 26);
        ck_assert_str_eq(config->database.url, "postgresql://h/d");
        ck_assert(config->database.pooled);
        ck_assert_int_eq(config->database.max_wait_ms, 27);
        ck_assert_int_eq(config->database.history_days, 28);
        ck_assert_str_eq(config->log.file, "/l");
        ck_assert_int_eq(config->log.level, LOG_ERROR);
        ck_assert_int_eq(config->log.format, LOG_JSON);
        ck_assert_str_eq(config->run_dir, "/b");
        ck_assert_int_eq(config->shutdown_timeout_ms, 250);
        ck_assert_int_eq(config->max_workers_total, 29);
        ck_assert_int_eq(config->idempotency_ttl_seconds, 30);
        config_free(config);
}
END_TEST

START_TEST(test_takes_common_variables_when_no_own_one_is_set)
{
        struct config *config = load_good("{ \"redis\": { \"url\": \"redis://file/3\" } }",
                ENV("MAX_CONNECTIONS=77", "DATABASE_URL=postgres://plain/d", "REDIS_URL=redis://url:2",
                        "REDIS_HOST=ignored", "LOG_LEVEL=WARNING"));

        ck_assert_int_eq(config->server.max_connections, 77);
        ck_assert_str_eq(config->database.url, "postgres://plain/d");
        ck_assert(!config->database.pooled);
        ck_assert_str_eq(config->redis.url, "redis://url:2");
        ck_assert_int_eq(config->log.level, LOG_WARN);
        config_free(config);
        config = load_good("{}", ENV("PM_AGENT_HOST=::1", "PM_AGENT_PORT=9000", "CONNECTION_TIMEOUT=2.5"));
        ck_assert_str_eq(config->server.listen[0], "[::1]:9000");
        ck_assert_ptr_null(config->server.listen[1]);
        ck_assert_int_eq(config->redis.connect_timeout_ms, 2500);
        config_free(config);
        config = load_good("{\"server\":{\"listen\":[\"127.0.0.2:81\",\"unix:/s\"]}}", ENV("PM_AGENT_PORT=9000"));
        ck_assert_str_eq(config->server.listen[0], "127.0.0.2:9000");
        config_free(config);
        config = load_good("{}", ENV("PM_AGENT_PORT=tcp://10.0.0.1:80", "PM_AGENT_HOST=a", "AGENTPOOL_SERVER_LISTEN=127.0.0.3:82"));
        ck_assert_str_eq(config->server.listen[0], "127.0.0.3:82");
        config_free(config);
        config = load_good("{}", ENV("DATABASE_URL=postgresql://plain/d", "PGBOUNCER_URL=postgresql://pooled/d",
                "REDIS_URL=", "LOG_LEVEL=INFO"));
        ck_assert_str_eq(config->database.url, "postgresql://pooled/d");
        ck_assert(config->database.pooled);
        ck_assert_str_eq(config->redis.url, "embedded:");
        config_free(config);
        config = load_good("{}", ENV("PGBOUNCER_URL=postgresql://pooled/d", "AGENTPOOL_DATABASE_URL=none:",
                "AGENTPOOL_DATABASE_POOLED=0", "MAX_CONNECTIONS=5", "AGENTPOOL_SERVER_MAX_CONNECTIONS=6",
                "REDIS_URL=redis://a", "AGENTPOOL_REDIS_URL=redis://b"));
        ck_assert_str_eq(config->database.url, "none:");
        ck_assert(!config->database.pooled);
        ck_assert_int_eq(config->server.max_connections, 6);
        ck_assert_str_eq(config->redis.url, "redis://b");
        config_free(config);
}
END_TEST

static const struct {
        const char *url;
        const char *environment[5];
        const char *expected;
} parts[] = {
        { "embedded:", { "REDIS_HOST=h" }, "redis://h:6379" },
        { "embedded:", { "REDIS_PORT=7" }, "redis://127.0.0.1:7" },
        { "embedded:", { "REDIS_HOST=::1", "REDIS_PORT=7", "REDIS_DB=2", "REDIS_PASSWORD=p@:/ß" },
                "redis://:p%40%3A%2F%C3%9F@[::1]:7/2" },
        { "redis://u:p@file:1/5", { "REDIS_HOST=h" }, "redis://u:p@h:1/5" },
        { "redis://u:p@file:1/5", { "REDIS_PASSWORD=q", "REDIS_DB=0" }, "redis://u:q@file:1" },
        { "unix:///s", { "REDIS_DB=4" }, "unix:///s?db=4" },
        { "unix:///s", { "REDIS_HOST=h" }, "redis://h:6379" },
        { "embedded:", { "REDIS_PORT=tcp://10.0.0.1:6379" }, "embedded:" },
};

START_TEST(test_makes_the_redis_url_when_its_parts_are_given)
{
        char text[128];
        struct config *config;

        snprintf(text, sizeof text, "{ \"redis\": { \"url\": \"%s\" } }", parts[_i].url);
        config = load_good(text, parts[_i].environment);
        ck_assert_str_eq(config->redis.url, parts[_i].expected);
        config_free(config);
}
END_TEST

START_TEST(test_names_the_variable_when_the_environment_is_wrong)
{
        static const char *const no_times[] = { "soon", "nan", "inf", "0x10" };

        ASSERT_REFUSED("{ \"server\": {\n\"max_connections\": 5 } }",
                ENV("MAX_CONNECTIONS=many", "AGENTPOOL_DATABASE_POOLED=maybe", "AGENTPOOL_SERVER_IDLE_TIMEOUT_MS=1e400",
                        "LOG_LEVEL=loud", "AGENTPOOL_MAX_WORKERS_TOTAL=0x10"),
                "environment variable MAX_CONNECTIONS: server.max_connections: expected an integer from 1 to 1000000, "
                "found a string",
                "environment variable AGENTPOOL_SERVER_IDLE_TIMEOUT_MS: server.idle_timeout_ms: must be an integer "
                "from 10 to 600000, is inf",
                "environment variable AGENTPOOL_DATABASE_POOLED: database.pooled: expected true or false, found a string",
                "environment variable LOG_LEVEL: log.level: must be one of \"debug\", \"info\", \"warn\", \"error\", "
                "is \"loud\"",
                "environment variable AGENTPOOL_MAX_WORKERS_TOTAL: max_workers_total: expected an integer from 1 to "
                "65536, found a string");
        ASSERT_REFUSED("{}", ENV("AGENTPOOL_SERVER_LISTEN=127.0.0.1:1,,localhost:1"),
                "environment variable AGENTPOOL_SERVER_LISTEN: server.listen.1: must be HOST:PORT, [IPV6]:PORT, "
                "*:PORT, one of these after tls://, or unix:PATH");
        ASSERT_REFUSED("{}", ENV("AGENTPOOL_RUN_DIR=\xff"), "environment variable AGENTPOOL_RUN_DIR: is not UTF-8");
        ASSERT_REFUSED("{ \"server\": 5 }", ENV("MAX_CONNECTIONS=5"),
                "1:3: server: expected an object, found a number");
        for (size_t i = 0; i < sizeof no_times / sizeof *no_times; i++) {
                char variable[64];

                snprintf(variable, sizeof variable, "CONNECTION_TIMEOUT=%s", no_times[i]);
                ASSERT_REFUSED("{}", ENV(variable),
                        "environment variable CONNECTION_TIMEOUT: redis.connect_timeout_ms: expected an integer from 10 to 600000, "
                        "found a string");
        }
        ASSERT_REFUSED("{}", ENV("CONNECTION_TIMEOUT=1e400"),
                "environment variable CONNECTION_TIMEOUT: redis.connect_timeout_ms: must be an integer from 10 to 600000, is inf");
        ASSERT_REFUSED("{}", ENV("PGBOUNCER_URL=mysql://secret"),
                "environment variable PGBOUNCER_URL: database.url: must be sqlite:PATH, postgresql://USER@HOST/NAME or "
                "none:");
        ASSERT_REFUSED("{}", ENV("REDIS_HOST=a b"),
                "environment variable REDIS_HOST: redis.url: the host has a character that no host has");
        ASSERT_REFUSED("{}", ENV("REDIS_HOST=h", "REDIS_PORT=70000", "REDIS_DB=-1"),
                "environment variable REDIS_PORT: must be a number from 1 to 65535",
                "environment variable REDIS_DB: must be a number from 0");
        ASSERT_REFUSED("{}", ENV("REDIS_PASSWORD=x"),
                "environment variable REDIS_PASSWORD: the embedded Redis has none; set REDIS_HOST or REDIS_URL");
        ASSERT_REFUSED("{ \"redis\": { \"url\": \"x\" } }", ENV("REDIS_DB=1"),
                "1:14: redis.url: must be redis://HOST:PORT/DB, unix:///PATH?db=N or embedded:");
}
END_TEST

START_TEST(test_names_the_nearest_when_a_variable_is_unknown)
{
        ASSERT_REFUSED("{}", ENV("AGENTPOOL_SERVER_LISTN=a:1", "AGENTPOOL_LOG_COLOURFULNESS=1"),
                "environment variable AGENTPOOL_SERVER_LISTN: unknown; did you mean AGENTPOOL_SERVER_LISTEN?",
                "environment variable AGENTPOOL_LOG_COLOURFULNESS: unknown");
}
END_TEST

START_TEST(test_passes_over_variables_when_they_are_not_ours)
{
        config_free(load_good("{}", ENV("AGENTPOOL_AGENT_ID=x", "AGENTPOOL_FAULT=y", "AGENTPOOL_SERVERS=1", "HOME=/",
                "AGENTPOOL_REDIS_SERVICE_HOST=10.0.0.1", "AGENTPOOL_REDIS_SERVICE_PORT=6379",
                "AGENTPOOL_REDIS_PORT=tcp://10.0.0.1:6379", "AGENTPOOL_REDIS_PORT_6379_TCP_ADDR=10.0.0.1",
                "AGENTPOOL_SERVER_MAX_CONNECTIONS=")));
}
END_TEST

static const char *const full =
        "{ \"server\": { \"listen\": [\"localhost:1\", \"unix:/s\"], \"rate_limit\": { \"burst\": 3 } },"
        " \"redis\": { \"url\": \"redis://user:redissecret@h:1/2\" },"
        " \"database\": { \"url\": \"postgresql://u:pg:sec@ret/x@h/d?x=1&sslpassword=keysecret&y=2\", \"pooled\": true },"
        " \"log\": { \"file\": \"/l\\u00e9\\n\", \"level\": \"debug\", \"format\": \"json\" }, \"run_dir\": \"/r\","
        " \"shutdown_timeout\": 0.1, \"pools\": { \"a\": { \"role_type\": \"r\", \"runtime\": { \"type\": \"command\","
        " \"argv\": [\"/bin/cat\", \"${args.x}\"], \"env\": { \"TOKEN\": \"envsecret\" } }, \"allowed_args\": [\"x\"] },"
        " \"b\": { \"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"/m.so\" } } } }";

START_TEST(test_prints_what_loads_to_the_same_when_not_masked)
{
        struct config *config = load_good(full, ENV());
        char *first = config_print(config, false), *second;

        ck_assert_ptr_nonnull(strstr(first, "pg:sec@ret/x"));
        config_free(config);
        config = load_good(first, ENV());
        second = config_print(config, false);
        ck_assert_str_eq(first, second);
        config_free(config);
        free(first);
        free(second);
}
END_TEST

START_TEST(test_hides_secrets_when_masked)
{
        struct config *config = load_good(full, ENV());
        char *text = config_print(config, true);

        ck_assert_ptr_null(strstr(text, "secret"));
        ck_assert_ptr_null(strstr(text, "sec@"));
        ck_assert_ptr_null(strstr(text, "ret/x"));
        ck_assert_ptr_nonnull(strstr(text, "\"redis://user:***@h:1/2\""));
        ck_assert_ptr_nonnull(strstr(text, "\"postgresql://u:***@h/d?x=1&sslpassword=***&y=2\""));
        config_free(config);
        free(text);
        config = load_good("{ \"database\": { \"url\": \"sqlite:/a@b:c://d\" } }", ENV());
        text = config_print(config, true);
        ck_assert_ptr_nonnull(strstr(text, "\"sqlite:/a@b:c://d\""));
        config_free(config);
        free(text);
}
END_TEST

static const struct {
        const char *text;
        int result;
        bool is_unix;
        uint16_t port;
        const char *host;
} listens[] = {
        { "127.0.0.1:8000", 0, false, 8000, "127.0.0.1" },
        { "[::1]:0", 0, false, 0, "::1" },
        { "*:65535", 0, false, 65535, "*" },
        { "localhost:00080", 0, false, 80, "localhost" },
        { "unix:/run/a:b.sock", 0, true, 0, "/run/a:b.sock" },
        { "", -EINVAL, false, 0, "" },
        { "8000", -EINVAL, false, 0, "" },
        { ":8000", -EINVAL, false, 0, "" },
        { "h:", -EINVAL, false, 0, "" },
        { "h:65536", -EINVAL, false, 0, "" },
        { "h:000080", -EINVAL, false, 0, "" },
        { "h:+80", -EINVAL, false, 0, "" },
        { "h:80x", -EINVAL, false, 0, "" },
        { "::1:80", -EINVAL, false, 0, "" },
        { "[::1", -EINVAL, false, 0, "" },
        { "[::1]", -EINVAL, false, 0, "" },
        { "[::1]80", -EINVAL, false, 0, "" },
        { "[]:80", -EINVAL, false, 0, "" },
        { "a b:80", -EINVAL, false, 0, "" },
        { "http://h:80", -EINVAL, false, 0, "" },
        { "unix:", -EINVAL, false, 0, "" },
        { "unix:/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345",
                0, true, 0,
                "/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345" },
        { "unix:/01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456",
                -ENAMETOOLONG, false, 0, "" },
};

START_TEST(test_parses_or_refuses_when_given_a_listen_text)
{
        struct listen_address listen = { 0 };

        ck_assert_int_eq(listen_address_parse(listens[_i].text, &listen), listens[_i].result);
        ck_assert_int_eq(listen.is_unix, listens[_i].is_unix);
        ck_assert_uint_eq(listen.port, listens[_i].port);
        ck_assert_str_eq(listen.host, listens[_i].host);
}
END_TEST

START_TEST(test_counts_no_more_when_the_errors_are_full)
{
        struct config_errors errors = { 0 };

        for (int i = 0; i < CONFIG_ERRORS_MAX + 3; i++)
                config_fail(&errors, "%d", i);
        ck_assert_uint_eq(errors.count, CONFIG_ERRORS_MAX);
        ck_assert_str_eq(errors.lines[CONFIG_ERRORS_MAX - 1], "15");
}
END_TEST

static void write_tokens(const char *file, mode_t mode)
{
        FILE *out = fopen(file, "w");

        ck_assert_ptr_nonnull(out);
        fputs("dashboard read 0123456789abcdef # a comment\nsomebody admin fedcba9876543210\n", out);
        ck_assert_int_eq(fclose(out), 0);
        ck_assert_int_eq(chmod(file, mode), 0);
}

START_TEST(test_recalls_settings_and_tokens_when_kept)
{
        char text[512], file[80], kept[80];
        struct config *config, *recalled = NULL;
        char *before, *after;

        snprintf(file, sizeof file, "%s/tokens", directory);
        snprintf(kept, sizeof kept, "%s/" CONFIG_KEPT, directory);
        write_tokens(file, 0600);
        snprintf(text, sizeof text, "{ \"run_dir\": \"%s\", \"server\": { \"tokens_file\": \"%s\" }, \"pools\": { \"a\": " POOL
                " } }", directory, file);
        config = load_good(text, ENV("AGENTPOOL_SERVER_MAX_CONNECTIONS=77"));
        ck_assert_int_eq(config_recall(directory, &recalled), -ENOENT);
        ck_assert_int_eq(config_keep(config), 0);
        ck_assert_int_eq(chmod(file, 0644), 0); /* what others may read is not taken */
        ck_assert_int_eq(config_recall(directory, &recalled), 0);
        before = config_print(config, false);
        after = config_print(recalled, false);
        ck_assert_str_eq(before, after);
        ck_assert_int_eq(recalled->server.max_connections, 77);
        ck_assert_uint_eq(recalled->tokens->count, 2);
        ck_assert_int_eq(tokens_find(recalled->tokens, "fedcba9876543210"), 1);
        ck_assert_int_eq(recalled->tokens->list[1].role, TOKEN_ADMIN);
        free(before);
        free(after);
        config_free(recalled);
        config_free(config);
        config_forget(directory);
        ck_assert_int_lt(access(kept, F_OK), 0);
        unlink(file);
}
END_TEST

START_TEST(test_recalls_nothing_when_tokens_are_lost_or_the_file_is_no_settings)
{
        static const char *const texts[] = { "{", "[]", "{ \"server\": 1 }", "{ \"pools\": { \"a\": { \"role_type\": 7 } } }",
                "{ \"server\": { \"tokens_file\": \"/nowhere/tokens\" }, \"pools\": {} }" };
        char kept[80];
        struct config *config = NULL;

        snprintf(kept, sizeof kept, "%s/" CONFIG_KEPT, directory);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                FILE *out = fopen(kept, "w");

                ck_assert_ptr_nonnull(out);
                fputs(texts[i], out);
                ck_assert_int_eq(fclose(out), 0);
                ck_assert_int_eq(config_recall(directory, &config), -EINVAL);
                ck_assert_ptr_null(config);
        }
        config_forget(directory);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("config");
        TCase *tests = tcase_create("config");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tests);
        tcase_add_unchecked_fixture(tests, make_directory, remove_directory);
        tcase_add_test(tests, test_passes_over_a_byte_order_mark);
        tcase_add_test(tests, test_gives_defaults_when_the_object_is_empty);
        tcase_add_test(tests, test_reads_every_section_when_all_are_there);
        tcase_add_test(tests, test_keeps_the_database_in_run_dir_when_no_url_is_given);
        tcase_add_test(tests, test_names_line_and_column_when_the_syntax_is_wrong);
        tcase_add_test(tests, test_reports_all_at_their_places_when_several_are_wrong);
        tcase_add_test(tests, test_places_the_error_at_the_element_when_a_list_is_wrong);
        tcase_add_test(tests, test_refuses_when_settings_contradict_each_other);
        tcase_add_test(tests, test_refuses_run_dir_when_its_socket_has_too_long_a_path);
        tcase_add_test(tests, test_names_the_file_when_it_cannot_be_read);
        tcase_add_test(tests, test_refuses_a_file_when_it_is_huge);
        tcase_add_test(tests, test_takes_the_environment_when_it_overrides_the_file);
        tcase_add_test(tests, test_takes_common_variables_when_no_own_one_is_set);
        tcase_add_loop_test(tests, test_makes_the_redis_url_when_its_parts_are_given, 0, sizeof parts / sizeof *parts);
        tcase_add_test(tests, test_names_the_variable_when_the_environment_is_wrong);
        tcase_add_test(tests, test_names_the_nearest_when_a_variable_is_unknown);
        tcase_add_test(tests, test_passes_over_variables_when_they_are_not_ours);
        tcase_add_test(tests, test_prints_what_loads_to_the_same_when_not_masked);
        tcase_add_test(tests, test_hides_secrets_when_masked);
        tcase_add_loop_test(tests, test_parses_or_refuses_when_given_a_listen_text, 0, sizeof listens / sizeof *listens);
        tcase_add_test(tests, test_counts_no_more_when_the_errors_are_full);
        tcase_add_test(tests, test_recalls_settings_and_tokens_when_kept);
        tcase_add_test(tests, test_recalls_nothing_when_tokens_are_lost_or_the_file_is_no_settings);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
