#include "common/backoff.h"

#include <check.h>

START_TEST(test_next_doubles_to_the_cap_when_tried_again)
{
        struct backoff low = { .base_ms = 100, .cap_ms = 1000 }, high = low;
        static const uint32_t full[] = { 100, 200, 400, 800, 1000, 1000 };

        for (unsigned i = 0; i < sizeof full / sizeof *full; i++) {
                ck_assert_uint_eq(backoff_next(&low, 0), full[i] / 2);
                ck_assert_uint_eq(backoff_next(&high, full[i] / 2), full[i]);
        }
        backoff_reset(&low);
        ck_assert_uint_eq(backoff_next(&low, 0), 50);
}
END_TEST

START_TEST(test_next_stays_within_bounds_when_random)
{
        uint32_t random = 1;

        for (uint32_t base = 0; base < 50; base++) {
                struct backoff backoff = { .base_ms = base, .cap_ms = 7777 };

                for (int tries = 0; tries < 100; tries++) {
                        uint64_t full = tries < 30 ? (uint64_t)base << tries : (uint64_t)base << 30;
                        uint32_t delay = backoff_next(&backoff, random = random * 1664525 + 1013904223);

                        full = full < 7777 ? full : 7777;
                        ck_assert_uint_ge(delay, full / 2);
                        ck_assert_uint_le(delay, full);
                }
        }
}
END_TEST

START_TEST(test_next_overflows_nothing_when_tried_for_ever)
{
        struct backoff backoff = { .base_ms = UINT32_MAX, .cap_ms = UINT32_MAX, .tries = UINT32_MAX - 1 };

        ck_assert_uint_ge(backoff_next(&backoff, UINT32_MAX), UINT32_MAX / 2);
        ck_assert_uint_ge(backoff_next(&backoff, UINT32_MAX), UINT32_MAX / 2);
        /* Here the count itself comes round; the delay must not. */
        ck_assert_uint_ge(backoff_next(&backoff, UINT32_MAX), UINT32_MAX / 2);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("backoff");
        TCase *tcase = tcase_create("backoff");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_next_doubles_to_the_cap_when_tried_again);
        tcase_add_test(tcase, test_next_stays_within_bounds_when_random);
        tcase_add_test(tcase, test_next_overflows_nothing_when_tried_for_ever);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
