#include "common/json/json.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cJSON *parse(const char *text)
{
        struct json_error error;
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(text, strlen(text), JSON_STRICT, &tree, &error) == 0, "refused: %s", text);
        return tree;
}

/* text must be refused at line:column with a detail that contains words. */
static void assert_refused(const char *text, size_t len, unsigned flags, size_t line, size_t column, const char *words)
{
        struct json_error error = { 0 };
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(text, len, flags, &tree, &error) == -EINVAL, "accepted: %s", text);
        ck_assert_ptr_null(tree);
        ck_assert_msg(strstr(error.detail, words), "\"%s\" in \"%s\" for %s", words, error.detail, text);
        ck_assert_msg(error.line == line && error.column == column, "%zu:%zu for %s", error.line, error.column, text);
}

static void assert_prints(const char *text, const char *expected)
{
        cJSON *tree = parse(text);
        char *printed = json_print(tree);

        ck_assert_str_eq(printed, expected);
        free(printed);
        cJSON_Delete(tree);
}

START_TEST(test_parse_accepts_when_strict_json)
{
        assert_prints(" { \"a\" : [ 1 , -0 , true , false , null ] , \"\" : { } } \r\n\t",
                "{\"a\":[1,0,true,false,null],\"\":{}}");
        assert_prints("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\x7f\"", "\"\\\"\\\\/\\b\\f\\n\\r\\té😀\\u007f\"");
        assert_prints("[0.5,1e2,1E+2,1.25e-2,123456789012]", "[0.5,100,100,0.0125,123456789012]");
        assert_prints("0", "0");
        assert_prints("{\"a\":{\"a\":1},\"A\":{\"a\":1}}", "{\"a\":{\"a\":1},\"A\":{\"a\":1}}");
}
END_TEST

START_TEST(test_parse_refuses_when_not_strict)
{
        static const struct {
                const char *text;
                size_t line, column;
                const char *words;
        } cases[] = {
                { "", 1, 1, "ends too early" },
                { " \n ", 2, 2, "ends too early" },
                { "{\"a\":1", 1, 7, "ends too early" },
                { "[1,", 1, 4, "ends too early" },
                { "\"abc", 1, 5, "ends too early" },
                { "\"abc\\", 1, 6, "ends too early" },
                { "-", 1, 2, "ends too early" },
                { "1.", 1, 3, "ends too early" },
                { "1e+", 1, 4, "ends too early" },
                { "[1,]", 1, 4, "expected a value" },
                { "[,1]", 1, 2, "expected a value" },
                { "{\"a\":1,}", 1, 8, "name in double quotes" },
                { "{a:1}", 1, 2, "name in double quotes" },
                { "{\"a\" 1}", 1, 6, "colon" },
                { "{\"a\":1 \"b\":2}", 1, 8, "comma or }" },
                { "[1 2]", 1, 4, "comma or ]" },
                { "[1}", 1, 3, "comma or ]" },
                { "nul", 1, 1, "expected a value" },
                { "True", 1, 1, "expected a value" },
                { "NaN", 1, 1, "expected a value" },
                { "Infinity", 1, 1, "expected a value" },
                { "-Infinity", 1, 2, "expected a digit" },
                { "'a'", 1, 1, "expected a value" },
                { "01", 1, 1, "begin with 0" },
                { "-012", 1, 1, "begin with 0" },
                { "+1", 1, 1, "expected a value" },
                { ".5", 1, 1, "expected a value" },
                { "0x10", 1, 2, "after the end" },
                { "1.e5", 1, 3, "expected a digit" },
                { "1e,", 1, 3, "expected a digit" },
                { "[1] 2", 1, 5, "after the end" },
                { "{}{}", 1, 3, "after the end" },
                { "[\n  1,\n  \"é\" x]", 3, 7, "comma or ]" },
                { "\"a\nb\"", 1, 3, "control character" },
                { "\"a\tb\"", 1, 3, "control character" },
                { "\"\\x\"", 1, 2, "unknown escape" },
                { "\"\\u12g4\"", 1, 2, "hexadecimal" },
                { "\"\\u12\"", 1, 2, "hexadecimal" },
                { "\"\\u0000\"", 1, 2, "NUL" },
                { "\"\\ud83d\"", 1, 2, "surrogate" },
                { "\"\\ude00\"", 1, 2, "surrogate" },
                { "\"\\ud83d\\u0041\"", 1, 2, "surrogate" },
                { "\"\\ude00\\ud83d\"", 1, 2, "surrogate" },
                { "1e400", 1, 1, "too large" },
                { "{\"a\":\n[0,-1e999]}", 2, 4, "too large" },
                { "\xef\xbb\xbf{}", 1, 1, "expected a value" },
                { "[1]//x", 1, 4, "after the end" },
                { "/**/1", 1, 1, "expected a value" },
                { "[\v1]", 1, 2, "expected a value" },
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_refused(cases[i].text, strlen(cases[i].text), JSON_STRICT, cases[i].line, cases[i].column,
                        cases[i].words);
}
END_TEST

START_TEST(test_parse_refuses_when_bytes_are_nul)
{
        assert_refused("\"a\0b\"", 5, JSON_STRICT, 1, 3, "control character");
        assert_refused("1\0", 2, JSON_STRICT, 1, 2, "after the end");
        assert_refused("{\"a\0\":1}", 8, JSON_STRICT, 1, 4, "control character");
}
END_TEST

START_TEST(test_parse_refuses_when_not_utf8)
{
        static const char *const bad[] = { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x80\x80",
                "\xe0\x9f\xbf", "\xe2\x82", "\xe2\x82(", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80",
                "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff" };
        static const char *const good[] = { "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf" };
        char text[16];

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                snprintf(text, sizeof text, "[\"%s\"]", bad[i]);
                assert_refused(text, strlen(text), JSON_STRICT, 1, 3, "not UTF-8");
        }
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
                snprintf(text, sizeof text, "[\"%s\"]", good[i]);
                assert_prints(text, text);
        }
}
END_TEST

START_TEST(test_parse_judges_integers_when_near_2_53)
{
        assert_prints("9007199254740992", "9007199254740992");
        assert_prints("-9007199254740992", "-9007199254740992");
        assert_prints("9007199254740991", "9007199254740991");
        assert_prints("1000000000000000", "1000000000000000");
        assert_refused("9007199254740993", 16, JSON_STRICT, 1, 1, "2^53");
        assert_refused("[-9007199254740993]", 19, JSON_STRICT, 1, 2, "2^53");
        assert_refused("18446744073709551617", 20, JSON_STRICT, 1, 1, "2^53");
        assert_refused("99999999999999999999999999999999", 32, JSON_STRICT, 1, 1, "2^53");
        assert_prints("1e20", "1e+20");
        assert_prints("0.1000000000000000000000000000000000000000000000000000000000001", "0.1");
        assert_refused("0.10000000000000000000000000000000000000000000000000000000000001", 64, JSON_STRICT, 1, 1,
                "63 characters");
}
END_TEST

START_TEST(test_parse_counts_depth_when_nested)
{
        char text[2 * JSON_DEPTH + 3];
        cJSON *tree;

        memset(text, '[', JSON_DEPTH);
        memset(text + JSON_DEPTH, ']', JSON_DEPTH);
        text[2 * JSON_DEPTH] = '\0';
        tree = parse(text);
        cJSON_Delete(tree);
        memset(text, '[', JSON_DEPTH + 1);
        memset(text + JSON_DEPTH + 1, ']', JSON_DEPTH + 1);
        assert_refused(text, 2 * JSON_DEPTH + 2, JSON_STRICT, 1, JSON_DEPTH + 1, "32 levels");
}
END_TEST

START_TEST(test_parse_refuses_when_a_name_is_twice)
{
        static const char escaped[] = "{\"a\": {\"b\":[{\"x\":1},{\"y\":0,\n\"x\":1, \"\\u0078\":2}]}}";
        static const char *const head = "{\"same\":0,";
        char text[4096];
        size_t n = strlen(head);

        assert_refused("{\"a\":1,\"a\":1}", 13, JSON_STRICT, 1, 8, "\"a\" appears twice");
        assert_refused(escaped, sizeof escaped - 1, JSON_STRICT, 2, 8, "\"x\" appears twice");
        memcpy(text, head, n);
        for (int i = 0; i < 100; i++)
                n += (size_t)snprintf(text + n, sizeof text - n, "\"k%d\":{\"same\":%d},", i * 37 % 100, i);
        snprintf(text + n, sizeof text - n, "\n \"same\":1}");
        assert_refused(text, strlen(text), JSON_STRICT, 2, 2, "\"same\" appears twice");
        strcpy(text + n, "\"other\":1}");
        cJSON_Delete(parse(text));
}
END_TEST

/* Quadratic work on these would take minutes. */
START_TEST(test_parse_ends_soon_when_an_object_is_huge)
{
        size_t size = 6 * 1024 * 1024, n = 1;
        char *text = malloc(size);
        cJSON *tree;

        text[0] = '{';
        for (unsigned i = 0; i < 200000; i++)
                n += (size_t)snprintf(text + n, size - n, "\"common%07u\":0,", i);
        text[n - 1] = '}';
        text[n] = '\0';
        tree = parse(text);
        ck_assert_int_eq(cJSON_GetArraySize(tree), 200000);
        cJSON_Delete(tree);
        free(text);
}
END_TEST

START_TEST(test_parse_reads_no_further_when_the_text_has_no_nul)
{
        static const char *const texts[] = { "12", "true", "\"\\u00e9\"", "{\"a\":[1,2]}", "[1.5e3]", "\"\\ud83d\\ude00\"" };

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                for (size_t len = 0; len <= strlen(texts[i]); len++) {
                        char *exact = malloc(len ? len : 1); /* so that the sanitizer sees a read past it */
                        struct json_error error;
                        cJSON *tree = NULL;

                        memcpy(exact, texts[i], len);
                        if (json_parse(exact, len, JSON_STRICT, &tree, &error) == 0)
                                cJSON_Delete(tree);
                        else
                                ck_assert_uint_le(error.column, len + 1);
                        free(exact);
                }
        }
}
END_TEST

START_TEST(test_parse_skips_comments_when_allowed)
{
        static const char text[] = "// é first\n{ /* one\n two */ \"a\": \"// no /* comment\", // last\n  \"b\": 1/**/}//";
        struct json_error error;
        cJSON *tree;
        int64_t b = 0;

        ck_assert_int_eq(json_parse(text, sizeof text - 1, JSON_COMMENTS, &tree, &error), 0);
        ck_assert_str_eq(json_string(tree, "a"), "// no /* comment");
        ck_assert_int_eq(json_integer(tree, "b", &b), 0);
        ck_assert_int_eq(b, 1);
        cJSON_Delete(tree);
        assert_refused("{}\n /* x", 8, JSON_COMMENTS, 2, 2, "not closed");
        assert_refused("{} /*/", 6, JSON_COMMENTS, 1, 4, "not closed");
        assert_refused("{} /", 4, JSON_COMMENTS, 1, 4, "after the end");
        assert_refused("/* é */ {\"a\": /* b\n */ x}", 27, JSON_COMMENTS, 2, 5, "expected a value");
        assert_refused("// only", 7, JSON_COMMENTS, 1, 8, "ends too early");
}
END_TEST

START_TEST(test_locate_finds_when_the_pointer_names_a_value)
{
        static const char text[] = "{\n  // c\n  \"pools\": {\n    \"a/b\": { \"~x\": [ 1, {\"é\":2, \"y\":3} ] },\n\"\":0}}";
        static const struct {
                const char *pointer;
                size_t line, column;
        } cases[] = { { "", 1, 1 }, { "/pools", 3, 3 }, { "/pools/a~1b", 4, 5 }, { "/pools/a~1b/~0x", 4, 14 },
                { "/pools/a~1b/~0x/0", 4, 22 }, { "/pools/a~1b/~0x/1", 4, 25 }, { "/pools/a~1b/~0x/1/y", 4, 33 },
                { "/pools/", 5, 1 } };
        static const char *const absent[] = { "/nope", "/pools/a", "/pools/a~1b/~0x/2", "/pools/a~1b/~0x/01", "pools",
                "/pools/a~1b/~0x/-", "/pools/a~2b", "/pools/a~1b/~0x/0/x", "/pools/a~" };
        size_t line, column;

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                ck_assert_int_eq(json_locate(text, sizeof text - 1, JSON_COMMENTS, cases[i].pointer, &line, &column), 0);
                ck_assert_msg(line == cases[i].line && column == cases[i].column, "%s is at %zu:%zu", cases[i].pointer,
                        line, column);
        }
        for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
                ck_assert_int_eq(json_locate(text, sizeof text - 1, JSON_COMMENTS, absent[i], &line, &column), -ENOENT);
        ck_assert_int_eq(json_locate("[", 1, JSON_STRICT, "", &line, &column), -ENOENT);
}
END_TEST

START_TEST(test_print_keeps_values_when_numbers_are_awkward)
{
        static const double values[] = { 0.1, 0.1 + 0.2, 1.0 / 3, 5e-324, 1.7976931348623157e308, 1.2345678901234567e16,
                -98765432109876543.0, 1e15, 1e17, 123456789.125, -2.5e-7 };

        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
                cJSON *number = cJSON_CreateNumber(values[i]), *again;
                char *text = json_print(number);

                again = parse(text);
                ck_assert_msg(memcmp(&again->valuedouble, &values[i], sizeof values[i]) == 0, "%s", text);
                free(text);
                cJSON_Delete(number);
                cJSON_Delete(again);
        }
}
END_TEST

START_TEST(test_print_is_json_when_the_tree_is_not)
{
        cJSON *tree = cJSON_CreateObject();
        char *text;

        ck_assert_int_eq(json_add_string(tree, "a", "\x01\xff\xc3(\x7f"), 0);
        ck_assert_int_eq(json_add_item(tree, "inf", cJSON_CreateNumber(1e308 * 10)), 0);
        ck_assert_int_eq(json_add_item(tree, "raw", cJSON_CreateRaw("[1]")), 0);
        text = json_print(tree);
        ck_assert_str_eq(text, "{\"a\":\"\\u0001\\ufffd\\ufffd(\\u007f\",\"inf\":null,\"raw\":[1]}");
        free(text);
        cJSON_Delete(tree);
}
END_TEST

START_TEST(test_accessors_tell_when_a_member_is_absent_or_wrong)
{
        cJSON *tree = parse("{\"s\":\"x\",\"n\":-7,\"f\":1.5,\"big\":1e300,\"t\":true,\"z\":null}");
        int64_t value = 42;

        ck_assert_str_eq(json_string(tree, "s"), "x");
        ck_assert_ptr_null(json_string(tree, "S"));
        ck_assert_ptr_null(json_string(tree, "n"));
        ck_assert_int_eq(json_integer(tree, "none", &value), -ENOENT);
        ck_assert_int_eq(json_integer(tree, "f", &value), -EINVAL);
        ck_assert_int_eq(json_integer(tree, "big", &value), -EINVAL);
        ck_assert_int_eq(json_integer(tree, "s", &value), -EINVAL);
        ck_assert_int_eq(value, 42);
        ck_assert_int_eq(json_integer(tree, "n", &value), 0);
        ck_assert_int_eq(value, -7);
        ck_assert(json_bool(tree, "t", false));
        ck_assert(json_bool(tree, "none", true));
        ck_assert(!json_bool(tree, "z", false));
        cJSON_Delete(tree);
}
END_TEST

START_TEST(test_additions_print_when_made)
{
        cJSON *tree = cJSON_CreateObject();
        char *text;

        ck_assert_int_eq(json_add_string(tree, "s", "x"), 0);
        ck_assert_int_eq(json_add_integer(tree, "n", JSON_INTEGER_MAX), 0);
        ck_assert_int_eq(json_add_bool(tree, "b", true), 0);
        ck_assert_int_eq(json_add_time(tree, "t", 1769903999999), 0);
        ck_assert_int_eq(json_add_item(tree, "none", NULL), -ENOMEM);
        text = json_print(tree);
        ck_assert_str_eq(text, "{\"s\":\"x\",\"n\":9007199254740992,\"b\":true,\"t\":\"2026-01-31T23:59:59.999Z\"}");
        free(text);
        cJSON_Delete(tree);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("json");
        TCase *tcase = tcase_create("json");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_parse_accepts_when_strict_json);
        tcase_add_test(tcase, test_parse_refuses_when_not_strict);
        tcase_add_test(tcase, test_parse_refuses_when_bytes_are_nul);
        tcase_add_test(tcase, test_parse_refuses_when_not_utf8);
        tcase_add_test(tcase, test_parse_judges_integers_when_near_2_53);
        tcase_add_test(tcase, test_parse_counts_depth_when_nested);
        tcase_add_test(tcase, test_parse_refuses_when_a_name_is_twice);
        tcase_add_test(tcase, test_parse_ends_soon_when_an_object_is_huge);
        tcase_add_test(tcase, test_parse_reads_no_further_when_the_text_has_no_nul);
        tcase_add_test(tcase, test_parse_skips_comments_when_allowed);
        tcase_add_test(tcase, test_locate_finds_when_the_pointer_names_a_value);
        tcase_add_test(tcase, test_print_keeps_values_when_numbers_are_awkward);
        tcase_add_test(tcase, test_print_is_json_when_the_tree_is_not);
        tcase_add_test(tcase, test_accessors_tell_when_a_member_is_absent_or_wrong);
        tcase_add_test(tcase, test_additions_print_when_made);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
