#include "common/clock.h"
#include "worker/runtime/launch.h"
#include "worker/runtime/process_tree.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000

static struct process_trees trees;
static int null_fd;

static void setup(void)
{
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void teardown(void)
{
        ck_assert_ptr_null(trees.by_leader);
        ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
        ck_assert_int_eq(errno, ECHILD);
        close(null_fd);
}

#define WAIT_UNTIL(condition)                                                                                \
        do {                                                                                                 \
                int64_t end_ = clock_mono_ms() + PATIENCE_MS;                                                \
                while (!(condition)) {                                                                       \
                        ck_assert_msg(clock_mono_ms() < end_, "still not: " #condition);                     \
                        poll(NULL, 0, 1);                                                                    \
                }                                                                                            \
        } while (0)

struct agent {
        struct process_tree tree;
        int out;       /* of its program */
        char said[64]; /* up to "ready" */
};

/* A shell as agent; returns once it has printed "ready". */
static void start(struct agent *agent, const char *script)
{
        struct launch launch = { 0 };
        struct id agent_id = id_new();
        char reason[256] = "";
        int pipe_fds[2], pidfd;
        size_t len = 0;
        pid_t pid;

        ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
        ck_assert_int_eq(launch_argument(&launch, "/bin/sh", NULL), 0);
        ck_assert_int_eq(launch_argument(&launch, "-c", NULL), 0);
        ck_assert_int_eq(launch_argument(&launch, script, NULL), 0);
        ck_assert_int_eq(launch_variable(&launch, "PATH", getenv("PATH")), 0);
        ck_assert_int_eq(launch_variable(&launch, "AGENTPOOL_AGENT_ID", ID_TEXT(&agent_id)), 0);
        launch.fds[0] = launch.fds[2] = null_fd;
        launch.fds[1] = pipe_fds[1];
        ck_assert_msg(launch_run(&launch, &pid, &pidfd, reason, sizeof reason) == 0, "%s", reason);
        launch_done(&launch);
        close(pipe_fds[1]);
        if (pidfd >= 0)
                close(pidfd);
        ck_assert_int_eq(process_tree_init(&agent->tree, &trees, pid, &agent_id), 0);
        agent->out = pipe_fds[0];
        memset(agent->said, 0, sizeof agent->said);
        while (!strstr(agent->said, "ready")) {
                ssize_t n = read(agent->out, agent->said + len, sizeof agent->said - 1 - len);

                ck_assert_int_gt(n, 0);
                len += (size_t)n;
        }
}

static void wait_for_leader(const struct agent *agent)
{
        ck_assert_int_eq(waitid(P_PID, (id_t)agent->tree.leader, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
}

static void end(struct agent *agent)
{
        int r;

        process_tree_kill(&agent->tree, &trees);
        wait_for_leader(agent);
        WAIT_UNTIL((r = process_tree_kill(&agent->tree, &trees)) == 0);
        ck_assert_int_eq(waitpid(agent->tree.leader, NULL, 0), agent->tree.leader);
        process_tree_done(&agent->tree, &trees);
        close(agent->out);
}

/* Processes whose command line contains word. */
static int count(const char *word)
{
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        int found = 0;

        while ((entry = readdir(proc))) {
                char path[300], line[4096] = "";
                FILE *file;
                size_t n;

                if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
                        continue;
                snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
                file = fopen(path, "re");
                if (!file)
                        continue;
                n = fread(line, 1, sizeof line - 1, file);
                fclose(file);
                for (size_t i = 0; i < n; i++)
                        line[i] = line[i] ? line[i] : ' ';
                found += strncmp(line, word, strlen(word)) == 0;
        }
        closedir(proc);
        return found;
}

/* A sleep that no other test has. */
static const char *mark(char *word, size_t size)
{
        static int calls;

        snprintf(word, size, "sleep 9%d.%d", (int)getpid(), calls++);
        return word;
}

static const char *const scripts[] = {
        "$W & echo ready; wait",
        "$W & echo ready; exit 0",
        "setsid $W & echo ready; wait",
        "setsid $W & echo ready; exit 0",
        "(setsid $W &); echo ready; exec sleep 1000",
        "(setsid $W & exit); echo ready; exit 0",
        "setsid env -i PATH=\"$PATH\" $W & echo ready; wait",
        "setsid sh -c 'setsid sh -c \"setsid env -i PATH=$PATH $W & wait\" & wait' & echo ready; wait",
        "env -i PATH=\"$PATH\" $W & echo ready; exit 0",
        "trap '' TERM HUP; for i in 1 2 3 4 5 6 7 8 9; do $W & done; echo ready; wait",
        "sh -c 'kill -STOP $$' & setsid $W & echo ready; wait",
        /* the last agent: what nobody can be told to own is its */
        "(setsid env -i PATH=\"$PATH\" $W &); sleep 0.05; echo ready; exit 0",
};

START_TEST(test_leaves_nothing)
{
        struct agent agent;
        char word[64], script[512];

        mark(word, sizeof word);
        snprintf(script, sizeof script, "export W='%s'; %s", word, scripts[_i]);
        start(&agent, script);
        WAIT_UNTIL(count(word) > 0);
        end(&agent);
        ck_assert_int_eq(count(word), 0);
}
END_TEST

START_TEST(test_catches_a_process_that_runs_away)
{
        struct agent agent;

        start(&agent, "echo ready; exec /usr/bin/python3 -S -c 'import os, time\n"
                      "os.setsid() if os.getpid() != os.getsid(0) else None\n"
                      "while True:\n"
                      "    if os.fork(): os._exit(0)\n"
                      "    os.setsid(); time.sleep(0.003)'");
        wait_for_leader(&agent);
        end(&agent);
}
END_TEST

START_TEST(test_spares_what_belongs_to_others)
{
        struct agent mine, other;
        char my_word[64], other_word[64], script[512];

        mark(my_word, sizeof my_word);
        mark(other_word, sizeof other_word);
        snprintf(script, sizeof script, "(setsid %s &); %s & echo ready; wait", my_word, my_word);
        start(&mine, script);
        snprintf(script, sizeof script, "(setsid %s &); %s & echo ready; exit 0", other_word, other_word);
        start(&other, script);
        WAIT_UNTIL(count(my_word) == 2 && count(other_word) == 2);
        end(&mine);
        ck_assert_int_eq(count(my_word), 0);
        ck_assert_int_eq(count(other_word), 2);
        end(&other);
        ck_assert_int_eq(count(other_word), 0);
}
END_TEST

START_TEST(test_spares_what_cannot_be_told_apart_until_the_last_ends)
{
        struct agent mine, other;
        char word[64], script[512];

        mark(word, sizeof word);
        snprintf(script, sizeof script, "(setsid env -i PATH=\"$PATH\" %s &); echo ready; exit 0", word);
        start(&mine, script);
        start(&other, "echo ready; exec sleep 1000");
        WAIT_UNTIL(count(word) == 1);
        end(&mine);
        ck_assert_int_eq(count(word), 1);
        end(&other);
        ck_assert_int_eq(count(word), 0);
}
END_TEST

START_TEST(test_asks_the_group_to_end_even_when_stopped)
{
        struct agent agent;
        siginfo_t info = { 0 };

        start(&agent, "echo ready; kill -STOP $$; exit 5");
        WAIT_UNTIL(waitid(P_PID, (id_t)agent.tree.leader, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid != 0);
        process_tree_terminate(&agent.tree, SIGTERM);
        ck_assert_int_eq(waitid(P_PID, (id_t)agent.tree.leader, &info, WEXITED | WNOWAIT), 0);
        ck_assert_int_eq(info.si_status, SIGTERM);
        end(&agent);
}
END_TEST

START_TEST(test_reaps_the_dead_but_no_leader)
{
        struct agent agent;
        int pid;

        start(&agent, "sh -c 'sleep 0.01 >/dev/null & echo $!'; echo ready; exit 3");
        pid = atoi(agent.said);
        ck_assert_int_gt(pid, 0);
        WAIT_UNTIL(process_trees_reap(&trees) == 0 && kill(pid, 0) < 0);
        ck_assert_int_eq(kill(agent.tree.leader, 0), 0);
        end(&agent);
}
END_TEST

START_TEST(test_says_so_when_it_may_not_end_a_process)
{
        struct agent agent;
        char word[64], script[512];
        int r;

        if (geteuid() != 0)
                return; /* only root can leave a process to another user */
        mark(word, sizeof word);
        snprintf(script, sizeof script, "%s & echo ready; exit 0", word);
        start(&agent, script);
        WAIT_UNTIL(count(word) == 1);
        wait_for_leader(&agent);
        ck_assert_int_eq(setresuid(65534, 65534, 0), 0);
        WAIT_UNTIL((r = process_tree_kill(&agent.tree, &trees)) != 1);
        ck_assert_int_eq(setresuid(0, 0, 0), 0);
        ck_assert_int_eq(r, -EPERM);
        ck_assert_int_eq(count(word), 1);
        end(&agent);
}
END_TEST

START_TEST(test_says_so_when_it_cannot_look)
{
        struct agent agent;
        struct rlimit limit, none;

        start(&agent, "setsid sleep 1000 & echo ready; wait");
        getrlimit(RLIMIT_NOFILE, &limit);
        none = limit;
        none.rlim_cur = 3;
        setrlimit(RLIMIT_NOFILE, &none);
        ck_assert_int_eq(process_tree_kill(&agent.tree, &trees), -EMFILE);
        ck_assert_int_eq(process_trees_reap(&trees), -EMFILE);
        setrlimit(RLIMIT_NOFILE, &limit);
        end(&agent);
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("process_tree");
        TCase *c = tcase_create("tree");

        suite_add_tcase(all, c);
        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 0);
        tcase_add_loop_test(c, test_leaves_nothing, 0, sizeof scripts / sizeof *scripts);
        tcase_add_test(c, test_catches_a_process_that_runs_away);
        tcase_add_test(c, test_spares_what_belongs_to_others);
        tcase_add_test(c, test_spares_what_cannot_be_told_apart_until_the_last_ends);
        tcase_add_test(c, test_asks_the_group_to_end_even_when_stopped);
        tcase_add_test(c, test_reaps_the_dead_but_no_leader);
        tcase_add_test(c, test_says_so_when_it_may_not_end_a_process);
        tcase_add_test(c, test_says_so_when_it_cannot_look);
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
