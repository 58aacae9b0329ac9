#include "master/api/rate_limit.h"

#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>

#define SECOND INT64_C(1000000)

static unsigned take_many(struct rate_bucket *bucket, const struct rate_limit_rule *rule, int64_t now, unsigned tries)
{
        unsigned taken = 0;

        for (unsigned i = 0; i < tries; i++)
                taken += rate_bucket_take(bucket, rule, now) == 0;
        return taken;
}

START_TEST(test_gives_a_burst_then_the_rate_when_asked_all_the_time)
{
        const struct rate_limit_rule rule = { .per_second = 10, .burst = 25 };
        struct rate_bucket bucket = { 0 };
        int64_t now = 7 * SECOND;
        unsigned taken = 0;

        ck_assert_uint_eq(take_many(&bucket, &rule, now, 100), 25);
        for (int ms = 1; ms <= 10000; ms++)
                taken += take_many(&bucket, &rule, now + ms * 1000, 3);
        ck_assert_uint_eq(taken, 100);
        ck_assert_uint_eq(take_many(&bucket, &rule, now + 1000 * SECOND, 100), 25); /* never more than full */
}
END_TEST

START_TEST(test_says_how_long_to_wait_when_empty)
{
        const struct rate_limit_rule one = { .per_second = 1, .burst = 1 }, many = { .per_second = 1000, .burst = 1 };
        struct rate_bucket bucket = { 0 };

        ck_assert_uint_eq(rate_bucket_take(&bucket, &one, SECOND), 0);
        ck_assert_uint_eq(rate_bucket_take(&bucket, &one, SECOND), 1);
        ck_assert_uint_eq(rate_bucket_take(&bucket, &one, 2 * SECOND - 1), 1);
        ck_assert_uint_eq(rate_bucket_take(&bucket, &one, 2 * SECOND), 0);
        bucket.full_at = 0;
        ck_assert_uint_eq(rate_bucket_take(&bucket, &many, SECOND), 0);
        ck_assert_uint_eq(rate_bucket_take(&bucket, &many, SECOND), 1); /* rounded up */
        ck_assert_uint_eq(rate_bucket_take(&bucket, &many, SECOND + 1000), 0);
}
END_TEST

START_TEST(test_never_limits_when_there_is_no_rate)
{
        const struct rate_limit_rule rule = { 0 };
        struct rate_limit *limit = rate_limit_new(&rule, 4);
        struct rate_bucket bucket = { 0 };
        struct in6_addr address = { 0 };

        ck_assert_uint_eq(take_many(&bucket, &rule, 0, 1000), 1000);
        for (int i = 0; i < 1000; i++)
                ck_assert_uint_eq(rate_limit_take(limit, &address, 0), 0);
        rate_limit_free(limit);
}
END_TEST

static struct in6_addr parse(const char *text)
{
        struct in6_addr address;

        ck_assert_int_eq(inet_pton(AF_INET6, text, &address), 1);
        return address;
}

START_TEST(test_counts_addresses_apart_but_not_those_of_one_network)
{
        const struct rate_limit_rule rule = { .per_second = 1, .burst = 1 };
        struct rate_limit *limit = rate_limit_new(&rule, 100);
        struct in6_addr a = parse("::ffff:10.0.0.1"), b = parse("::ffff:10.0.0.2"), c = parse("2001:db8::1"),
                        d = parse("2001:db8::2"), e = parse("2001:db8:0:1::2");

        ck_assert_uint_eq(rate_limit_take(limit, &a, SECOND), 0);
        ck_assert_uint_eq(rate_limit_take(limit, &a, SECOND), 1);
        ck_assert_uint_eq(rate_limit_take(limit, &b, SECOND), 0);
        ck_assert_uint_eq(rate_limit_take(limit, &c, SECOND), 0);
        ck_assert_uint_eq(rate_limit_take(limit, &d, SECOND), 1);
        ck_assert_uint_eq(rate_limit_take(limit, &e, SECOND), 0);
        rate_limit_free(limit);
}
END_TEST

START_TEST(test_forgets_the_longest_unseen_when_full)
{
        const struct rate_limit_rule rule = { .per_second = 1, .burst = 1 };
        struct rate_limit *limit = rate_limit_new(&rule, 3);
        struct in6_addr address = parse("::ffff:10.0.0.0");
        unsigned refused = 0;

        for (unsigned i = 0; i < 100000; i++) {
                address.s6_addr[13] = (uint8_t)(i >> 16);
                address.s6_addr[14] = (uint8_t)(i >> 8);
                address.s6_addr[15] = (uint8_t)i;
                refused += rate_limit_take(limit, &address, SECOND) != 0;
        }
        ck_assert_uint_eq(refused, 0);
        ck_assert_uint_eq(rate_limit_take(limit, &address, SECOND), 1); /* the last one is still known */
        address.s6_addr[15]--;
        ck_assert_uint_eq(rate_limit_take(limit, &address, SECOND), 1);
        address.s6_addr[15] -= 2; /* that one is not */
        ck_assert_uint_eq(rate_limit_take(limit, &address, SECOND), 0);
        rate_limit_free(limit);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("rate_limit");
        TCase *tcase = tcase_create("rate_limit");
        SRunner *runner = srunner_create(suite);

        tcase_add_test(tcase, test_gives_a_burst_then_the_rate_when_asked_all_the_time);
        tcase_add_test(tcase, test_says_how_long_to_wait_when_empty);
        tcase_add_test(tcase, test_never_limits_when_there_is_no_rate);
        tcase_add_test(tcase, test_counts_addresses_apart_but_not_those_of_one_network);
        tcase_add_test(tcase, test_forgets_the_longest_unseen_when_full);
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed != 0;
}
