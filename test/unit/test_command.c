#include "common/json/json.h"
#include "registry/protocol/command.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define A "\"0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a\""
#define B "\"0b0b0b0b-0b0b-0b0b-0b0b-0b0b0b0b0b0b\""
#define C "\"0c0c0c0c-0c0c-0c0c-0c0c-0c0c0c0c0c0c\""
#define D "\"0d0d0d0d-0d0d-0d0d-0d0d-0d0d0d0d0d0d\""
#define TO "\"command_id\":" A ",\"master_id\":" B ",\"pool_name\":\"p\""
#define AT "\"agent_id\":" C ",\"epoch\":7"
#define FROM "\"command_id\":" A ",\"agent_id\":" C ",\"process_id\":" D ",\"epoch\":7"

static struct id id_of(int byte)
{
        struct id id;

        memset(id.b, byte, sizeof id.b);
        return id;
}

/* Every command and reply as it stands on the wire: what is decoded is encoded to the same bytes. */
static const char *const commands[] = {
        "{\"type\":\"spawn\"," TO "," AT ",\"role_type\":\"r\\\"\\\\\\n\\u0001é\",\"start_reason\":\"restart\","
        "\"project_id\":" D ",\"heartbeat_interval\":30,\"max_idle_time\":0,\"created_at\":1700000000123,\"restarts\":4,"
        "\"labels\":{\"k\":\"v\",\"\":\"\"},\"args\":{\"a\":\"b\"}}",
        "{\"type\":\"spawn\"," TO "," AT ",\"role_type\":\"\",\"start_reason\":\"spawn\",\"project_id\":" D
        ",\"heartbeat_interval\":10,\"max_idle_time\":2147483647,\"created_at\":0,\"restarts\":0}",
        "{\"type\":\"terminate\"," TO "," AT ",\"graceful\":true}",
        "{\"type\":\"terminate\"," TO "," AT ",\"graceful\":false}",
        "{\"type\":\"message\"," TO "," AT ",\"message\":{\"jsonrpc\":\"2.0\",\"id\":9007199254740991,\"method\":\"m\","
        "\"params\":[1.5,null,{\"x\":[]}]},\"client\":\"token x\",\"timeout_ms\":60000}",
        "{\"type\":\"drain\"," TO "}",
        "{\"type\":\"shutdown\"," TO "}",
        "{\"type\":\"cancel\"," TO "," AT ",\"message_id\":" D ",\"reason\":\"the client has gone\"}",
        /* What no tree could hold, and blanks that are somebody else's. */
        "{\"type\":\"message\"," TO "," AT ",\"message\":{ \"method\":\"m\",\"params\":[9007199254740993, 1.0,-0.0,1e400,"
        "\"\\u0000\\ud800\\/\",{\"a\":1,\"a\":2,\"message\":{}}]\t},\"client\":\"\",\"timeout_ms\":1}",
};
static const char *const replies[] = {
        "{\"type\":\"spawned\"," FROM "}",
        "{\"type\":\"spawn_failed\"," FROM ",\"detail\":\"no such \\\"file\\\"\"}",
        "{\"type\":\"exited\",\"agent_id\":" C ",\"process_id\":" D
        ",\"epoch\":9007199254740992,\"code\":-1,\"signal\":9,\"reason\":\"killed by signal 9 (KILL)\"}",
        "{\"type\":\"answer\"," FROM ",\"message\":{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{\"a\":[true,1e+300]}}}",
        "{\"type\":\"message_failed\"," FROM ",\"detail\":\"\"}",
        "{\"type\":\"event\",\"agent_id\":" C ",\"process_id\":" D
        ",\"epoch\":7,\"message\":{\"jsonrpc\":\"2.0\",\"method\":\"progress\"}}",
        "{\"type\":\"event\",\"agent_id\":" C ",\"process_id\":" D
        ",\"epoch\":7,\"message\":{\"a\":1.10},\"client\":\"token y\"}",
        "{\"type\":\"activity\",\"agent_id\":" C ",\"process_id\":" D
        ",\"epoch\":7,\"noise\":3,\"dropped\":0,\"unanswered\":true}",
};

START_TEST(test_command_comes_back_the_same_when_decoded_and_encoded)
{
        struct command command;
        char *text;

        ck_assert_int_eq(command_decode(commands[_i], strlen(commands[_i]), &command), 0);
        text = command_encode(&command);
        ck_assert_str_eq(text, commands[_i]);
        free(text);
        command_done(&command);
        ck_assert_ptr_null(command.pool_name);
        command_done(&command);
}
END_TEST

START_TEST(test_reply_comes_back_the_same_when_decoded_and_encoded)
{
        struct reply reply;
        char *text;

        ck_assert_int_eq(reply_decode(replies[_i], strlen(replies[_i]), &reply), 0);
        text = reply_encode(&reply);
        ck_assert_str_eq(text, replies[_i]);
        free(text);
        reply_done(&reply);
        reply_done(&reply);
}
END_TEST

START_TEST(test_fills_every_field_when_a_spawn_is_decoded)
{
        struct command command;
        struct id a = id_of(0x0a), b = id_of(0x0b), c = id_of(0x0c), d = id_of(0x0d);

        ck_assert_int_eq(command_decode(commands[0], strlen(commands[0]), &command), 0);
        ck_assert_int_eq(command.type, COMMAND_SPAWN);
        ck_assert(id_equal(&command.command_id, &a));
        ck_assert(id_equal(&command.master_id, &b));
        ck_assert(id_equal(&command.agent_id, &c));
        ck_assert(id_equal(&command.project_id, &d));
        ck_assert_uint_eq(command.epoch, 7);
        ck_assert_str_eq(command.pool_name, "p");
        ck_assert_str_eq(command.role_type, "r\"\\\n\001é");
        ck_assert_str_eq(command.start_reason, "restart");
        ck_assert_int_eq(command.heartbeat_interval, 30);
        ck_assert_int_eq(command.max_idle_time, 0);
        ck_assert_int_eq(command.created_at, INT64_C(1700000000123));
        ck_assert_int_eq(command.restarts, 4);
        ck_assert_str_eq(json_string(command.labels, "k"), "v");
        ck_assert_str_eq(json_string(command.args, "a"), "b");
        command_done(&command);
}
END_TEST

START_TEST(test_fills_every_field_when_a_message_or_terminate_is_decoded)
{
        struct command command;

        ck_assert_int_eq(command_decode(commands[2], strlen(commands[2]), &command), 0);
        ck_assert_int_eq(command.type, COMMAND_TERMINATE);
        ck_assert(command.graceful);
        command_done(&command);
        ck_assert_int_eq(command_decode(commands[4], strlen(commands[4]), &command), 0);
        ck_assert_int_eq(command.type, COMMAND_MESSAGE);
        ck_assert_int_eq(command.timeout_ms, 60000);
        ck_assert_str_eq(command.message, "{\"jsonrpc\":\"2.0\",\"id\":9007199254740991,\"method\":\"m\","
                                          "\"params\":[1.5,null,{\"x\":[]}]}");
        ck_assert_str_eq(command.client, "token x");
        command_done(&command);
        ck_assert_int_eq(command_decode(commands[6], strlen(commands[6]), &command), 0);
        ck_assert_int_eq(command.type, COMMAND_SHUTDOWN);
        ck_assert(id_is_zero(&command.agent_id));
        command_done(&command);
}
END_TEST

START_TEST(test_fills_every_field_when_a_reply_is_decoded)
{
        struct reply reply;
        struct id a = id_of(0x0a), c = id_of(0x0c), d = id_of(0x0d);

        ck_assert_int_eq(reply_decode(replies[1], strlen(replies[1]), &reply), 0);
        ck_assert_int_eq(reply.type, REPLY_SPAWN_FAILED);
        ck_assert(id_equal(&reply.command_id, &a));
        ck_assert(id_equal(&reply.agent_id, &c));
        ck_assert(id_equal(&reply.process_id, &d));
        ck_assert_str_eq(reply.detail, "no such \"file\"");
        reply_done(&reply);
        ck_assert_int_eq(reply_decode(replies[2], strlen(replies[2]), &reply), 0);
        ck_assert_int_eq(reply.type, REPLY_EXITED);
        ck_assert(id_is_zero(&reply.command_id));
        ck_assert_uint_eq(reply.epoch, UINT64_C(9007199254740992));
        ck_assert_int_eq(reply.exit.code, -1);
        ck_assert_int_eq(reply.exit.signal, 9);
        ck_assert_str_eq(reply.exit.reason, "killed by signal 9 (KILL)");
        reply_done(&reply);
        ck_assert_int_eq(reply_decode(replies[3], strlen(replies[3]), &reply), 0);
        ck_assert_str_eq(reply.message, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{\"a\":[true,1e+300]}}");
        reply_done(&reply);
}
END_TEST

/* Cuts member ,"name":… out of a text (its value has no comma or brace), or gives it another value. */
static char *with_member(const char *text, const char *name, const char *value)
{
        char member[64], *result = NULL;
        const char *at, *rest;
        size_t len = (size_t)snprintf(member, sizeof member, ",\"%s\":", name);

        at = strstr(text, member);
        ck_assert_msg(at, "%s in %s", name, text);
        rest = at + len;
        if (*rest == '{') {
                int depth = 0;

                do
                        depth += *rest == '{' ? 1 : *rest == '}' ? -1 : 0;
                while (rest++, depth > 0);
        } else {
                rest += strcspn(rest, ",}");
        }
        if (value)
                ck_assert_int_gt(asprintf(&result, "%.*s%s%s%s", (int)(at - text), text, member, value, rest), 0);
        else
                ck_assert_int_gt(asprintf(&result, "%.*s%s", (int)(at - text), text, rest), 0);
        return result;
}

struct member {
        int at;           /* in commands or replies */
        const char *name;
        bool optional;
        const char *wrong[6];
};
static const struct member command_members[] = {
        { 0, "command_id", false, { "5", "\"x\"", "null" } },
        { 0, "master_id", false, { "5", "\"\"", "[]" } },
        { 0, "agent_id", false, { "5", "\"0a0a0a0a\"" } },
        { 0, "project_id", false, { "5", "\"\"" } },
        { 0, "epoch", false, { "0", "-1", "1.5", "\"7\"", "null" } },
        { 0, "pool_name", false, { "5", "null", "{}" } },
        { 0, "start_reason", false, { "5", "null" } },
        { 0, "heartbeat_interval", false, { "-1", "2147483648", "\"30\"" } },
        { 0, "max_idle_time", false, { "-1", "2147483648", "true" } },
        { 0, "created_at", false, { "-1", "0.5", "\"\"" } },
        { 0, "restarts", false, { "-1", "null" } },
        { 0, "labels", true, { "5", "[]", "null", "{\"a\":1}", "{\"a\":{}}" } },
        { 0, "args", true, { "\"\"", "[\"a\"]", "{\"a\":null}" } },
        { 2, "graceful", false, { "1", "\"true\"", "null" } },
        { 2, "epoch", false, { "-1", "null" } },
        { 2, "agent_id", false, { "null" } },
        { 4, "message", false, { "5", "null", "[]", "\"\"", "1" } },
        { 4, "client", false, { "5", "null" } },
        { 7, "message_id", false, { "5", "\"\"" } },
        { 7, "reason", false, { "5", "null" } },
        { 4, "timeout_ms", false, { "-1", "\"5\"", "1.5" } },
        { 5, "command_id", false, { "null" } },
        { 5, "master_id", false, { "null" } },
        { 5, "pool_name", false, { "null" } },
};
static const struct member reply_members[] = {
        { 0, "command_id", false, { "5", "\"x\"" } },
        { 0, "agent_id", false, { "5", "null" } },
        { 0, "process_id", false, { "5", "\"\"" } },
        { 0, "epoch", false, { "-1", "\"1\"", "0.5" } },
        { 1, "detail", false, { "5", "null", "{}" } },
        { 2, "code", false, { "-2", "\"0\"", "2147483648" } },
        { 2, "signal", false, { "-1", "null" } },
        { 2, "reason", false, { "5", "null" } },
        { 3, "message", false, { "5", "null", "[]" } },
        { 4, "detail", false, { "5" } },
        { 5, "message", false, { "\"\"" } },
        { 6, "client", true, { "5", "[]" } },
        { 7, "noise", false, { "-1", "\"\"" } },
        { 7, "dropped", false, { "null" } },
};

static int decode_command(const char *text)
{
        struct command command;
        int r = command_decode(text, strlen(text), &command);

        if (r == 0)
                command_done(&command);
        return r;
}

static int decode_reply(const char *text)
{
        struct reply reply;
        int r = reply_decode(text, strlen(text), &reply);

        if (r == 0)
                reply_done(&reply);
        return r;
}

static void assert_strict(const struct member *member, const char *text, int (*decode)(const char *text))
{
        char *changed = with_member(text, member->name, NULL);

        ck_assert_int_eq(decode(changed), member->optional ? 0 : -EINVAL);
        free(changed);
        for (size_t i = 0; i < sizeof member->wrong / sizeof *member->wrong && member->wrong[i]; i++) {
                changed = with_member(text, member->name, member->wrong[i]);
                ck_assert_msg(decode(changed) == -EINVAL, "%s", changed);
                free(changed);
        }
}

START_TEST(test_refuses_a_command_when_a_member_is_missing_or_wrong)
{
        assert_strict(&command_members[_i], commands[command_members[_i].at], decode_command);
}
END_TEST

START_TEST(test_refuses_a_reply_when_a_member_is_missing_or_wrong)
{
        assert_strict(&reply_members[_i], replies[reply_members[_i].at], decode_reply);
}
END_TEST

START_TEST(test_refuses_what_is_no_envelope_when_decoding)
{
        static const char *const texts[] = { "", "x", "5", "null", "[]", "{}", "{\"type\":5}", "{\"type\":\"spawnx\"}",
                "{\"type\":\"\"}", "{\"type\":\"spawn\",\"type\":\"spawn\"}" };
        struct command command = { .pool_name = NULL };

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                ck_assert_int_eq(decode_command(texts[i]), -EINVAL);
                ck_assert_int_eq(decode_reply(texts[i]), -EINVAL);
        }
        ck_assert_int_eq(decode_command(replies[0]), -EINVAL);
        ck_assert_int_eq(decode_reply(commands[0]), -EINVAL);
        for (size_t len = 0; len < strlen(commands[0]); len++)
                ck_assert_int_eq(command_decode(commands[0], len, &command), -EINVAL);
}
END_TEST

START_TEST(test_passes_over_a_member_when_it_is_from_a_newer_version)
{
        ck_assert_int_eq(decode_command("{\"type\":\"drain\",\"batch\":{\"size\":3}," TO "}"), 0);
        ck_assert_int_eq(decode_reply("{\"type\":\"spawned\",\"cpu\":[1]," FROM "}"), 0);
}
END_TEST

START_TEST(test_stays_readable_when_a_reason_is_cut_inside_a_character)
{
        struct reply reply = { .type = REPLY_EXITED, .agent_id = id_of(1), .process_id = id_of(2), .epoch = 1 };
        struct reply again;
        char *text;

        memset(reply.exit.reason, 'x', sizeof reply.exit.reason - 1);
        reply.exit.reason[0] = '\x80';
        memcpy(reply.exit.reason + sizeof reply.exit.reason - 3, "\xe2\x82", 2);
        text = reply_encode(&reply);
        ck_assert_int_eq(reply_decode(text, strlen(text), &again), 0);
        ck_assert_int_eq(strncmp(again.exit.reason, "\xef\xbf\xbdxxx", 6), 0);
        ck_assert_uint_lt(strlen(again.exit.reason), sizeof again.exit.reason);
        free(text);
        reply_done(&again);
        reply = (struct reply){ .type = REPLY_SPAWN_FAILED, .detail = (char[]){ "a\xff" "b" } };
        text = reply_encode(&reply);
        ck_assert_int_eq(reply_decode(text, strlen(text), &again), 0);
        ck_assert_str_eq(again.detail, "a\xef\xbf\xbd" "b");
        free(text);
        reply_done(&again);
}
END_TEST

START_TEST(test_carries_a_message_when_it_is_as_deep_as_any_pool_allows)
{
        struct command command = { .type = COMMAND_MESSAGE, .pool_name = (char[]){ "p" }, .client = (char[]){ "" } }, again;
        static char opening[JSON_RAW_DEPTH_MAX + 1], closing[JSON_RAW_DEPTH_MAX + 1], deep[3 * JSON_RAW_DEPTH_MAX];
        char *text;

        memset(opening, '[', JSON_RAW_DEPTH_MAX);
        memset(closing, ']', JSON_RAW_DEPTH_MAX);
        snprintf(deep, sizeof deep, "{\"method\":\"m\",\"params\":%s%s}", opening, closing);
        command.message = deep;
        text = command_encode(&command);
        ck_assert_int_eq(command_decode(text, strlen(text), &again), 0);
        ck_assert_str_eq(again.message, deep);
        free(text);
        command_done(&again);
}
END_TEST

START_TEST(test_names_types_when_asked)
{
        ck_assert_str_eq(command_type_name(COMMAND_SPAWN), "spawn");
        ck_assert_str_eq(command_type_name(COMMAND_SHUTDOWN), "shutdown");
        ck_assert_ptr_null(command_type_name(COMMAND_TYPE_COUNT));
        ck_assert_ptr_null(command_type_name((enum command_type)0));
        ck_assert_str_eq(reply_type_name(REPLY_MESSAGE_FAILED), "message_failed");
        ck_assert_ptr_null(reply_type_name(REPLY_TYPE_COUNT));
        ck_assert_ptr_null(reply_type_name((enum reply_type)0));
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

int main(void)
{
        Suite *suite = suite_create("command");
        TCase *tests = tcase_create("command");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tests);
        tcase_add_loop_test(tests, test_command_comes_back_the_same_when_decoded_and_encoded, 0, COUNT(commands));
        tcase_add_loop_test(tests, test_reply_comes_back_the_same_when_decoded_and_encoded, 0, COUNT(replies));
        tcase_add_test(tests, test_fills_every_field_when_a_spawn_is_decoded);
        tcase_add_test(tests, test_fills_every_field_when_a_message_or_terminate_is_decoded);
        tcase_add_test(tests, test_fills_every_field_when_a_reply_is_decoded);
        tcase_add_loop_test(tests, test_refuses_a_command_when_a_member_is_missing_or_wrong, 0, COUNT(command_members));
        tcase_add_loop_test(tests, test_refuses_a_reply_when_a_member_is_missing_or_wrong, 0, COUNT(reply_members));
        tcase_add_test(tests, test_refuses_what_is_no_envelope_when_decoding);
        tcase_add_test(tests, test_passes_over_a_member_when_it_is_from_a_newer_version);
        tcase_add_test(tests, test_stays_readable_when_a_reason_is_cut_inside_a_character);
        tcase_add_test(tests, test_carries_a_message_when_it_is_as_deep_as_any_pool_allows);
        tcase_add_test(tests, test_names_types_when_asked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
