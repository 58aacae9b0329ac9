#include "worker/jsonrpc.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cJSON *parse(const char *text)
{
        struct json_error error;
        cJSON *tree;

        ck_assert_msg(json_parse(text, strlen(text), JSON_STRICT, &tree, &error) == 0, "%s: %s", text, error.detail);
        return tree;
}

static void expect(const cJSON *tree, const char *text)
{
        char *printed = json_print(tree);

        ck_assert_str_eq(printed, text);
        free(printed);
}

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
        { "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":null}", JSONRPC_INVALID,
                "\"params\" must be an object or an array" },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"result\":1}", JSONRPC_INVALID,
                "it has a \"method\" and a \"result\" or \"error\"" },
        { "{\"jsonrpc\":\"2.0\",\"id\":1}", JSONRPC_INVALID,
                "an answer needs exactly one of \"result\" and \"error\"" },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1,\"error\":{\"code\":1,\"message\":\"\"}}", JSONRPC_INVALID,
                "an answer needs exactly one of \"result\" and \"error\"" },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":\"x\"}", JSONRPC_INVALID,
                "\"error\" needs an integer \"code\" and a string \"message\"" },
        { "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1.5,\"message\":\"x\"}}", JSONRPC_INVALID,
                "\"error\" needs an integer \"code\" and a string \"message\"" },
};

START_TEST(test_tells_what_a_message_is)
{
        cJSON *tree = parse(messages[_i].text);
        const char *why = NULL;

        ck_assert_int_eq(jsonrpc_classify(tree, &why), messages[_i].kind);
        if (messages[_i].why)
                ck_assert_str_eq(why, messages[_i].why);
        cJSON_Delete(tree);
}
END_TEST

START_TEST(test_restores_the_id_that_it_rewrote)
{
        const char *ids[] = { "1", "\"text\"", "null", "1.5", "9007199254740992" };

        for (size_t i = 0; i < 5; i++) {
                struct jsonrpc_id id;
                char text[96];
                cJSON *tree;

                snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"a\"}", ids[i]);
                tree = parse(text);
                jsonrpc_id_rewrite(tree, 42, &id);
                expect(tree, "{\"jsonrpc\":\"2.0\",\"id\":42,\"method\":\"a\"}");
                jsonrpc_id_restore(tree, &id);
                ck_assert_ptr_null(id.text);
                expect(tree, text);
                cJSON_Delete(tree);
        }
}
END_TEST

START_TEST(test_restores_an_id_over_a_string)
{
        cJSON *request = parse("{\"id\":\"theirs\"}"), *response = parse("{\"id\":\"ours\"}");
        struct jsonrpc_id id;

        jsonrpc_id_rewrite(request, 1, &id);
        jsonrpc_id_restore(response, &id);
        expect(response, "{\"id\":\"theirs\"}");
        cJSON_Delete(request);
        cJSON_Delete(response);
}
END_TEST

START_TEST(test_reads_only_numbers_that_it_can_have_given)
{
        const char *wrong[] = { "0", "-1", "1.5", "1e300", "\"1\"", "null" };
        cJSON *tree = parse("{\"id\":9007199254740992}");
        uint64_t number = 0;

        ck_assert_int_eq(jsonrpc_id_number(tree, &number), 0);
        ck_assert_uint_eq(number, UINT64_C(9007199254740992));
        cJSON_Delete(tree);
        for (size_t i = 0; i < 6; i++) {
                char text[32];

                snprintf(text, sizeof text, "{\"id\":%s}", wrong[i]);
                tree = parse(text);
                ck_assert_int_eq(jsonrpc_id_number(tree, &number), -EINVAL);
                cJSON_Delete(tree);
        }
        tree = parse("{}");
        ck_assert_int_eq(jsonrpc_id_number(tree, &number), -EINVAL);
        cJSON_Delete(tree);
}
END_TEST

START_TEST(test_makes_messages)
{
        cJSON *tree = jsonrpc_result(cJSON_CreateObject());

        expect(tree, "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":null}");
        cJSON_Delete(tree);
        tree = jsonrpc_error(-3, "no");
        expect(tree, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-3,\"message\":\"no\"},\"id\":null}");
        cJSON_Delete(tree);
        tree = jsonrpc_call(5, "m", cJSON_CreateArray());
        expect(tree, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"m\",\"params\":[]}");
        cJSON_Delete(tree);
        tree = jsonrpc_call(0, "m", NULL);
        expect(tree, "{\"jsonrpc\":\"2.0\",\"method\":\"m\"}");
        cJSON_Delete(tree);
}
END_TEST

static size_t until_failure; /* allocations; SIZE_MAX: none fails */

static void *failing_malloc(size_t size)
{
        if (until_failure == 0)
                return NULL;
        until_failure -= until_failure != SIZE_MAX;
        return malloc(size);
}

static cJSON *make_message(int which, cJSON *take_item)
{
        return which == 0 ? jsonrpc_result(take_item) : jsonrpc_call(1, "m", take_item);
}

START_TEST(test_returns_null_when_memory_ends)
{
        cJSON_Hooks hooks = { failing_malloc, free };

        cJSON_InitHooks(&hooks);
        for (int which = 0; which < 3; which++) {
                cJSON *tree = NULL;
                size_t failures = 0;

                for (; !tree; failures++) {
                        cJSON *item;

                        until_failure = SIZE_MAX;
                        item = which < 2 ? cJSON_CreateObject() : NULL;
                        until_failure = failures;
                        tree = which < 2 ? make_message(which, item) : jsonrpc_error(1, "x");
                }
                ck_assert_uint_gt(failures, 3);
                cJSON_Delete(tree);
        }
        cJSON_InitHooks(NULL);
}
END_TEST

static uint64_t add(struct jsonrpc_pending *pending, int64_t deadline)
{
        struct jsonrpc_request *request;

        ck_assert_int_eq(jsonrpc_pending_add(pending, deadline, &request), 0);
        request->client = (struct jsonrpc_id){ .type = cJSON_String, .text = strdup("x") };
        request->command_id.b[0] = (uint8_t)request->number;
        return request->number;
}

START_TEST(test_finds_each_request_once)
{
        struct jsonrpc_pending pending;
        struct jsonrpc_request request;
        uint64_t numbers[1000];

        jsonrpc_pending_init(&pending);
        ck_assert_int_eq(jsonrpc_pending_take(&pending, 1, &request), -ENOENT);
        for (int i = 0; i < 1000; i++)
                numbers[i] = add(&pending, 1000 + i);
        for (int i = 0; i < 1000; i++) {
                uint64_t number = numbers[(i * 7) % 1000];

                ck_assert_int_eq(jsonrpc_pending_take(&pending, number, &request), 0);
                ck_assert_uint_eq(request.command_id.b[0], (uint8_t)number);
                jsonrpc_id_done(&request.client);
                ck_assert_int_eq(jsonrpc_pending_take(&pending, number, &request), -ENOENT);
        }
        ck_assert_uint_eq(pending.count, 0);
        ck_assert_ptr_null(pending.requests); /* a burst leaves no memory behind */
        ck_assert_int_eq(jsonrpc_pending_take(&pending, 0, &request), -ENOENT);
        jsonrpc_pending_done(&pending);
}
END_TEST

START_TEST(test_gives_numbers_once_when_an_old_request_stays)
{
        struct jsonrpc_pending pending;
        struct jsonrpc_request request;
        uint64_t old[3], last = 0;

        jsonrpc_pending_init(&pending);
        for (int i = 0; i < 3; i++)
                old[i] = add(&pending, INT64_MAX);
        for (int i = 0; i < 10000; i++) {
                uint64_t number = add(&pending, 1);

                ck_assert_uint_gt(number, last);
                last = number;
                ck_assert_int_eq(jsonrpc_pending_take(&pending, number, &request), 0);
                jsonrpc_id_done(&request.client);
        }
        ck_assert_uint_le(pending.size, 16);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(jsonrpc_pending_take(&pending, old[i], &request), 0);
                jsonrpc_id_done(&request.client);
        }
        jsonrpc_pending_done(&pending);
}
END_TEST

START_TEST(test_expires_what_is_due_and_nothing_else)
{
        struct jsonrpc_pending pending;
        struct jsonrpc_request request;
        int count = 0;

        jsonrpc_pending_init(&pending);
        for (int i = 0; i < 100; i++)
                add(&pending, 1000 + (i * 37) % 100);
        ck_assert_int_eq(pending.earliest, 1000);
        ck_assert_int_eq(jsonrpc_pending_expire(&pending, 999, &request), -ENOENT);
        while (jsonrpc_pending_expire(&pending, 1049, &request) == 0) {
                ck_assert_int_le(request.deadline, 1049);
                jsonrpc_id_done(&request.client);
                count++;
        }
        ck_assert_int_eq(count, 50);
        ck_assert_int_eq(pending.earliest, 1050);
        add(&pending, 500);
        ck_assert_int_eq(pending.earliest, 500);
        ck_assert_int_eq(jsonrpc_pending_expire(&pending, 500, &request), 0);
        jsonrpc_id_done(&request.client);
        while (jsonrpc_pending_expire(&pending, INT64_MAX, &request) == 0) {
                jsonrpc_id_done(&request.client);
                count++;
        }
        ck_assert_int_eq(count, 100);
        ck_assert_int_eq(pending.earliest, INT64_MAX);
        jsonrpc_pending_done(&pending);
}
END_TEST

START_TEST(test_refuses_more_than_it_may_hold)
{
        struct jsonrpc_pending pending;
        struct jsonrpc_request *request;

        jsonrpc_pending_init(&pending);
        for (int i = 0; i < JSONRPC_PENDING_MAX; i++)
                add(&pending, 1);
        ck_assert_int_eq(jsonrpc_pending_add(&pending, 1, &request), -EAGAIN);
        jsonrpc_pending_done(&pending); /* frees the ids of all */
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("jsonrpc");
        TCase *c = tcase_create("jsonrpc");

        suite_add_tcase(all, c);
        tcase_add_loop_test(c, test_tells_what_a_message_is, 0, sizeof messages / sizeof *messages);
        tcase_add_test(c, test_restores_the_id_that_it_rewrote);
        tcase_add_test(c, test_restores_an_id_over_a_string);
        tcase_add_test(c, test_reads_only_numbers_that_it_can_have_given);
        tcase_add_test(c, test_makes_messages);
        tcase_add_test(c, test_returns_null_when_memory_ends);
        tcase_add_test(c, test_finds_each_request_once);
        tcase_add_test(c, test_gives_numbers_once_when_an_old_request_stays);
        tcase_add_test(c, test_expires_what_is_due_and_nothing_else);
        tcase_add_test(c, test_refuses_more_than_it_may_hold);
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
