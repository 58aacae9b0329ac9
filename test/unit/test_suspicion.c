#include "registry/core/suspicion.h"

#include <check.h>
#include <stdlib.h>

static struct suspicion suspicion;

static void setup(void)
{
        suspicion = (struct suspicion){ 0 };
}

START_TEST(test_suspects_itself_when_most_are_silent)
{
        static const struct {
                unsigned silent, workers;
                bool itself;
        } cases[] = {
                { 0, 0, false }, { 1, 1, false }, { 2, 2, false }, { 3, 3, true },     { 3, 5, true },
                { 3, 6, false }, { 4, 8, false }, { 5, 8, true },  { 100, 100, true }, { 500, 1000, false },
        };

        ck_assert_int_eq(suspicion_of_self(&suspicion, cases[_i].silent, cases[_i].workers, 10000, 50000), cases[_i].itself);
        ck_assert_uint_eq(suspicion.times, cases[_i].itself);
}
END_TEST

START_TEST(test_believes_it_when_they_are_silent_a_lease_later)
{
        ck_assert(suspicion_of_self(&suspicion, 5, 5, 10000, 50000));
        ck_assert(!suspicion_of_self(&suspicion, 5, 5, 10000, 62000));
        ck_assert(!suspicion_of_self(&suspicion, 5, 5, 10000, 80000));
}
END_TEST

START_TEST(test_suspects_itself_again_when_it_is_another_matter)
{
        ck_assert(suspicion_of_self(&suspicion, 5, 5, 10000, 50000));
        ck_assert(suspicion_of_self(&suspicion, 5, 5, 10000, 80001));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("suspicion");
        TCase *tcase = tcase_create("suspicion");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, setup, NULL);
        tcase_add_loop_test(tcase, test_suspects_itself_when_most_are_silent, 0, 10);
        tcase_add_test(tcase, test_believes_it_when_they_are_silent_a_lease_later);
        tcase_add_test(tcase, test_suspects_itself_again_when_it_is_another_matter);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
