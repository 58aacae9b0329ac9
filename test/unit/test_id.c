#include "common/id.h"

#include <check.h>
#include <errno.h>
#include <string.h>

START_TEST(test_new_is_version_4_when_made)
{
        struct id a = id_new(), b = id_new();
        const char *text = ID_TEXT(&a);

        ck_assert(!id_equal(&a, &b));
        ck_assert(!id_is_zero(&a));
        ck_assert_int_eq(text[14], '4');
        ck_assert_ptr_nonnull(strchr("89ab", text[19]));
}
END_TEST

START_TEST(test_format_reads_back_when_parsed)
{
        struct id id, again;
        char text[ID_TEXT_SIZE];

        ck_assert_int_eq(id_parse("6F1C8a52-3a55-4f0b-9d3e-0c7c0c5f9e11", &id), 0);
        ck_assert_ptr_eq(id_format(&id, text), text);
        ck_assert_str_eq(text, "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11");
        ck_assert_int_eq(id_parse(text, &again), 0);
        ck_assert(id_equal(&id, &again));
        ck_assert_int_eq(id_parse("00000000-0000-0000-0000-000000000000", &id), 0);
        ck_assert(id_is_zero(&id));
}
END_TEST

START_TEST(test_parse_refuses_when_not_36_characters_of_the_form)
{
        static const char *const bad[] = { "", "6f1c8a52", "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e1",
                "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e111", "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e1g",
                "6f1c8a5203a55-4f0b-9d3e-0c7c0c5f9e11", "{6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e1}",
                "6f1c8a523a554f0b9d3e0c7c0c5f9e11", " 6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e1",
                "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e1 ", "6f1c8a52-3a55-4f0b-9d3e-0x7c0c5f9e11" };
        struct id id = { { 1 } };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                ck_assert_msg(id_parse(bad[i], &id) == -EINVAL, "%s", bad[i]);
        ck_assert_int_eq(id.b[0], 1);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("id");
        TCase *tcase = tcase_create("id");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_new_is_version_4_when_made);
        tcase_add_test(tcase, test_format_reads_back_when_parsed);
        tcase_add_test(tcase, test_parse_refuses_when_not_36_characters_of_the_form);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
