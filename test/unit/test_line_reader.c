#include "worker/runtime/line_reader.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Feeds text in pieces and joins what comes out as "line|line|", a long line as "part+part+part!". */
static void feed(struct line_reader *reader, const char *text, size_t piece, char *ret_lines)
{
        size_t len = strlen(text), n;
        const char *line;
        int r = 0;

        *ret_lines = '\0';
        for (size_t at = 0; at < len && r == 0; at += n) {
                /* A copy of its own: a reader that keeps a pointer into it is found out. */
                char *copy = malloc(piece);

                n = len - at < piece ? len - at : piece;
                memcpy(copy, text + at, n);
                line_reader_push(reader, copy, n);
                for (size_t line_len; (r = line_reader_next(reader, &line, &line_len)) > 0;) {
                        strncat(ret_lines, line, line_len);
                        strcat(ret_lines, r == LINE_PART ? "+" : r == LINE_LAST ? "!" : "|");
                }
                free(copy);
        }
}

static const struct {
        const char *text;
        size_t max;
        const char *lines, *rest;
} cases[] = {
        { "", 10, "", "" },
        { "a\nbb\nccc", 10, "a|bb|", "ccc" },
        { "a\nbb\nccc\n", 10, "a|bb|ccc|", "" },
        { "\n\n\n", 10, "|||", "" },
        { "\nx\n\n", 10, "|x||", "" },
        { "1234567890\n", 10, "1234567890|", "" },
        { "12345678901\nab\n", 4, "1234+5678+901!ab|", "" },
        { "12345678\nab\n", 4, "1234+5678!ab|", "" },
        { "1234\n\n5", 4, "1234||", "5" },
        { "123456", 4, "1234+", "56" },
        { "abc\xc3\xa4\xc3\xb6x\nb\n", 4, "abc+\xc3\xa4\xc3\xb6+x!b|", "" },
        { "abc\xf0\x9f\x99\x82zz\n", 5, "abc+\xf0\x9f\x99\x82z+z!", "" },
        { "\x80\x80\x80\x80\x80\x80\n", 4, "\x80\x80\x80\x80+\x80\x80!", "" },
};

START_TEST(test_hands_out_lines_however_the_text_is_cut)
{
        struct line_reader reader;
        const char *rest;
        char lines[256];
        size_t len;

        for (size_t piece = 1; piece <= 20; piece++) {
                line_reader_init(&reader, cases[_i].max);
                feed(&reader, cases[_i].text, piece, lines);
                ck_assert_msg(strcmp(lines, cases[_i].lines) == 0, "in pieces of %zu: %s", piece, lines);
                if (cases[_i].rest) {
                        ck_assert_int_eq(line_reader_rest(&reader, &rest, &len), *cases[_i].rest != '\0');
                        if (*cases[_i].rest)
                                ck_assert(len == strlen(cases[_i].rest) && memcmp(rest, cases[_i].rest, len) == 0);
                }
                line_reader_done(&reader);
        }
}
END_TEST

START_TEST(test_holds_no_more_than_its_bound_when_a_line_never_ends)
{
        struct line_reader reader;
        char piece[1000];
        const char *line;
        size_t len;
        int r = 0;

        memset(piece, 'x', sizeof piece);
        line_reader_init(&reader, 100000);
        for (int i = 0; i < 100; i++) {
                line_reader_push(&reader, piece, sizeof piece);
                r = line_reader_next(&reader, &line, &len);
                ck_assert_int_eq(r, 0);
                ck_assert_uint_le(reader.kept_size, 100000);
        }
        line_reader_push(&reader, piece, 1);
        ck_assert_int_eq(line_reader_next(&reader, &line, &len), LINE_PART);
        ck_assert_uint_eq(len, 100000);
        line_reader_done(&reader);
}
END_TEST

START_TEST(test_gives_memory_back_when_a_long_line_is_out)
{
        struct line_reader reader;
        char piece[10001];
        const char *line;
        size_t len;

        memset(piece, 'x', sizeof piece);
        piece[10000] = '\n';
        line_reader_init(&reader, 100000);
        line_reader_push(&reader, piece, 10000);
        ck_assert_int_eq(line_reader_next(&reader, &line, &len), 0);
        line_reader_push(&reader, piece, 10001);
        ck_assert_int_eq(line_reader_next(&reader, &line, &len), LINE_WHOLE);
        ck_assert_uint_eq(len, 20000);
        ck_assert_int_eq(line_reader_next(&reader, &line, &len), 0);
        ck_assert_ptr_null(reader.kept);
        line_reader_done(&reader);
}
END_TEST

START_TEST(test_keeps_nul_bytes)
{
        struct line_reader reader;
        const char *line;
        size_t len;

        line_reader_init(&reader, 10);
        line_reader_push(&reader, "a\0b\n", 4);
        ck_assert_int_eq(line_reader_next(&reader, &line, &len), LINE_WHOLE);
        ck_assert(len == 3 && memcmp(line, "a\0b", 3) == 0);
        line_reader_done(&reader);
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("line_reader");
        TCase *c = tcase_create("lines");

        suite_add_tcase(all, c);
        tcase_add_loop_test(c, test_hands_out_lines_however_the_text_is_cut, 0, sizeof cases / sizeof *cases);
        tcase_add_test(c, test_holds_no_more_than_its_bound_when_a_line_never_ends);
        tcase_add_test(c, test_gives_memory_back_when_a_long_line_is_out);
        tcase_add_test(c, test_keeps_nul_bytes);
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
