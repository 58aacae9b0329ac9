#include "common/json/jsonrpc.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
        const char *text;
        enum jsonrpc_kind kind;
        const char *why;
} messages[] = {
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}", JSONRPC_REQUEST, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"a\",\"params\":{}}", JSONRPC_REQUEST, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"a\",\"params\":[]}", JSONRPC_REQUEST, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"a\",\"more\":1}", JSONRPC_REQUEST, NULL },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"a\"}", JSONRPC_NOTIFICATION, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}", JSONRPC_RESPONSE, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-1,\"message\":\"\"}}", JSONRPC_RESPONSE, NULL },
        { "[]", JSONRPC_INVALID, "batches are not supported" },
        { "1", JSONRPC_INVALID, "it is no object" },
        { "null", JSONRPC_INVALID, "it is no object" },
        { "{}", JSONRPC_INVALID, "it lacks \"jsonrpc\": \"2.0\"" },
        { "{\"jsonrpc\":2.0,\"method\":\"a\"}", JSONRPC_INVALID, "it lacks \"jsonrpc\": \"2.0\"" },
        { "{\"jsonrpc\":\"1.0\",\"method\":\"a\"}", JSONRPC_INVALID, "it lacks \"jsonrpc\": \"2.0\"" },
        { "{\"JSONRPC\":\"2.0\",\"method\":\"a\"}", JSONRPC_INVALID, "it lacks \"jsonrpc\": \"2.0\"" },
        { "{\"jsonrpc\":\"2.0\"}", JSONRPC_INVALID, "it has neither \"method\" nor \"id\"" },
        { "{\"jsonrpc\":\"2.0\",\"method\":1}", JSONRPC_INVALID, "\"method\" must be a string" },
        { "{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"a\"}", JSONRPC_INVALID, "\"id\" must be a string or a number" },
        { "{\"jsonrpc\":\"2.0\",\"id\":true,\"result\":1}", JSONRPC_INVALID, "\"id\" must be a string or a number" },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":1}", JSONRPC_INVALID,
                "\"params\" must be an object or an array" },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":null}", JSONRPC_NOTIFICATION, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"result\":1}", JSONRPC_INVALID,
                "it has a \"method\" and a \"result\" or \"error\"" },
        { "{\"jsonrpc\":\"2.0\",\"id\":1}", JSONRPC_INVALID,
                "an answer needs exactly one of \"result\" and \"error\"" },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1,\"error\":{\"code\":1,\"message\":\"\"}}", JSONRPC_INVALID,
                "an answer needs exactly one of \"result\" and \"error\"" },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":\"x\"}", JSONRPC_RESPONSE, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":\"E\",\"message\":\"x\"}}", JSONRPC_RESPONSE, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1,\"error\":null}", JSONRPC_RESPONSE, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null,\"error\":{}}", JSONRPC_RESPONSE, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":null}", JSONRPC_INVALID,
                "an answer needs exactly one of \"result\" and \"error\"" },
        { " {\"\\u006asonrpc\":\"2\\u002e0\",\"id\" : 1 ,\"result\":{\"id\":2,\"id\":3}} ", JSONRPC_RESPONSE, NULL },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"i\\u0064\":1,\"result\":1}", JSONRPC_INVALID, "the name \"id\" appears twice" },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":[],\"params\":[]}", JSONRPC_INVALID,
                "the name \"params\" appears twice" },
};

START_TEST(test_tells_what_a_message_is)
{
        struct jsonrpc message;
        struct json_error error;

        ck_assert_int_eq(json_raw_check(messages[_i].text, strlen(messages[_i].text), 10, &error), 0);
        jsonrpc_read(messages[_i].text, strlen(messages[_i].text), &message);
        ck_assert_int_eq(message.kind, messages[_i].kind);
        if (messages[_i].why)
                ck_assert_str_eq(message.why, messages[_i].why);
}
END_TEST

START_TEST(test_changes_nothing_but_the_id)
{
        const char *ids[] = { "1", "\"text\"", "null", "1.0", "9007199254740993", "\"\\u0000\"" };
        const char form[] = "{ \"jsonrpc\":\"2.0\",\t\"result\":{\"id\":1e400,\"a\":1,\"a\":-0.0},\"id\": %s }";
        char with[128], *text;
        struct jsonrpc message;
        size_t len;

        for (size_t i = 0; i < 6; i++) {
                char expected[128];

                snprintf(with, sizeof with, form, ids[i]);
                jsonrpc_read(with, strlen(with), &message);
                ck_assert_uint_eq(message.id.len, strlen(ids[i]));
                ck_assert(memcmp(message.id.text, ids[i], message.id.len) == 0);
                text = jsonrpc_with_id(&message, json_raw_of("42"), &len);
                snprintf(expected, sizeof expected, form, "42");
                ck_assert_str_eq(text, expected);
                ck_assert_uint_eq(len, strlen(text));
                free(text);
        }
}
END_TEST

START_TEST(test_reads_only_numbers_that_it_can_have_given)
{
        const char *wrong[] = { "0", "-1", "1.5", "1e300", "\"1\"", "null", "9007199254740994" };
        const char *right[] = { "9007199254740992", "1", "1.0", "1e0" };
        uint64_t number = 0;

        for (size_t i = 0; i < 4; i++) {
                ck_assert_int_eq(jsonrpc_number(json_raw_of(right[i]), &number), 0);
                ck_assert_uint_eq(number, i ? 1 : UINT64_C(9007199254740992));
        }
        for (size_t i = 0; i < 7; i++)
                ck_assert_int_eq(jsonrpc_number(json_raw_of(wrong[i]), &number), -EINVAL);
        ck_assert_int_eq(jsonrpc_number(json_raw_of(NULL), &number), -EINVAL);
}
END_TEST

static const struct {
        const char *method, *params, *value;
        enum jsonrpc_named named;
} named[] = {
        { "notifications/cancelled", "{\"requestId\":1.0,\"reason\":\"x\"}", "1.0", JSONRPC_NAMES_REQUEST },
        { "$/cancelRequest", "{\"id\":\"a\"}", "\"a\"", JSONRPC_NAMES_REQUEST },
        { "$/cancel_request", "{\"requestId\":7}", "7", JSONRPC_NAMES_REQUEST },
        { "$\\/cancel_request", "{\"request\\u0049d\":7}", "7", JSONRPC_NAMES_REQUEST },
        { "notifications/progress", "{\"progressToken\":3,\"progress\":1}", "3", JSONRPC_NAMES_TOKEN },
        { "notifications/progress", "{\"progress\":1}", NULL, JSONRPC_NAMES_TOKEN },
        { "notifications/cancelled", "{\"requestId\":1,\"requestId\":2}", NULL, JSONRPC_NAMES_REQUEST },
        { "notifications/cancelled", "[1]", NULL, JSONRPC_NAMES_REQUEST },
        { "notifications/message", "{\"requestId\":1}", NULL, JSONRPC_NAMES_NOTHING },
        { "work/cancel", "{\"requestId\":7}", "7", JSONRPC_NAMES_REQUEST },
        { "work/cancel", "{\"requestId\":7,\"requestId\":8}", NULL, JSONRPC_NAMES_REQUEST },
        { "work/cancel", "{\"id\":7}", NULL, JSONRPC_NAMES_NOTHING },
};

START_TEST(test_finds_what_a_notification_names)
{
        struct json_raw value = { 0 };
        struct jsonrpc message;
        char text[160];

        snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":%s}", named[_i].method, named[_i].params);
        jsonrpc_read(text, strlen(text), &message);
        ck_assert_int_eq(jsonrpc_named(&message, "work/cancel", &value), named[_i].named);
        if (named[_i].value)
                ck_assert(value.len == strlen(named[_i].value) && memcmp(value.text, named[_i].value, value.len) == 0);
        else
                ck_assert_ptr_null(value.text);
}
END_TEST

START_TEST(test_makes_messages)
{
        char *text = jsonrpc_result(json_raw_of("{}"), json_raw_of("null"));

        ck_assert_str_eq(text, "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":null}");
        free(text);
        text = jsonrpc_error(-3, "no\"", json_raw_of("\"x\""));
        ck_assert_str_eq(text, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-3,\"message\":\"no\\\"\"},\"id\":\"x\"}");
        free(text);
        text = jsonrpc_call(5, "m", json_raw_of("[]"));
        ck_assert_str_eq(text, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"m\",\"params\":[]}");
        free(text);
        text = jsonrpc_call(0, "m", json_raw_of(NULL));
        ck_assert_str_eq(text, "{\"jsonrpc\":\"2.0\",\"method\":\"m\"}");
        free(text);
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("jsonrpc");
        TCase *c = tcase_create("jsonrpc");

        suite_add_tcase(all, c);
        tcase_add_loop_test(c, test_tells_what_a_message_is, 0, sizeof messages / sizeof *messages);
        tcase_add_loop_test(c, test_finds_what_a_notification_names, 0, sizeof named / sizeof *named);
        tcase_add_test(c, test_changes_nothing_but_the_id);
        tcase_add_test(c, test_reads_only_numbers_that_it_can_have_given);
        tcase_add_test(c, test_makes_messages);
        return all;
}

int main(void)
{
        SRunner *runner = srunner_create(suite());
        int failed;

        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed != 0;
}
