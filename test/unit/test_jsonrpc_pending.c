#include "worker/runtime/jsonrpc_pending.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t add(struct jsonrpc_pending *pending, int64_t deadline)
{
        struct jsonrpc_request *request;

        ck_assert_int_eq(jsonrpc_pending_add(pending, deadline, &request), 0);
        request->client = strdup("x");
        request->id = strdup("7");
        request->token = strdup("\"t\"");
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
                jsonrpc_request_done(&request);
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
                jsonrpc_request_done(&request);
        }
        ck_assert_uint_le(pending.size, 16);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(jsonrpc_pending_take(&pending, old[i], &request), 0);
                jsonrpc_request_done(&request);
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
                jsonrpc_request_done(&request);
                count++;
        }
        ck_assert_int_eq(count, 50);
        ck_assert_int_eq(pending.earliest, 1050);
        add(&pending, 500);
        ck_assert_int_eq(pending.earliest, 500);
        ck_assert_int_eq(jsonrpc_pending_expire(&pending, 500, &request), 0);
        jsonrpc_request_done(&request);
        while (jsonrpc_pending_expire(&pending, INT64_MAX, &request) == 0) {
                jsonrpc_request_done(&request);
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

START_TEST(test_finds_a_request_only_by_its_own_clients_id)
{
        struct jsonrpc_pending pending;
        struct jsonrpc_request *request, *found;
        const char *clients[] = { "a", "b", "a" }, *ids[] = { "1", "1", "\"1\"" };

        jsonrpc_pending_init(&pending);
        ck_assert_ptr_null(jsonrpc_pending_find_client(&pending, "a", json_raw_of("1")));
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(jsonrpc_pending_add(&pending, 1000, &request), 0);
                request->client = strdup(clients[i]);
                request->id = strdup(ids[i]);
                request->command_id.b[0] = (uint8_t)(i + 1);
        }
        for (int i = 0; i < 3; i++) {
                found = jsonrpc_pending_find_client(&pending, clients[i], json_raw_of(ids[i]));
                ck_assert_ptr_nonnull(found);
                ck_assert_int_eq(found->command_id.b[0], i + 1);
                ck_assert_ptr_eq(jsonrpc_pending_find(&pending, found->number), found);
                ck_assert_ptr_eq(jsonrpc_pending_find_command(&pending, &found->command_id), found);
        }
        ck_assert_ptr_eq(jsonrpc_pending_find_client(&pending, "a", json_raw_of("\"\\u0031\"")),
                jsonrpc_pending_find_client(&pending, "a", json_raw_of("\"1\"")));
        ck_assert_ptr_null(jsonrpc_pending_find_client(&pending, "b", json_raw_of("\"1\"")));
        ck_assert_ptr_null(jsonrpc_pending_find_client(&pending, "c", json_raw_of("1")));
        ck_assert_ptr_null(jsonrpc_pending_find_client(&pending, "a", json_raw_of("1.0")));
        ck_assert_ptr_null(jsonrpc_pending_find(&pending, 99));
        jsonrpc_pending_done(&pending);
}
END_TEST

START_TEST(test_lets_what_was_given_up_make_room)
{
        struct jsonrpc_pending pending;
        struct jsonrpc_request *request;
        uint64_t first;

        jsonrpc_pending_init(&pending);
        first = add(&pending, 1);
        for (int i = 1; i < JSONRPC_PENDING_MAX; i++)
                add(&pending, 1000);
        jsonrpc_pending_give_up(&pending, jsonrpc_pending_due(&pending, 1), 2000);
        ck_assert_uint_eq(pending.given_up, 1);
        ck_assert_ptr_null(jsonrpc_pending_due(&pending, 999));
        ck_assert_int_eq(jsonrpc_pending_add(&pending, 1, &request), 0);
        ck_assert_uint_eq(pending.given_up, 0);
        ck_assert_ptr_null(jsonrpc_pending_find(&pending, first));
        ck_assert_int_eq(jsonrpc_pending_add(&pending, 1, &request), -EAGAIN);
        jsonrpc_pending_done(&pending);
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("jsonrpc_pending");
        TCase *c = tcase_create("jsonrpc_pending");

        suite_add_tcase(all, c);
        tcase_add_test(c, test_finds_each_request_once);
        tcase_add_test(c, test_gives_numbers_once_when_an_old_request_stays);
        tcase_add_test(c, test_expires_what_is_due_and_nothing_else);
        tcase_add_test(c, test_refuses_more_than_it_may_hold);
        tcase_add_test(c, test_finds_a_request_only_by_its_own_clients_id);
        tcase_add_test(c, test_lets_what_was_given_up_make_room);
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
