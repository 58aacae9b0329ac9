#include "common/json/json.h"
#include "common/human_name.h"
#include "registry/core/agent_command.h"
#include "registry/core/pool.h"

#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pool_config config = { .pool_name = (char[]){ "developer_pool" }, .role_type = (char[]){ "developer" },
        .runtime = { .type = POOL_RUNTIME_COMMAND }, .placement = POOL_PACK, .restart = { .policy = POOL_PERMANENT },
        .max_agents_per_worker = 10, .max_workers = 1 };
static struct pool *pool;
static struct agent *agent;
static const struct id master_id = { { 1, 2, 3 } };

static void make_agent(void)
{
        pool = pool_new(&config, 1, 0);
        agent = agent_new();
        ck_assert_ptr_nonnull(pool);
        ck_assert_ptr_nonnull(agent);
        agent->pool = pool;
        agent->project_id = id_new();
        agent->command_id = id_new();
        agent->role_type = strdup("tester");
        agent->start_reason = "worker_exited";
        agent->epoch = 3;
        agent->created_at = INT64_C(1700000000001);
        agent->heartbeat_interval = 31;
        agent->max_idle_time = 61;
        agent->restarts = 2;
}

static void free_agent(void)
{
        ck_assert_ptr_null(agent_free(agent));
        pool_free(pool);
}

static struct command decode(char *take_text)
{
        struct command command = { 0 };

        ck_assert_ptr_nonnull(take_text);
        ck_assert_int_eq(command_decode(take_text, strlen(take_text), &command), 0);
        free(take_text);
        return command;
}

static void assert_addressed(const struct command *command)
{
        ck_assert(id_equal(&command->command_id, &agent->command_id));
        ck_assert(id_equal(&command->agent_id, &agent->agent_id));
        ck_assert(id_equal(&command->master_id, &master_id));
        ck_assert_uint_eq(command->epoch, 3);
        ck_assert_str_eq(command->pool_name, "developer_pool");
}

START_TEST(test_is_starting_without_an_epoch_when_new)
{
        struct agent *other = agent_new();

        ck_assert(!id_is_zero(&other->agent_id));
        ck_assert(!id_equal(&other->agent_id, &agent->agent_id));
        ck_assert_int_eq(other->state, AGENT_STARTING);
        ck_assert_int_eq(other->phase, PHASE_NONE);
        ck_assert_uint_eq(other->epoch, 0);
        ck_assert_ptr_null(other->pool);
        agent_free(other);
        ck_assert_ptr_null(agent_free(NULL));
}
END_TEST

START_TEST(test_says_everything_when_it_is_spawned)
{
        struct command command;

        agent->labels = strdup("{\"team\":\"a\\\"b\"}");
        agent->args = strdup("{\"model\":\"é\"}");
        command = decode(agent_spawn_command(agent, &master_id));
        assert_addressed(&command);
        ck_assert_int_eq(command.type, COMMAND_SPAWN);
        ck_assert_str_eq(command.role_type, "tester");
        ck_assert_str_eq(command.start_reason, "worker_exited");
        ck_assert(id_equal(&command.project_id, &agent->project_id));
        ck_assert_int_eq(command.heartbeat_interval, 31);
        ck_assert_int_eq(command.max_idle_time, 61);
        ck_assert_int_eq(command.created_at, INT64_C(1700000000001));
        ck_assert_int_eq(command.restarts, 2);
        ck_assert_str_eq(json_string(command.labels, "team"), "a\"b");
        ck_assert_str_eq(json_string(command.args, "model"), "é");
        command_done(&command);
}
END_TEST

START_TEST(test_says_no_labels_when_it_has_none)
{
        struct command command = decode(agent_spawn_command(agent, &master_id));

        ck_assert_ptr_null(command.labels);
        ck_assert_ptr_null(command.args);
        command_done(&command);
}
END_TEST

START_TEST(test_says_how_when_it_is_terminated)
{
        struct command command = decode(agent_terminate_command(agent, &master_id));

        assert_addressed(&command);
        ck_assert_int_eq(command.type, COMMAND_TERMINATE);
        ck_assert(!command.graceful);
        command_done(&command);
        agent->graceful = true;
        command = decode(agent_terminate_command(agent, &master_id));
        ck_assert(command.graceful);
        command_done(&command);
}
END_TEST

START_TEST(test_has_one_name_for_people_when_asked_twice)
{
        char first[64], second[64], small[4];

        ck_assert_str_eq(human_name(&agent->agent_id, first, sizeof first),
                human_name(&agent->agent_id, second, sizeof second));
        ck_assert_str_eq(human_name(&agent->agent_id, small, sizeof small), (first[3] = '\0', first));
        ck_assert_str_eq(human_name(&(struct id){ .b = { 0 } }, first, sizeof first), "Ada Abbott");
}
END_TEST

/* All names of both lists: given, different, and letters only. */
START_TEST(test_names_agents_differently_when_their_ids_differ)
{
        char names[64][2][64];

        for (unsigned i = 0; i < 64; i++) {
                struct id id = { .b = { [0] = (uint8_t)i, [15] = (uint8_t)(i + 64) } };
                char name[64], *space;

                space = strchr(human_name(&id, name, sizeof name), ' ');
                ck_assert_ptr_nonnull(space);
                *space = '\0';
                snprintf(names[i][0], sizeof names[i][0], "%s", name);
                snprintf(names[i][1], sizeof names[i][1], "%s", space + 1);
                for (unsigned list = 0; list < 2; list++) {
                        ck_assert_uint_gt(strlen(names[i][list]), 1);
                        for (const char *p = names[i][list]; *p; p++)
                                ck_assert(isalpha((unsigned char)*p));
                        for (unsigned j = 0; j < i; j++)
                                ck_assert_str_ne(names[i][list], names[j][list]);
                }
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("agent");
        TCase *tests = tcase_create("agent");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tests);
        tcase_add_checked_fixture(tests, make_agent, free_agent);
        tcase_add_test(tests, test_is_starting_without_an_epoch_when_new);
        tcase_add_test(tests, test_says_everything_when_it_is_spawned);
        tcase_add_test(tests, test_says_no_labels_when_it_has_none);
        tcase_add_test(tests, test_says_how_when_it_is_terminated);
        tcase_add_test(tests, test_has_one_name_for_people_when_asked_twice);
        tcase_add_test(tests, test_names_agents_differently_when_their_ids_differ);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
