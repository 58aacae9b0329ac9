#include "master/config/tokens.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* SHA-256 of "abc" */
#define SECRET "0123456789abcdef"

static char reason[200];

static struct tokens *parse(const char *text)
{
        struct tokens *tokens = NULL;
        int r = tokens_parse(text, strlen(text), &tokens, reason, sizeof reason);

        ck_assert_msg(r == 0, "%s", reason);
        return tokens;
}

static void check_refused(const char *text, size_t len, const char *needle)
{
        struct tokens *tokens = NULL;

        ck_assert_int_eq(tokens_parse(text, len, &tokens, reason, sizeof reason), -EINVAL);
        ck_assert_ptr_null(tokens);
        ck_assert_msg(strstr(reason, needle) != NULL, "not \"%s\": %s", needle, reason);
        ck_assert_ptr_null(strstr(reason, SECRET));
}

START_TEST(test_passes_over_a_byte_order_mark)
{
        struct tokens *tokens = parse("\xef\xbb\xbf" "ops operate " SECRET "\n");

        ck_assert_uint_eq(tokens->count, 1);
        ck_assert_str_eq(tokens->list[0].name, "ops");
        tokens_free(tokens);
        check_refused("\xef\xbb\xbf", 3, "there is no token");
        check_refused("ops operate \xef\xbb\xbf", 15, "");
}
END_TEST

START_TEST(test_finds_the_token_when_its_secret_is_given)
{
        struct tokens *tokens = parse("# who\n\n  ops\toperate  " SECRET "  # night shift\r\nro read sha256:" ABC "\n"
                                      "boss admin sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AE");

        ck_assert_uint_eq(tokens->count, 3);
        ck_assert_int_eq(tokens_find(tokens, SECRET), 0);
        ck_assert_int_eq(tokens_find(tokens, "abc"), 1);
        ck_assert_int_eq(tokens->list[1].role, TOKEN_READ);
        ck_assert_int_eq(tokens->list[2].role, TOKEN_ADMIN);
        ck_assert_str_eq(tokens->list[0].name, "ops");
        ck_assert_str_eq(token_role_name(tokens->list[0].role), "operate");
        tokens_free(tokens);
}
END_TEST

START_TEST(test_finds_nothing_when_the_secret_is_another)
{
        static const char *const others[] = { "", "ab", "abcd", "ABC", SECRET "x", "0123456789abcde", "sha256:" ABC, ABC };
        struct tokens *tokens = parse("a read sha256:" ABC "\nb read " SECRET);

        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
                ck_assert_int_eq(tokens_find(tokens, others[i]), -1);
        tokens_free(tokens);
}
END_TEST

START_TEST(test_names_the_line_and_no_secret_when_it_is_wrong)
{
        static const char *const wrong[][2] = {
                { "", "no token" }, { "# nothing\n", "no token" },
                { "a read", "line 1: expected NAME ROLE SECRET" },
                { "a read " SECRET " x", "line 1: expected NAME ROLE SECRET" },
                { "a read " SECRET "\nb reed " SECRET "2", "line 2: the role must be read, operate or admin" },
                { "a none " SECRET, "the role must be" },
                { "a/b read " SECRET, "a token's name" },
                { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa read " SECRET, "a token's name" },
                { "a read 0123456789abcde", "shorter than 16" },
                { "a read sha256:" ABC "0", "64 hexadecimal" },
                { "a read sha256:ba78", "64 hexadecimal" },
                { "a read sha256:", "64 hexadecimal" },
                { "a read " SECRET "\na admin " SECRET "2", "line 2: this name is taken" },
                { "a read " SECRET "\nb admin " SECRET, "line 2: this secret is that of a line above" },
        };

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                check_refused(wrong[i][0], strlen(wrong[i][0]), wrong[i][1]);
        check_refused("a read " SECRET "\0\nb admin " SECRET "2", 40, "NUL");
}
END_TEST

START_TEST(test_takes_as_many_as_there_may_be)
{
        char *text = NULL;
        size_t size, one = 0;
        FILE *out = open_memstream(&text, &size);
        struct tokens *tokens;

        for (int i = 0; i <= TOKENS_MAX; i++) {
                fprintf(out, "n%d read secret-number-%05d\n", i, i);
                if (i == TOKENS_MAX - 1)
                        one = (fflush(out), size);
        }
        fclose(out);
        check_refused(text, size, "more than 1024");
        text[one] = '\0';
        tokens = parse(text);
        ck_assert_uint_eq(tokens->count, TOKENS_MAX);
        ck_assert_int_eq(tokens_find(tokens, "secret-number-01023"), TOKENS_MAX - 1);
        tokens_free(tokens);
        free(text);
}
END_TEST

START_TEST(test_refuses_a_file_when_others_may_read_it)
{
        static const mode_t good[] = { 0600, 0640, 0400, 0440 }, bad[] = { 0644, 0604, 0642, 0641 };
        char path[] = "/tmp/test_tokens.XXXXXX";
        struct tokens *tokens = NULL;
        int fd = mkstemp(path);

        ck_assert_int_eq(write(fd, "a read " SECRET "\n", 24), 24);
        for (size_t i = 0; i < 4; i++) {
                fchmod(fd, good[i]);
                ck_assert_int_eq(tokens_load(path, &tokens, reason, sizeof reason), 0);
                tokens = tokens_free(tokens);
                fchmod(fd, bad[i]);
                ck_assert_int_eq(tokens_load(path, &tokens, reason, sizeof reason), -EINVAL);
                ck_assert_ptr_nonnull(strstr(reason, "chmod o="));
        }
        close(fd);
        unlink(path);
        ck_assert_int_eq(tokens_load(path, &tokens, reason, sizeof reason), -EINVAL);
        ck_assert_ptr_nonnull(strstr(reason, "No such file"));
        ck_assert_int_eq(tokens_load("/tmp", &tokens, reason, sizeof reason), -EINVAL);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("tokens");
        TCase *tcase = tcase_create("tokens");
        SRunner *runner = srunner_create(suite);

        tcase_add_test(tcase, test_passes_over_a_byte_order_mark);
        tcase_add_test(tcase, test_finds_the_token_when_its_secret_is_given);
        tcase_add_test(tcase, test_finds_nothing_when_the_secret_is_another);
        tcase_add_test(tcase, test_names_the_line_and_no_secret_when_it_is_wrong);
        tcase_add_test(tcase, test_takes_as_many_as_there_may_be);
        tcase_add_test(tcase, test_refuses_a_file_when_others_may_read_it);
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed != 0;
}
