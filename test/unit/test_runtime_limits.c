/* Command agents within their pool's limits, and in cgroups of their own. */
#include "test/unit/runtime_harness.h"

#include "test/unit/cgroup_fixture.h"

#include <sys/resource.h>

#define MIB (1 << 20)

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

static void use(const char *program, const char *flag, const char *script)
{
        static char copies[3][2048];
        const char *words[] = { program, flag, script };

        for (int i = 0; i < 3; i++) {
                snprintf(copies[i], sizeof copies[i], "%s", words[i]);
                h.argv[i] = copies[i];
        }
}

static void begin(void)
{
        harness_open(&h);
        ck_assert_msg(subject_start(&s, &h, NULL) == 0, "%s", h.reason);
}

static const struct {
        struct pool_limits_config limits;
        const char *told; /* open files soft, hard; data KiB; core */
} cases[] = {
        { { 0 }, "200 300 unlimited 0" },
        { { .open_files = 50 }, "50 50 unlimited 0" },
        { { .open_files = 5000 }, "300 300 unlimited 0" },
        { { .memory_bytes = 64 * MIB }, "200 300 65536 0" },
};

START_TEST(test_starts_within_the_limits)
{
        struct rlimit before, ours = { 300, 300 };

        getrlimit(RLIMIT_NOFILE, &before);
        setrlimit(RLIMIT_NOFILE, &ours);
        limits_init(&h.host.limits, 200); /* as the daemon was started; it has raised its own to 300 */
        h.config.limits = cases[_i].limits;
        use("/bin/bash", "-c", "printf '{\"jsonrpc\":\"2.0\",\"method\":\"%s\"}\\n' "
                               "\"$(ulimit -Sn) $(ulimit -Hn) $(ulimit -d) $(ulimit -c)\"; read");
        begin();
        RUN_UNTIL(&h, s.events == 1);
        ck_assert_msg(strstr(s.last_event, cases[_i].told), "%s", s.last_event);
        subject_stop(&s, &h, false);
        subject_done(&s);
}
END_TEST

START_TEST(test_gives_back_what_the_worker_gave_up)
{
        struct pool_worker_limits_config worker = { .memory_bytes = 1LL << 50, .open_files = 100 };
        struct rlimit limit;

        limits_init(&h.host.limits, 200);
        ck_assert_int_eq(limits_apply(&worker), 0);
        getrlimit(RLIMIT_NOFILE, &limit);
        ck_assert_uint_eq(limit.rlim_cur, 100);
        getrlimit(RLIMIT_DATA, &limit);
        ck_assert_uint_eq(limit.rlim_cur, 1ULL << 50);
        use("/bin/bash", "-c", "printf '{\"jsonrpc\":\"2.0\",\"method\":\"%s\"}\\n' \"$(ulimit -Sn) $(ulimit -d)\"; read");
        begin();
        RUN_UNTIL(&h, s.events == 1);
        ck_assert_msg(strstr(s.last_event, "200 unlimited"), "%s", s.last_event);
        subject_stop(&s, &h, false);
        subject_done(&s);
}
END_TEST

static const struct {
        const char *script, *reason;
} hungry[] = {
        { "kept = []\nwhile True: kept.append(bytearray(1 << 20))",
                "exit status 1, probably out of memory: it used " },
        { "import os\nkept = []\ntry:\n  while True: kept.append(bytearray(1 << 20))\nexcept MemoryError: os.abort()",
                "killed by signal 6 (ABRT), probably out of memory: it used " },
        { "import sys; sys.exit(1)", "exit status 1" },
        { "kept = bytearray(60 << 20)", "exit status 0" },
};

START_TEST(test_names_the_memory_limit_when_it_is_likely)
{
        h.config.limits.memory_bytes = 80 * MIB;
        use("/usr/bin/python3", "-Sc", hungry[_i].script);
        begin();
        RUN_UNTIL(&h, s.ended);
        ck_assert_msg(strncmp(s.exit.reason, hungry[_i].reason, strlen(hungry[_i].reason)) == 0, "%s", s.exit.reason);
        ck_assert_int_eq(!!strstr(s.exit.reason, " of 80 MiB (limits.memory_bytes)"), _i < 2);
        subject_done(&s);
}
END_TEST

START_TEST(test_says_nothing_of_memory_when_it_was_killed_by_hand)
{
        use("/bin/sh", "-c", "kill -9 $$");
        begin();
        RUN_UNTIL(&h, s.ended);
        ck_assert_str_eq(s.exit.reason, "killed by signal 9 (KILL)");
        subject_done(&s);
}
END_TEST

static int pid_of_event(const struct subject *subject)
{
        int pid = 0;

        ck_assert_int_eq(sscanf(strstr(subject->last_event, "\"pid\":"), "\"pid\":%d", &pid), 1);
        return pid;
}

/* Without cgroups, what cannot be told apart lives until the last agent ends (test_process_tree.c). */
START_TEST(test_leaves_nothing_in_its_cgroup_though_a_neighbour_lives)
{
        static struct subject other;
        char root[PATH_MAX];

        if (!cgroup_fixture_make(root))
                return;
        h.host.cgroup = root;
        h.config.stop_grace_ms = 20;
        use("/usr/bin/python3", "-Sc",
                "import os, sys\n"
                "r, w = os.pipe()\n"
                "if os.fork() == 0:\n"
                "  os.setsid()\n"
                "  if os.fork() == 0:\n"
                "    os.write(w, b'%d' % os.getpid())\n"
                "    os.execve('/bin/sleep', ['sleep', '1000'], {})\n"
                "  os._exit(0)\n"
                "os.wait()\n"
                "pid = int(os.read(r, 32))\n"
                "print('{\"jsonrpc\":\"2.0\",\"method\":\"daemon\",\"params\":{\"pid\":%d}}' % pid, flush=True)\n"
                "sys.stdin.read()\n"
                "import time; time.sleep(1000)\n");
        begin();
        ck_assert_int_eq(subject_start(&other, &h, NULL), 0);
        RUN_UNTIL(&h, s.events == 1 && other.events == 1);
        ck_assert_int_eq(kill(pid_of_event(&s), 0), 0);
        subject_stop(&s, &h, true);
        ck_assert_int_eq(kill(pid_of_event(&s), 0), -1);
        ck_assert_int_eq(kill(pid_of_event(&other), 0), 0);
        subject_stop(&other, &h, true);
        ck_assert_int_eq(kill(pid_of_event(&other), 0), -1);
        subject_done(&s);
        subject_done(&other);
        h.runtime = runtime_free(h.runtime);
        cgroup_fixture_remove(root);
}
END_TEST

/* With _i in a cgroup of its own. */
START_TEST(test_tells_what_all_of_an_agent_uses)
{
        static struct subject other;
        struct usage usage, alone;
        char root[PATH_MAX];

        if (_i && !cgroup_fixture_make(root))
                return;
        h.host.cgroup = _i ? root : NULL;
        use("/usr/bin/python3", "-Sc",
                "import os, sys, time\n"
                "kept = b'x' * (32 << 20)\n"
                "end = time.process_time() + 0.3\n"
                "while time.process_time() < end: pass\n"
                "if os.fork() == 0:\n"
                "  os.setsid()\n"
                "  if os.fork() == 0: os.execv('/bin/sleep', ['sleep', '1000'])\n"
                "  os._exit(0)\n"
                "os.wait()\n"
                "print('{\"jsonrpc\":\"2.0\",\"method\":\"ready\"}', flush=True)\n"
                "sys.stdin.read()\n");
        begin();
        ck_assert_int_eq(subject_start(&other, &h, NULL), 0);
        RUN_UNTIL(&h, s.events == 1 && other.events == 1);
        /* Less than twice 32 MiB: not the neighbour's as well, once the child no longer is a copy of its parent. */
        RUN_UNTIL(&h, runtime_usage(s.agent, &usage) == 0 && usage.processes == 2 && usage.rss_bytes < 64 * MIB);
        ck_assert_uint_ge(usage.rss_bytes, 32 * MIB);
        ck_assert_uint_ge(usage.cpu_ms, 250);
        subject_stop(&other, &h, false);
        ck_assert_int_eq(runtime_usage(s.agent, &alone), 0);
        ck_assert_uint_eq(alone.processes, 2);
        subject_stop(&s, &h, false);
        subject_done(&s);
        subject_done(&other);
        h.runtime = runtime_free(h.runtime);
        if (_i)
                cgroup_fixture_remove(root);
}
END_TEST

START_TEST(test_leaves_no_cgroup_when_the_program_does_not_start)
{
        char root[PATH_MAX];

        if (!cgroup_fixture_make(root))
                return;
        h.host.cgroup = root;
        use("/nowhere/program", "-c", "");
        harness_open(&h);
        ck_assert_int_eq(subject_start(&s, &h, NULL), -ENOENT);
        ck_assert_int_eq(rmdir(root), 0); /* empty */
        h.host.cgroup = "/nowhere";
        ck_assert_int_eq(subject_start(&s, &h, NULL), -ENOENT);
        ck_assert_str_eq(h.reason, "cannot make its cgroup: No such file or directory");
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("runtime_limits");
        TCase *c = tcase_create("limits");

        suite_add_tcase(all, c);
        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 0); /* each condition has its own patience */
        tcase_add_loop_test(c, test_starts_within_the_limits, 0, sizeof cases / sizeof *cases);
        tcase_add_test(c, test_gives_back_what_the_worker_gave_up);
        tcase_add_loop_test(c, test_names_the_memory_limit_when_it_is_likely, 0, sizeof hungry / sizeof *hungry);
        tcase_add_test(c, test_says_nothing_of_memory_when_it_was_killed_by_hand);
        tcase_add_test(c, test_leaves_nothing_in_its_cgroup_though_a_neighbour_lives);
        tcase_add_loop_test(c, test_tells_what_all_of_an_agent_uses, 0, 2);
        tcase_add_test(c, test_leaves_no_cgroup_when_the_program_does_not_start);
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
