/* Requests and answers: routes, queries, headers, bodies, keep-alive. */
#include "test/unit/http_fixture.h"

#define JSON "Content-Type: application/json\r\n"
#define POST(body_headers) "POST /echo HTTP/1.1\r\n" HOST body_headers
#define GET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"

static bool reply_has(const char *text)
{
        return strstr(t.reply, text) != NULL;
}

START_TEST(test_answers_when_simple_get)
{
        start();
        int fd = client_connect();
        client_say(fd, GET_OK);
        ck_assert_int_eq(client_read_answer(fd), 200);
        ck_assert(strncmp(t.reply, "HTTP/1.1 200 OK\r\nDate: ", 23) == 0);
        ck_assert(reply_has(" GMT\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"));
        ck_assert(!reply_has("Connection:"));
        client_say(fd, GET_OK); /* on the same connection */
        ck_assert_int_eq(client_read_answer(fd), 200);
        close(fd);
}
END_TEST

START_TEST(test_matches_routes_when_literals_and_braces_compete)
{
        static const struct {
                const char *line, *body;
                int status;
        } cases[] = {
                { "GET /items/special", "special", 200 },
                { "GET /items/specia", "specia|-", 200 },
                { "GET /items/a%20b%2Fc%C3%A9+d", "a b/c\xc3\xa9+d|-", 200 },
                { "GET /items/..", "..|-", 200 },
                { "GET /items/x/parts/y?q=1", "x|y", 200 },
                { "POST /items/special/parts/y", "-|y", 200 },
                { "GET /items/special/parts/y", NULL, 405 }, /* the literal one wins, and takes POST only */
                { "DELETE /items/special", NULL, 405 },
                { "DELETE /items/other", "other|-", 200 },
                { "GET /items/", NULL, 404 },
                { "GET /items", NULL, 404 },
                { "GET /items/x/", NULL, 404 },
                { "GET //items/x", NULL, 404 },
                { "GET /", NULL, 404 },
                { "GET /a/b/c/d/e/f/g/h/i/j", NULL, 404 },
                { "GET /Ok", NULL, 404 },
                { "PUT /nothing", NULL, 404 },
                { "GET http://h", NULL, 404 },
                { "GET HTTPS://h/query?a=b", "a=b;", 200 },
        };
        char text[256];

        start();
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                snprintf(text, sizeof text, "%s HTTP/1.1\r\n" HOST "\r\n", cases[i].line);
                int status = ask(text);
                ck_assert_msg(status == cases[i].status, "%d for %s", status, cases[i].line);
                if (cases[i].body)
                        ck_assert_str_eq(reply_body(), cases[i].body);
                else
                        ck_assert(reply_has("Content-Type: application/problem+json"));
        }
}
END_TEST

START_TEST(test_decodes_query_when_encoded)
{
        start();
        ck_assert_int_eq(ask(GET("/query?a=1&b=%26%3D&c+d=e+f%2B&g&&h==i&a=2")), 200);
        ck_assert_str_eq(reply_body(), "a=1;b=&=;c d=e f+;g=;h==i;a=1;");
        ck_assert_int_eq(ask(GET("/query")), 200);
        ck_assert_str_eq(reply_body(), "");
}
END_TEST

START_TEST(test_joins_headers_when_repeated)
{
        start();
        ck_assert_int_eq(ask("GET /header HTTP/1.1\r\nX-Test: a\r\n" HOST
                             "x-other: o\r\nx-tESt:\r\nX-TEST: b, c \r\n\r\n"), 200);
        ck_assert_str_eq(reply_body(), "a, , b, c");
        ck_assert(reply_has("\r\nX-Answer: a: b\r\n"));
        ck_assert_int_eq(ask(GET("/header")), 200);
        ck_assert_str_eq(reply_body(), "absent");
}
END_TEST

START_TEST(test_allows_when_other_method)
{
        start();
        ck_assert_int_eq(ask("PUT /items/x HTTP/1.1\r\n" HOST "\r\n"), 405);
        ck_assert(reply_has("\r\nAllow: GET, HEAD, DELETE, OPTIONS\r\n"));
        ck_assert(reply_has("Connection: close"));
        ck_assert_int_eq(ask("TRACE /echo HTTP/1.1\r\n" HOST "\r\n"), 405);
        ck_assert(reply_has("\r\nAllow: POST, PUT, OPTIONS\r\n"));
}
END_TEST

START_TEST(test_tells_methods_when_options)
{
        start();
        ck_assert_int_eq(ask("OPTIONS /echo HTTP/1.1\r\n" HOST "\r\n"), 204);
        ck_assert(reply_has("\r\nAllow: POST, PUT, OPTIONS\r\n"));
        ck_assert(!reply_has("Content-Length"));
        ck_assert_int_eq(ask("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), 204);
        ck_assert(reply_has("\r\nAllow: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n"));
        ck_assert_int_eq(ask("OPTIONS /nothing HTTP/1.1\r\n" HOST "\r\n"), 404);
}
END_TEST

START_TEST(test_sends_no_body_when_head)
{
        start();
        ck_assert_int_eq(ask("HEAD /ok HTTP/1.1\r\n" HOST "\r\n" GET_OK), 200);
        ck_assert(reply_has("Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\n"));
        ck_assert_int_eq(ask("HEAD /echo HTTP/1.1\r\n" HOST "\r\n"), 405);
        ck_assert_str_eq(reply_body(), "");
}
END_TEST

START_TEST(test_keeps_connection_when_version_and_header_say_so)
{
        static const struct {
                const char *version, *header;
                bool keeps;
        } cases[] = {
                { "1.1", "", true },
                { "1.1", "Connection: close\r\n", false },
                { "1.1", "Connection: foo, Close\r\n", false },
                { "1.1", "Connection: foo\r\nConnection: close\r\n", false },
                { "1.0", "", false },
                { "1.0", "Connection: Keep-Alive\r\n", true },
                { "1.0", "Connection: keep-alive, close\r\n", false },
        };
        char text[256];

        start();
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                snprintf(text, sizeof text, "GET /ok HTTP/%s\r\n" HOST "%s\r\n", cases[i].version, cases[i].header);
                int fd = client_connect();
                client_say(fd, text);
                ck_assert_int_eq(client_read_answer(fd), 200);
                ck_assert_int_eq(reply_has("\r\nConnection: close\r\n"), !cases[i].keeps);
                bool says_so = reply_has("\r\nConnection: keep-alive\r\n");
                ck_assert_int_eq(says_so, cases[i].keeps && cases[i].version[2] == '0');
                if (cases[i].keeps) {
                        client_say(fd, text);
                        ck_assert_int_eq(client_read_answer(fd), 200);
                } else {
                        ck_assert_int_eq(client_read_all(fd), 0);
                        ck_assert_uint_eq(t.reply_len, 0);
                }
                close(fd);
        }
}
END_TEST

START_TEST(test_takes_body_when_large)
{
        size_t size = 1 << 20;
        char *text = malloc(size + 256), *at = text;

        start();
        at += sprintf(text, POST(JSON "Content-Length: %zu\r\n\r\n"), size);
        for (size_t i = 0; i < size; i++)
                *at++ = (char)('a' + i % 23);
        int fd = client_connect();
        client_send(fd, text, (size_t)(at - text));
        ck_assert_int_eq(client_read_answer(fd), 200);
        ck_assert_int_eq(memcmp(reply_body(), at - size, size), 0);
        close(fd);
        free(text);
}
END_TEST

START_TEST(test_takes_body_when_chunked)
{
        char text[64];
        int fd;

        start();
        fd = client_connect();
        client_say(fd, POST(JSON "Transfer-Encoding: Chunked\r\n\r\n"));
        for (unsigned i = 0; i < 5000; i++) {
                snprintf(text, sizeof text, "%X;x=%u\r\n%.*s\r\n", i % 8 + 1, i, (int)(i % 8 + 1), "abcdefgh");
                client_say(fd, text);
        }
        client_say(fd, "0\r\n\r\n");
        ck_assert_int_eq(client_read_answer(fd), 200);
        ck_assert_uint_eq(strlen(reply_body()), 5000 / 8 * 36);
        ck_assert(strncmp(reply_body(), "aababcabcd", 10) == 0);
        client_say(fd, GET_OK);
        ck_assert_int_eq(client_read_answer(fd), 200);
        close(fd);
}
END_TEST

START_TEST(test_judges_media_type_when_body)
{
        static const struct {
                const char *type;
                int status;
        } cases[] = {
                { "application/json", 200 },
                { "Application/JSON", 200 },
                { "application/json; charset=utf-8", 200 },
                { "application/json ;charset=\"UTF-8\"", 200 },
                { "application/json; charset=latin1", 415 },
                { "application/json; a=b", 415 },
                { "application/json;", 415 },
                { "application/jsonx", 415 },
                { "application/problem+json", 415 },
                { "text/plain", 415 },
                { "application/json\r\nContent-Type: application/json", 415 },
                { "", 415 },
        };
        char text[256];

        start();
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                snprintf(text, sizeof text, POST("Content-Type: %s\r\nContent-Length: 2\r\n\r\n{}"), cases[i].type);
                int status = ask(text);
                ck_assert_msg(status == cases[i].status, "%d for %s", status, cases[i].type);
        }
        ck_assert_int_eq(ask(POST("Content-Type: text/plain\r\n\r\n")), 200);
        ck_assert_int_eq(ask("PUT /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}"), 415);
        ck_assert_int_eq(ask(POST(JSON "Content-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}")), 200);
}
END_TEST

START_TEST(test_continues_when_expected)
{
        start();
        int fd = client_connect();
        client_say(fd, POST(JSON "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n"));
        reply_clear();
        client_read_until(fd, "\r\n\r\n");
        ck_assert_str_eq(t.reply, "HTTP/1.1 100 Continue\r\n\r\n");
        client_say(fd, "{}");
        ck_assert_int_eq(client_read_answer(fd), 200);
        /* not when there is nothing to wait for */
        client_say(fd, POST(JSON "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"));
        ck_assert_int_eq(client_read_answer(fd), 200);
        close(fd);
        ck_assert_int_eq(ask(POST(JSON "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}")), 200);
        ck_assert_int_eq(ask(POST(JSON "Expect: more\r\nContent-Length: 2\r\n\r\n{}")), 417);
        ck_assert_int_eq(ask("POST /no HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"), 404);
        ck_assert_int_eq(ask("POST /echo HTTP/1.0\r\n" JSON "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n{"), 200);
}
END_TEST

START_TEST(test_answers_in_order_when_pipelined)
{
        start();
        int fd = client_connect();
        client_say(fd, GET("/later") GET("/items/1") GET("/later") POST(JSON "Content-Length: 2\r\n\r\n{}") GET("/ok"));
        WAIT_FOR(t.held_count == 1);
        turn(true);
        ck_assert_uint_eq(t.held_count, 1); /* one at a time */
        answer_text(t.held[0], 200, "first");
        WAIT_FOR(t.held_count == 2);
        t.held_count = 0;
        answer_text(t.held[1], 200, "third");
        reply_clear();
        client_read_until(fd, "\r\n\r\nok");
        const char *first = strstr(t.reply, "first"), *second = strstr(t.reply, "1|-");
        const char *third = strstr(t.reply, "third"), *fourth = strstr(t.reply, "{}");
        ck_assert(first && second && third && fourth && first < second && second < third && third < fourth);
        close(fd);
}
END_TEST

START_TEST(test_answers_all_when_many_are_pipelined)
{
        enum { COUNT = 5000 };
        unsigned answers = 0;

        start();
        int fd = client_connect();
        for (int i = 0; i < COUNT; i++)
                client_say(fd, GET_OK);
        shutdown(fd, SHUT_WR);
        ck_assert_int_eq(client_read_all(fd), 0);
        for (const char *at = t.reply; (at = strstr(at, "HTTP/1.1 200")); at++)
                answers++;
        ck_assert_uint_eq(answers, COUNT);
        ck_assert_uint_eq(t.handled, COUNT);
        close(fd);
}
END_TEST

START_TEST(test_prints_problem_when_detail_is_odd)
{
        start();
        ck_assert_int_eq(ask(GET("/problem")), 503);
        ck_assert(reply_has("Content-Type: application/problem+json\r\n"));
        ck_assert_str_eq(reply_body(), "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
                                       "\"detail\":\"\\\"pool\\\"\\n1 of 2 \\ufffd\"}");
}
END_TEST

START_TEST(test_counts_when_answered)
{
        struct http_stats stats;

        start();
        ask(GET_OK GET_OK);
        ask(GET("/nothing"));
        ask(GET("/problem"));
        ask("nonsense\r\n\r\n");
        int fd = client_connect();
        client_say(fd, GET("/later"));
        WAIT_FOR(t.held_count == 1);
        http_server_stats(t.server, &stats);
        ck_assert_uint_eq(stats.accepted, 5);
        ck_assert_uint_eq(stats.requests, 6);
        ck_assert_uint_eq(stats.answers_2xx, 2);
        ck_assert_uint_eq(stats.answers_4xx, 2);
        ck_assert_uint_eq(stats.answers_5xx, 1);
        ck_assert_uint_eq(stats.parse_errors, 1);
        ck_assert_uint_eq(stats.requests_active, 1);
        ck_assert_uint_ge(stats.connections, 1);
        close(fd);
}
END_TEST

START_TEST(test_keeps_context_when_answer_is_late)
{
        size_t len = 1;

        start();
        int fd = client_connect();
        client_say(fd, "HEAD /later?x=y HTTP/1.1\r\n" HOST "\r\n");
        WAIT_FOR(t.held_count == 1);
        struct http_request *request = t.held[0];
        http_request_set_context(request, &len);
        ck_assert_ptr_eq(http_request_context(request), &len);
        ck_assert_str_eq(http_request_path(request), "/later");
        ck_assert_str_eq(http_request_body(request, &len), "");
        ck_assert_uint_eq(len, 0);
        ck_assert_int_eq(strncmp(http_request_peer(request), "127.0.0.1:", 10), 0);
        ck_assert_ptr_null(http_request_param(request, "x"));
        ck_assert_ptr_null(http_request_query(request, "y"));
        ck_assert(http_request_alive(request));
        close(fd);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = {
                test_answers_when_simple_get,
                test_matches_routes_when_literals_and_braces_compete,
                test_decodes_query_when_encoded,
                test_joins_headers_when_repeated,
                test_allows_when_other_method,
                test_tells_methods_when_options,
                test_sends_no_body_when_head,
                test_keeps_connection_when_version_and_header_say_so,
                test_takes_body_when_large,
                test_takes_body_when_chunked,
                test_judges_media_type_when_body,
                test_continues_when_expected,
                test_answers_in_order_when_pipelined,
                test_answers_all_when_many_are_pipelined,
                test_prints_problem_when_detail_is_odd,
                test_counts_when_answered,
                test_keeps_context_when_answer_is_late,
                NULL,
        };
        return run_suite("http", tests);
}
