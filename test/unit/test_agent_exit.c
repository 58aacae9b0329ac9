#include "registry/protocol/agent_exit.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As waitpid gives it. */
static int exited(int code)
{
        return code << 8;
}

START_TEST(test_tells_in_words_when_made_from_a_status)
{
        struct agent_exit normal = agent_exit_from_status(exited(3)), killed = agent_exit_from_status(SIGKILL);

        ck_assert_int_eq(normal.code, 3);
        ck_assert_int_eq(normal.signal, 0);
        ck_assert_str_eq(normal.reason, "exit status 3");
        ck_assert_int_eq(killed.code, -1);
        ck_assert_int_eq(killed.signal, SIGKILL);
        ck_assert_str_eq(killed.reason, "killed by signal 9 (KILL)");
        ck_assert_str_eq(agent_exit_from_status(63).reason, "killed by signal 63 (?)");
}
END_TEST

START_TEST(test_is_the_same_when_encoded_and_decoded)
{
        struct agent_exit exit = { .code = -1, .signal = 11, .reason = "said \"no\"\nand \xc3\xbc" }, back;
        char *text = agent_exit_encode(&exit);

        ck_assert_ptr_nonnull(text);
        ck_assert_int_eq(agent_exit_decode(text, strlen(text), &back), 0);
        ck_assert_int_eq(back.code, exit.code);
        ck_assert_int_eq(back.signal, exit.signal);
        ck_assert_str_eq(back.reason, exit.reason);
        free(text);
}
END_TEST

START_TEST(test_cuts_the_reason_when_it_is_long)
{
        char text[600];
        struct agent_exit back;

        snprintf(text, sizeof text, "{\"code\":0,\"signal\":0,\"reason\":\"%0400d\"}", 7);
        ck_assert_int_eq(agent_exit_decode(text, strlen(text), &back), 0);
        ck_assert_uint_eq(strlen(back.reason), sizeof back.reason - 1);
}
END_TEST

START_TEST(test_refuses_when_it_is_no_exit)
{
        static const char *const texts[] = { "", "null", "[]", "{}", "{\"code\":1,\"signal\":0}",
                "{\"code\":1.5,\"signal\":0,\"reason\":\"x\"}", "{\"code\":-2,\"signal\":0,\"reason\":\"x\"}",
                "{\"code\":1e300,\"signal\":0,\"reason\":\"x\"}", "{\"code\":0,\"signal\":65,\"reason\":\"x\"}",
                "{\"code\":0,\"signal\":-1,\"reason\":\"x\"}", "{\"code\":0,\"signal\":0,\"reason\":7}" };
        struct agent_exit back = { .code = 42 };

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
                ck_assert_msg(agent_exit_decode(texts[i], strlen(texts[i]), &back) == -EINVAL, "%s", texts[i]);
        ck_assert_int_eq(agent_exit_read(NULL, &back), -EINVAL);
        ck_assert_int_eq(back.code, 42);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("agent_exit");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_set_timeout(all, 60);
        tcase_add_test(all, test_tells_in_words_when_made_from_a_status);
        tcase_add_test(all, test_is_the_same_when_encoded_and_decoded);
        tcase_add_test(all, test_cuts_the_reason_when_it_is_long);
        tcase_add_test(all, test_refuses_when_it_is_no_exit);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
