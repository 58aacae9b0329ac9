#include "registry/redis/redis_url.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
        const char *text;
        struct redis_url url; /* path, host, user, password are compared as text */
        const char *formatted, *masked;
} good[] = {
        { "embedded:", { .embedded = true }, "embedded:", "embedded:" },
        { "redis://h", { .host = (char[]){ "h" }, .port = 6379 }, "redis://h:6379", "redis://h:6379" },
        { "redis://h:1/", { .host = (char[]){ "h" }, .port = 1 }, "redis://h:1", "redis://h:1" },
        { "redis://h:65535/15", { .host = (char[]){ "h" }, .port = 65535, .db = 15 }, "redis://h:65535/15",
                "redis://h:65535/15" },
        { "redis://h?db=3", { .host = (char[]){ "h" }, .port = 6379, .db = 3 }, "redis://h:6379/3", "redis://h:6379/3" },
        { "redis://[::1]:7/2147483647", { .host = (char[]){ "::1" }, .port = 7, .db = 2147483647 },
                "redis://[::1]:7/2147483647", "redis://[::1]:7/2147483647" },
        { "redis://:p%40%2fw@h", { .host = (char[]){ "h" }, .port = 6379, .password = (char[]){ "p@/w" } },
                "redis://:p%40%2Fw@h:6379", "redis://:***@h:6379" },
        { "redis://u:p@w:x@h", { .host = (char[]){ "h" }, .port = 6379, .user = (char[]){ "u" },
                                       .password = (char[]){ "p@w:x" } },
                "redis://u:p%40w%3Ax@h:6379", "redis://u:***@h:6379" },
        { "redis://@h", { .host = (char[]){ "h" }, .port = 6379 }, "redis://h:6379", "redis://h:6379" },
        { "unix:///run/r.sock", { .path = (char[]){ "/run/r.sock" } }, "unix:///run/r.sock", "unix:///run/r.sock" },
        { "redis+unix:///a%20b?db=4", { .path = (char[]){ "/a b" }, .db = 4 }, "unix:///a%20b?db=4",
                "unix:///a%20b?db=4" },
        { "unix://u:p@/s?db=1&db=2",
                { .path = (char[]){ "/s" }, .user = (char[]){ "u" }, .password = (char[]){ "p" }, .db = 2 },
                "unix://u:p@/s?db=2", "unix://u:***@/s?db=2" },
        /* 107 bytes of path */
        { "unix:///2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567",
                { .path = (char[]){ "/2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" } },
                "unix:///2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567",
                "unix:///2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" },
};

static void assert_same_text(const char *a, const char *b)
{
        if (a && b)
                ck_assert_str_eq(a, b);
        else
                ck_assert_ptr_eq(a, b);
}

static void assert_same(const struct redis_url *a, const struct redis_url *b)
{
        ck_assert_int_eq(a->embedded, b->embedded);
        assert_same_text(a->path, b->path);
        assert_same_text(a->host, b->host);
        ck_assert_uint_eq(a->port, b->port);
        assert_same_text(a->user, b->user);
        assert_same_text(a->password, b->password);
        ck_assert_uint_eq(a->db, b->db);
}

START_TEST(test_parses_and_formats_when_the_url_is_good)
{
        struct redis_url url, again;
        char reason[REDIS_URL_REASON_SIZE] = "", *text, *masked;

        ck_assert_msg(redis_url_parse(good[_i].text, &url, reason) == 0, "%s: %s", good[_i].text, reason);
        assert_same(&url, &good[_i].url);
        text = redis_url_format(&url, false);
        masked = redis_url_format(&url, true);
        ck_assert_str_eq(text, good[_i].formatted);
        ck_assert_str_eq(masked, good[_i].masked);
        ck_assert_int_eq(redis_url_parse(text, &again, reason), 0);
        assert_same(&again, &url);
        redis_url_done(&again);
        ck_assert_int_eq(redis_url_parse(masked, &again, reason), 0);
        redis_url_done(&again);
        redis_url_done(&url);
        ck_assert_ptr_null(url.host);
        redis_url_done(&url);
        free(text);
        free(masked);
}
END_TEST

static const struct {
        const char *text, *reason;
} bad[] = {
        { "", "must be redis://HOST:PORT/DB, unix:///PATH?db=N or embedded:" },
        { "embedded", "must be redis://HOST:PORT/DB, unix:///PATH?db=N or embedded:" },
        { "embedded:x", "must be redis://HOST:PORT/DB, unix:///PATH?db=N or embedded:" },
        { "http://secret@h", "must be redis://HOST:PORT/DB, unix:///PATH?db=N or embedded:" },
        { "rediss://h", "TLS is not spoken here; use redis:// through a TLS proxy such as stunnel" },
        { "redis://", "has no host; write redis://HOST:PORT/DB" },
        { "redis:///3", "has no host; write redis://HOST:PORT/DB" },
        { "redis://:6379", "has no host; write redis://HOST:PORT/DB" },
        { "redis://h:", "the port is no number from 1 to 65535" },
        { "redis://h:0", "the port is no number from 1 to 65535" },
        { "redis://h:65536", "the port is no number from 1 to 65535" },
        { "redis://h:99999999999999999999", "the port is no number from 1 to 65535" },
        { "redis://h:1x", "the port is no number from 1 to 65535" },
        { "redis://::1", "has no host; write redis://HOST:PORT/DB" },
        { "redis://[::1", "the IPv6 address lacks its closing \"]\"" },
        { "redis://[::1]x", "something other than \":PORT\" follows the host" },
        { "redis://a b", "the host has a character that no host has" },
        { "redis://a%20b", "the host has a character that no host has" },
        { "redis://h/x", "the database is no number from 0" },
        { "redis://h/-1", "the database is no number from 0" },
        { "redis://h/1/2", "the database is no number from 0" },
        { "redis://h/2147483648", "the database is no number from 0" },
        { "redis://h/1?db=", "the database is no number from 0" },
        { "redis://h?timeout=3", "after \"?\" only db=N may stand" },
        { "redis://h?db", "after \"?\" only db=N may stand" },
        { "redis://h?=1", "after \"?\" only db=N may stand" },
        { "redis://secret@h", "names a user without a password; write redis://USER:PASSWORD@HOST" },
        { "redis://:secret%4@h", "user or password has a broken percent escape or a control byte" },
        { "redis://:secret%zz@h", "user or password has a broken percent escape or a control byte" },
        { "redis://:secret%00@h", "user or password has a broken percent escape or a control byte" },
        { "redis://se%cret:x@h", "user or password has a broken percent escape or a control byte" },
        { "redis://:secret@h:x", "the port is no number from 1 to 65535" },
        { "unix://run/redis.sock", "the socket's path must be absolute; write unix:///run/redis/redis.sock" },
        { "unix://", "the socket's path must be absolute; write unix:///run/redis/redis.sock" },
        { "unix:///a%", "the path has a broken percent escape or a control byte" },
        { "unix:///a?db=x", "the database is no number from 0" },
        { "unix:///23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678",
                "the socket's path is 108 bytes long; the system takes at most 107" },
};

START_TEST(test_says_why_without_secrets_when_the_url_is_bad)
{
        struct redis_url url = { .port = 4711 };
        char reason[REDIS_URL_REASON_SIZE] = "";

        ck_assert_int_eq(redis_url_parse(bad[_i].text, &url, reason), -EINVAL);
        ck_assert_str_eq(reason, bad[_i].reason);
        ck_assert_uint_eq(url.port, 4711);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("redis_url");
        TCase *tests = tcase_create("redis_url");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tests);
        tcase_add_loop_test(tests, test_parses_and_formats_when_the_url_is_good, 0, sizeof good / sizeof *good);
        tcase_add_loop_test(tests, test_says_why_without_secrets_when_the_url_is_bad, 0, sizeof bad / sizeof *bad);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
