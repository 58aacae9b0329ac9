#include "common/json/json_raw.h"

#include "common/json/json_skim.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const accepted[] = {
        "9007199254740993", "1.0", "-0.0", "1e400", "-1E-400", "0.1234567890123456789012345678901234567890",
        "1234567890123456789012345678901234567890123456789012345678901234567890", "\"\\u0000\"", "\"\\ud800\"",
        "\"\\udc00\\ud800\"", "{\"a\":1,\"a\":2}", "{\"\":{\"\":[]}}", " \t\r\n[ 1 , 2 ]\n", "\"\x7f\xc3\xa4\xf0\x9f\x99\x82\"",
        "true", "null", "\"\\/\\b\\f\\n\\r\\t\\\"\\\\\"",
};
static const char *const refused[] = {
        "", " ", "1.", ".1", "01", "-", "+1", "1e", "NaN", "Infinity", "tru", "'a'", "\"", "\"\\x\"", "\"\\u12g4\"", "\"\t\"",
        "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "[", "]",
        "1 2", "[]]", "{}{}", "// c\n1", "\xef\xbb\xbf" "1",
};

START_TEST(test_accepts_whatever_the_standard_allows)
{
        struct json_error error = { 0 };

        ck_assert_msg(json_raw_check(accepted[_i], strlen(accepted[_i]), 5, &error) == 0, "%s: %s", accepted[_i], error.detail);
}
END_TEST

START_TEST(test_refuses_what_is_no_json)
{
        struct json_error error = { 0 };

        ck_assert_msg(json_raw_check(refused[_i], strlen(refused[_i]), 5, &error) == -EINVAL, "%s", refused[_i]);
        ck_assert_str_ne(error.detail, "");
        ck_assert_int_eq(json_raw_check("1\0", 2, 5, &error), -EINVAL);
}
END_TEST

START_TEST(test_counts_levels_up_to_its_bound)
{
        static char text[2 * JSON_RAW_DEPTH_MAX + 2];
        struct json_error error;

        memset(text, '[', JSON_RAW_DEPTH_MAX);
        memset(text + JSON_RAW_DEPTH_MAX, ']', JSON_RAW_DEPTH_MAX);
        ck_assert_int_eq(json_raw_check(text, 2 * JSON_RAW_DEPTH_MAX, JSON_RAW_DEPTH_MAX, &error), 0);
        ck_assert_int_eq(json_raw_check(text, 2 * JSON_RAW_DEPTH_MAX, JSON_RAW_DEPTH_MAX - 1, &error), -EINVAL);
        ck_assert_ptr_nonnull(strstr(error.detail, "runtime.max_depth"));
        ck_assert_uint_eq(error.column, JSON_RAW_DEPTH_MAX);
}
END_TEST

static void expect(struct json_raw value, const char *text)
{
        ck_assert_msg(value.len == strlen(text) && memcmp(value.text, text, value.len) == 0, "%.*s is not %s", (int)value.len,
                value.text, text);
}

START_TEST(test_finds_members_wherever_they_are)
{
        struct json_raw object =
                json_raw_of(" { \"a\" : { \"id\":1 , \"x\":\"}\\\"{\" } ,\"i\\u0064\":\t1.0\n,\"b\":[\"id\",{\"id\":2}],\"id\":\"\\\\\" } ");
        struct json_raw value;

        ck_assert_uint_eq(json_raw_member(object, "a", &value), 1);
        expect(value, "{ \"id\":1 , \"x\":\"}\\\"{\" }");
        ck_assert_uint_eq(json_raw_member(value, "x", &value), 1);
        expect(value, "\"}\\\"{\"");
        ck_assert_uint_eq(json_raw_member(object, "id", &value), 2);
        expect(value, "\"\\\\\"");
        ck_assert_uint_eq(json_raw_member(object, "b", &value), 1);
        expect(value, "[\"id\",{\"id\":2}]");
        ck_assert_uint_eq(json_raw_member(object, "c", &value), 0);
        ck_assert_ptr_null(value.text);
        ck_assert_uint_eq(json_raw_member(json_raw_of("[{\"a\":1}]"), "a", &value), 0);
        ck_assert_uint_eq(json_raw_member(json_raw_of("{}"), "a", &value), 0);
        ck_assert_uint_eq(json_raw_member(json_raw_of(NULL), "a", &value), 0);
}
END_TEST

START_TEST(test_reads_strings_without_their_escapes)
{
        const struct {
                const char *raw, *says;
        } strings[] = {
                { "\"\"", "" }, { "\"a\\/b\\\\\\\"\"", "a/b\\\"" }, { "\"\\u00e4\\u20ac\\ud83d\\ude42\"", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82" },
                { "\"\xc3\xa4\"", "\xc3\xa4" }, { "\"a\\u0000b\"", "a\xef\xbf\xbd" "b" }, { "\"\\ud800x\"", "\xef\xbf\xbdx" },
                { "\"\\b\\f\\n\\r\\t\"", "\b\f\n\r\t" },
        };

        for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
                char *text = json_raw_string(json_raw_of(strings[i].raw));

                ck_assert_str_eq(text, strings[i].says);
                ck_assert(json_raw_says(json_raw_of(strings[i].raw), strings[i].says));
                ck_assert(!json_raw_says(json_raw_of(strings[i].raw), "other"));
                free(text);
        }
        ck_assert(!json_raw_says(json_raw_of("\"ab\""), "a") && !json_raw_says(json_raw_of("\"a\""), "ab"));
        ck_assert(!json_raw_says(json_raw_of("1"), "1"));
        ck_assert_ptr_null(json_raw_string(json_raw_of("1")));
        ck_assert(json_raw_same(json_raw_of("\"a\""), json_raw_of("\"\\u0061\"")));
        ck_assert(!json_raw_same(json_raw_of("\"1\""), json_raw_of("1")) && !json_raw_same(json_raw_of("1"), json_raw_of("1.0")));
        ck_assert(!json_raw_same(json_raw_of(NULL), json_raw_of(NULL)));
}
END_TEST

START_TEST(test_edits_without_touching_the_rest)
{
        struct json_raw text = json_raw_of("{\"a\":1,\"b\":2}");
        struct json_edit edits[] = { { { text.text + 5, 1 }, json_raw_of("null") }, { { text.text + 7, 0 }, json_raw_of("\"c\":3,") },
                { { text.text + 11, 1 }, json_raw_of("") } };
        size_t len;
        char *result = json_raw_edit(text, edits, 3, &len);

        ck_assert_str_eq(result, "{\"a\":null,\"c\":3,\"b\":}");
        ck_assert_uint_eq(len, strlen(result));
        free(result);
        result = json_raw_edit(text, edits, 0, &len);
        ck_assert_str_eq(result, text.text);
        free(result);
}
END_TEST

START_TEST(test_makes_one_line_and_compact_text)
{
        char lines[] = "{\r\n\"a b\" :\t[ 1,\r2 ] }", again[] = "{\r\n\"a \\\" b\" :\t[ 1,\r2 ] }";

        json_raw_one_line(lines, strlen(lines));
        ck_assert_str_eq(lines, "{  \"a b\" :\t[ 1, 2 ] }");
        again[json_raw_compact(again, strlen(again))] = '\0';
        ck_assert_str_eq(again, "{\"a \\\" b\":[1,2]}");
}
END_TEST

static const struct {
        const char *text, *id;
        bool versioned, called;
} skimmed[] = {
        { "{\"jsonrpc\":\"2.0\",\"id\":17,\"result\":\"xxx", "17", true, false },
        { " {\"result\":{\"id\":3,\"a\":[\"}\\\"\",{}]},\"jsonrpc\":\"2.0\",\"id\" : 17 }", "17", true, false },
        { "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":[[[", "", true, false },
        { "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":5,", "5", true, true },
        { "{\"id\":5,\"level\":\"info\",\"msg\":\"jsonrpc\"}", "5", false, false },
        { "{\"jsonrpc\":\"2.0\",\"id\":5", "", true, false },
        { "Welcome {\"jsonrpc\":\"2.0\",\"id\":5,", "", false, false },
        { "[{\"jsonrpc\":\"2.0\",\"id\":5}]", "", false, false },
};

START_TEST(test_skims_what_a_broken_message_says_of_itself)
{
        size_t len = strlen(skimmed[_i].text);

        for (size_t piece = 1; piece <= len; piece++) {
                struct json_skim skim = { 0 };

                for (size_t at = 0; at < len; at += piece)
                        json_skim(&skim, skimmed[_i].text + at, len - at < piece ? len - at : piece);
                ck_assert_str_eq(skim.id, skimmed[_i].id);
                ck_assert_int_eq(skim.versioned, skimmed[_i].versioned);
                ck_assert_int_eq(skim.called, skimmed[_i].called);
        }
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("json_raw");
        TCase *c = tcase_create("json_raw");

        suite_add_tcase(all, c);
        tcase_add_loop_test(c, test_accepts_whatever_the_standard_allows, 0, sizeof accepted / sizeof *accepted);
        tcase_add_loop_test(c, test_refuses_what_is_no_json, 0, sizeof refused / sizeof *refused);
        tcase_add_loop_test(c, test_skims_what_a_broken_message_says_of_itself, 0, sizeof skimmed / sizeof *skimmed);
        tcase_add_test(c, test_counts_levels_up_to_its_bound);
        tcase_add_test(c, test_finds_members_wherever_they_are);
        tcase_add_test(c, test_reads_strings_without_their_escapes);
        tcase_add_test(c, test_edits_without_touching_the_rest);
        tcase_add_test(c, test_makes_one_line_and_compact_text);
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
