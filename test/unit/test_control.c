#include "registry/protocol/control.h"

#include "common/json/json.h"
#include "registry/core/agent.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct control again(const struct control *control)
{
        char *text = control_encode(control);
        struct control back;

        ck_assert_ptr_nonnull(text);
        ck_assert_int_eq(control_decode(text, strlen(text), &back), 0);
        free(text);
        ck_assert_int_eq(back.type, control->type);
        return back;
}

START_TEST(test_is_the_same_when_encoded_and_decoded)
{
        static const enum control_type plain[] = { CONTROL_REOPEN_LOGS };
        static const enum control_type numbered[] = { CONTROL_STOP, CONTROL_PING, CONTROL_PONG };
        struct control line = { .type = CONTROL_LINE, .number = 1700000000000, .line = (char[]){ "a \"line\"\t\xc3\xbc" } };
        struct control back, failed = { .type = CONTROL_FAILED, .reason = (char[]){ "no \"module\"" } };

        for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
                back = again(&(struct control){ .type = plain[i] });
                control_done(&back);
        }
        for (size_t i = 0; i < sizeof numbered / sizeof *numbered; i++) {
                back = again(&(struct control){ .type = numbered[i], .number = 2 });
                ck_assert_int_eq(back.number, 2);
                control_done(&back);
        }
        back = again(&(struct control){ .type = CONTROL_REGISTRY, .up = true, .generation = UINT64_C(1) << 48 });
        ck_assert(back.up && back.generation == UINT64_C(1) << 48);
        line.agent_id = id_new();
        back = again(&line);
        ck_assert(id_equal(&back.agent_id, &line.agent_id) && back.number == line.number);
        ck_assert_str_eq(back.line, line.line);
        control_done(&back);
        back = again(&(struct control){ .type = CONTROL_READY, .away = true, .generation = 7, .number = 10 });
        ck_assert(back.away && back.generation == 7 && back.number == 10);
        failed = (struct control){ .type = CONTROL_REFUSED, .reason = failed.reason, .generation = UINT64_C(1) << 48 };
        back = again(&failed);
        ck_assert_str_eq(back.reason, failed.reason);
        ck_assert_uint_eq(back.generation, failed.generation);
        control_done(&back);
        back = again(&(struct control){ .type = CONTROL_PONG, .number = 3, .rss_bytes = UINT64_C(1) << 40, .cpu_ms = 7 });
        ck_assert(back.number == 3 && back.rss_bytes == UINT64_C(1) << 40 && back.cpu_ms == 7);
        failed.type = CONTROL_FAILED;
        back = again(&failed);
        ck_assert_str_eq(back.reason, failed.reason);
        control_done(&back);
        ck_assert_ptr_null(back.reason);
}
END_TEST

static struct control unwrap(enum control_type type, char *take_envelope)
{
        char *text = control_wrap(type, take_envelope);
        struct control back;

        ck_assert_int_eq(control_decode(text, strlen(text), &back), 0);
        ck_assert_int_eq(back.type, type);
        ck_assert_ptr_nonnull(strstr(text, take_envelope)); /* as the bytes that it was */
        free(text);
        free(take_envelope);
        return back;
}

START_TEST(test_carries_settings_commands_and_replies_when_encoded)
{
        struct control welcome = { .type = CONTROL_WELCOME, .settings = cJSON_CreateObject() }, back;
        struct command command = { .type = COMMAND_TERMINATE, .command_id = id_new(), .agent_id = id_new(), .epoch = 7,
                .graceful = true, .pool_name = (char[]){ "pool" } };
        struct reply reply = { .type = REPLY_MESSAGE_FAILED, .command_id = id_new(), .agent_id = id_new(),
                .process_id = id_new(), .epoch = 3, .detail = (char[]){ "it \"ended\"" } };

        ck_assert_int_eq(json_add_string(welcome.settings, "host", "here"), 0);
        back = again(&welcome);
        ck_assert_str_eq(json_string(back.settings, "host"), "here");
        control_done(&back);
        cJSON_Delete(welcome.settings);
        back = unwrap(CONTROL_COMMAND, command_encode(&command));
        ck_assert(id_equal(&back.command.agent_id, &command.agent_id));
        ck_assert_uint_eq(back.command.epoch, 7);
        ck_assert(back.command.graceful);
        control_done(&back);
        back = unwrap(CONTROL_REPLY, reply_encode(&reply));
        ck_assert(id_equal(&back.reply.command_id, &reply.command_id));
        ck_assert_str_eq(back.reply.detail, "it \"ended\"");
        control_done(&back);
        ck_assert_ptr_null(back.reply.detail);
}
END_TEST

static void fill(struct hosted_agent *hosted, size_t count)
{
        for (size_t i = 0; i < count; i++)
                hosted[i] = (struct hosted_agent){ .agent_id = id_new(), .epoch = i ? i : JSON_INTEGER_MAX, .starting = i % 2,
                        .start_reason = i % 3 ? hosted_start_reason("restart") : NULL };
}

START_TEST(test_carries_a_full_portion_when_hosted)
{
        struct hosted_agent hosted[HOSTED_MAX];
        struct control control = { .type = CONTROL_HOSTED, .hosted = hosted, .hosted_count = HOSTED_MAX }, back;

        fill(hosted, HOSTED_MAX);
        back = again(&control);
        ck_assert_uint_eq(back.hosted_count, HOSTED_MAX);
        for (size_t i = 0; i < HOSTED_MAX; i++) {
                ck_assert(id_equal(&back.hosted[i].agent_id, &hosted[i].agent_id));
                ck_assert_uint_eq(back.hosted[i].epoch, hosted[i].epoch);
                ck_assert(back.hosted[i].starting == hosted[i].starting);
                ck_assert_ptr_eq(back.hosted[i].start_reason, hosted[i].start_reason);
        }
        control_done(&back);
}
END_TEST

START_TEST(test_carries_a_full_portion_when_used)
{
        struct control_used used[HOSTED_MAX];
        struct control ask = { .type = CONTROL_USAGE, .number = 9 }, back = again(&ask);
        struct control control = { .type = CONTROL_USED, .number = 9, .more = _i, .used = used,
                .used_count = _i ? HOSTED_MAX : 0 };

        ck_assert_int_eq(back.number, 9);
        control_done(&back);
        for (size_t i = 0; i < HOSTED_MAX; i++)
                used[i] = (struct control_used){ .agent_id = id_new(), .epoch = i + 1,
                        .usage = { .cpu_ms = i * 1000, .rss_bytes = JSON_INTEGER_MAX, .processes = UINT32_MAX } };
        back = again(&control);
        ck_assert_int_eq(back.number, 9);
        ck_assert(back.more == control.more);
        ck_assert_uint_eq(back.used_count, control.used_count);
        for (size_t i = 0; i < back.used_count; i++) {
                ck_assert(id_equal(&back.used[i].agent_id, &used[i].agent_id));
                ck_assert_uint_eq(back.used[i].epoch, i + 1);
                ck_assert_uint_eq(back.used[i].usage.cpu_ms, i * 1000);
                ck_assert_uint_eq(back.used[i].usage.rss_bytes, JSON_INTEGER_MAX);
                ck_assert_uint_eq(back.used[i].usage.processes, UINT32_MAX);
        }
        control_done(&back);
}
END_TEST

static int until_failure;

static void *failing_malloc(size_t size)
{
        return until_failure-- == 0 ? NULL : malloc(size);
}

/* What is missing from the list would be placed a second time. */
START_TEST(test_is_whole_or_nothing_when_memory_runs_out)
{
        struct hosted_agent hosted[3];
        struct control control = { .type = CONTROL_HOSTED, .hosted = hosted, .hosted_count = 3 }, back;
        unsigned whole = 0, nothing = 0;

        fill(hosted, 3);
        for (int n = 0; n < 100; n++) {
                char *text;

                until_failure = n;
                cJSON_InitHooks(&(cJSON_Hooks){ .malloc_fn = failing_malloc, .free_fn = free });
                text = control_encode(&control);
                cJSON_InitHooks(NULL);
                nothing += !text;
                if (!text)
                        continue;
                whole++;
                ck_assert_int_eq(control_decode(text, strlen(text), &back), 0);
                ck_assert_uint_eq(back.hosted_count, 3);
                control_done(&back);
                free(text);
        }
        ck_assert_uint_gt(nothing, 10);
        ck_assert_uint_gt(whole, 0);
}
END_TEST

START_TEST(test_refuses_when_it_is_no_control)
{
        static const char *const texts[] = { "", "{}", "[]", "{\"type\":\"nonsense\"}", "{\"type\":7}",
                "{\"type\":\"stop\"}", "{\"type\":\"ping\",\"number\":\"1\"}", "{\"type\":\"welcome\"}",
                "{\"type\":\"welcome\",\"settings\":[]}", "{\"type\":\"failed\"}", "{\"type\":\"command\"}",
                "{\"type\":\"command\",\"command\":{\"type\":\"spawn\"}}", "{\"type\":\"reply\"}", "{\"type\":\"reply\",\"reply\":[]}",
                "{\"type\":\"registry\",\"up\":true}", "{\"type\":\"registry\",\"up\":true,\"generation\":-1}",
                "{\"type\":\"ready\",\"number\":1}", "{\"type\":\"ready\",\"generation\":1}", "{\"type\":\"hosted\"}",
                "{\"type\":\"hosted\",\"hosted\":{}}", "{\"type\":\"hosted\",\"hosted\":[[]]}",
                "{\"type\":\"hosted\",\"hosted\":[[\"no id\",1,false]]}" };
        struct control back;

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                ck_assert_msg(control_decode(texts[i], strlen(texts[i]), &back) == -EINVAL, "%s", texts[i]);
}
END_TEST

START_TEST(test_refuses_when_an_epoch_is_no_number_of_ours)
{
        static const char *const epochs[] = { "-1", "1.5", "1e300", "\"1\"", "null" };
        struct control back;
        char text[200];

        for (size_t i = 0; i < sizeof epochs / sizeof *epochs; i++) {
                snprintf(text, sizeof text, "{\"type\":\"hosted\",\"hosted\":[[\"%s\",%s,false]]}",
                        "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11", epochs[i]);
                ck_assert_msg(control_decode(text, strlen(text), &back) == -EINVAL, "%s", epochs[i]);
        }
}
END_TEST

START_TEST(test_refuses_when_a_portion_is_too_large)
{
        size_t size = (HOSTED_MAX + 1) * 60 + 100, len;
        char *text = malloc(size);
        struct control back;

        ck_assert_ptr_nonnull(text);
        len = (size_t)snprintf(text, size, "{\"type\":\"hosted\",\"hosted\":[");
        for (int i = 0; i <= HOSTED_MAX; i++)
                len += (size_t)snprintf(text + len, size - len, "%s[\"6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11\",1,true]", i ? "," : "");
        snprintf(text + len, size - len, "]}");
        ck_assert_int_eq(control_decode(text, strlen(text), &back), -EINVAL);
        free(text);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("control");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_set_timeout(all, 60);
        tcase_add_test(all, test_is_the_same_when_encoded_and_decoded);
        tcase_add_test(all, test_carries_settings_commands_and_replies_when_encoded);
        tcase_add_test(all, test_carries_a_full_portion_when_hosted);
        tcase_add_loop_test(all, test_carries_a_full_portion_when_used, 0, 2);
        tcase_add_test(all, test_is_whole_or_nothing_when_memory_runs_out);
        tcase_add_test(all, test_refuses_when_it_is_no_control);
        tcase_add_test(all, test_refuses_when_an_epoch_is_no_number_of_ours);
        tcase_add_test(all, test_refuses_when_a_portion_is_too_large);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
