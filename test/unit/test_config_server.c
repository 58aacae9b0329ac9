/* What the server's settings must be like to be exposed. */
#include "master/config/config.h"
#include "master/config/config_server.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64], config_path[100], tokens_path[100];
static struct config_errors errors;

static void setup(void)
{
        FILE *file;

        strcpy(directory, "/tmp/test_config.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(config_path, sizeof config_path, "%s/c.json", directory);
        snprintf(tokens_path, sizeof tokens_path, "%s/tokens", directory);
        umask(077);
        file = fopen(tokens_path, "w");
        fputs("ops operate 0123456789abcdef\n", file);
        fclose(file);
}

static void teardown(void)
{
        unlink(config_path);
        unlink(tokens_path);
        ck_assert_int_eq(rmdir(directory), 0);
}

/* NULL when refused. */
static struct config *load(const char *server, char *const *environment)
{
        struct config *config = NULL;
        FILE *file = fopen(config_path, "w");
        int r;

        fprintf(file, "{ \"server\": { %s } }", server);
        fclose(file);
        r = config_load(config_path, environment, &config, &errors);
        ck_assert_int_eq(r, config ? 0 : -EINVAL);
        return config;
}

static void check_refused(const char *server, const char *needle)
{
        ck_assert_ptr_null(load(server, (char *[]){ NULL }));
        ck_assert_msg(strstr(errors.lines[0], needle) != NULL, "not \"%s\": %s", needle, errors.lines[0]);
}

static const char *const exposed[] = { "0.0.0.0:1", "*:1", "[::]:1", "10.0.0.1:1", "[2001:db8::1]:1", "host.example:1",
        "128.0.0.1:1", "[::ffff:10.0.0.1]:1", "localhost.example:1" };
static const char *const local[] = { "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/s", "[::ffff:127.0.0.1]:1" };

START_TEST(test_takes_an_exposed_address_only_when_there_are_tokens)
{
        char text[300];

        for (size_t i = 0; i < sizeof exposed / sizeof *exposed; i++) {
                snprintf(text, sizeof text, "\"listen\": [\"%s\"]", exposed[i]);
                check_refused(text, "server.listen.0: may be reached from other machines");
                ck_assert_ptr_nonnull(strstr(errors.lines[0], "set server.tokens_file"));
                snprintf(text, sizeof text, "\"listen\": [\"%s\"], \"tokens_file\": \"%s\"", exposed[i], tokens_path);
                config_free(load(text, (char *[]){ NULL }));
                ck_assert_uint_eq(errors.count, 0);
        }
        for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
                snprintf(text, sizeof text, "\"listen\": [\"%s\"]", local[i]);
                config_free(load(text, (char *[]){ NULL }));
                ck_assert_uint_eq(errors.count, 0);
        }
}
END_TEST

START_TEST(test_takes_tokens_from_a_credential_unless_the_file_names_others)
{
        char variable[128], *environment[] = { variable, NULL }, text[200];
        struct config *config;

        snprintf(variable, sizeof variable, "CREDENTIALS_DIRECTORY=%s", directory);
        config = load("\"listen\": [\"*:1\"]", environment);
        ck_assert_ptr_nonnull(config);
        ck_assert_str_eq(config->server.tokens_file, tokens_path);
        ck_assert_ptr_nonnull(config->tokens);
        config_free(config);
        ck_assert_ptr_null(load("\"tokens_file\": \"/nowhere\"", environment));
        ck_assert_ptr_nonnull(strstr(errors.lines[0], "/nowhere: cannot be read: No such file"));
        snprintf(variable, sizeof variable, "CREDENTIALS_DIRECTORY=/nowhere");
        config_free(load("", environment));
        ck_assert_uint_eq(errors.count, 0);
        chmod(tokens_path, 0644);
        snprintf(text, sizeof text, "\"tokens_file\": \"%s\"", tokens_path);
        check_refused(text, "chmod o=");
}
END_TEST

START_TEST(test_names_the_remedy_when_tls_is_not_whole)
{
        char text[200];

        check_refused("\"listen\": [\"tls://127.0.0.1:1\"]", "tls:// takes server.tls.certificate and server.tls.key");
        check_refused("\"tls\": { \"key\": \"/k\" }", "server.tls: takes both certificate and key");
        check_refused("\"tls\": { \"client_ca\": \"/k\" }", "server.tls: takes both certificate and key");
        check_refused("\"tls\": { \"certificate\": \"/nowhere/c\", \"key\": \"/k\" }", "/nowhere/c: no usable certificate");
        check_refused("\"listen\": [\"tls://unix:/s\"]", "must be HOST:PORT");
        snprintf(text, sizeof text, "\"listen\": [\"unix:/%0106d\"]", 0);
        config_free(load(text, (char *[]){ NULL }));
        ck_assert_uint_eq(errors.count, 0);
        snprintf(text, sizeof text, "\"listen\": [\"unix:/%0107d\"]", 0);
        check_refused(text, "server.listen.0: the path of the socket is longer than 107 bytes");
        check_refused("\"unix\": { \"mode\": \"0999\" }", "server.unix.mode: must be permissions in octal");
        check_refused("\"unix\": { \"mode\": \"7777\" }", "server.unix.mode: must be permissions in octal");
}
END_TEST

START_TEST(test_names_the_flaw_of_origins_and_hosts_that_no_browser_sends)
{
        static char variable[] = "AGENTPOOL_SERVER_ALLOWED_HOSTS=a.example,b.example";
        struct config *config = load("\"allowed_origins\": [\"https://a.example\", \"*\"]", (char *[]){ variable, NULL });

        ck_assert_msg(config != NULL, "%s", errors.lines[0]);
        ck_assert_str_eq(config->server.allowed_origins[1], "*");
        ck_assert_str_eq(config->server.allowed_hosts[1], "b.example");
        config_free(config);
        check_refused("\"allowed_origins\": [\"https://a.example/\"]", "server.allowed_origins.0: must be SCHEME://HOST");
        check_refused("\"allowed_origins\": [\"null\"]", "server.allowed_origins.0: is what every page");
        check_refused("\"allowed_hosts\": [\"a\", \"a:80\"]", "server.allowed_hosts.1: must be a host's name");
        check_refused("\"allowed_hosts\": [\"*\"]", "server.allowed_hosts.0: must be a host's name");
}
END_TEST

START_TEST(test_takes_nested_settings_from_the_environment)
{
        static char rate[] = "AGENTPOOL_SERVER_RATE_LIMIT_REQUESTS_PER_SECOND=7", mode[] = "AGENTPOOL_SERVER_UNIX_MODE=0600",
                    burst[] = "AGENTPOOL_SERVER_RATE_LIMIT_BURST=none";
        char *environment[] = { rate, mode, NULL };
        struct config *config = load("\"rate_limit\": { \"requests_per_second\": 5 }", environment);

        ck_assert_ptr_nonnull(config);
        ck_assert_int_eq(config->server.rate_limit.requests_per_second, 7);
        ck_assert_int_eq(config->server.rate_limit.burst, 7);
        ck_assert_uint_eq(config->server.unix_socket.mode_bits, 0600);
        config_free(config);
        environment[0] = burst;
        ck_assert_ptr_null(load("", environment));
        ck_assert_str_eq(errors.lines[0], "environment variable AGENTPOOL_SERVER_RATE_LIMIT_BURST: server.rate_limit.burst: "
                "expected an integer from 0 to 1000000, found a string");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("config_server");
        TCase *tcase = tcase_create("config_server");
        SRunner *runner = srunner_create(suite);

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, test_takes_an_exposed_address_only_when_there_are_tokens);
        tcase_add_test(tcase, test_takes_tokens_from_a_credential_unless_the_file_names_others);
        tcase_add_test(tcase, test_names_the_remedy_when_tls_is_not_whole);
        tcase_add_test(tcase, test_names_the_flaw_of_origins_and_hosts_that_no_browser_sends);
        tcase_add_test(tcase, test_takes_nested_settings_from_the_environment);
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_NORMAL);
        int failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed != 0;
}
