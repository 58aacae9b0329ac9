#include "registry/redis/redis_link.h"

#include "redis_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct event_base *base;
static struct redis_fixture redis;
static struct redis_link *redis_link;
static const struct redis_link_config quick = { .connect_timeout_ms = 300, .request_timeout_ms = 300,
        .ping_interval_ms = 100, .output_max = 1 << 20 };

/* What the link said. */
static unsigned ups, downs, messages;
static int down_error;
static char down_why[512];
/* What requests got. */
static unsigned answers, failures;
static int last_error;
static char last_text[256];
static enum { FREE_NEVER, FREE_ON_UP, FREE_ON_DOWN, FREE_ON_ANSWER, FREE_ON_MESSAGE } free_when;

static void free_here(int when)
{
        if ((int)free_when == when)
                redis_link = redis_link_free(redis_link);
}

static void on_up(void *arg)
{
        ck_assert_ptr_eq(arg, &redis);
        ups++;
        free_here(FREE_ON_UP);
}

static void on_down(void *arg, int error, const char *why)
{
        ck_assert_ptr_eq(arg, &redis);
        downs++;
        down_error = error;
        snprintf(down_why, sizeof down_why, "%s", why);
        free_here(FREE_ON_DOWN);
}

static void on_message(void *arg, const char *data, size_t len)
{
        (void)arg;
        messages++;
        snprintf(last_text, sizeof last_text, "%.*s", (int)len, data);
        free_here(FREE_ON_MESSAGE);
}

static const struct redis_link_events events = { on_up, on_down, on_message };

static void on_answer(void *arg, int error, const redisReply *reply)
{
        unsigned *count = arg; /* each request counts its own calls */

        (*count)++;
        answers++;
        failures += error != 0;
        last_error = error;
        if (reply && reply->str)
                snprintf(last_text, sizeof last_text, "%s", reply->str);
        free_here(FREE_ON_ANSWER);
}

static int ask(const char *a, const char *b, unsigned *count)
{
        struct redis_command command = { 0 };
        int r;

        redis_command_add_text(&command, a);
        if (b)
                redis_command_add_text(&command, b);
        ck_assert_int_eq(redis_command_finish(&command), 0);
        r = redis_link_send(redis_link, &command, on_answer, count);
        redis_command_done(&command);
        return r;
}

static void connect_with(const struct redis_url *url, const struct redis_link_config *config)
{
        redis_link = redis_link_new(base, url, config, &events, &redis);
        ck_assert_ptr_nonnull(redis_link);
}

static void connect_to(const struct redis_url *url)
{
        connect_with(url, &quick);
}

static void setup(void)
{
        base = event_base_new();
        redis_fixture_init(&redis);
}

static void teardown(void)
{
        redis_link = redis_link_free(redis_link);
        redis_fixture_done(&redis);
        event_base_free(base);
}

static void begin(void)
{
        struct redis_url url = redis_fixture_url(&redis);

        redis_fixture_start(&redis);
        connect_to(&url);
        LOOP_UNTIL(base, ups == 1);
}

START_TEST(test_answers_requests_in_order_when_up)
{
        unsigned counts[3] = { 0 };

        begin();
        ck_assert(redis_link_up(redis_link));
        ck_assert_int_eq(ask("ECHO", "first", &counts[0]), 0);
        ck_assert_int_eq(ask("NONSENSE", NULL, &counts[1]), 0);
        ck_assert_int_eq(ask("ECHO", "last", &counts[2]), 0);
        ck_assert_uint_eq(answers, 0);
        LOOP_UNTIL(base, answers == 3);
        ck_assert_uint_eq(failures, 1);
        ck_assert_int_eq(last_error, 0);
        ck_assert_str_eq(last_text, "last");
        ck_assert_uint_eq(downs, 0);
}
END_TEST

START_TEST(test_comes_up_when_redis_appears_later)
{
        struct redis_url url = redis_fixture_url(&redis);

        connect_to(&url);
        LOOP_UNTIL(base, downs >= 2);
        ck_assert_int_eq(down_error, -EAGAIN);
        ck_assert_ptr_nonnull(strstr(down_why, redis.socket));
        ck_assert_ptr_nonnull(strstr(down_why, "cannot connect: No such file or directory"));
        ck_assert_int_eq(ask("PING", NULL, NULL), -EAGAIN);
        redis_fixture_start(&redis);
        LOOP_UNTIL(base, ups == 1);
}
END_TEST

START_TEST(test_fails_each_request_once_and_comes_back_when_redis_is_killed)
{
        unsigned counts[10] = { 0 };

        begin();
        kill(redis.pid, SIGSTOP);
        for (unsigned i = 0; i < 10; i++)
                ck_assert_int_eq(ask("PING", NULL, &counts[i]), 0);
        redis_fixture_kill(&redis);
        LOOP_UNTIL(base, downs >= 1);
        for (unsigned i = 0; i < 10; i++)
                ck_assert_uint_eq(counts[i], 1);
        ck_assert_uint_eq(failures, 10);
        ck_assert_int_eq(last_error, -EAGAIN);
        redis_fixture_start(&redis);
        LOOP_UNTIL(base, ups == 2);
        ck_assert_int_eq(ask("PING", NULL, &counts[0]), 0);
        LOOP_UNTIL(base, counts[0] == 2);
        ck_assert_int_eq(last_error, 0);
}
END_TEST

START_TEST(test_times_out_when_redis_hangs)
{
        unsigned count = 0;

        begin();
        kill(redis.pid, SIGSTOP);
        ck_assert_int_eq(ask("PING", NULL, &count), 0);
        LOOP_UNTIL(base, downs >= 1);
        ck_assert_uint_eq(count, 1);
        ck_assert_int_eq(last_error, -EAGAIN);
        ck_assert_ptr_nonnull(strstr(down_why, "no answer for 300 ms"));
        LOOP_UNTIL(base, downs >= 2); /* the kernel still accepts: the greeting must time out, too */
        kill(redis.pid, SIGCONT);
        LOOP_UNTIL(base, ups == 2);
}
END_TEST

/* Answered after 0.4 s with nothing. */
static int ask_slowly(unsigned *count)
{
        struct redis_command command = { 0 };
        int r;

        redis_command_add_text(&command, "BLPOP");
        redis_command_add_text(&command, "none");
        redis_command_add_text(&command, "0.4");
        ck_assert_int_eq(redis_command_finish(&command), 0);
        r = redis_link_send(redis_link, &command, on_answer, count);
        redis_command_done(&command);
        return r;
}

START_TEST(test_waits_for_a_long_queue_while_redis_answers)
{
        struct redis_link_config patient = quick;
        unsigned count = 0;
        struct redis_url url = redis_fixture_url(&redis);

        redis_fixture_start(&redis);
        patient.request_timeout_ms = 1200;
        connect_with(&url, &patient);
        LOOP_UNTIL(base, ups == 1);
        for (unsigned i = 0; i < 4; i++)
                ck_assert_int_eq(ask_slowly(&count), 0);
        LOOP_UNTIL(base, count == 4);
        ck_assert_uint_eq(downs, 0);
        ck_assert_uint_eq(failures, 0);
        kill(redis.pid, SIGSTOP); /* the time of the next one begins with it */
        ck_assert_int_eq(ask("PING", NULL, &count), 0);
        LOOP_UNTIL(base, downs >= 1);
        ck_assert_ptr_nonnull(strstr(down_why, "no answer for 1200 ms"));
}
END_TEST

START_TEST(test_takes_its_own_standstill_for_no_fault_of_redis)
{
        unsigned count = 0;

        begin();
        ck_assert_int_eq(ask("PING", NULL, &count), 0);
        usleep(2 * 1000 * quick.request_timeout_ms);
        LOOP_UNTIL(base, count == 1);
        ck_assert_uint_eq(downs, 0);
        ck_assert_uint_eq(failures, 0);
}
END_TEST

START_TEST(test_notices_a_hung_redis_when_idle)
{
        begin();
        kill(redis.pid, SIGSTOP);
        LOOP_UNTIL(base, downs >= 1);
        ck_assert_ptr_nonnull(strstr(down_why, "no answer"));
        kill(redis.pid, SIGCONT);
        LOOP_UNTIL(base, ups == 2);
}
END_TEST

START_TEST(test_comes_back_when_redis_kills_the_client)
{
        begin();
        for (unsigned i = 1; i <= 5; i++) {
                freeReplyObject(redis_fixture_command(&redis, "CLIENT KILL TYPE normal SKIPME yes"));
                LOOP_UNTIL(base, ups == i + 1);
        }
        ck_assert_uint_eq(downs, 5);
        ck_assert_ptr_nonnull(strstr(down_why, "closed the connection"));
}
END_TEST

START_TEST(test_refuses_requests_when_too_much_is_unanswered)
{
        static char big[100000];
        unsigned counts[20] = { 0 }, sent = 0;

        begin();
        memset(big, 'x', sizeof big - 1);
        kill(redis.pid, SIGSTOP);
        while (sent < 20 && ask("ECHO", big, &counts[sent]) == 0)
                sent++;
        ck_assert_uint_eq(sent, (1 << 20) / sizeof big);
        ck_assert_int_eq(ask("ECHO", big, &counts[19]), -EAGAIN);
        kill(redis.pid, SIGCONT);
        LOOP_UNTIL(base, answers == sent);
        ck_assert_uint_eq(failures, 0);
        ck_assert_int_eq(ask("ECHO", big, &counts[19]), 0);
        LOOP_UNTIL(base, answers == sent + 1);
}
END_TEST

START_TEST(test_says_so_when_the_password_is_wrong)
{
        struct redis_url url = redis_fixture_url(&redis);

        redis_fixture_option(&redis, "--requirepass");
        redis_fixture_option(&redis, "the-right-one");
        redis_fixture_start(&redis);
        url.password = (char[]){ "the-wrong-one" };
        connect_to(&url);
        LOOP_UNTIL(base, downs == 1);
        ck_assert_int_eq(down_error, -EACCES);
        ck_assert_ptr_nonnull(strstr(down_why, "WRONGPASS"));
        ck_assert_ptr_nonnull(strstr(down_why, "redis.url"));
        ck_assert_ptr_null(strstr(down_why, "the-wrong-one"));
        redis_link = redis_link_free(redis_link);
        url.password = NULL;
        connect_to(&url);
        LOOP_UNTIL(base, downs == 2);
        ck_assert_int_eq(down_error, -EACCES);
        ck_assert_ptr_nonnull(strstr(down_why, "NOAUTH"));
        redis_link = redis_link_free(redis_link);
        url.user = (char[]){ "default" };
        url.password = (char[]){ "the-right-one" };
        connect_to(&url);
        LOOP_UNTIL(base, ups == 1);
        ck_assert_uint_eq(downs, 2);
}
END_TEST

START_TEST(test_selects_the_database_when_the_url_names_one)
{
        struct redis_url url = redis_fixture_url(&redis);
        unsigned count = 0;

        redis_fixture_start(&redis);
        url.db = 7;
        connect_to(&url);
        LOOP_UNTIL(base, ups == 1);
        ck_assert_int_eq(ask("INCR", "here", &count), 0);
        LOOP_UNTIL(base, count == 1);
        freeReplyObject(redis_fixture_command(&redis, "SELECT 7"));
        ck_assert_int_eq(REDIS_INTEGER(&redis, "EXISTS here"), 1);
        redis_link = redis_link_free(redis_link);
        url.db = 7000;
        connect_to(&url);
        LOOP_UNTIL(base, downs == 1);
        ck_assert_ptr_nonnull(strstr(down_why, "DB index is out of range"));
}
END_TEST

static int listen_tcp(uint16_t *ret_port, int backlog)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
        ck_assert_int_eq(listen(fd, backlog), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
        *ret_port = ntohs(address.sin_port);
        return fd;
}

START_TEST(test_connects_by_name_when_redis_listens_on_tcp)
{
        struct redis_url url = { .host = (char[]){ "localhost" } };
        char port[8];

        close(listen_tcp(&url.port, 1));
        snprintf(port, sizeof port, "%u", url.port);
        redis_fixture_option(&redis, "--port");
        redis_fixture_option(&redis, port);
        redis_fixture_option(&redis, "--bind");
        redis_fixture_option(&redis, "127.0.0.1");
        redis_fixture_start(&redis);
        connect_to(&url);
        LOOP_UNTIL(base, ups == 1);
        redis_link = redis_link_free(redis_link);
        url.host = (char[]){ "127.0.0.1" };
        connect_to(&url);
        LOOP_UNTIL(base, ups == 2);
        redis_fixture_kill(&redis);
        LOOP_UNTIL(base, downs >= 3);
        ck_assert_ptr_nonnull(strstr(down_why, "Connection refused"));
}
END_TEST

START_TEST(test_gives_up_connecting_when_nobody_accepts)
{
        struct redis_url url = { .host = (char[]){ "127.0.0.1" } };
        int fd = listen_tcp(&url.port, 0), fillers[16];
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                .sin_port = htons(url.port) };

        for (unsigned i = 0; i < 16; i++) { /* the queue is full after a few */
                fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
                (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
        }
        connect_to(&url);
        LOOP_UNTIL(base, downs == 1);
        ck_assert_ptr_nonnull(strstr(down_why, "cannot connect within 300 ms"));
        for (unsigned i = 0; i < 16; i++)
                close(fillers[i]);
        close(fd);
}
END_TEST

START_TEST(test_delivers_messages_when_subscribed)
{
        unsigned count = 0;

        begin();
        ck_assert_int_eq(ask("SUBSCRIBE", "news", &count), 0);
        LOOP_UNTIL(base, count == 1);
        ck_assert_int_eq(REDIS_INTEGER(&redis, "PUBLISH news %s", "hello"), 1);
        LOOP_UNTIL(base, messages == 1);
        ck_assert_str_eq(last_text, "hello");
        ck_assert_int_eq(ask("PING", NULL, &count), 0); /* its answer has another form while subscribed */
        LOOP_UNTIL(base, count == 2);
        ck_assert_uint_eq(downs, 0);
}
END_TEST

static void free_case(int when)
{
        unsigned counts[3] = { 0 };

        free_when = when;
        begin();
        if (when == FREE_ON_UP) {
                ck_assert_ptr_null(redis_link);
                return;
        }
        if (when == FREE_ON_MESSAGE)
                ck_assert_int_eq(ask("SUBSCRIBE", "news", &counts[0]), 0);
        else
                for (unsigned i = 0; i < 3; i++)
                        ck_assert_int_eq(ask("PING", NULL, &counts[i]), 0);
        if (when == FREE_ON_MESSAGE) {
                LOOP_UNTIL(base, counts[0] == 1);
                REDIS_INTEGER(&redis, "PUBLISH news 1");
        }
        if (when == FREE_ON_DOWN)
                redis_fixture_kill(&redis);
        LOOP_UNTIL(base, redis_link == NULL);
        if (when != FREE_ON_MESSAGE)
                for (unsigned i = 0; i < 3; i++)
                        ck_assert_uint_eq(counts[i], 1);
}

START_TEST(test_may_be_freed_when_in_any_callback)
{
        free_case(_i);
}
END_TEST

START_TEST(test_cancels_each_request_once_when_freed)
{
        unsigned counts[3] = { 0 };

        begin();
        for (unsigned i = 0; i < 3; i++)
                ck_assert_int_eq(ask("PING", NULL, &counts[i]), 0);
        redis_link = redis_link_free(redis_link);
        ck_assert_uint_eq(answers, 3);
        ck_assert_int_eq(last_error, -ECANCELED);
        ck_assert_uint_eq(downs, 0);
}
END_TEST

/* A server that greets like Redis when asked to, then says what it likes. */
static const struct {
        const char *says;
        size_t len;
        const char *why;
} hostile[] = {
#define SAYS(text, why) { text, sizeof(text) - 1, why }
        SAYS("HTTP/1.1 400 Bad Request\r\n\r\n", "is it a Redis server?"),
        SAYS("+OK\r\n", "is it a Redis server?"),
        SAYS("*1\r\n$4\r\nPONG\r\n", "is it a Redis server?"),
        SAYS(":1\r\n", "is it a Redis server?"),
        SAYS("-ERR max number of clients reached\r\n", "max number of clients"),
        SAYS("-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        SAYS("+PONG\r\n+PONG\r\n", "nothing asked for"),
        SAYS("+PONG\r\n-ERR out of the blue\r\n", "nothing asked for"),
        SAYS("+PONG\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n", "nothing asked for"),
        SAYS("+PONG\r\n*2147483647\r\n", "is it a Redis server?"),
        SAYS("+PONG\r\n*1048577\r\n", "is it a Redis server?"),
        SAYS("+PONG\r\n*-5\r\n", "is it a Redis server?"),
        SAYS("+PONG\r\n$-5\r\nx\r\n", "is it a Redis server?"),
        SAYS("+PONG\r\n$99999999999999999999999\r\n", "is it a Redis server?"),
        SAYS("+PONG\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", ""), /* hiredis 0.14 refuses the depth */
        SAYS("+PONG\r\n\0\0\0\0\r\n", "is it a Redis server?"),
        SAYS("", "closed the connection"),
        SAYS("+PO", "closed the connection"),
};

static void serve_once(int listener, const char *says, size_t len)
{
        char buffer[256];
        int fd;

        LOOP_UNTIL(base, (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
        LOOP_UNTIL(base, read(fd, buffer, sizeof buffer) > 0);
        ck_assert_int_eq(write(fd, says, len), (ssize_t)len);
        shutdown(fd, SHUT_WR);
        LOOP_UNTIL(base, downs == 1);
        close(fd);
}

START_TEST(test_drops_the_connection_when_the_server_is_hostile)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct redis_url url = redis_fixture_url(&redis);
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        snprintf(address.sun_path, sizeof address.sun_path, "%s", redis.socket);
        ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(listen(listener, 5), 0);
        connect_to(&url);
        serve_once(listener, hostile[_i].says, hostile[_i].len);
        ck_assert_msg(strstr(down_why, hostile[_i].why), "%s", down_why);
        close(listener);
        unlink(redis.socket);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("redis_link");
        TCase *tcase = tcase_create("link");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_answers_requests_in_order_when_up);
        tcase_add_test(tcase, test_comes_up_when_redis_appears_later);
        tcase_add_test(tcase, test_fails_each_request_once_and_comes_back_when_redis_is_killed);
        tcase_add_test(tcase, test_times_out_when_redis_hangs);
        tcase_add_test(tcase, test_waits_for_a_long_queue_while_redis_answers);
        tcase_add_test(tcase, test_takes_its_own_standstill_for_no_fault_of_redis);
        tcase_add_test(tcase, test_notices_a_hung_redis_when_idle);
        tcase_add_test(tcase, test_comes_back_when_redis_kills_the_client);
        tcase_add_test(tcase, test_refuses_requests_when_too_much_is_unanswered);
        tcase_add_test(tcase, test_says_so_when_the_password_is_wrong);
        tcase_add_test(tcase, test_selects_the_database_when_the_url_names_one);
        tcase_add_test(tcase, test_connects_by_name_when_redis_listens_on_tcp);
        tcase_add_test(tcase, test_gives_up_connecting_when_nobody_accepts);
        tcase_add_test(tcase, test_delivers_messages_when_subscribed);
        tcase_add_loop_test(tcase, test_may_be_freed_when_in_any_callback, FREE_ON_UP, FREE_ON_MESSAGE + 1);
        tcase_add_test(tcase, test_cancels_each_request_once_when_freed);
        tcase_add_loop_test(tcase, test_drops_the_connection_when_the_server_is_hostile, 0,
                sizeof hostile / sizeof hostile[0]);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
