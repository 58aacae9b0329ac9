#include "common/id.h"
#include "common/json/json.h"
#include "common/json/schema.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct inner {
        char *url;
        int64_t tries;
};

struct sample {
        char *title, *name;
        struct id id;
        int64_t count;
        double ratio;
        bool on;
        int mode;
        char **argv;
        cJSON *labels, *tree;
        struct inner inner;
};

#define AT(field) .offset = offsetof(struct sample, field)
static const char *const modes[] = { "pack", "spread", NULL };
static const struct schema_field inner_fields[] = {
        { .name = "url", .type = SCHEMA_STRING, .offset = offsetof(struct inner, url), .secret = true },
        { .name = "tries", .type = SCHEMA_INTEGER, .offset = offsetof(struct inner, tries), .max = 9, .fallback = "3" },
        { 0 },
};
static const struct schema_field fields[] = {
        { .name = "title", .type = SCHEMA_STRING, AT(title), .min = 2, .max = 5, .nullable = true, .fallback = "\"none\"" },
        { .name = "pool_name", .type = SCHEMA_NAME, AT(name), .required = true },
        { .name = "project_id", .type = SCHEMA_ID, AT(id) },
        { .name = "count", .type = SCHEMA_INTEGER, AT(count), .min = -5, .max = 1000, .fallback = "1" },
        { .name = "ratio", .type = SCHEMA_NUMBER, AT(ratio), .min = 0.25, .fallback = "0.5" },
        { .name = "on", .type = SCHEMA_BOOL, AT(on), .fallback = "true" },
        { .name = "mode", .type = SCHEMA_ENUM, AT(mode), .words = modes, .fallback = "\"spread\"" },
        { .name = "argv", .type = SCHEMA_STRINGS, AT(argv), .min = 1, .max = 3, .fallback = "[\"a\", \"b\"]" },
        { .name = "labels", .type = SCHEMA_MAP, AT(labels), .min = 0, .max = 2 },
        { .name = "tree", .type = SCHEMA_TREE, AT(tree) },
        { .name = "inner", .type = SCHEMA_OBJECT, AT(inner), .fields = inner_fields },
        { 0 },
};

static cJSON *parse(const char *text)
{
        struct json_error error = { 0 };
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(text, strlen(text), JSON_STRICT, &tree, &error) == 0, "%s: %s", text, error.detail);
        return tree;
}

static int read_text(const char *text, struct sample *out, struct schema_errors *errors)
{
        cJSON *tree = parse(text);
        int r = schema_read(tree, "", fields, out, errors);

        cJSON_Delete(tree);
        return r;
}

static void assert_nothing_owned(const struct sample *sample)
{
        ck_assert_ptr_null(sample->title);
        ck_assert_ptr_null(sample->name);
        ck_assert_ptr_null(sample->argv);
        ck_assert_ptr_null(sample->labels);
        ck_assert_ptr_null(sample->tree);
        ck_assert_ptr_null(sample->inner.url);
}

static void assert_error(const char *text, const char *pointer, const char *detail)
{
        struct schema_errors errors = { 0 };
        struct sample out = { 0 };

        ck_assert_int_eq(read_text(text, &out, &errors), -EINVAL);
        ck_assert_uint_eq(errors.count, 1);
        ck_assert_str_eq(errors.errors[0].pointer, pointer);
        ck_assert_str_eq(errors.errors[0].detail, detail);
        ck_assert(errors.errors[0].rule == (strncmp(detail, "must", 4) == 0 || strstr(detail, "\" is no ") != NULL));
        assert_nothing_owned(&out);
}

START_TEST(test_read_fills_the_struct_when_all_is_given)
{
        struct schema_errors errors = { 0 };
        struct sample out = { 0 };

        ck_assert_int_eq(read_text("{\"title\":\"héy\",\"pool_name\":\"dev-1.x_y\",\"count\":-5,\"ratio\":1e9,\"on\":false,"
                                   "\"project_id\":\"6F1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11\",\"mode\":\"pack\","
                                   "\"argv\":[\"x\"],\"labels\":{\"k\":\"v\"},\"tree\":[1,{\"a\":null}],"
                                   "\"inner\":{\"url\":\"u\",\"tries\":9}}",
                                 &out, &errors),
                0);
        ck_assert_uint_eq(errors.count, 0);
        ck_assert_str_eq(out.title, "héy");
        ck_assert_str_eq(out.name, "dev-1.x_y");
        ck_assert_str_eq(ID_TEXT(&out.id), "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11");
        ck_assert_int_eq(out.count, -5);
        ck_assert_double_eq(out.ratio, 1e9);
        ck_assert(!out.on);
        ck_assert_int_eq(out.mode, 1);
        ck_assert_str_eq(out.argv[0], "x");
        ck_assert_ptr_null(out.argv[1]);
        ck_assert_str_eq(json_string(out.labels, "k"), "v");
        ck_assert_int_eq(cJSON_GetArraySize(out.tree), 2);
        ck_assert_str_eq(out.inner.url, "u");
        ck_assert_int_eq(out.inner.tries, 9);
        schema_done(fields, &out);
        assert_nothing_owned(&out);
        ck_assert_int_eq(out.count, 0);
}
END_TEST

START_TEST(test_read_takes_fallbacks_when_fields_are_absent)
{
        struct schema_errors errors = { 0 };
        struct sample out = { 0 };

        ck_assert_int_eq(read_text("{\"pool_name\":\"p\",\"title\":null}", &out, &errors), 0);
        ck_assert_str_eq(out.title, "none");
        ck_assert(id_is_zero(&out.id));
        ck_assert_int_eq(out.count, 1);
        ck_assert_double_eq(out.ratio, 0.5);
        ck_assert(out.on);
        ck_assert_int_eq(out.mode, 2);
        ck_assert_str_eq(out.argv[1], "b");
        ck_assert_ptr_null(out.labels);
        ck_assert_int_eq(out.inner.tries, 3);
        schema_done(fields, &out);
        ck_assert_int_eq(schema_defaults(fields, &out), 0);
        ck_assert_ptr_null(out.name);
        ck_assert_int_eq(out.inner.tries, 3);
        schema_done(fields, &out);
}
END_TEST

START_TEST(test_read_says_what_would_be_right_when_a_field_is_wrong)
{
        assert_error("{}", "/pool_name", "the field \"pool_name\" is required");
        assert_error("{\"pool_name\":null}", "/pool_name", "expected a name (a string), found null");
        assert_error("[]", "", "expected an object, found an array");
        assert_error("{\"pool_name\":\"p\",\"title\":\"x\"}", "/title", "must have from 2 to 5 bytes, has 1");
        assert_error("{\"pool_name\":\"p\",\"title\":\"123456\"}", "/title", "must have from 2 to 5 bytes, has 6");
        assert_error("{\"pool_name\":\"p\",\"title\":{}}", "/title", "expected a string, found an object");
        assert_error("{\"pool_name\":\"-p\"}", "/pool_name",
                "\"-p\" is no name: 1 to 64 letters, digits, '_', '.', '-', beginning with a letter or digit");
        assert_error("{\"pool_name\":\"p\",\"project_id\":\"6f1c\"}", "/project_id",
                "\"6f1c\" is no UUID, as 6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11 is one");
        assert_error("{\"pool_name\":\"p\",\"project_id\":1}", "/project_id", "expected a UUID (a string), found a number");
        assert_error("{\"pool_name\":\"p\",\"count\":\"5\"}", "/count",
                "expected an integer from -5 to 1000, found a string");
        assert_error("{\"pool_name\":\"p\",\"count\":1001}", "/count", "must be an integer from -5 to 1000, is 1001");
        assert_error("{\"pool_name\":\"p\",\"count\":-6}", "/count", "must be an integer from -5 to 1000, is -6");
        assert_error("{\"pool_name\":\"p\",\"count\":1.5}", "/count", "must be an integer from -5 to 1000, is 1.5");
        assert_error("{\"pool_name\":\"p\",\"count\":1e300}", "/count", "must be an integer from -5 to 1000, is 1e+300");
        assert_error("{\"pool_name\":\"p\",\"ratio\":0.2}", "/ratio", "must be a number of at least 0.25, is 0.2");
        assert_error("{\"pool_name\":\"p\",\"ratio\":true}", "/ratio",
                "expected a number of at least 0.25, found a boolean");
        assert_error("{\"pool_name\":\"p\",\"on\":0}", "/on", "expected true or false, found a number");
        assert_error("{\"pool_name\":\"p\",\"mode\":\"spraed\"}", "/mode",
                "must be one of \"pack\", \"spread\", is \"spraed\"; did you mean \"spread\"?");
        assert_error("{\"pool_name\":\"p\",\"mode\":\"zzz\"}", "/mode", "must be one of \"pack\", \"spread\", is \"zzz\"");
        assert_error("{\"pool_name\":\"p\",\"mode\":2}", "/mode", "expected one of \"pack\", \"spread\", found a number");
        assert_error("{\"pool_name\":\"p\",\"argv\":[]}", "/argv", "must have from 1 to 3 elements, has 0");
        assert_error("{\"pool_name\":\"p\",\"argv\":{\"a\":\"b\"}}", "/argv", "expected an array of strings, found an object");
        assert_error("{\"pool_name\":\"p\",\"argv\":[\"a\",null]}", "/argv/1", "expected a string, found null");
        assert_error("{\"pool_name\":\"p\",\"labels\":[]}", "/labels", "expected an object of strings, found an array");
        assert_error("{\"pool_name\":\"p\",\"labels\":{\"a/b~c\":1}}", "/labels/a~1b~0c", "expected a string, found a number");
        assert_error("{\"pool_name\":\"p\",\"labels\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}}", "/labels",
                "must have from 0 to 2 members, has 3");
        assert_error("{\"pool_name\":\"p\",\"inner\":7}", "/inner", "expected an object, found a number");
        assert_error("{\"pool_name\":\"p\",\"inner\":{\"tries\":10}}", "/inner/tries", "must be an integer from 0 to 9, is 10");
}
END_TEST

START_TEST(test_read_names_the_nearest_when_a_field_is_unknown)
{
        assert_error("{\"pool_name\":\"p\",\"cuont\":1}", "/cuont", "unknown field \"cuont\"; did you mean \"count\"?");
        assert_error("{\"pool_name\":\"p\",\"Inner\":1}", "/Inner", "unknown field \"Inner\"; did you mean \"inner\"?");
        assert_error("{\"pool_name\":\"p\",\"inner\":{\"trys\":1}}", "/inner/trys",
                "unknown field \"trys\"; did you mean \"tries\"?");
        assert_error("{\"pool_name\":\"p\",\"completely_else\":1}", "/completely_else", "unknown field \"completely_else\"");
        assert_error("{\"pool_name\":\"p\",\"\":1}", "/", "unknown field \"\"");
}
END_TEST

START_TEST(test_read_reports_all_when_many_fields_are_wrong)
{
        struct schema_errors errors = { 0 };
        struct sample out = { 0 };
        char text[1024] = "{\"pol_name\":\"p\",\"count\":0.5,\"argv\":[1,2]";

        ck_assert_int_eq(read_text("{\"pol_name\":\"p\",\"count\":0.5,\"argv\":[1,2]}", &out, &errors), -EINVAL);
        ck_assert_uint_eq(errors.count, 5);
        ck_assert_str_eq(errors.errors[0].detail, "unknown field \"pol_name\"; did you mean \"pool_name\"?");
        ck_assert_str_eq(errors.errors[1].pointer, "/pool_name");
        for (size_t i = 0, n = strlen(text); i < 20; i++)
                n += (size_t)snprintf(text + n, sizeof text - n, ",\"u%zu\":0%s", i, i == 19 ? "}" : "");
        ck_assert_int_eq(read_text(text, &out, &errors), -EINVAL);
        ck_assert_uint_eq(errors.count, SCHEMA_ERRORS_MAX);
        /* Full is not the same as fine. */
        ck_assert_int_eq(read_text("{}", &out, &errors), -EINVAL);
        assert_nothing_owned(&out);
}
END_TEST

START_TEST(test_errors_stay_utf8_when_names_are_long)
{
        struct schema_errors errors = { 0 };
        struct sample out = { 0 };
        cJSON *tree = cJSON_CreateObject(), *list = cJSON_CreateArray(), *again;
        struct json_error error;
        char name[1001], *text;

        for (size_t shift = 0; shift < 4; shift++) {
                memset(name, 'x', shift);
                for (size_t i = shift; i + 2 < sizeof name; i += 2)
                        memcpy(name + i, "é", 3);
                ck_assert_int_eq(json_add_bool(tree, name, true), 0);
        }
        ck_assert_int_eq(schema_read(tree, "/a~1b", fields, &out, &errors), -EINVAL);
        ck_assert_uint_eq(errors.count, 5);
        for (unsigned i = 0; i < errors.count; i++) {
                cJSON_AddItemToArray(list, cJSON_CreateRaw("0"));
                ck_assert_int_eq(strncmp(errors.errors[i].pointer, "/a~1b/", 6), 0);
                cJSON_AddItemToArray(list, cJSON_CreateString(errors.errors[i].pointer));
                cJSON_AddItemToArray(list, cJSON_CreateString(errors.errors[i].detail));
        }
        text = json_print(list);
        ck_assert_ptr_null(strstr(text, "\\ufffd"));
        ck_assert_ptr_nonnull(strstr(text, "…"));
        ck_assert_int_eq(json_parse(text, strlen(text), JSON_STRICT, &again, &error), 0);
        free(text);
        cJSON_Delete(again);
        cJSON_Delete(list);
        cJSON_Delete(tree);
}
END_TEST

START_TEST(test_print_reads_back_when_not_masked)
{
        static const char text[] = "{\"title\":\"abc\",\"pool_name\":\"p\",\"project_id\":\"6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11\","
                                   "\"count\":7,\"ratio\":0.75,\"on\":true,\"mode\":\"pack\",\"argv\":[\"x\",\"y\"],"
                                   "\"labels\":{\"k\":\"v\"},\"tree\":null,\"inner\":{\"url\":\"redis://:pw@h\",\"tries\":0}}";
        struct schema_errors errors = { 0 };
        struct sample out = { 0 };
        cJSON *tree;
        char *printed;

        ck_assert_int_eq(read_text(text, &out, &errors), 0);
        tree = schema_print(fields, &out, false);
        printed = json_print(tree);
        ck_assert_str_eq(printed, text);
        free(printed);
        cJSON_Delete(tree);
        tree = schema_print(fields, &out, true);
        printed = json_print(tree);
        ck_assert_ptr_null(strstr(printed, "pw"));
        ck_assert_ptr_nonnull(strstr(printed, "{\"url\":\"***\",\"tries\":0}"));
        free(printed);
        cJSON_Delete(tree);
        schema_done(fields, &out);
}
END_TEST

START_TEST(test_print_leaves_out_when_nothing_is_set)
{
        struct sample out = { 0 };
        cJSON *tree = schema_print(fields, &out, true);
        char *printed = json_print(tree);

        ck_assert_str_eq(printed, "{\"count\":0,\"ratio\":0,\"on\":false,\"inner\":{\"tries\":0}}");
        free(printed);
        cJSON_Delete(tree);
}
END_TEST

START_TEST(test_nearest_finds_none_when_names_differ)
{
        static const char *const names[] = { "listen", "max_connections", "id", NULL };
        char longest[200];

        ck_assert_str_eq(schema_nearest("max_conections", names), "max_connections");
        ck_assert_str_eq(schema_nearest("MAX_CONNECTIONS", names), "max_connections");
        ck_assert_str_eq(schema_nearest("lisen", names), "listen");
        ck_assert_str_eq(schema_nearest("ID", names), "id");
        ck_assert_ptr_null(schema_nearest("x", names));
        ck_assert_ptr_null(schema_nearest("", names));
        ck_assert_ptr_null(schema_nearest("port", names));
        memset(longest, 'a', sizeof longest - 1);
        longest[sizeof longest - 1] = '\0';
        ck_assert_ptr_null(schema_nearest(longest, names));
        ck_assert_ptr_null(schema_nearest("listen", (const char *const[]){ longest, NULL }));
}
END_TEST

START_TEST(test_pointer_is_cut_when_the_buffer_is_small)
{
        char buffer[8];

        ck_assert_str_eq(schema_pointer("/a", "b~c", buffer, sizeof buffer), "/a/b~0c");
        ck_assert_str_eq(schema_pointer("/a", "bcd/e", buffer, sizeof buffer), "/a/bcd");
        ck_assert_str_eq(schema_pointer("/a", "bcdé", buffer, sizeof buffer), "/a/bcd");
        ck_assert_str_eq(schema_pointer("/abcdefgh", "x", buffer, sizeof buffer), "/abcde/");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("schema");
        TCase *tcase = tcase_create("schema");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_read_fills_the_struct_when_all_is_given);
        tcase_add_test(tcase, test_read_takes_fallbacks_when_fields_are_absent);
        tcase_add_test(tcase, test_read_says_what_would_be_right_when_a_field_is_wrong);
        tcase_add_test(tcase, test_read_names_the_nearest_when_a_field_is_unknown);
        tcase_add_test(tcase, test_read_reports_all_when_many_fields_are_wrong);
        tcase_add_test(tcase, test_errors_stay_utf8_when_names_are_long);
        tcase_add_test(tcase, test_print_reads_back_when_not_masked);
        tcase_add_test(tcase, test_print_leaves_out_when_nothing_is_set);
        tcase_add_test(tcase, test_nearest_finds_none_when_names_differ);
        tcase_add_test(tcase, test_pointer_is_cut_when_the_buffer_is_small);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
