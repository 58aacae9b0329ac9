#include "common/utf8.h"

#include <check.h>
#include <string.h>

/* The well-formed forms are tested through json_parse; here is what only others use. */
START_TEST(test_cut_keeps_characters_whole_when_the_limit_is_inside_one)
{
        static const char text[] = "aé€😀";
        static const size_t cut[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10 };

        for (size_t max = 0; max < sizeof cut / sizeof *cut; max++)
                ck_assert_uint_eq(utf8_cut(text, sizeof text - 1, max), cut[max]);
}
END_TEST

START_TEST(test_length_is_zero_when_the_end_cuts_a_character)
{
        static const char text[] = "\xf0\x9f\x98\x80";

        ck_assert_uint_eq(utf8_length(text, text + 4), 4);
        for (int n = 1; n < 4; n++)
                ck_assert_uint_eq(utf8_length(text, text + n), 0);
}
END_TEST

START_TEST(test_escape_tells_what_it_used_when_well_formed_or_not)
{
        static const struct {
                const char *text, *escape;
                size_t used;
        } cases[] = { { "a", "a", 1 }, { "é!", "é", 2 }, { "😀", "😀", 4 }, { "\"", "\\\"", 1 }, { "\\", "\\\\", 1 },
                { "\b", "\\b", 1 }, { "\f", "\\f", 1 }, { "\n", "\\n", 1 }, { "\r", "\\r", 1 }, { "\t", "\\t", 1 },
                { "\x1f", "\\u001f", 1 }, { "\x7f", "\\u007f", 1 }, { "\xff", "\\ufffd", 1 }, { "\xc3(", "\\ufffd", 1 } };
        char escape[UTF8_ESCAPE_SIZE];

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                const char *end = cases[i].text + strlen(cases[i].text);

                ck_assert_uint_eq(utf8_escape(cases[i].text, end, escape), cases[i].used);
                ck_assert_str_eq(escape, cases[i].escape);
        }
        ck_assert_uint_eq(utf8_escape(escape + UTF8_ESCAPE_SIZE - 1, escape + UTF8_ESCAPE_SIZE, escape), 1);
        ck_assert_str_eq(escape, "\\u0000");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("utf8");
        TCase *tcase = tcase_create("utf8");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_cut_keeps_characters_whole_when_the_limit_is_inside_one);
        tcase_add_test(tcase, test_length_is_zero_when_the_end_cuts_a_character);
        tcase_add_test(tcase, test_escape_tells_what_it_used_when_well_formed_or_not);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
