#include "test/unit/runtime_harness.h"

#include <limits.h>
#include <malloc.h>

static struct harness h;
static struct subject s;
static char top[16] = "/tmp/apmXXXXXX", path[PATH_MAX]; /* of the modules under test */

static const char *const variants[] = { "fit", "no_init", "init_null", "other_abi", "no_stop" };

/* Before all tests: the compiler is no child that a test may have. */
static void build_modules(void)
{
        char command[256];

        if (!mkdtemp(top))
                exit(EXIT_FAILURE);
        for (int i = 0; i < 5; i++) {
                snprintf(command, sizeof command,
                        "cc -shared -fPIC -w -Iworker -DVARIANT=%d -o %s/%s.so test/unit/agents/module.c", i, top,
                        variants[i]);
                if (system(command) != 0)
                        exit(EXIT_FAILURE);
        }
}

static void remove_modules(void)
{
        for (int i = 0; i < 5; i++) {
                snprintf(path, sizeof path, "%s/%s.so", top, variants[i]);
                unlink(path);
        }
        rmdir(top);
}

static void setup(void)
{
        harness_init(&h);
        snprintf(path, sizeof path, "%s/fit.so", top);
        h.config.runtime.type = POOL_RUNTIME_MODULE;
        h.config.runtime.path = path;
}

static void teardown(void)
{
        harness_done(&h);
}

static void begin(const char *args)
{
        harness_open(&h);
        ck_assert_msg(subject_start(&s, &h, args) == 0, "%s", h.reason);
        RUN_UNTIL(&h, s.started || s.ended);
}

static void finish(void)
{
        if (s.agent)
                subject_stop(&s, &h, false);
        subject_done(&s);
}

static int ask(const char *method)
{
        char text[256];

        snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":\"mine\",\"method\":\"%s\",\"params\":{\"a\":[1]}}", method);
        return subject_send(&s, text);
}

static const struct {
        const char *method, *answer;
} answers[] = {
        { "echo", "\"result\":{\"a\":[1]}" },
        { "error", "\"error\":{\"code\":-7,\"message\":\"no \\ufffd way\"}" },
        { "late", "\"result\":\"late\"" },
        { "stopped_timer", "\"result\":true" },
        { "broken", "\"result\":-22" },
        { "too_long", "\"result\":-90" },
        { "twice", "\"result\":1" },
        { "emit_number", "\"result\":-22" },
};

START_TEST(test_answers)
{
        char text[128];

        snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",%s,\"id\":\"mine\"}", answers[_i].answer);
        begin(NULL);
        ck_assert_int_eq(ask(answers[_i].method), 0);
        RUN_UNTIL(&h, s.answers == 1);
        ck_assert_str_eq(s.answer[0], text);
        event_base_loop(h.base, EVLOOP_NONBLOCK);
        ck_assert_int_eq(s.answers, 1);
        finish();
}
END_TEST

START_TEST(test_tells_the_module_what_it_starts)
{
        begin("{\"x\":\"1\"}");
        RUN_UNTIL(&h, s.events == 1);
        ck_assert_str_eq(s.last_event, "{\"jsonrpc\":\"2.0\",\"method\":\"starting\",\"params\":"
                                       "[\"test_pool\",\"tester\",\"spawn\",7,{\"x\":\"1\"},{}]}");
        finish();
}
END_TEST

START_TEST(test_hands_over_events)
{
        begin(NULL);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"emit\",\"params\":{\"a\":\"b\"}}"), 0);
        RUN_UNTIL(&h, s.events == 3);
        ck_assert_str_eq(s.last_event, "{\"jsonrpc\":\"2.0\",\"method\":\"bare\"}");
        finish();
}
END_TEST

START_TEST(test_bounds_events_when_it_emits_many)
{
        int emitted;

        h.config.runtime.queue_bytes = 10000;
        begin(NULL);
        RUN_UNTIL(&h, s.events == 1);
        ck_assert_int_eq(ask("flood"), 0);
        RUN_UNTIL(&h, s.answers == 1);
        emitted = atoi(strstr(s.answer[0], "\"result\":") + 9);
        ck_assert_int_gt(emitted, 10);
        ck_assert_int_lt(emitted, 1000);
        ck_assert_int_eq(s.events, 1 + emitted);
        finish();
}
END_TEST

START_TEST(test_logs_its_lines)
{
        char *log;

        begin(NULL);
        ck_assert_int_eq(ask("log"), 0);
        log = harness_log(&h);
        ck_assert_ptr_nonnull(strstr(log, " agent.log agent="));
        ck_assert_ptr_nonnull(strstr(log, "line=\"a \\\"line\\\"\\nof two\""));
        free(log);
        finish();
}
END_TEST

START_TEST(test_says_why_when_an_agent_cannot_start)
{
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, "{\"refuse\":\"words\"}"), -EACCES);
        ck_assert_str_eq(h.reason, "not today");
        ck_assert_int_eq(subject_start(&s, &h, "{\"refuse\":\"\"}"), -EACCES);
        ck_assert_str_eq(h.reason, "module test cannot start it: Permission denied");
        event_base_loop(h.base, EVLOOP_NONBLOCK);
        ck_assert_int_eq(s.started + s.ended + s.events, 0);
}
END_TEST

START_TEST(test_ends_when_it_finishes)
{
        begin(NULL);
        ck_assert_int_eq(ask("at_the_end"), 0);
        ck_assert_int_eq(ask("finish"), 0);
        ck_assert_int_eq(ask("echo"), -EPIPE);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.exit.code, 4);
        ck_assert_str_eq(s.exit.reason, "had enough");
        ck_assert_int_eq(s.answers, 2);
        ck_assert_str_eq(s.answer[0], "{\"jsonrpc\":\"2.0\",\"result\":\"bye\",\"id\":\"mine\"}");
        ck_assert_str_eq(s.answer[1], "why: the agent has ended: had enough");
        ck_assert_str_eq(s.last_event, "{\"jsonrpc\":\"2.0\",\"method\":\"stopping\"}");
        finish();
}
END_TEST

START_TEST(test_ends_with_a_status_when_it_gives_no_reason)
{
        begin(NULL);
        ck_assert_int_eq(ask("finish_plain"), 0);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.exit.code, 0);
        ck_assert_str_eq(s.exit.reason, "finished with status 0");
        finish();
}
END_TEST

START_TEST(test_starts_and_ends_when_it_finishes_at_its_start)
{
        begin("{\"finish\":\"\"}");
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.started, 1);
        ck_assert_int_eq(s.exit.code, 1);
        ck_assert_str_eq(s.exit.reason, "no use");
        finish();
}
END_TEST

START_TEST(test_waits_for_answers_when_stopped_gracefully)
{
        begin(NULL);
        ck_assert_int_eq(ask("late"), 0);
        runtime_stop(s.agent, true);
        ck_assert_int_eq(ask("echo"), -EPIPE);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.answers, 1);
        ck_assert_str_eq(s.answer[0], "{\"jsonrpc\":\"2.0\",\"result\":\"late\",\"id\":\"mine\"}");
        ck_assert_int_eq(s.exit.code, 0);
        ck_assert_str_eq(s.exit.reason, "stopped");
        finish();
}
END_TEST

START_TEST(test_gives_up_when_the_grace_is_over)
{
        h.config.stop_grace_ms = 20;
        begin(NULL);
        ck_assert_int_eq(ask("never"), 0);
        subject_stop(&s, &h, true);
        ck_assert_int_eq(s.answers, 1);
        ck_assert_str_eq(s.answer[0], "why: the agent has ended: stopped");
        finish();
}
END_TEST

START_TEST(test_has_its_time_for_answers_before_its_grace)
{
        h.config.stop_grace_ms = 0;
        h.host.drain_ms = PATIENCE_MS;
        begin(NULL);
        ck_assert_int_eq(ask("late"), 0);
        ck_assert_uint_eq(runtime_in_flight(s.agent), 1);
        runtime_stop(s.agent, true);
        ck_assert_int_eq(ask("echo"), -EPIPE);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.answers, 1);
        ck_assert_str_eq(s.answer[0], "{\"jsonrpc\":\"2.0\",\"result\":\"late\",\"id\":\"mine\"}");
        finish();
}
END_TEST

START_TEST(test_says_so_when_its_time_for_answers_is_over)
{
        h.config.stop_grace_ms = 0;
        h.host.drain_ms = PATIENCE_MS;
        begin(NULL);
        ck_assert_int_eq(ask("never"), 0);
        runtime_stop(s.agent, true);
        event_base_loop(h.base, EVLOOP_NONBLOCK);
        ck_assert(!s.ended);
        h.host.drain_ms = 20;
        subject_stop(&s, &h, true);
        ck_assert_int_eq(s.answers, 1);
        ck_assert_str_eq(s.answer[0],
                "why: no answer within 20 ms (drain_timeout_ms) of the agent's being told to end: stopped");
        finish();
}
END_TEST

START_TEST(test_hurries_when_stopped_again_at_once)
{
        begin(NULL);
        ck_assert_int_eq(ask("at_the_end"), 0);
        runtime_stop(s.agent, true);
        event_base_loop(h.base, EVLOOP_NONBLOCK);
        ck_assert(!s.ended);
        subject_stop(&s, &h, false);
        ck_assert_str_eq(s.answer[0], "{\"jsonrpc\":\"2.0\",\"result\":\"bye\",\"id\":\"mine\"}");
        finish();
}
END_TEST

START_TEST(test_gives_up_a_request_when_its_time_is_over)
{
        begin(NULL);
        ck_assert_int_eq(subject_send_within(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"at_the_end\"}", PATIENCE_MS), 0);
        ck_assert_int_eq(subject_send_within(&s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"none\"}", 10), 0);
        RUN_UNTIL(&h, s.answers == 1);
        ck_assert_str_eq(s.answer[0], "why: the agent did not answer within the message's timeout");
        finish();
}
END_TEST

static const struct {
        const char *file, *reason;
} unfit[] = {
        { "no_init", "is no module: it does not export agentpool_module_init" },
        { "init_null", "its agentpool_module_init returned NULL" },
        { "other_abi", "(ABI 2, this worker has 1): it was built for another agentpool_module.h: build it again" },
        { "no_stop", "its struct agentpool_module has a NULL member" },
        { "missing", "cannot load the module: " },
};

static void probe(const char *method)
{
        h.config.probe = (struct pool_probe_config){ .interval_seconds = 1, .timeout_ms = 50, .failures = 2 };
        h.config.probe.method = (char *)(uintptr_t)method;
        begin(NULL);
}

START_TEST(test_goes_on_while_it_answers_its_probe)
{
        probe("refuse");
        RUN_UNTIL(&h, s.events >= 4 || s.ended); /* the first is that of its start */
        ck_assert_int_eq(s.ended, 0);
        ck_assert_int_eq(s.answers, 0);
        finish();
}
END_TEST

START_TEST(test_ends_it_when_it_does_not_answer_its_probe)
{
        probe("log");
        RUN_UNTIL(&h, s.ended);
        ck_assert_str_eq(s.exit.reason, "does not answer its probe: 2 times no answer to log within 50 ms");
        finish();
}
END_TEST

START_TEST(test_refuses_an_unfit_module)
{
        snprintf(path, sizeof path, "%s/%s.so", top, unfit[_i].file);
        ck_assert_int_eq(runtime_new(h.base, &h.config, &h.host, &h.runtime, h.reason, sizeof h.reason), -EINVAL);
        ck_assert_msg(strstr(h.reason, unfit[_i].reason), "%s", h.reason);
        h.runtime = NULL;
}
END_TEST

START_TEST(test_looks_in_its_own_folder_when_the_path_has_no_slash)
{
        char here[PATH_MAX];

        ck_assert_ptr_nonnull(getcwd(here, sizeof here));
        ck_assert_int_eq(chdir(top), 0);
        strcpy(path, "fit.so");
        begin(NULL);
        ck_assert_int_eq(chdir(here), 0);
        finish();
}
END_TEST

static void ask_again(struct subject *subject)
{
        if (subject->answers < 2000)
                ck_assert_int_eq(subject_send(subject, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}"), 0);
        else
                runtime_stop(subject->agent, false);
}

static void on_other(int fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        ++*(int *)arg;
}

START_TEST(test_lets_the_loop_work_when_an_agent_is_busy)
{
        struct event *other;
        int others = 0, fds[2];

        begin(NULL);
        ck_assert_int_eq(pipe(fds), 0);
        ck_assert_int_eq(write(fds[1], "x", 1), 1); /* always something to read */
        other = event_new(h.base, fds[0], EV_READ | EV_PERSIST, on_other, &others);
        event_add(other, NULL);
        s.on_answered = ask_again;
        s.free_runtime = &h;
        ask_again(&s);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_ge(others, 2000 / 256);
        ck_assert_int_eq(s.answers, 2000);
        ck_assert_ptr_null(h.runtime);
        event_free(other);
        close(fds[0]);
        close(fds[1]);
        finish();
}
END_TEST

START_TEST(test_costs_little_memory)
{
        enum { COUNT = 1000 };
        static struct subject many[COUNT];
        struct command spawn = { .type = COMMAND_SPAWN, .agent_id = id_new(), .epoch = 1 };
        size_t before, after;

        harness_open(&h);
        before = mallinfo2().uordblks;
        for (int i = 0; i < COUNT; i++)
                ck_assert_int_eq(runtime_start(h.runtime, &spawn, &subject_events, &many[i], &many[i].agent, h.reason,
                                         sizeof h.reason), 0);
        RUN_UNTIL(&h, many[COUNT - 1].events == 1);
        after = mallinfo2().uordblks;
        if (before > 0) /* a sanitizer's allocator does not tell */
                ck_assert_uint_le((after - before) / COUNT, 2048);
        for (int i = 0; i < COUNT; i++) {
                subject_stop(&many[i], &h, false);
                subject_done(&many[i]);
        }
}
END_TEST

START_TEST(test_runs_the_example)
{
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 32);

        for (int slashes = 0; n > 0 && slashes < 3; n--) /* BUILD/test/unit/test_… */
                slashes += path[n - 1] == '/';
        strcpy(path + (n > 0 ? n : 0), "/example-module.so");
        begin("{\"x\":\"a \\\"b\\\"\"}");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":"
                                          "{\"name\":\"remember\",\"arguments\":{\"note\":\"a, \\\"b\\\"}]\"}}}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"tools/call\",\"params\":"
                                          "{\"_meta\":{\"name\":[\"x\"]},\"name\":\"recall\"}}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\",\"params\":"
                                          "{\"name\":\"whoami\"}}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"nothing\"}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\"}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"ping\"}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":"
                                          "{\"arguments\":{\"text\":\"}\\\\\"},\"name\":\"echo\"}}"), 0);
        RUN_UNTIL(&h, s.answers == 9);
        ck_assert_ptr_nonnull(strstr(s.answer[0], "\"protocolVersion\":\"2025-06-18\""));
        ck_assert_ptr_nonnull(strstr(s.answer[1], "\"name\":\"whoami\""));
        ck_assert_ptr_nonnull(strstr(s.answer[3], "\"structuredContent\":{\"notes\":[\"a, \\\"b\\\"}]\"]}"));
        ck_assert_ptr_nonnull(strstr(s.answer[4], "\"pool\":\"test_pool\""));
        ck_assert_ptr_nonnull(strstr(s.answer[4], "\"args\":{\"x\":\"a \\\"b\\\"\"}"));
        ck_assert_ptr_nonnull(strstr(s.answer[5], "\"code\":-32601"));
        ck_assert_ptr_nonnull(strstr(s.answer[6], "\"code\":-32602"));
        ck_assert_ptr_nonnull(strstr(s.answer[7], "\"result\":{}"));
        ck_assert_ptr_nonnull(strstr(s.answer[8], "\"text\":\"}\\\\\""));
        finish();
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("runtime_module");
        TCase *c = tcase_create("module");

        suite_add_tcase(all, c);
        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 0);
        tcase_add_loop_test(c, test_answers, 0, sizeof answers / sizeof *answers);
        tcase_add_test(c, test_tells_the_module_what_it_starts);
        tcase_add_test(c, test_hands_over_events);
        tcase_add_test(c, test_bounds_events_when_it_emits_many);
        tcase_add_test(c, test_logs_its_lines);
        tcase_add_test(c, test_says_why_when_an_agent_cannot_start);
        tcase_add_test(c, test_ends_when_it_finishes);
        tcase_add_test(c, test_ends_with_a_status_when_it_gives_no_reason);
        tcase_add_test(c, test_starts_and_ends_when_it_finishes_at_its_start);
        tcase_add_test(c, test_waits_for_answers_when_stopped_gracefully);
        tcase_add_test(c, test_gives_up_when_the_grace_is_over);
        tcase_add_test(c, test_has_its_time_for_answers_before_its_grace);
        tcase_add_test(c, test_says_so_when_its_time_for_answers_is_over);
        tcase_add_test(c, test_hurries_when_stopped_again_at_once);
        tcase_add_test(c, test_gives_up_a_request_when_its_time_is_over);
        tcase_add_test(c, test_goes_on_while_it_answers_its_probe);
        tcase_add_test(c, test_ends_it_when_it_does_not_answer_its_probe);
        tcase_add_loop_test(c, test_refuses_an_unfit_module, 0, sizeof unfit / sizeof *unfit);
        tcase_add_test(c, test_looks_in_its_own_folder_when_the_path_has_no_slash);
        tcase_add_test(c, test_lets_the_loop_work_when_an_agent_is_busy);
        tcase_add_test(c, test_costs_little_memory);
        tcase_add_test(c, test_runs_the_example);
        return all;
}

int main(void)
{
        SRunner *runner;
        int failed;

        build_modules();
        runner = srunner_create(suite());
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        remove_modules();
        return failed != 0;
}
