/* Which pages may ask, and by which names of this machine. */
#include "test/unit/http_fixture.h"

#include "master/http/http_origin.h"

#include <sys/un.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static char *nobody[] = { NULL };
static char app[] = "https://app.example", port[] = "http://app.example:8080", any[] = "*", name[] = "Agents.example";
static char *origins[] = { app, port, NULL }, *anybody[] = { any, NULL }, *names[] = { name, NULL };

static const struct {
        const char *origin;
        bool listed, loopback; /* with the list above; with none, by a listener on loopback */
} of_origin[] = {
        { "https://app.example", true, false },
        { "http://app.example:8080", true, false },
        { "http://app.example", false, false },
        { "https://app.example:8443", false, false },
        { "https://app.example.evil.example", false, false },
        { "https://evil.example/https://app.example", false, false },
        { "http://evil.example", false, false },
        { "https://app.example, http://evil.example", false, false }, /* two headers */
        { "null", false, false },
        { "*", false, false },
        { "", false, false },
        { "http://localhost", false, true },
        { "https://localhost:3000", false, true },
        { "http://127.0.0.1:5173", false, true },
        { "https://[::1]", false, true },
        { "http://[::1]:80", false, true },
        { "http://localhost.evil.example", false, false },
        { "http://localhost:80.evil.example", false, false },
        { "http://localhost:", false, false },
        { "http://localhost:80, http://evil.example", false, false },
        { "http://127.0.0.1.evil.example", false, false },
        { "http://[::1].evil.example", false, false },
        { "http://127.0.0.2", false, false },
        { "ftp://localhost", false, false },
        { "chrome-extension://localhost", false, false },
        { "localhost", false, false },
};

START_TEST(test_allows_an_origin_when_it_is_named_or_of_this_machine)
{
        for (size_t i = 0; i < COUNT(of_origin); i++) {
                const char *origin = of_origin[i].origin;

                ck_assert_msg(http_origin_is_allowed(origin, origins, false) == of_origin[i].listed, "%s listed", origin);
                ck_assert_msg(http_origin_is_allowed(origin, nobody, true) == of_origin[i].loopback, "%s loopback", origin);
                ck_assert_msg(!http_origin_is_allowed(origin, nobody, false), "%s", origin);
                ck_assert_msg(http_origin_is_allowed(origin, anybody, false), "%s of any", origin);
        }
}
END_TEST

static const char *const of_this_machine[] = { "localhost", "LocalHost:8000", "localhost.", "localhost.:80", "127.0.0.1", "127.0.0.1:8000",
        "10.1.2.3:80", "[::1]", "[::1]:8000", "[2001:db8::1]:80", "0.0.0.0", "agents.example", "AGENTS.EXAMPLE:443", "agents.example." };
static const char *const of_others[] = { "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
        "evil.agents.example", "agents.example.evil", "agents", ".", ".:80", "[]", "[evil]", "1.2.3", "127.1", "0x7f.0.0.1",
        "1111:2222:3333:4444:5555:6666:7777:8888", "localhost..", "agents.example%00" };

START_TEST(test_allows_a_host_when_it_is_a_number_or_a_known_name)
{
        for (size_t i = 0; i < COUNT(of_this_machine); i++)
                ck_assert_msg(http_host_is_allowed(of_this_machine[i], names), "%s", of_this_machine[i]);
        for (size_t i = 0; i < COUNT(of_others); i++)
                ck_assert_msg(!http_host_is_allowed(of_others[i], names), "%s", of_others[i]);
        ck_assert(!http_host_is_allowed("agents.example", nobody));
        ck_assert(http_host_is_allowed("localhost", nobody));
}
END_TEST

static const char *const usable[] = { "*", "http://localhost", "https://app.example:8443", "http://[::1]:3000", "http://app.example:443",
        "vscode-webview://abc" };
static const char *const flawed[] = { "", "null", "app.example", "://app.example", "https://", "https://app.example/", "https://app.example/x",
        "https://u@app.example", "https://App.example", "HTTPS://app.example", "https://app.example:443", "http://app.example:80",
        "https://app.example ", "https://a?b", "https://a#b" };

START_TEST(test_names_the_flaw_when_no_browser_sends_the_origin)
{
        for (size_t i = 0; i < COUNT(usable); i++)
                ck_assert_msg(!http_origin_flaw(usable[i]), "%s: %s", usable[i], http_origin_flaw(usable[i]));
        for (size_t i = 0; i < COUNT(flawed); i++)
                ck_assert_msg(http_origin_flaw(flawed[i]) != NULL, "%s", flawed[i]);
}
END_TEST

static bool over_loopback;

static int note(struct http_request *request, const struct http_route *route, void *arg, const char **ret_detail)
{
        (void)route;
        (void)arg;
        over_loopback = http_request_over_loopback(request);
        *ret_detail = "judged";
        return http_request_header(request, "origin") ? 403 : 0;
}

/* Asks by a listener there, over the address to. */
static void ask_over(struct sockaddr *at, socklen_t len, bool expected)
{
        socklen_t size = sizeof(struct sockaddr_un);
        union {
                struct sockaddr any;
                struct sockaddr_in in;
                struct sockaddr_un un;
        } to;
        int fd = listen_on(at, len), client;

        ck_assert_int_eq(getsockname(fd, &to.any, &size), 0);
        if (to.any.sa_family == AF_INET)
                to.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ck_assert_int_eq(http_server_listen(t.server, fd, NULL), 0);
        over_loopback = !expected;
        client = client_connect_to(&to.any, size);
        client_say(client, GET_OK);
        ck_assert_int_eq(client_read_answer(client), 200);
        ck_assert_int_eq(over_loopback, expected);
        close(client);
}

START_TEST(test_tells_a_listener_on_loopback_from_others)
{
        struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr_in everywhere = { .sin_family = AF_INET };
        struct sockaddr_un local = { .sun_family = AF_UNIX };

        t.config.admit = note;
        start();
        ask_over((struct sockaddr *)&loopback, sizeof loopback, true);
        ask_over((struct sockaddr *)&everywhere, sizeof everywhere, false);
        snprintf(local.sun_path, sizeof local.sun_path, "/tmp/test_http_origin.%d", getpid());
        ask_over((struct sockaddr *)&local, sizeof local, false);
        unlink(local.sun_path);
}
END_TEST

START_TEST(test_judges_before_the_body_and_whatever_the_path)
{
        static const char *const requests[] = { "POST /echo HTTP/1.1\r\n", "GET /nowhere HTTP/1.1\r\n", "DELETE /ok HTTP/1.1\r\n",
                "OPTIONS /echo HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n", "GET /query?%zz HTTP/1.1\r\n" };
        char text[300];

        t.config.admit = note;
        start();
        for (size_t i = 0; i < COUNT(requests); i++) {
                snprintf(text, sizeof text, "%s" HOST "Origin: http://evil.example\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n"
                        "Expect: 100-continue\r\n\r\n", requests[i]);
                ck_assert_int_eq(ask(text), 403);
                ck_assert_ptr_null(strstr(t.reply, "100 Continue"));
        }
        ck_assert_uint_eq(t.handled, 0);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = {
                test_allows_an_origin_when_it_is_named_or_of_this_machine,
                test_allows_a_host_when_it_is_a_number_or_a_known_name,
                test_names_the_flaw_when_no_browser_sends_the_origin,
                test_tells_a_listener_on_loopback_from_others,
                test_judges_before_the_body_and_whatever_the_path,
                NULL,
        };
        return run_suite("http_origin", tests);
}
