#include "common/json/json.h"
#include "common/log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SIZE_KEPT (256 * 1024)

static char directory[64];
static char file[96];

static void set_up(void)
{
        snprintf(directory, sizeof directory, "/tmp/agentpool-log-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(file, sizeof file, "%s/log", directory);
}

static void tear_down(void)
{
        char old[128];

        snprintf(old, sizeof old, "%s.old", file);
        unlink(old);
        unlink(file);
        ck_assert_int_eq(rmdir(directory), 0);
}

/* The whole file; free(). */
static char *contents(const char *path)
{
        char *text = malloc(SIZE_KEPT);
        FILE *stream = fopen(path, "r");
        size_t n;

        ck_assert_ptr_nonnull(stream);
        n = fread(text, 1, SIZE_KEPT - 1, stream);
        text[n] = '\0';
        fclose(stream);
        return text;
}

/* What follows "TIME " in the only line of the file, without its newline; free(). */
static char *only_line(void)
{
        char *text = contents(file), *end = strchr(text, '\n');

        ck_assert_ptr_nonnull(end);
        ck_assert_str_eq(end, "\n");
        *end = '\0';
        ck_assert_msg(text[4] == '-' && text[10] == 'T' && text[19] == '.' && text[23] == 'Z' && text[24] == ' ', "%s", text);
        memmove(text, text + 25, strlen(text + 25) + 1);
        return text;
}

static cJSON *only_object(void)
{
        char *text = contents(file);
        struct json_error error = { 0 };
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(text, strlen(text), JSON_STRICT, &tree, &error) == 0, "%s in %s", error.detail, text);
        ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
        free(text);
        return tree;
}

START_TEST(test_write_makes_one_line_when_text)
{
        char expected[256], *line;
        struct stat st;

        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_TEXT), 0);
        log_set_role("master");
        errno = 1234;
        log_debug("not.this", "x=%d", 1);
        log_info("worker.exited", "process=%s why=%s", "abc", LOG_Q("a \"b\"\\\n\x01\xff é"));
        ck_assert_int_eq(errno, 1234);
        line = only_line();
        snprintf(expected, sizeof expected,
                "info master[%d] worker.exited process=abc why=\"a \\\"b\\\"\\\\\\n\\u0001\\ufffd é\"", (int)getpid());
        ck_assert_str_eq(line, expected);
        free(line);
        ck_assert_int_eq(stat(file, &st), 0);
        ck_assert_uint_eq(st.st_mode & 0777 & ~0640u, 0);
}
END_TEST

START_TEST(test_write_stays_one_line_when_text_has_controls)
{
        char *line;

        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_TEXT), 0);
        log_info("a.b", "x=%s", "1\n2026 fake\r\x1b[31m\x7f");
        line = only_line();
        ck_assert_ptr_nonnull(strstr(line, " a.b x=1 2026 fake  [31m "));
        free(line);
}
END_TEST

START_TEST(test_write_has_no_blank_end_when_text_is_empty)
{
        char *line;

        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_TEXT), 0);
        log_info("a.b", "%s", "");
        line = only_line();
        ck_assert_str_eq(line + strlen(line) - 4, " a.b");
        free(line);
}
END_TEST

START_TEST(test_write_makes_members_when_json)
{
        cJSON *tree;
        int64_t number = 0;

        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_JSON), 0);
        log_set_role("worker");
        log_warn("worker.exited", "process=%s pid=%d status=-9 why=%s it  is a=b=c gone zero=0 oct=007 big=%s empty= bad=\"a b q=\"x\\q\"",
                "3f2a", 12, LOG_Q("say \"hi\" \\ \t\xc3 é=x"), "12345678901234567890");
        tree = only_object();
        ck_assert_str_eq(json_string(tree, "level"), "warn");
        ck_assert_str_eq(json_string(tree, "role"), "worker");
        ck_assert_str_eq(json_string(tree, "event"), "worker.exited");
        ck_assert_int_eq(json_integer(tree, "role_pid", &number), 0);
        ck_assert_int_eq(number, getpid());
        ck_assert_int_eq((int)strlen(json_string(tree, "time")), 24);
        ck_assert_str_eq(json_string(tree, "process"), "3f2a");
        ck_assert_int_eq(json_integer(tree, "pid", &number), 0);
        ck_assert_int_eq(number, 12);
        ck_assert_int_eq(json_integer(tree, "status", &number), 0);
        ck_assert_int_eq(number, -9);
        ck_assert_str_eq(json_string(tree, "why"), "say \"hi\" \\ \t\xef\xbf\xbd é=x");
        ck_assert_str_eq(json_string(tree, "a"), "b=c");
        ck_assert_int_eq(json_integer(tree, "zero", &number), 0);
        ck_assert_str_eq(json_string(tree, "oct"), "007");
        ck_assert_str_eq(json_string(tree, "big"), "12345678901234567890");
        ck_assert_str_eq(json_string(tree, "empty"), "");
        ck_assert_str_eq(json_string(tree, "bad"), "\"a b q=\"x\\q\"");
        ck_assert_str_eq(json_string(tree, "message"), "it is gone");
        cJSON_Delete(tree);
}
END_TEST

static void write_long(unsigned shape, const char *text)
{
        switch (shape) {
        case 0:
                log_info("a", "k=%s", text);
                return;
        case 1:
                log_info("a", "k=\"%s\"", text);
                return;
        case 2:
                log_info("a", "%s", text);
                return;
        default:
                log_info("a", "%s=1 a=2", text);
        }
}

/* Every length around the cap, where a byte stays one and where it becomes several. */
START_TEST(test_write_cuts_when_the_line_is_too_long)
{
        static const char fills[] = { 'x', '\xc3', '"' };
        static char text[6000];

        for (unsigned i = 0; i < 2 * 4 * sizeof fills; i++) {
                bool json = i % 2;

                ck_assert_int_eq(log_open(file, LOG_INFO, json ? LOG_JSON : LOG_TEXT), 0);
                for (size_t len = 600; len < 4200; len += len < 3950 ? 307 : 1) {
                        char *line;

                        memset(text, fills[i / 8], len);
                        text[len] = '\0';
                        ck_assert_int_eq(truncate(file, 0), 0);
                        write_long(i / 2 % 4, text);
                        line = contents(file);
                        ck_assert_uint_le(strlen(line), LOG_LINE_MAX);
                        ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
                        free(line);
                        if (json)
                                cJSON_Delete(only_object());
                }
        }
}
END_TEST

START_TEST(test_quote_cuts_whole_characters_when_the_buffer_is_small)
{
        char buffer[8];

        ck_assert_str_eq(log_quote("abcdefgh", 8, buffer, sizeof buffer), "\"abcde\"");
        ck_assert_str_eq(log_quote("abcdé", 6, buffer, sizeof buffer), "\"abcd\"");
        ck_assert_str_eq(log_quote("abcd\n", 5, buffer, sizeof buffer), "\"abcd\"");
        ck_assert_str_eq(log_quote("", 0, buffer, sizeof buffer), "\"\"");
        ck_assert_str_eq(log_quote("a\0b", 3, (char[16]){ 0 }, 16), "\"a\\u0000b\"");
        ck_assert_str_eq(log_quote("abc", 3, buffer, 3), "\"\"");
}
END_TEST

START_TEST(test_reopen_writes_to_the_new_file_when_rotated)
{
        char old[128], *text;
        int fd;

        snprintf(old, sizeof old, "%s.old", file);
        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_TEXT), 0);
        fd = log_fd();
        ck_assert_int_gt(fd, STDERR_FILENO);
        ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        log_info("first", "n=1");
        ck_assert_int_eq(rename(file, old), 0);
        log_info("second", "n=2");
        ck_assert_int_eq(log_reopen(), 0);
        ck_assert_int_eq(log_fd(), fd);
        ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        log_info("third", "n=3");
        text = only_line();
        ck_assert_ptr_nonnull(strstr(text, "third"));
        free(text);
        text = contents(old);
        ck_assert_ptr_nonnull(strstr(text, "second"));
        free(text);
}
END_TEST

START_TEST(test_open_keeps_the_old_target_when_it_fails)
{
        char missing[128], name[PATH_MAX + 1], *line;

        snprintf(missing, sizeof missing, "%s/none/log", directory);
        memset(name, 'x', sizeof name);
        name[sizeof name - 1] = '\0';
        ck_assert_int_eq(log_open(file, LOG_WARN, LOG_TEXT), 0);
        ck_assert_int_eq(log_open(missing, LOG_DEBUG, LOG_JSON), -ENOENT);
        ck_assert_int_eq(log_open(name, LOG_DEBUG, LOG_JSON), -ENAMETOOLONG);
        log_info("not.this", "n=1");
        log_warn("this", "n=2");
        line = only_line();
        ck_assert_ptr_nonnull(strstr(line, " this n=2"));
        free(line);
        ck_assert_int_eq(log_reopen(), 0);
        ck_assert_int_eq(dup2(open("/dev/null", O_WRONLY), STDERR_FILENO), STDERR_FILENO); /* of a pipe it would take its own */
        ck_assert_int_eq(log_open(NULL, LOG_ERROR, LOG_TEXT), 0);
        ck_assert_int_eq(log_fd(), STDERR_FILENO);
        ck_assert_int_eq(log_reopen(), 0);
        ck_assert_int_eq(log_fd(), STDERR_FILENO);
}
END_TEST

/* stderr becomes a full pipe, then an empty one, then one without a reader. */
START_TEST(test_write_counts_lines_when_they_are_lost)
{
        char text[70000] = "";
        int fds[2], saved = dup(STDERR_FILENO);
        ssize_t n, total = 0;

        ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
        signal(SIGPIPE, SIG_IGN);
        memset(text, 'f', 65535);
        ck_assert_int_eq(write(STDERR_FILENO, text, 65535), 65535);
        ck_assert_int_eq(log_open(NULL, LOG_INFO, LOG_TEXT), 0);
        for (int i = 0; i < 3; i++)
                log_info("lost", "i=%d", i);
        while ((n = read(fds[0], text, sizeof text)) > 0)
                total += n;
        ck_assert_int_eq(total, 65535);
        log_info("kept", "i=%d", 3);
        n = read(fds[0], text, sizeof text - 1);
        ck_assert_int_gt(n, 0);
        text[n] = '\0';
        ck_assert_ptr_nonnull(strstr(text, "log.dropped lines=3\n"));
        ck_assert_ptr_nonnull(strstr(text, "kept i=3\n"));
        close(fds[0]);
        log_info("gone", "i=%d", 4);
        dup2(saved, STDERR_FILENO);
}
END_TEST

static void limit_file_size(rlim_t bytes)
{
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = bytes;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A file-size limit cuts the line in two, as a full disk does. */
START_TEST(test_write_starts_a_new_line_when_the_last_was_torn)
{
        char *text;

        signal(SIGXFSZ, SIG_IGN);
        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_TEXT), 0);
        limit_file_size(10);
        log_info("torn", "n=%d", 1);
        log_info("lost", "n=%d", 2);
        limit_file_size(RLIM_INFINITY);
        log_info("kept", "n=%d", 3);
        log_info("last", "n=%d", 4);
        text = contents(file);
        ck_assert_uint_eq(strcspn(text, "\n"), 10);
        ck_assert_ptr_nonnull(strstr(text + 11, " log.dropped lines=2\n20"));
        ck_assert_ptr_nonnull(strstr(text + 11, " kept n=3\n20"));
        ck_assert_ptr_nonnull(strstr(text + 11, " last n=4\n"));
        ck_assert_ptr_null(strstr(text, "\n\n"));
        free(text);
}
END_TEST

#define THREADS 4
#define LINES 200

static void *write_lines(void *arg)
{
        for (int i = 0; i < LINES; i++) {
                log_info("line", "thread=%d i=%d", *(int *)arg, i);
                if (i == LINES / 2)
                        ck_assert_int_eq(log_reopen(), 0);
        }
        return NULL;
}

START_TEST(test_write_keeps_lines_whole_when_threads_share_the_log)
{
        pthread_t threads[THREADS];
        int numbers[THREADS], seen[THREADS] = { 0 };
        char *text, *rest, *line;

        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_TEXT), 0);
        for (int i = 0; i < THREADS; i++) {
                numbers[i] = i;
                ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        text = rest = contents(file);
        while ((line = strsep(&rest, "\n")) != NULL && *line) {
                int thread, number;
                const char *pairs = strstr(line, "thread=");

                ck_assert_ptr_nonnull(pairs);
                ck_assert_int_eq(sscanf(pairs, "thread=%d i=%d", &thread, &number), 2);
                ck_assert_int_eq(number, seen[thread]++);
        }
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(seen[i], LINES);
        free(text);
}
END_TEST

/* A journal of the test's own. */
static int listen_as_journal(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        snprintf(address.sun_path, sizeof address.sun_path, "%s", file);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        return fd;
}

static void check_record(int fd, const char *expected)
{
        char record[2 * LOG_LINE_MAX];
        ssize_t n = recv(fd, record, sizeof record - 1, 0);

        ck_assert_int_gt(n, 0);
        record[n] = '\0';
        ck_assert_str_eq(record, expected);
}

START_TEST(test_sends_fields_to_the_journal_also_when_it_was_started_again)
{
        int fd = listen_as_journal();

        ck_assert_int_eq(log_open(file, LOG_INFO, LOG_JOURNAL), 0);
        log_set_role("master");
        log_warn("worker.exited", "process=%s pid=7 status=%s", "abc", LOG_Q("killed \n by it"));
        check_record(fd, "PRIORITY=4\nSYSLOG_IDENTIFIER=agentpoold\nAGENTPOOL_ROLE=master\nAGENTPOOL_EVENT=worker.exited\n"
                         "MESSAGE=worker.exited process=abc pid=7 status=\"killed \\n by it\"\n"
                         "AGENTPOOL_PROCESS=abc\nAGENTPOOL_PID=7\nAGENTPOOL_STATUS=killed \\n by it\n");
        close(fd);
        unlink(file);
        fd = listen_as_journal();
        log_error("x", "words only");
        check_record(fd, "PRIORITY=3\nSYSLOG_IDENTIFIER=agentpoold\nAGENTPOOL_ROLE=master\nAGENTPOOL_EVENT=x\nMESSAGE=x words only\n");
        log_set(LOG_INFO, LOG_TEXT); /* would be lines that no journal understands */
        log_info("y", "%s", "");
        check_record(fd, "PRIORITY=6\nSYSLOG_IDENTIFIER=agentpoold\nAGENTPOOL_ROLE=master\nAGENTPOOL_EVENT=y\nMESSAGE=y \n");
        close(fd);
        ck_assert_int_eq(log_open(NULL, LOG_INFO, LOG_TEXT), 0);
        log_set_role("agentpool");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("log");
        TCase *tcase = tcase_create("log");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, test_sends_fields_to_the_journal_also_when_it_was_started_again);
        tcase_add_test(tcase, test_write_makes_one_line_when_text);
        tcase_add_test(tcase, test_write_stays_one_line_when_text_has_controls);
        tcase_add_test(tcase, test_write_has_no_blank_end_when_text_is_empty);
        tcase_add_test(tcase, test_write_makes_members_when_json);
        tcase_add_test(tcase, test_write_cuts_when_the_line_is_too_long);
        tcase_add_test(tcase, test_quote_cuts_whole_characters_when_the_buffer_is_small);
        tcase_add_test(tcase, test_reopen_writes_to_the_new_file_when_rotated);
        tcase_add_test(tcase, test_open_keeps_the_old_target_when_it_fails);
        tcase_add_test(tcase, test_write_counts_lines_when_they_are_lost);
        tcase_add_test(tcase, test_write_starts_a_new_line_when_the_last_was_torn);
        tcase_add_test(tcase, test_write_keeps_lines_whole_when_threads_share_the_log);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? 1 : 0;
}
