#include "test/unit/runtime_harness.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PYTHON "/usr/bin/python3"

static struct harness h;
static struct subject s;

static void setup(void)
{
        harness_init(&h);
}

static void teardown(void)
{
        harness_done(&h);
}

static void use_mode(const char *mode)
{
        static char python[] = PYTHON, flag[] = "-S", script[] = "test/unit/agents/agent.py";
        static char copy[64];

        snprintf(copy, sizeof copy, "%s", mode);
        h.argv[0] = python;
        h.argv[1] = flag;
        h.argv[2] = script;
        h.argv[3] = copy;
}

static void begin(const char *mode)
{
        use_mode(mode);
        harness_open(&h);
        ck_assert_msg(subject_start(&s, &h, NULL) == 0, "%s", h.reason);
        RUN_UNTIL(&h, s.started || s.ended);
}

static void finish(void)
{
        if (s.agent)
                subject_stop(&s, &h, false);
        subject_done(&s);
}

/* Asks with a request that the agent is to die of. */
static void ask_and_end(void)
{
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"go\"}"), 0);
        RUN_UNTIL(&h, s.ended);
}

static bool alive(int pid)
{
        return kill(pid, 0) == 0;
}

static int event_pid(void)
{
        cJSON *event = cJSON_Parse(s.last_event);
        int64_t pid;

        ck_assert_int_eq(json_integer(cJSON_GetObjectItem(event, "params"), "pid", &pid), 0);
        cJSON_Delete(event);
        return (int)pid;
}

START_TEST(test_answers_with_the_clients_id_when_asked)
{
        const char *ids[] = { "1", "\"1\"", "\"a b\"", "9007199254740992", "1.5", "-3", "null" };
        char text[128];

        begin("echo");
        for (size_t i = 0; i < 7; i++) {
                snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"x\",\"params\":[%zu]}", ids[i], i);
                ck_assert_int_eq(subject_send(&s, text), 0);
        }
        RUN_UNTIL(&h, s.answers == 7);
        for (size_t i = 0; i < 7; i++) {
                snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":[%zu]}", ids[i], i);
                ck_assert_str_eq(s.answer[i], text);
        }
        ck_assert_int_eq(s.started, 1);
        finish();
}
END_TEST

START_TEST(test_keeps_equal_client_ids_apart_when_answered_out_of_order)
{
        begin("reverse");
        for (int i = 0; i < 3; i++) {
                char text[96];

                snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"x\",\"params\":[%d]}", i);
                ck_assert_int_eq(subject_send(&s, text), 0);
        }
        RUN_UNTIL(&h, s.answers == 3);
        for (int i = 0; i < 3; i++) {
                char text[64];

                snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":[%d]}", 2 - i);
                ck_assert_str_eq(s.answer[i], text);
        }
        finish();
}
END_TEST

START_TEST(test_drops_answers_that_nobody_waits_for)
{
        begin("duplicate");
        for (int i = 1; i <= 3; i++) {
                ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}"), 0);
                RUN_UNTIL(&h, s.answers == i);
                ck_assert_str_eq(s.answer[i - 1], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"first\"}");
        }
        finish();
}
END_TEST

START_TEST(test_hands_over_notifications_when_both_ways)
{
        begin("echo");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"hello\"}"), 0);
        RUN_UNTIL(&h, s.events == 1);
        ck_assert_str_eq(s.last_event, "{\"jsonrpc\":\"2.0\",\"method\":\"seen\",\"params\":{\"method\":\"hello\"}}");
        finish();
}
END_TEST

START_TEST(test_refuses_what_is_no_call)
{
        begin("echo");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}"), -EINVAL);
        ck_assert_int_eq(subject_send(&s, "{\"id\":1,\"method\":\"x\"}"), -EINVAL);
        finish();
}
END_TEST

START_TEST(test_answers_ping_only_when_the_agent_asks)
{
        begin("asks");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"go\"}"), 0);
        RUN_UNTIL(&h, s.answers == 1);
        ck_assert_str_eq(s.answer[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":["
                                      "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":\"own\"},"
                                      "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32601,\"message\":"
                                      "\"this host answers ping only\"},\"id\":\"own\"}]}");
        finish();
}
END_TEST

static cJSON *ask_environment(cJSON **ret_result)
{
        cJSON *answer;

        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"go\"}"), 0);
        RUN_UNTIL(&h, s.answers == 1);
        answer = cJSON_Parse(s.answer[0]);
        *ret_result = cJSON_GetObjectItem(answer, "result");
        ck_assert_ptr_nonnull(*ret_result);
        return answer;
}

START_TEST(test_starts_with_exactly_its_environment)
{
        const char *names[] = { "AGENTPOOL_AGENT_ID", "AGENTPOOL_MASTER_ID", "AGENTPOOL_PROJECT_ID", "AGENTPOOL_POOL", "AGENTPOOL_ROLE",
                "AGENTPOOL_START_REASON", "AGENTPOOL_EPOCH", "AGENTPOOL_ARG_REPO_URL", "LANG", "MINE", "PATH", "HOME" };
        cJSON *answer, *result, *env;
        int extra = 0;

        setenv("SECRET", "1", 1);
        setenv("LANG", "C.UTF-8", 1);
        setenv("HOME", "/root", 1);
        unsetenv("TZ");
        use_mode("environment");
        h.config.runtime.env = cJSON_Parse("{\"MINE\":\"x=y\",\"LANG\":\"C\",\"AGENTPOOL_EPOCH\":\"1\"}");
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, "{\"repo-url\":\"http://x\"}"), 0);
        answer = ask_environment(&result);
        env = cJSON_GetObjectItem(result, "env");
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                ck_assert_msg(json_string(env, names[i]), "%s is missing", names[i]);
        ck_assert_str_eq(json_string(env, "AGENTPOOL_POOL"), "test_pool");
        ck_assert_str_eq(json_string(env, "AGENTPOOL_ROLE"), "tester");
        ck_assert_str_eq(json_string(env, "AGENTPOOL_EPOCH"), "7");
        ck_assert_str_eq(json_string(env, "AGENTPOOL_START_REASON"), "spawn");
        ck_assert_str_eq(json_string(env, "AGENTPOOL_ARG_REPO_URL"), "http://x");
        ck_assert_str_eq(json_string(env, "MINE"), "x=y");
        ck_assert_str_eq(json_string(env, "LANG"), "C");
        for (const cJSON *child = env->child; child; child = child->next)
                extra += strcmp(child->string, "LC_CTYPE") != 0; /* python's own */
        ck_assert_int_eq(extra, sizeof names / sizeof *names);
        cJSON_Delete(answer);
        finish();
}
END_TEST

START_TEST(test_starts_with_a_session_and_three_descriptors_of_its_own)
{
        cJSON *answer, *result;
        int64_t pid, sid, pgid;
        sigset_t set;
        int leaked = open("/dev/null", O_RDONLY); /* as a careless library would: not close-on-exec */

        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        begin("environment");
        answer = ask_environment(&result);
        json_integer(result, "pid", &pid);
        json_integer(result, "sid", &sid);
        json_integer(result, "pgid", &pgid);
        ck_assert_int_gt(pid, 1);
        ck_assert_int_eq(sid, pid);
        ck_assert_int_eq(pgid, pid);
        ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(result, "fds")), 4); /* and that of the listing */
        ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(result, "blocked")), 0);
        close(leaked);
        cJSON_Delete(answer);
        finish();
}
END_TEST

START_TEST(test_unignores_sigpipe_in_the_program)
{
        static char sh[] = "sh", c[] = "-c", script[] = "kill -PIPE $$; exit 9"; /* a shell cannot unignore it */

        h.argv[0] = sh;
        h.argv[1] = c;
        h.argv[2] = script;
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, NULL), 0);
        RUN_UNTIL(&h, s.ended);
        ck_assert_str_eq(s.exit.reason, "killed by signal 13 (PIPE)");
        finish();
}
END_TEST

START_TEST(test_replaces_args_in_argv_without_a_shell)
{
        static char one[] = "-${args.a}-${args.none}-${args.b}", two[] = "${args.a", three[] = "$(id) ${args.b}";
        cJSON *answer, *result;
        char *argv;

        use_mode("environment");
        h.argv[4] = one;
        h.argv[5] = two;
        h.argv[6] = three;
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, "{\"a\":\"x y\",\"b\":\"$HOME;`id`\"}"), 0);
        answer = ask_environment(&result);
        argv = json_print(cJSON_GetObjectItem(result, "argv"));
        ck_assert_str_eq(argv, "[\"-x y--$HOME;`id`\",\"${args.a\",\"$(id) $HOME;`id`\"]");
        free(argv);
        cJSON_Delete(answer);
        finish();
}
END_TEST

START_TEST(test_runs_in_the_configured_directory)
{
        cJSON *answer, *result;
        char script[PATH_MAX];

        use_mode("environment");
        ck_assert_ptr_nonnull(realpath("test/unit/agents/agent.py", script));
        h.argv[2] = script;
        h.config.runtime.directory = h.dir;
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, NULL), 0);
        answer = ask_environment(&result);
        ck_assert_str_eq(json_string(result, "cwd"), h.dir);
        cJSON_Delete(answer);
        finish();
}
END_TEST

static void refuse_start(const char *program, int error, const char *reason)
{
        static char copy[128];

        snprintf(copy, sizeof copy, "%s", program);
        h.argv[0] = copy;
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, NULL), error);
        ck_assert_str_eq(h.reason, reason);
        event_base_loop(h.base, EVLOOP_NONBLOCK);
        ck_assert_int_eq(s.started + s.ended, 0);
}

START_TEST(test_says_why_when_there_is_no_such_program)
{
        refuse_start("build/no-such-thing", -ENOENT, "cannot execute build/no-such-thing: No such file or directory");
}
END_TEST

START_TEST(test_says_why_when_path_has_no_such_program)
{
        refuse_start("no-such-thing", -ENOENT, "cannot execute no-such-thing: No such file or directory");
}
END_TEST

START_TEST(test_says_why_when_the_program_is_a_directory)
{
        refuse_start("./test", -EACCES, "cannot execute ./test: Permission denied: it is a folder");
}
END_TEST

START_TEST(test_says_why_when_the_program_is_no_executable)
{
        const char *preload = getenv("LD_PRELOAD");
        char path[64], reason[192];
        FILE *file;

        if (preload && strstr(preload, "valgrind"))
                return; /* it makes a fork of vfork, which cannot tell that exec failed */
        snprintf(path, sizeof path, "%s/broken", h.dir);
        file = fopen(path, "w");
        fputs("\177ELF and no more", file);
        fclose(file);
        chmod(path, 0755);
        snprintf(reason, sizeof reason, "cannot execute %s: Exec format error: it was built for another kind of machine", path);
        refuse_start(path, -ENOEXEC, reason);
        unlink(path);
}
END_TEST

START_TEST(test_says_why_when_the_directory_is_missing)
{
        static char nowhere[] = "/nowhere";

        h.config.runtime.directory = nowhere;
        refuse_start("true", -ENOENT, "cannot enter the directory /nowhere: No such file or directory");
}
END_TEST

START_TEST(test_refuses_the_pool_when_the_program_comes_from_args)
{
        static char program[] = "/bin/${args.x}";

        h.argv[0] = program;
        ck_assert_int_eq(runtime_new(h.base, &h.config, &h.host, &h.runtime, h.reason, sizeof h.reason), -EINVAL);
        ck_assert_ptr_nonnull(strstr(h.reason, "runtime.argv[0]"));
        h.runtime = NULL;
}
END_TEST

START_TEST(test_refuses_the_pool_when_a_variable_has_no_proper_name)
{
        use_mode("echo");
        h.config.runtime.env = cJSON_Parse("{\"A=B\":\"c\"}");
        ck_assert_int_eq(runtime_new(h.base, &h.config, &h.host, &h.runtime, h.reason, sizeof h.reason), -EINVAL);
        ck_assert_str_eq(h.reason, "runtime.env: \"A=B\" cannot be the name of a variable");
        h.runtime = NULL;
}
END_TEST

static const struct {
        const char *mode, *reason;
        int code, signal;
        bool ask; /* it ends when asked */
} endings[] = {
        { "exits3", "exit status 3", 3, 0, false },
        { "exits3_on_request", "exit status 3", 3, 0, true },
        { "killed", "killed by signal 9 (KILL)", -1, 9, false },
        { "exits_mid_write", "exit status 0", 0, 0, true },
        { "long_line", "wrote a line of more than 1048576 bytes (max_line_bytes)", -1, 9, true },
        { "nul", "wrote a line that is not JSON-RPC: it contains a NUL byte; it begins "
                 "\"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"method\\\":\\\"a\"", -1, 9, true },
        { "broken_json", "wrote a line that is not JSON-RPC: the text ends too early; it begins "
                         "\"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"method\\\":\"", -1, 9, true },
        { "deep", "wrote a line that is not JSON-RPC: nested deeper than the pool's runtime.max_depth; it begins "
                  "\"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"method\\\":\\\"x\\\"\"", -1, 9, true },
        { "banner", "wrote a line that is not JSON-RPC: expected a value; it begins \"Welcome to « agent »!\"", -1, 9,
                true },
        { "batch", "wrote a line that is not JSON-RPC: batches are not supported; it begins \"[]\"", -1, 9, true },
        { "no_version", "wrote a line that is not JSON-RPC: it lacks \"jsonrpc\": \"2.0\"; it begins "
                        "\"{\\\"method\\\":\\\"x\\\"}\"", -1, 9, true },
        { "closes_stdout", "closed its stdout while running", -1, 9, false },
        { "asks_without_reading", "sent requests without reading the answers", -1, 9, true },
};

START_TEST(test_ends_with_the_reason)
{
        h.config.runtime.strict_stdout = true;
        begin(endings[_i].mode);
        if (endings[_i].ask)
                ask_and_end();
        RUN_UNTIL(&h, s.ended);
        ck_assert_str_eq(s.exit.reason, endings[_i].reason);
        ck_assert_int_eq(s.exit.code, endings[_i].code);
        ck_assert_int_eq(s.exit.signal, endings[_i].signal);
        if (endings[_i].ask) {
                char why[256];

                snprintf(why, sizeof why, "why: the agent has ended: %s", endings[_i].reason);
                ck_assert_int_eq(s.answers, 1);
                ck_assert_str_eq(s.answer[0], why);
        }
        finish();
}
END_TEST

START_TEST(test_fails_when_it_closes_its_stdin_and_lives)
{
        begin("closes_stdin");
        RUN_UNTIL(&h, s.events == 1);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}"), -EPIPE);
        RUN_UNTIL(&h, s.ended);
        ck_assert_str_eq(s.exit.reason, "closed its stdin while running");
        ck_assert_int_eq(s.answers, 0);
        finish();
}
END_TEST

START_TEST(test_takes_blank_lines_and_carriage_returns)
{
        begin("blank_lines");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"go\"}"), 0);
        RUN_UNTIL(&h, s.events == 1);
        ck_assert_str_eq(s.last_event, "{\"jsonrpc\":\"2.0\",\"method\":\"after\"}");
        finish();
}
END_TEST

START_TEST(test_takes_the_last_words_when_it_ends)
{
        char *log;

        begin("answers_then_exits");
        ask_and_end();
        ck_assert_int_eq(s.answers, 1);
        ck_assert_str_eq(s.answer[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"last words\"}");
        ck_assert_str_eq(s.exit.reason, "exit status 0");
        log = harness_log(&h);
        ck_assert_ptr_nonnull(strstr(log, "line=\"last line without a newline\""));
        free(log);
        finish();
}
END_TEST

START_TEST(test_gives_up_a_request_when_its_time_is_over)
{
        begin("never");
        ck_assert_int_eq(subject_send_within(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}", PATIENCE_MS), 0);
        ck_assert_int_eq(subject_send_within(&s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"x\"}", 30), 0);
        ck_assert_int_eq(subject_send_within(&s, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"x\"}", 10), 0);
        RUN_UNTIL(&h, s.answers == 2);
        for (int i = 0; i < 2; i++)
                ck_assert_str_eq(s.answer[i], "why: the agent did not answer within the message's timeout");
        ck_assert(!id_equal(&s.command[0], &s.command[1]));
        subject_stop(&s, &h, true);
        ck_assert_str_eq(s.exit.reason, "exit status 0");
        ck_assert_int_eq(s.answers, 3);
        ck_assert_str_eq(s.answer[2], "why: the agent has ended: exit status 0");
        finish();
}
END_TEST

START_TEST(test_refuses_when_too_many_requests_wait)
{
        int r, sent = 0;

        begin("never");
        while ((r = subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}")) == 0)
                sent++;
        ck_assert_int_eq(r, -EAGAIN);
        ck_assert_int_eq(sent, 4096);
        finish();
}
END_TEST

START_TEST(test_bounds_the_queue_when_the_agent_stops_reading)
{
        char text[8192];
        int r, sent = 0;

        begin("stops_reading");
        memset(text, ' ', sizeof text);
        strcpy(text, "{\"jsonrpc\":\"2.0\",\"method\":\"");
        memset(text + strlen(text), 'm', 8000);
        strcpy(text + 8000, "\"}");
        while ((r = subject_send(&s, text)) == 0)
                sent++;
        ck_assert_int_eq(r, -EAGAIN);
        ck_assert_int_ge(sent, (1 << 20) / 8002); /* queue_bytes, and what the pipe took */
        ck_assert_int_le(sent, (2 << 20) / 8002);
        subject_stop(&s, &h, false);
        finish();
}
END_TEST

START_TEST(test_takes_a_message_over_its_bound_when_nothing_waits)
{
        h.config.runtime.queue_bytes = 64;
        begin("echo");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"0123456789012345678901234567890123456789\"}"),
                0);
        RUN_UNTIL(&h, s.answers == 1);
        finish();
}
END_TEST

/* What the agent did with the request is in its answer: a line of the log, or the request's failure. */
static const struct {
        const char *mode, *answer;
        int noise;
} oddities[] = {
        { "banner_then_echo", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":1}}", 3 },
        { "bom_then_echo", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":1}}", 0 },
        { "null_error", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7,\"error\":null}", 0 },
        { "text_code", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":\"E7\",\"message\":\"x\"}}", 0 },
        { "latin1", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xef\xbf\xbd\"}", 0 },
        { "long_answer", "why: the agent's answer cannot be passed on: wrote a line of more than 1048576 bytes (max_line_bytes)", 1 },
        { "long_answer_id_last", "why: the agent's answer cannot be passed on: wrote a line of more than 1048576 bytes (max_line_bytes)",
                1 },
        { "deep_answer", "why: the agent's answer cannot be passed on: nested deeper than the pool's runtime.max_depth", 1 },
        { "broken_answer", "why: the agent's answer cannot be passed on: expected a value", 1 },
        { "two_results", "why: the agent's answer cannot be passed on: the name \"result\" appears twice", 1 },
};

START_TEST(test_lives_on_when_a_line_is_odd)
{
        begin(oddities[_i].mode);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{\"a\":1}}"), 0);
        RUN_UNTIL(&h, s.answers == 1 || s.ended);
        ck_assert_int_eq(s.ended, 0);
        ck_assert_str_eq(s.answer[0], oddities[_i].answer);
        ck_assert_int_eq(s.noise, oddities[_i].noise);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":\"2\",\"method\":\"still\"}"), 0);
        RUN_UNTIL(&h, s.answers == 2);
        ck_assert_str_eq(s.answer[1], "{\"jsonrpc\":\"2.0\",\"id\":\"2\",\"result\":\"there\"}");
        finish();
}
END_TEST

START_TEST(test_warns_of_an_answer_that_fits_nothing)
{
        char *log;

        begin("wrong_ids");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}"), 0);
        RUN_UNTIL(&h, s.answers == 1);
        ck_assert_str_eq(s.answer[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"right\"}");
        log = harness_log(&h);
        ck_assert_ptr_nonnull(strstr(log, "agent.answer_unknown"));
        ck_assert_ptr_nonnull(strstr(log, " id=\"\\\"1\\\"\""));
        free(log);
        finish();
}
END_TEST

START_TEST(test_passes_values_on_as_they_are_spelled)
{
        static const char *const values[] = { "[9007199254740993,1.0,-0.0,1e400,0.1234567890123456789012345678901]",
                "[\"\\u0000\",\"\\ud800\",\"\\/\"]", "{\"a\":1,\"a\":2,\"\":{\"a\":1,\"a\":2}}" };
        char text[256];

        begin("spells");
        for (int i = 0; i < 3; i++) {
                snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":1.0,\"method\":\"x\",\"params\":%s}", values[i]);
                ck_assert_int_eq(subject_send(&s, text), 0);
                RUN_UNTIL(&h, s.answers == i + 1);
                snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":1.0,\"result\":%s}", values[i]);
                ck_assert_str_eq(s.answer[i], text);
        }
        finish();
}
END_TEST

static void send_as(const char *client, const char *text)
{
        ck_assert_int_eq(subject_send_as(&s, client, text, PATIENCE_MS, &(struct id){ 0 }), 0);
}

/* The agent emits each line that it reads, in a string. */
START_TEST(test_cancels_only_what_the_client_has)
{
        const char *const requests[] = { "{\"jsonrpc\":\"2.0\",\"id\":1001,\"method\":\"a\"}",
                "{\"jsonrpc\":\"2.0\",\"id\":\"1001\",\"method\":\"b\"}" };
        const char *const methods[][2] = { { "notifications/cancelled", "requestId" }, { "$/cancelRequest", "id" },
                { "$/cancel_request", "requestId" } };
        char text[160], expected[160];

        begin("mirrors");
        send_as("one", requests[0]);
        send_as("other", requests[0]);
        send_as("other", requests[1]);
        RUN_UNTIL(&h, s.events == 3);
        for (int i = 0; i < 3; i++) {
                snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":{\"%s\":1001}}", methods[i][0],
                        methods[i][1]);
                send_as("other", text);
                RUN_UNTIL(&h, s.events == 4 + i);
                snprintf(expected, sizeof expected, "{\"jsonrpc\":\"2.0\",\"method\":\"read\",\"params\":[{\"jsonrpc\":\"2.0\","
                                                    "\"method\":\"%s\",\"params\":{\"%s\":2}}]}", methods[i][0], methods[i][1]);
                ck_assert_str_eq(s.last_event, expected);
        }
        /* Nobody's, another's, the agent's own number. */
        send_as("third", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":1001}}");
        send_as("one", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":2}}");
        send_as("one", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":\"1001\"}}");
        send_as("one", "{\"jsonrpc\":\"2.0\",\"method\":\"end\"}");
        RUN_UNTIL(&h, s.events == 7);
        ck_assert_ptr_nonnull(strstr(s.last_event, "\"end\""));
        finish();
}
END_TEST

START_TEST(test_tells_progress_only_to_whom_it_belongs)
{
        begin("progresses");
        send_as("one", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":{\"_meta\":{\"progressToken\":1}}}");
        RUN_UNTIL(&h, s.events == 1);
        ck_assert_str_eq(s.last_client, "one");
        ck_assert_str_eq(s.last_event, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1}}");
        send_as("other", "{\"params\":{\"_meta\":{\"progressToken\":\"1\"}},\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}");
        RUN_UNTIL(&h, s.events == 2);
        ck_assert_str_eq(s.last_client, "other");
        ck_assert_str_eq(s.last_event, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"1\"}}");
        send_as("one", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":{}}"); /* a token that nobody gave */
        RUN_UNTIL(&h, s.answers == 3);
        ck_assert_int_eq(s.events, 2);
        finish();
}
END_TEST

START_TEST(test_tells_the_agent_when_nobody_waits_any_more)
{
        struct id first, second;

        begin("mirrors");
        ck_assert_int_eq(subject_send_as(&s, "c", "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"a\"}", PATIENCE_MS, &first), 0);
        ck_assert_int_eq(subject_send_as(&s, "c", "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"a\"}", 1, &second), 0);
        RUN_UNTIL(&h, s.answers == 1 && s.events == 3);
        ck_assert_str_eq(s.answer[0], "why: the agent did not answer within the message's timeout");
        ck_assert_ptr_nonnull(strstr(s.last_event, "\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":2,\"reason\":\"the "
                                                   "agent did not answer within the message's timeout\"}"));
        ck_assert(runtime_works_on(s.agent));
        ck_assert_uint_eq(runtime_in_flight(s.agent), 1);
        runtime_cancel(s.agent, &first, "gone");
        runtime_cancel(s.agent, &first, "gone");
        runtime_cancel(s.agent, &second, "gone");
        ck_assert_uint_eq(runtime_in_flight(s.agent), 0);
        RUN_UNTIL(&h, s.events == 4);
        ck_assert_ptr_nonnull(strstr(s.last_event, "{\"requestId\":1,\"reason\":\"gone\"}"));
        subject_stop(&s, &h, true);
        ck_assert_int_eq(s.answers, 1);
        finish();
}
END_TEST

START_TEST(test_tells_the_agent_nothing_when_it_has_no_method_for_that)
{
        struct id command;

        *h.config.runtime.cancel_method = '\0';
        begin("mirrors");
        ck_assert_int_eq(subject_send_as(&s, "c", "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"a\"}", PATIENCE_MS, &command), 0);
        runtime_cancel(s.agent, &command, "gone");
        ck_assert(runtime_works_on(s.agent));
        send_as("c", "{\"jsonrpc\":\"2.0\",\"method\":\"end\"}");
        RUN_UNTIL(&h, s.events == 2);
        ck_assert_ptr_nonnull(strstr(s.last_event, "\"end\""));
        finish();
}
END_TEST

START_TEST(test_logs_stderr_in_whole_characters_and_marked_parts)
{
        char *log;

        begin("odd_stderr");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}"), 0);
        RUN_UNTIL(&h, s.answers == 1);
        subject_stop(&s, &h, true);
        log = harness_log(&h);
        ck_assert_ptr_nonnull(strstr(log, "xxx\xe2\x80\xa6\""));          /* the first part ends in … */
        ck_assert_ptr_nonnull(strstr(log, "line=\"\xe2\x80\xa6\xc3\xa4y\"")); /* the last begins with …, and no character is cut */
        free(log);
        finish();
}
END_TEST

START_TEST(test_serves_the_neighbour_when_one_floods)
{
        static struct subject neighbour;

        begin("floods_stdout");
        use_mode("echo");
        ck_assert_int_eq(subject_start(&neighbour, &h, NULL), 0);
        RUN_UNTIL(&h, s.events > 1000);
        for (int i = 1; i <= 50; i++) {
                ck_assert_int_eq(subject_send(&neighbour, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}"), 0);
                RUN_UNTIL(&h, neighbour.answers == i);
        }
        subject_stop(&neighbour, &h, true);
        subject_done(&neighbour);
        finish();
}
END_TEST

START_TEST(test_logs_stderr_up_to_the_cap_and_counts_the_rest)
{
        unsigned long lines = 0, dropped = 0, n;
        char *log, *p;

        h.config.runtime.log_bytes_per_second = 4096;
        begin("floods_stderr");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"go\"}"), 0);
        RUN_UNTIL(&h, s.answers == 1);
        subject_stop(&s, &h, true);
        log = harness_log(&h);
        for (p = log; (p = strstr(p, " agent.stderr ")); p++)
                lines++;
        for (p = log; (p = strstr(p, " agent.log_dropped ")); p++) {
                ck_assert_int_eq(sscanf(strstr(p, "lines="), "lines=%lu", &n), 1);
                dropped += n;
        }
        ck_assert_uint_eq(lines + dropped, 3000);
        ck_assert_uint_gt(lines, 10);
        ck_assert_uint_gt(dropped, 1000);
        free(log);
        finish();
}
END_TEST

START_TEST(test_waits_for_the_probe_when_asked_to)
{
        use_mode("late_ready");
        h.config.runtime.wait_ready = true;
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, NULL), 0);
        RUN_UNTIL(&h, s.started);
        ck_assert_int_eq(s.events, 1); /* "pinged": before it answered */
        ck_assert_int_eq(s.answers, 0);
        finish();
}
END_TEST

START_TEST(test_fails_when_the_probe_is_not_answered)
{
        use_mode("never");
        h.config.runtime.wait_ready = true;
        h.config.start_timeout_ms = 50;
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, NULL), 0);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.started, 0);
        ck_assert_str_eq(s.exit.reason, "did not answer ping within 50 ms (start_timeout_ms)");
        finish();
}
END_TEST

static void probe(const char *method, int64_t failures)
{
        h.config.probe = (struct pool_probe_config){ .timeout_ms = 50, .failures = failures };
        h.config.probe.method = (char *)(uintptr_t)method;
}

/* The interval is its own heartbeat_interval. */
START_TEST(test_goes_on_while_it_answers_its_probe)
{
        static const char *const modes[] = { "late_ready", "refuses" };

        probe("ping", 1);
        h.config.probe.timeout_ms = PATIENCE_MS;
        begin(modes[_i]);
        RUN_UNTIL(&h, s.events >= 3 || s.ended);
        ck_assert_int_eq(s.ended, 0);
        ck_assert_int_eq(s.answers, 0); /* nobody hears of it */
        finish();
}
END_TEST

START_TEST(test_ends_it_when_it_does_not_answer_its_probe)
{
        probe("ping", 2);
        begin("never");
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.started, 1);
        ck_assert_str_eq(s.exit.reason, "does not answer its probe: 2 times no answer to ping within 50 ms");
        ck_assert_int_eq(s.exit.signal, SIGKILL);
        finish();
}
END_TEST

START_TEST(test_ends_it_when_its_queue_has_no_room_for_its_probe)
{
        char text[8192];

        h.config.runtime.queue_bytes = 16384;
        probe("ping", 1);
        h.config.probe.timeout_ms = PATIENCE_MS;
        begin("stops_reading");
        snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"method\":\"%08000d\"}", 0);
        while (subject_send(&s, text) == 0)
                ;
        while (subject_send(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}") == 0)
                ;
        RUN_UNTIL(&h, s.ended);
        ck_assert_ptr_nonnull(strstr(s.exit.reason, "does not answer its probe"));
        finish();
}
END_TEST

START_TEST(test_tells_the_exit_when_it_dies_before_the_probe)
{
        use_mode("exits3");
        h.config.runtime.wait_ready = true;
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, NULL), 0);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.started, 0);
        ck_assert_str_eq(s.exit.reason, "exit status 3");
        finish();
}
END_TEST

START_TEST(test_answers_what_was_sent_before_a_graceful_stop)
{
        begin("echo");
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":[]}"), 0);
        runtime_stop(s.agent, true);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"x\"}"), -EPIPE);
        runtime_stop(s.agent, true);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.answers, 1);
        ck_assert_str_eq(s.answer[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[]}");
        ck_assert_str_eq(s.exit.reason, "exit status 0");
        finish();
}
END_TEST

START_TEST(test_sends_term_when_the_grace_is_over)
{
        h.config.stop_grace_ms = 20;
        begin("ends_on_term");
        RUN_UNTIL(&h, s.events == 1);
        subject_stop(&s, &h, true);
        ck_assert_str_eq(s.exit.reason, "killed by signal 15 (TERM)");
        finish();
}
END_TEST

START_TEST(test_sends_term_to_a_stopped_agent)
{
        h.config.stop_grace_ms = 20;
        begin("stops_itself");
        RUN_UNTIL(&h, s.events == 1);
        subject_stop(&s, &h, true);
        ck_assert_str_eq(s.exit.reason, "killed by signal 15 (TERM)");
        finish();
}
END_TEST

START_TEST(test_sends_kill_when_term_is_ignored)
{
        h.config.stop_grace_ms = 20;
        h.config.kill_grace_ms = 20;
        begin("ignores_term");
        RUN_UNTIL(&h, s.events == 1);
        subject_stop(&s, &h, true);
        ck_assert_str_eq(s.exit.reason, "killed by signal 9 (KILL)");
        finish();
}
END_TEST

START_TEST(test_hurries_when_stopped_again_at_once)
{
        begin("ignores_term");
        RUN_UNTIL(&h, s.events == 1);
        runtime_stop(s.agent, true);
        subject_stop(&s, &h, false);
        ck_assert_str_eq(s.exit.reason, "killed by signal 9 (KILL)");
        finish();
}
END_TEST

START_TEST(test_ends_without_having_started_when_stopped_at_once)
{
        use_mode("echo");
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, NULL), 0);
        subject_stop(&s, &h, false);
        ck_assert_int_eq(s.started, 0);
        finish();
}
END_TEST

static const char *const daemon_modes[] = { "daemon", "clean_daemon", "child_in_session" };

START_TEST(test_leaves_no_daemon_when_stopped)
{
        int pid;

        h.config.stop_grace_ms = _i == 2 ? 20 : PATIENCE_MS;
        begin(daemon_modes[_i]);
        RUN_UNTIL(&h, s.events == 1);
        pid = event_pid();
        ck_assert(alive(pid));
        subject_stop(&s, &h, true);
        ck_assert(!alive(pid));
        finish();
}
END_TEST

START_TEST(test_leaves_no_daemon_when_the_agent_ends_by_itself)
{
        begin("daemon_then_exit");
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.events, 1);
        ck_assert_str_eq(s.exit.reason, "exit status 0");
        ck_assert(!alive(event_pid()));
        finish();
}
END_TEST

START_TEST(test_spares_the_neighbours_daemon)
{
        static struct subject other;
        int mine, theirs;

        begin("daemon");
        RUN_UNTIL(&h, s.events == 1);
        mine = event_pid();
        ck_assert_int_eq(subject_start(&other, &h, NULL), 0);
        RUN_UNTIL(&h, other.events == 1);
        ck_assert_int_eq(sscanf(strstr(other.last_event, "\"pid\":"), "\"pid\":%d", &theirs), 1);
        subject_stop(&other, &h, false);
        ck_assert(!alive(theirs));
        ck_assert(alive(mine));
        subject_done(&other);
        subject_stop(&s, &h, false);
        ck_assert(!alive(mine));
        finish();
}
END_TEST

static int zombie_count(void)
{
        siginfo_t info = { 0 };
        int r = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);

        return r == 0 && info.si_pid != 0;
}

START_TEST(test_reaps_what_an_agent_leaves_behind_while_it_runs)
{
        begin("zombies");
        for (int i = 1; i <= 5; i++) {
                ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"go\"}"), 0);
                RUN_UNTIL(&h, s.answers == i);
        }
        RUN_UNTIL(&h, zombie_count() == 0 && waitpid(-1, NULL, WNOHANG) == 0);
        finish();
}
END_TEST

START_TEST(test_says_why_when_out_of_descriptors)
{
        struct rlimit limit, tight;
        int fds, failures = 0, r = -EMFILE;

        use_mode("echo");
        harness_open(&h);
        fds = count_fds();
        getrlimit(RLIMIT_NOFILE, &limit);
        tight = limit;
        for (tight.rlim_cur = 3; r < 0; tight.rlim_cur++) {
                setrlimit(RLIMIT_NOFILE, &tight);
                r = subject_start(&s, &h, NULL);
                setrlimit(RLIMIT_NOFILE, &limit);
                if (r == 0)
                        break;
                failures++;
                ck_assert_int_eq(r, -EMFILE);
                ck_assert_ptr_nonnull(strstr(h.reason, "Too many open files"));
                ck_assert_int_eq(count_fds(), fds);
                ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
        }
        ck_assert_int_ge(failures, 7); /* six ends of pipes and a pidfd */
        finish();
}
END_TEST

static void ask_again(struct subject *subject)
{
        if (subject->answers < 5)
                ck_assert_int_eq(subject_send(subject, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}"), 0);
        else
                runtime_stop(subject->agent, false);
}

START_TEST(test_allows_calls_from_inside_callbacks)
{
        begin("echo");
        s.on_answered = ask_again;
        s.free_runtime = &h;
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}"), 0);
        RUN_UNTIL(&h, s.ended);
        ck_assert_int_eq(s.answers, 5);
        ck_assert_ptr_null(h.runtime);
        finish();
}
END_TEST

START_TEST(test_ends_all_when_many_are_stopped_together)
{
        static struct subject many[30];
        static char cat[] = "cat";

        h.argv[0] = cat;
        harness_open(&h);
        for (int i = 0; i < 30; i++)
                ck_assert_int_eq(subject_start(&many[i], &h, NULL), 0);
        for (int i = 0; i < 30; i++)
                runtime_stop(many[i].agent, i % 2);
        for (int i = 0; i < 30; i++) {
                RUN_UNTIL(&h, many[i].ended == 1);
                ck_assert_str_eq(many[i].exit.reason, i % 2 ? "exit status 0" : "killed by signal 9 (KILL)");
                subject_done(&many[i]);
        }
}
END_TEST

static char example[PATH_MAX];

START_TEST(test_runs_the_example)
{
        static char python[] = "etc/examples/agent.py";
        static char *programs[] = { example, python };
        cJSON *answer;
        const cJSON *me;

        h.argv[0] = programs[_i];
        h.config.runtime.wait_ready = true;
        harness_open(&h);
        ck_assert_msg(subject_start(&s, &h, "{\"x\":\"1\"}") == 0, "%s", h.reason);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":"
                                          "{\"name\":\"remember\",\"arguments\":{\"note\":\"n\"}}}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"tools/call\",\"params\":"
                                          "{\"name\":\"recall\"}}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\",\"params\":"
                                          "{\"name\":\"whoami\"}}"), 0);
        ck_assert_int_eq(subject_send(&s, "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"nothing\"}"), 0);
        RUN_UNTIL(&h, s.answers == 6);
        ck_assert_ptr_nonnull(strstr(s.answer[0], "\"protocolVersion\":\"2025-06-18\""));
        ck_assert_ptr_nonnull(strstr(s.answer[1], "\"name\":\"whoami\""));
        ck_assert_ptr_nonnull(strstr(s.answer[3], "\"structuredContent\":{\"notes\":[\"n\"]}"));
        ck_assert_ptr_nonnull(strstr(s.answer[5], "\"code\":-32601"));
        answer = cJSON_Parse(s.answer[4]);
        me = cJSON_GetObjectItem(cJSON_GetObjectItem(answer, "result"), "structuredContent");
        ck_assert_str_eq(json_string(me, "pool"), "test_pool");
        ck_assert_str_eq(json_string(cJSON_GetObjectItem(me, "args"), "X"), "1");
        ck_assert_int_gt(cJSON_GetObjectItem(me, "pid")->valueint, 1);
        cJSON_Delete(answer);
        subject_stop(&s, &h, true);
        ck_assert_str_eq(s.exit.reason, "exit status 0");
        finish();
}
END_TEST

static void find_example(void)
{
        ssize_t n = readlink("/proc/self/exe", example, sizeof example - 32);

        for (int slashes = 0; n > 0 && slashes < 3; n--) /* BUILD/test/unit/test_… */
                slashes += example[n - 1] == '/';
        strcpy(example + (n > 0 ? n : 0), "/example-agent");
}

static Suite *suite(void)
{
        Suite *all = suite_create("runtime_command");
        TCase *c = tcase_create("command");

        find_example();
        suite_add_tcase(all, c);
        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 0); /* each condition has its own patience */
        tcase_add_test(c, test_answers_with_the_clients_id_when_asked);
        tcase_add_test(c, test_keeps_equal_client_ids_apart_when_answered_out_of_order);
        tcase_add_test(c, test_drops_answers_that_nobody_waits_for);
        tcase_add_test(c, test_hands_over_notifications_when_both_ways);
        tcase_add_test(c, test_refuses_what_is_no_call);
        tcase_add_test(c, test_answers_ping_only_when_the_agent_asks);
        tcase_add_test(c, test_starts_with_exactly_its_environment);
        tcase_add_test(c, test_starts_with_a_session_and_three_descriptors_of_its_own);
        tcase_add_test(c, test_unignores_sigpipe_in_the_program);
        tcase_add_test(c, test_replaces_args_in_argv_without_a_shell);
        tcase_add_test(c, test_runs_in_the_configured_directory);
        tcase_add_test(c, test_says_why_when_there_is_no_such_program);
        tcase_add_test(c, test_says_why_when_path_has_no_such_program);
        tcase_add_test(c, test_says_why_when_the_program_is_a_directory);
        tcase_add_test(c, test_says_why_when_the_program_is_no_executable);
        tcase_add_test(c, test_says_why_when_the_directory_is_missing);
        tcase_add_test(c, test_says_why_when_out_of_descriptors);
        tcase_add_test(c, test_refuses_the_pool_when_the_program_comes_from_args);
        tcase_add_test(c, test_refuses_the_pool_when_a_variable_has_no_proper_name);
        tcase_add_loop_test(c, test_ends_with_the_reason, 0, sizeof endings / sizeof *endings);
        tcase_add_test(c, test_fails_when_it_closes_its_stdin_and_lives);
        tcase_add_test(c, test_takes_blank_lines_and_carriage_returns);
        tcase_add_test(c, test_takes_the_last_words_when_it_ends);
        tcase_add_test(c, test_gives_up_a_request_when_its_time_is_over);
        tcase_add_test(c, test_refuses_when_too_many_requests_wait);
        tcase_add_test(c, test_bounds_the_queue_when_the_agent_stops_reading);
        tcase_add_test(c, test_takes_a_message_over_its_bound_when_nothing_waits);
        tcase_add_loop_test(c, test_lives_on_when_a_line_is_odd, 0, sizeof oddities / sizeof *oddities);
        tcase_add_test(c, test_warns_of_an_answer_that_fits_nothing);
        tcase_add_test(c, test_passes_values_on_as_they_are_spelled);
        tcase_add_test(c, test_cancels_only_what_the_client_has);
        tcase_add_test(c, test_tells_progress_only_to_whom_it_belongs);
        tcase_add_test(c, test_tells_the_agent_when_nobody_waits_any_more);
        tcase_add_test(c, test_tells_the_agent_nothing_when_it_has_no_method_for_that);
        tcase_add_test(c, test_logs_stderr_in_whole_characters_and_marked_parts);
        tcase_add_test(c, test_serves_the_neighbour_when_one_floods);
        tcase_add_test(c, test_logs_stderr_up_to_the_cap_and_counts_the_rest);
        tcase_add_test(c, test_waits_for_the_probe_when_asked_to);
        tcase_add_test(c, test_fails_when_the_probe_is_not_answered);
        tcase_add_loop_test(c, test_goes_on_while_it_answers_its_probe, 0, 2);
        tcase_add_test(c, test_ends_it_when_it_does_not_answer_its_probe);
        tcase_add_test(c, test_ends_it_when_its_queue_has_no_room_for_its_probe);
        tcase_add_test(c, test_tells_the_exit_when_it_dies_before_the_probe);
        tcase_add_test(c, test_answers_what_was_sent_before_a_graceful_stop);
        tcase_add_test(c, test_sends_term_when_the_grace_is_over);
        tcase_add_test(c, test_sends_term_to_a_stopped_agent);
        tcase_add_test(c, test_sends_kill_when_term_is_ignored);
        tcase_add_test(c, test_hurries_when_stopped_again_at_once);
        tcase_add_test(c, test_ends_without_having_started_when_stopped_at_once);
        tcase_add_loop_test(c, test_leaves_no_daemon_when_stopped, 0, 3);
        tcase_add_test(c, test_leaves_no_daemon_when_the_agent_ends_by_itself);
        tcase_add_test(c, test_spares_the_neighbours_daemon);
        tcase_add_test(c, test_reaps_what_an_agent_leaves_behind_while_it_runs);
        tcase_add_test(c, test_allows_calls_from_inside_callbacks);
        tcase_add_test(c, test_ends_all_when_many_are_stopped_together);
        tcase_add_loop_test(c, test_runs_the_example, 0, 2);
        return all;
}

int main(void)
{
        SRunner *runner = srunner_create(suite());
        int failed;

        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed != 0;
}
