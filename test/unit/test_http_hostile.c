/* What must not get in, and what looks odd but must: each request whole, byte by byte, and split at every byte. */
#include "test/unit/http_fixture.h"

#define START_LINE "GET /ok HTTP/1.1\r\n"
#define POST_LINE "POST /echo HTTP/1.1\r\n" HOST
#define JSON "Content-Type: application/json\r\n"
#define CHUNKED POST_LINE JSON "Transfer-Encoding: chunked\r\n\r\n"
#define TEXT(text) text, sizeof text - 1

/* outcome: the statuses, in order. A second request follows each one, so "400" says that it was not served. */
static const struct {
        const char *request;
        size_t len;
        const char *outcome;
} golden[] = {
        /* in order */
        { TEXT(START_LINE HOST "\r\n"), "200 200" },
        { TEXT("\r\n" START_LINE HOST "\r\n"), "200 200" },
        { TEXT(START_LINE "hOsT:h:80\r\n\r\n"), "200 200" },
        { TEXT(START_LINE "Host: [::1]:8000\r\n\r\n"), "200 200" },
        { TEXT(START_LINE HOST "X-A: \t padded \t\r\nX-B:\r\n\r\n"), "200 200" },
        { TEXT(START_LINE HOST "X-A: caf\xc3\xa9 \xff\r\n\r\n"), "200 200" },
        { TEXT("GET http://h:80/ok HTTP/1.1\r\n" HOST "\r\n"), "200 200" },
        { TEXT("GET /ok? HTTP/1.1\r\n" HOST "\r\n"), "200 200" },
        { TEXT("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), "204 200" },
        { TEXT("GET /ok HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), "200 200" },
        { TEXT("GET /ok HTTP/1.0\r\n\r\n"), "200" },
        { TEXT(START_LINE HOST "Connection: close\r\n\r\n"), "200" },
        { TEXT(START_LINE HOST "Connection: keep-alive, close\r\n\r\n"), "200" },
        { TEXT(START_LINE HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), "200 200" },
        { TEXT(START_LINE HOST "Content-Length: 3\r\n\r\nabc"), "200 200" },
        { TEXT(POST_LINE "\r\n"), "200 200" },
        { TEXT(POST_LINE JSON "Content-Length: 0\r\n\r\n"), "200 200" },
        { TEXT(POST_LINE JSON "Content-Length: 2\r\n\r\n{}"), "200 200" },
        { TEXT(POST_LINE JSON "Content-Length: 2\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n{}"), "200 200" },
        { TEXT(CHUNKED "2\r\n{}\r\n0\r\n\r\n"), "200 200" },
        { TEXT(CHUNKED "00001;a=\"b\"\r\n{\r\n1;x\r\n}\r\n0\r\nX-Trailer: y\r\n\r\n"), "200 200" },
        { TEXT(CHUNKED "0\r\n\r\n"), "200 200" },
        { TEXT(CHUNKED "4\r\n\0\r\n\n\r\n0\r\n\r\n"), "200 200" },
        /* the head's bytes */
        { TEXT("GET /ok HTTP/1.1\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok HTTP/1.1\r\nHost: h\n\r\n"), "400" },
        { TEXT("GET /ok HTTP/1.1\nHost: h\n\n"), "400" },
        { TEXT(START_LINE HOST "\n"), "400" },
        { TEXT("GET /ok HTTP/1.1\rX: y\r\n" HOST "\r\n"), "400" },
        { TEXT(START_LINE HOST "X: a\rY: b\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X: a\r\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X: a\0b\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X: a\x01\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X: a\x7f\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X\0: a\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X: a\r\n folded\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X: a\r\n\tfolded\r\n\r\n"), "400" },
        { TEXT(START_LINE " " HOST "\r\n"), "400" },
        { TEXT(" " START_LINE HOST "\r\n"), "400" },
        { TEXT("\r\n\r\n" START_LINE HOST "\r\n"), "400" },
        { TEXT("\n" START_LINE HOST "\r\n"), "400" },
        /* the request line */
        { TEXT("GET /ok\r\n" HOST "\r\n"), "400" },
        { TEXT("GET  /ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok  HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok HTTP/1.1 \r\n" HOST "\r\n"), "400" },
        { TEXT("GET\t/ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /o k HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok http/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok HTTP/1.10\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok HTTP/1.2\r\n" HOST "\r\n"), "505" },
        { TEXT("GET /ok HTTP/2.0\r\n" HOST "\r\n"), "505" },
        { TEXT("GET /ok HTTP/0.9\r\n" HOST "\r\n"), "505" },
        { TEXT("PRI * HTTP/2.0\r\n\r\n"), "505" },
        { TEXT("PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n"), "400" },
        { TEXT("DESCRIBE /ok RTSP/1.0\r\n\r\n"), "400" },
        { TEXT("SOURCE /ok ICE/1.0\r\n\r\n"), "400" },
        { TEXT("G@T /ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("G(T /ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("get /ok HTTP/1.1\r\n" HOST "\r\n"), "501" },
        { TEXT("FOO /ok HTTP/1.1\r\n" HOST "Content-Length: 35\r\n\r\n"), "501" },
        { TEXT("PATCH /ok HTTP/1.1\r\n" HOST "\r\n"), "405" },
        { TEXT("CONNECT h:80 HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET * HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok#x HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET http:///ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET http://u@h/ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET http://h:8x/ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET ftp://h/ok HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok?a=%zz HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /ok?a=%00 HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /items/%ff HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /items/%4 HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { TEXT("GET /items/../ok HTTP/1.1\r\n" HOST "\r\n"), "404" },
        { TEXT("GET /%6fk HTTP/1.1\r\n" HOST "\r\n"), "200 200" },
        /* headers */
        { TEXT(START_LINE "\r\n"), "400" },
        { TEXT(START_LINE HOST HOST "\r\n"), "400" },
        { TEXT("GET /ok HTTP/1.0\r\n" HOST HOST "\r\n"), "400" },
        { TEXT(START_LINE "Host:\r\n\r\n"), "400" },
        { TEXT(START_LINE "Host: a b\r\n\r\n"), "400" },
        { TEXT(START_LINE "Host: u@h\r\n\r\n"), "400" },
        { TEXT(START_LINE "Host: [::1\r\n\r\n"), "400" },
        { TEXT(START_LINE "Host : h\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X Y: a\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X\t: a\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "X(: a\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST ": a\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "no colon\r\n\r\n"), "400" },
        { TEXT(START_LINE HOST "Expect: 200-ok\r\n\r\n"), "417" },
        /* how long the body is */
        { TEXT(POST_LINE JSON "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length: 2, 2\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length: +2\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length: -2\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length: 0x2\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length: 2 2\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length:\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length: 18446744073709551618\r\n\r\n{}"), "400" },
        { TEXT(POST_LINE JSON "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400" },
        { TEXT(POST_LINE JSON "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"), "400" },
        { TEXT(POST_LINE JSON "Transfer-Encoding: gzip\r\n\r\n"), "400" },
        { TEXT(POST_LINE JSON "Transfer-Encoding: chunked, gzip\r\n\r\n"), "400" },
        { TEXT(POST_LINE JSON "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), "501" },
        { TEXT(POST_LINE JSON "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"), "400" },
        { TEXT(POST_LINE JSON "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), "400" },
        { TEXT(POST_LINE JSON "Transfer-Encoding:\r\n\r\n0\r\n\r\n"), "501" },
        { TEXT(POST_LINE JSON "Transfer-Encoding: \x0b" "chunked\r\n\r\n0\r\n\r\n"), "400" },
        { TEXT("POST /echo HTTP/1.0\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400" },
        { TEXT("POST /echo HTTP/1.0\r\n" JSON "\r\n"), "411" },
        { TEXT(POST_LINE "Content-Length: 2\r\n\r\n{}"), "415" },
        { TEXT(POST_LINE JSON "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"), "415" },
        /* chunk framing */
        { TEXT(CHUNKED "2\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}\r\n0\n\r\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}\r\n0\r\n\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}x\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "0x2\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "-2\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "+2\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED " 2\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "g\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2\rX\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2;a\nb\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2;a\x01\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "10000000000000002\r\n{}\r\n0\r\n\r\n"), "400" },
        { TEXT(CHUNKED "ffffffffffffffff\r\n{}\r\n0\r\n\r\n"), "413" },
        { TEXT(CHUNKED "2\r\n{}\r\n0\r\nX: a\r\n folded\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}\r\n0\r\nX : a\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}\r\n0\r\n: a\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}\r\n0\r\nX: a\nY: b\r\n\r\n"), "400" },
        { TEXT(CHUNKED "2\r\n{}\r\n0\r\nX: \0\r\n\r\n"), "400" },
};
#define GOLDEN_COUNT (sizeof golden / sizeof golden[0])

/* The statuses of all answers in t.reply. */
static void reply_outcome(char *outcome, size_t size)
{
        const char *at = t.reply;
        size_t len = 0;

        outcome[0] = '\0';
        while ((at = memmem(at, (size_t)(t.reply + t.reply_len - at), "HTTP/1.1 ", 9))) {
                at += 9;
                if (*at >= '0' && *at <= '9') /* not in a problem's detail */
                        len += (size_t)snprintf(outcome + len, size - len, "%s%.3s", len ? " " : "", at);
        }
}

/* Sends request and one more, cut at [cut, cut + 1) ... every step bytes. */
static void check_golden(size_t i, size_t cut, size_t step)
{
        char data[1024], outcome[64];
        size_t len = golden[i].len;
        int fd = client_connect();

        memcpy(data, golden[i].request, len);
        memcpy(data + len, GET_OK, sizeof GET_OK - 1);
        len += sizeof GET_OK - 1;
        turn(false); /* accepted */
        for (size_t from = 0, to = cut; from < len; from = to, to += step) {
                client_send(fd, data + from, (to < len ? to : len) - from);
                turn(false);
        }
        shutdown(fd, SHUT_WR);
        ck_assert_msg(client_read_all(fd) == 0, "reset by: %s", golden[i].request);
        close(fd);
        reply_outcome(outcome, sizeof outcome);
        ck_assert_msg(strcmp(outcome, golden[i].outcome) == 0, "\"%s\" instead of \"%s\", cut %zu, step %zu:\n%s\n%s",
                outcome, golden[i].outcome, cut, step, golden[i].request, t.reply);
}

START_TEST(test_answers_hostile_requests_when_whole)
{
        start();
        for (size_t i = 0; i < GOLDEN_COUNT; i++)
                check_golden(i, SIZE_MAX / 2, 1);
}
END_TEST

START_TEST(test_answers_the_same_when_byte_by_byte)
{
        start();
        for (size_t i = 0; i < GOLDEN_COUNT; i++)
                check_golden(i, 1, 1);
}
END_TEST

START_TEST(test_answers_the_same_when_split_at_every_byte)
{
        start();
        for (size_t i = 0; i < GOLDEN_COUNT; i++)
                for (size_t cut = 1; cut < golden[i].len; cut++)
                        check_golden(i, cut, 2048);
}
END_TEST

START_TEST(test_refuses_when_request_is_cut_off)
{
        start();
        ck_assert_int_eq(ask("GET /ok HTTP/1.1\r\nHost: h\r\n"), 400);
        ck_assert_int_eq(ask("GET"), 400);
        ck_assert_int_eq(ask(POST_LINE JSON "Content-Length: 5\r\n\r\n{}"), 400);
        ck_assert_int_eq(ask(CHUNKED "2\r\n{}\r\n"), 400);
        ck_assert_int_eq(ask(""), 0);
        ck_assert_int_eq(ask("\r\n"), 0);
        ck_assert_uint_eq(t.handled, 0);
}
END_TEST

/* A head whose X header makes it len bytes long. */
static char *head_of(size_t len)
{
        static const char start_of[] = START_LINE HOST "X: ", end_of[] = "\r\n\r\n";
        char *head = malloc(len + 1);

        memset(head, 'x', len);
        memcpy(head, start_of, sizeof start_of - 1);
        strcpy(head + len - (sizeof end_of - 1), end_of);
        return head;
}

START_TEST(test_limits_head_when_too_long)
{
        char *head = head_of(HTTP_HEAD_MAX), *longer = head_of(HTTP_HEAD_MAX + 1), *line = head_of(3 * HTTP_HEAD_MAX);

        start();
        ck_assert_int_eq(ask(head), 200);
        ck_assert_int_eq(ask(longer), 431);
        ck_assert_int_eq(ask(line), 431);
        memset(line + 5, 'x', HTTP_HEAD_MAX);
        ck_assert_int_eq(ask(line), 414);
        free(head);
        free(longer);
        free(line);
}
END_TEST

START_TEST(test_limits_headers_when_more_than_64)
{
        char text[2048] = START_LINE HOST;

        start();
        for (int i = 1; i < HTTP_FIELDS_MAX; i++)
                strcat(text, "X: y\r\n");
        size_t len = strlen(text);
        strcpy(text + len, "\r\n");
        ck_assert_int_eq(ask(text), 200);
        strcpy(text + len, "X: y\r\n\r\n");
        ck_assert_int_eq(ask(text), 431);
}
END_TEST

START_TEST(test_limits_query_when_more_than_32)
{
        char text[1024] = "GET /query?";

        start();
        for (int i = 0; i < HTTP_QUERIES_MAX; i++)
                strcat(text, "a=b&");
        size_t len = strlen(text);
        strcpy(text + len, " HTTP/1.1\r\n" HOST "\r\n");
        ck_assert_int_eq(ask(text), 200);
        strcpy(text + len, "c HTTP/1.1\r\n" HOST "\r\n");
        ck_assert_int_eq(ask(text), 400);
}
END_TEST

START_TEST(test_limits_body_when_length_too_large)
{
        t.config.max_body_bytes = 10;
        start();
        ck_assert_int_eq(ask(POST_LINE JSON "Content-Length: 10\r\n\r\n0123456789"), 200);
        ck_assert_int_eq(ask(POST_LINE JSON "Content-Length: 11\r\n\r\n0123456789a"), 413);
        ck_assert_int_eq(ask(POST_LINE JSON "Content-Length: 9223372036854775807\r\n\r\n"), 413);
        /* judged before the client is told to go on */
        ck_assert_int_eq(ask(POST_LINE JSON "Expect: 100-continue\r\nContent-Length: 11\r\n\r\n"), 413);
}
END_TEST

START_TEST(test_limits_body_when_chunks_too_large)
{
        t.config.max_body_bytes = 10;
        start();
        ck_assert_int_eq(ask(CHUNKED "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"), 200);
        ck_assert_int_eq(ask(CHUNKED "5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n"), 413);
        ck_assert_int_eq(ask(CHUNKED "fffffff\r\n"), 413);
}
END_TEST

START_TEST(test_limits_framing_when_more_than_data)
{
        static const char start_of[] = CHUNKED "1;";
        char *text = malloc(64 * 1024);

        start();
        memset(text, 'a', 64 * 1024);
        memcpy(text, start_of, sizeof start_of - 1);
        strcpy(text + HTTP_HEAD_MAX, "\r\nx\r\n0\r\n\r\n");
        ck_assert_int_eq(ask(text), 200);
        strcpy(text + 2 * HTTP_HEAD_MAX, "\r\nx\r\n0\r\n\r\n");
        memset(text + HTTP_HEAD_MAX, 'a', HTTP_HEAD_MAX);
        ck_assert_int_eq(ask(text), 413);
        free(text);
}
END_TEST

START_TEST(test_delivers_refusal_when_client_goes_on_sending)
{
        char *megabyte = malloc(1 << 20);
        int fd;

        memset(megabyte, 'x', 1 << 20);
        start();
        fd = client_connect();
        client_say(fd, POST_LINE JSON "Content-Length: 100000000\r\n\r\n");
        for (int i = 0; i < 8; i++)
                client_send(fd, megabyte, 1 << 20);
        shutdown(fd, SHUT_WR);
        ck_assert_int_eq(client_read_all(fd), 0); /* not reset */
        ck_assert_int_eq(atoi(t.reply + 9), 413);
        ck_assert_ptr_nonnull(strstr(t.reply, "Connection: close"));
        close(fd);
        free(megabyte);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = {
                test_answers_hostile_requests_when_whole,
                test_answers_the_same_when_byte_by_byte,
                test_answers_the_same_when_split_at_every_byte,
                test_refuses_when_request_is_cut_off,
                test_limits_head_when_too_long,
                test_limits_headers_when_more_than_64,
                test_limits_query_when_more_than_32,
                test_limits_body_when_length_too_large,
                test_limits_body_when_chunks_too_large,
                test_limits_framing_when_more_than_data,
                test_delivers_refusal_when_client_goes_on_sending,
                NULL,
        };
        return run_suite("http_hostile", tests);
}
