#include "common/json/json.h"
#include "registry/protocol/pool_config.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND "\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"/bin/cat\"] }"
#define MODULE "\"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"/m.so\" }"

static cJSON *parse(const char *text)
{
        struct json_error error = { .detail = "" };
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(text, strlen(text), JSON_STRICT, &tree, &error) == 0, "%s", error.detail);
        return tree;
}

static int read_pool(const char *name, const char *text, struct pool_config **ret_config, struct schema_errors *errors)
{
        cJSON *settings = parse(text);
        int r = pool_config_read(name, settings, "/pools/p", ret_config, errors);

        cJSON_Delete(settings);
        return r;
}

START_TEST(test_gives_defaults_when_only_the_runtime_is_set)
{
        struct schema_errors errors = { 0 };
        struct pool_config *config = NULL;

        ck_assert_int_eq(read_pool("p", "{" COMMAND "}", &config, &errors), 0);
        ck_assert_str_eq(config->pool_name, "p");
        ck_assert_str_eq(config->role_type, "r");
        ck_assert_int_eq(config->runtime.type, POOL_RUNTIME_COMMAND);
        ck_assert_str_eq(config->runtime.argv[0], "/bin/cat");
        ck_assert_ptr_null(config->runtime.env);
        ck_assert(!config->runtime.wait_ready);
        ck_assert_str_eq(config->runtime.ready_method, "ping");
        ck_assert_int_eq(pool_config_stop_signal(&config->runtime), SIGTERM);
        ck_assert_ptr_null(config->runtime.umask);
        ck_assert_int_eq(config->runtime.nice, 0);
        ck_assert_int_eq(config->runtime.max_line_bytes, 16 << 20);
        ck_assert_int_eq(config->runtime.queue_bytes, 1 << 20);
        ck_assert_int_eq(config->runtime.log_bytes_per_second, 1 << 16);
        ck_assert_int_eq(config->restart.policy, POOL_PERMANENT);
        ck_assert_int_eq(config->restart.intensity, 5);
        ck_assert_int_eq(config->restart.period_seconds, 60);
        ck_assert_int_eq(config->restart.delay_ms, 100);
        ck_assert_int_eq(config->restart.delay_max_ms, 30000);
        ck_assert_int_eq(config->restart.healthy_seconds, 10);
        ck_assert_int_eq(config->limits.memory_bytes, 0);
        ck_assert_int_eq(config->limits.cpu_percent, 0);
        ck_assert_int_eq(config->limits.processes, 0);
        ck_assert_int_eq(config->limits.open_files, 0);
        ck_assert_int_eq(config->worker_limits.memory_bytes, 0);
        ck_assert_int_eq(config->worker_limits.open_files, 0);
        ck_assert_ptr_null(config->allowed_args);
        ck_assert_int_eq(config->placement, POOL_PACK);
        ck_assert_int_eq(config->max_agents_per_worker, 10);
        ck_assert_int_eq(config->min_workers, 0);
        ck_assert_int_eq(config->max_workers, 100);
        ck_assert_int_eq(config->spare_workers, 0);
        ck_assert_int_eq(config->queue_max, 10000);
        ck_assert_int_eq(config->spawn_timeout_ms, 10000);
        ck_assert_int_eq(config->start_timeout_ms, 5000);
        ck_assert_int_eq(config->worker_start_timeout_ms, 10000);
        ck_assert_int_eq(config->drain_timeout_ms, 30000);
        ck_assert_int_eq(config->stop_grace_ms, 2000);
        ck_assert_int_eq(config->kill_grace_ms, 3000);
        ck_assert_int_eq(config->worker_idle_timeout_ms, 60000);
        ck_assert_int_eq(config->heartbeat_interval_ms, 2000);
        ck_assert_int_eq(config->worker_lease_ms, 10000);
        ck_assert_ptr_null(pool_config_free(config));
        ck_assert_ptr_null(pool_config_free(NULL));
}
END_TEST

static const char *const every_setting =
        "{\"role_type\":\"r\",\"project_id\":\"6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11\",\"max_idle_time\":61,"
        "\"runtime\":{\"type\":\"command\",\"argv\":[\"a\",\"${args.x}${args.y-z}\"],"
        "\"env\":{\"KEY\":\"secret\"},\"directory\":\"/tmp\",\"wait_ready\":true,\"ready_method\":\"tools/list\","
        "\"credentials\":{\"key\":\"/k\"},\"stop_signal\":\"USR2\",\"umask\":\"027\",\"nice\":-3,"
        "\"cancel_method\":\"$/cancel_request\",\"strict_stdout\":true,"
        "\"max_line_bytes\":2001,\"max_depth\":100,\"queue_bytes\":2002,\"log_bytes_per_second\":2003,\"log_line_bytes\":2004},\"probe\":{"
        "\"method\":\"ping\",\"interval_seconds\":3,\"timeout_ms\":4,\"failures\":5},\"restart\":{"
        "\"policy\":\"transient\",\"intensity\":1,\"period_seconds\":2,\"delay_ms\":3,\"delay_max_ms\":4,"
        "\"healthy_seconds\":5},\"breaker\":{\"threshold\":6,\"window_seconds\":7,\"cooldown_seconds\":8,\"auto_reset\":false},"
        "\"limits\":{\"memory_bytes\":1048576,\"cpu_percent\":150,\"processes\":6,\"open_files\":64},"
        "\"worker_limits\":{\"memory_bytes\":33554432,\"open_files\":65},\"allowed_args\":[\"x\",\"y-z\"],\"placement\":\"spread\","
        "\"max_agents_per_worker\":11,\"min_workers\":12,\"max_workers\":13,\"spare_workers\":9,\"queue_max\":15,"
        "\"spawn_timeout_ms\":16,\"start_timeout_ms\":17,\"worker_start_timeout_ms\":18,\"drain_timeout_ms\":12,\"stop_grace_ms\":19,"
        "\"kill_grace_ms\":20,\"worker_idle_timeout_ms\":21,\"heartbeat_interval_ms\":22,\"worker_lease_ms\":44,"
        "\"pool_name\":\"p\"}";

/* As a worker reads what its master printed (worker/welcome.c). */
static int read_printed(cJSON *json, struct pool_config **ret_config, struct schema_errors *errors)
{
        cJSON *name = cJSON_DetachItemFromObjectCaseSensitive(json, "pool_name");
        int r = pool_config_read(name->valuestring, json, "", ret_config, errors);

        cJSON_Delete(name);
        return r;
}

START_TEST(test_prints_every_setting_when_it_was_read_from_json)
{
        struct schema_errors errors = { 0 };
        struct pool_config *config = NULL;
        cJSON *json = parse(every_setting), *printed;
        char *text;

        ck_assert_int_eq(read_printed(json, &config, &errors), 0);
        cJSON_Delete(json);
        ck_assert_int_eq(config->restart.policy, POOL_TRANSIENT);
        ck_assert_int_eq(config->placement, POOL_SPREAD);
        ck_assert_int_eq(pool_config_stop_signal(&config->runtime), SIGUSR2);
        ck_assert_int_eq(config->worker_lease_ms, 44);
        printed = pool_config_print(config, false);
        text = json_print(printed);
        ck_assert_str_eq(text, every_setting);
        free(text);
        cJSON_Delete(printed);
        printed = pool_config_print(config, true);
        text = json_print(printed);
        ck_assert_ptr_null(strstr(text, "secret"));
        free(text);
        cJSON_Delete(printed);
        pool_config_free(config);
}
END_TEST

START_TEST(test_reads_what_it_printed_when_the_runtime_is_a_module)
{
        struct schema_errors errors = { 0 };
        struct pool_config *config = NULL, *again = NULL;
        cJSON *printed;

        ck_assert_int_eq(read_pool("p", "{" MODULE ", \"restart\": { \"policy\": \"temporary\" } }", &config, &errors), 0);
        ck_assert_int_eq(config->runtime.type, POOL_RUNTIME_MODULE);
        ck_assert_int_eq(config->restart.policy, POOL_TEMPORARY);
        printed = pool_config_print(config, false);
        ck_assert_int_eq(read_printed(printed, &again, &errors), 0);
        ck_assert_str_eq(again->runtime.path, "/m.so");
        cJSON_Delete(printed);
        pool_config_free(config);
        pool_config_free(again);
}
END_TEST

static const struct {
        const char *name, *text, *pointer, *detail;
} bad[] = {
        { "p q", "{" COMMAND "}", "/pools/p",
                "the pool's name \"p q\" is no name: 1 to 64 letters, digits, '_', '.', '-', beginning with a letter or "
                "digit" },
        { "p", "{" COMMAND ", \"max_agents_per_worker\": 0}", "/pools/p/max_agents_per_worker",
                "must be an integer from 1 to 100000, is 0" },
        { "p", "{" COMMAND ", \"max_agent_per_worker\": 1}", "/pools/p/max_agent_per_worker",
                "unknown field \"max_agent_per_worker\"; did you mean \"max_agents_per_worker\"?" },
        { "p", "{\"role_type\": \"r\"}", "/pools/p/runtime", "the field \"runtime\" is required" },
        { "p", "{\"runtime\": { \"type\": \"module\", \"path\": \"m\" }}", "/pools/p/role_type",
                "the field \"role_type\" is required" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"comand\" }}", "/pools/p/runtime/type",
                "must be one of \"command\", \"module\", is \"comand\"; did you mean \"command\"?" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\" }}", "/pools/p/runtime/argv",
                "is required for type \"command\": the program and its arguments" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"\"] }}",
                "/pools/p/runtime/argv/0", "must name a program" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"${args.x}\"] },"
               " \"allowed_args\": [\"x\"]}",
                "/pools/p/runtime/argv/0", "the program cannot come from args; write its path" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\", \"b\", \"${args.x}-${args.xy}\"] },"
               " \"allowed_args\": [\"x\"]}",
                "/pools/p/runtime/argv/2", "uses ${args.xy}; add \"xy\" to allowed_args" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\", \"${args.x\"] },"
               " \"allowed_args\": [\"x\"]}",
                "/pools/p/runtime/argv/1", "\"${args.\" lacks its closing \"}\"" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"], \"path\": \"m\" }}",
                "/pools/p/runtime/path", "belongs to type \"module\"; a command has argv" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"], \"env\": { \"1A\": \"\" } }}",
                "/pools/p/runtime/env", "\"1A\" is no variable name: letters, digits and _" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"], \"env\": { \"A=B\": \"\" } }}",
                "/pools/p/runtime/env", "\"A=B\" is no variable name: letters, digits and _" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"],"
               " \"env\": { \"AGENTPOOL_EPOCH\": \"\" } }}",
                "/pools/p/runtime/env", "AGENTPOOL_EPOCH: names with AGENTPOOL_ are set by agentpool itself" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"module\" }}", "/pools/p/runtime/path",
                "is required for type \"module\": the shared object" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"m\", \"argv\": [\"a\"] }}",
                "/pools/p/runtime/argv", "belongs to type \"command\"; a module has a path" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"m\", \"env\": {} }}",
                "/pools/p/runtime/env", "belongs to type \"command\"; a module has no environment of its own" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"m\", \"directory\": \"/\" }}",
                "/pools/p/runtime/directory", "belongs to type \"command\"" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"], \"umask\": \"028\" }}",
                "/pools/p/runtime/umask", "must be permissions in octal, as \"027\"" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"], \"umask\": \"1777\" }}",
                "/pools/p/runtime/umask", "must be permissions in octal, as \"027\"" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"], \"credentials\": { \"../a\": \"/a\" } }}",
                "/pools/p/runtime/credentials", "\"../a\" is no name for a file: letters, digits, _, - and ., not first" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"], \"credentials\": { \"a/b\": \"/a\" } }}",
                "/pools/p/runtime/credentials", "\"a/b\" is no name for a file: letters, digits, _, - and ., not first" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"command\", \"argv\": [\"a\"], \"credentials\": { \"a\": \"b\" } }}",
                "/pools/p/runtime/credentials", "a: must be the absolute path of a file" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"m\", \"credentials\": { \"a\": \"/b\" } }}",
                "/pools/p/runtime/credentials", "belongs to type \"command\"; a module reads what its worker's user may read" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"m\", \"umask\": \"0\" }}",
                "/pools/p/runtime/umask", "belongs to type \"command\"" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"m\", \"nice\": 1 }}",
                "/pools/p/runtime/nice", "belongs to type \"command\"" },
        { "p", "{\"role_type\": \"r\", \"runtime\": { \"type\": \"module\", \"path\": \"m\", \"wait_ready\": true }}",
                "/pools/p/runtime/wait_ready", "belongs to type \"command\"; a module is ready when started" },
        { "p", "{" COMMAND ", \"limits\": { \"memory_bytes\": 1000 }}", "/pools/p/limits/memory_bytes",
                "is 1000; nothing starts with less than 1048576; 0 means no limit" },
        { "p", "{" COMMAND ", \"limits\": { \"open_files\": 3 }}", "/pools/p/limits/open_files",
                "is 3; nothing starts with less than 16; 0 means no limit" },
        { "p", "{" COMMAND ", \"worker_limits\": { \"memory_bytes\": 1048576 }}", "/pools/p/worker_limits/memory_bytes",
                "is 1048576; nothing starts with less than 33554432; 0 means no limit" },
        { "p", "{" COMMAND ", \"worker_limits\": { \"open_files\": 10 }}", "/pools/p/worker_limits/open_files",
                "is 10; nothing starts with less than 64; 0 means no limit" },
        { "p", "{" MODULE ", \"limits\": { \"cpu_percent\": 10 }}", "/pools/p/limits",
                "belong to type \"command\"; a module lives in its worker: see worker_limits" },
        { "p", "{" MODULE ", \"min_workers\": 3, \"max_workers\": 2}", "/pools/p/min_workers",
                "is 3, more than max_workers 2" },
        { "p", "{" MODULE ", \"spare_workers\": 3, \"max_workers\": 2}", "/pools/p/spare_workers",
                "is 3, more than max_workers 2" },
        { "p", "{" MODULE ", \"restart\": { \"delay_ms\": 5, \"delay_max_ms\": 4 }}", "/pools/p/restart/delay_ms",
                "is 5, more than delay_max_ms 4" },
        { "p", "{" MODULE ", \"worker_lease_ms\": 3999}", "/pools/p/worker_lease_ms",
                "is 3999; it must be at least twice heartbeat_interval_ms 2000" },
};

START_TEST(test_names_the_field_and_the_remedy_when_it_is_wrong)
{
        struct schema_errors errors = { 0 };
        struct pool_config *config = NULL;

        ck_assert_int_eq(read_pool(bad[_i].name, bad[_i].text, &config, &errors), -EINVAL);
        ck_assert_ptr_null(config);
        ck_assert_uint_eq(errors.count, 1);
        ck_assert_str_eq(errors.errors[0].pointer, bad[_i].pointer);
        ck_assert_str_eq(errors.errors[0].detail, bad[_i].detail);
}
END_TEST

START_TEST(test_adds_to_the_errors_when_there_were_some)
{
        struct schema_errors errors = { 0 };
        struct pool_config *config = NULL;

        schema_fail(&errors, "/x", "before");
        ck_assert_int_eq(read_pool("p", "{" COMMAND "}", &config, &errors), 0);
        pool_config_free(config);
        ck_assert_int_eq(read_pool("", "{" MODULE ", \"min_workers\": 3, \"max_workers\": 2, \"worker_lease_ms\": 20}",
                                 &config, &errors), -EINVAL);
        ck_assert_uint_eq(errors.count, 4);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("pool_config");
        TCase *tests = tcase_create("pool_config");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tests);
        tcase_add_test(tests, test_gives_defaults_when_only_the_runtime_is_set);
        tcase_add_test(tests, test_prints_every_setting_when_it_was_read_from_json);
        tcase_add_test(tests, test_reads_what_it_printed_when_the_runtime_is_a_module);
        tcase_add_loop_test(tests, test_names_the_field_and_the_remedy_when_it_is_wrong, 0, sizeof bad / sizeof *bad);
        tcase_add_test(tests, test_adds_to_the_errors_when_there_were_some);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
