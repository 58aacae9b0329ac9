/* How the forker ends, and how it becomes another program. */
#include "test/unit/forker_harness.h"

#include <limits.h>
#include <sys/mman.h>

START_TEST(test_exits_with_the_masters_status_when_it_said_bye)
{
        struct master master;

        start_daemon();
        master = accept_synced_master();
        say(&master, FORKER_BYE);
        end_master(&master, 78);
        check_daemon_exits(78);
}
END_TEST

START_TEST(test_passes_signals_on_and_exits_when_the_master_ends_in_order)
{
        struct master master;
        struct worker worker;

        start_daemon();
        master = accept_synced_master();
        worker = fork_worker(&master, "idle");
        kill(daemon_.pid, SIGHUP);
        hear_signal(&master, SIGHUP);
        kill(daemon_.pid, SIGUSR1);
        hear_signal(&master, SIGUSR1);
        kill(daemon_.pid, SIGTERM);
        hear_signal(&master, SIGTERM);
        request(&master, FORKER_KILL, &worker.process_id, "", SIGTERM);
        hear(&master, FORKER_EXITED, NULL);
        end_daemon(&master);
}
END_TEST

START_TEST(test_ends_workers_when_the_master_said_bye_before_they_ended)
{
        struct master master;

        daemon_.shutdown_timeout_ms = 200;
        start_daemon();
        master = accept_synced_master();
        fork_worker(&master, "idle");
        fork_stubborn_worker(&master);
        kill(daemon_.pid, SIGINT);
        hear_signal(&master, SIGINT);
        end_daemon(&master);
        ck_assert_int_eq(count_in_log("shutdown.killing", NULL), 1);
}
END_TEST

START_TEST(test_hears_bye_when_the_master_dies_with_messages_unread)
{
        struct master master;

        start_daemon();
        master = accept_synced_master();
        for (int i = 0; i < 10; i++)
                request_fork(&master, "exit0");
        wait_readable(master.channel);
        say(&master, FORKER_BYE);
        end_master(&master, 3);
        check_daemon_exits(3);
}
END_TEST

START_TEST(test_kills_the_master_when_it_does_not_end_in_time)
{
        struct master master;

        daemon_.shutdown_timeout_ms = 1;
        start_daemon();
        master = accept_synced_master();
        fork_stubborn_worker(&master);
        kill(daemon_.pid, SIGTERM);
        check_daemon_exits(1);
        kill_master(&master);
}
END_TEST

START_TEST(test_hurries_when_a_second_signal_comes)
{
        struct master master;

        daemon_.shutdown_timeout_ms = 3600000;
        start_daemon();
        master = accept_synced_master();
        fork_stubborn_worker(&master);
        kill(daemon_.pid, SIGTERM);
        hear_signal(&master, SIGTERM);
        kill(daemon_.pid, SIGINT);
        check_daemon_exits(1);
        kill_master(&master);
}
END_TEST

START_TEST(test_ends_all_by_itself_when_no_master_lives)
{
        struct master master;

        start_daemon();
        for (int i = 0; i < 6; i++) { /* the pause is seconds long then */
                master = accept_master();
                hear_listeners(&master);
                if (i > 0)
                        fd_close(hear_worker(&master, true).control);
                hear(&master, FORKER_SYNCED, NULL);
                if (i == 0)
                        fork_worker(&master, "idle");
                end_master(&master, 1);
        }
        for (int i = 0; i < WAIT_MS && count_in_log("master.died", NULL) < 6; i++)
                usleep(1000);
        kill(daemon_.pid, SIGTERM);
        check_daemon_exits(0);
}
END_TEST

START_TEST(test_exits_with_failure_when_the_master_dies_while_ending)
{
        struct master master;

        start_daemon();
        master = accept_synced_master();
        fork_worker(&master, "idle");
        kill(daemon_.pid, SIGTERM);
        hear_signal(&master, SIGTERM);
        kill_master(&master);
        check_daemon_exits(1);
}
END_TEST

START_TEST(test_ends_redis_last_when_ending)
{
        char script[500], path[128];
        const char *argv[] = { "sh", "-c", script, NULL };
        struct master master;
        struct worker worker;
        FILE *file;

        /* Marks its end: with the worker's pid known, whether that was still there. */
        snprintf(script, sizeof script, "trap 'kill -0 $(cat %s/pid) 2>/dev/null && : >%s/early; : >%s/ended; exit' TERM; "
                ": >%s/begun; while :; do sleep 0.05; done", daemon_.dir, daemon_.dir, daemon_.dir, daemon_.dir);
        daemon_.redis_argv = argv;
        daemon_.shutdown_timeout_ms = 300;
        start_daemon();
        master = accept_synced_master();
        worker = fork_stubborn_worker(&master);
        snprintf(path, sizeof path, "%s/pid", daemon_.dir);
        file = fopen(path, "we");
        ck_assert_ptr_nonnull(file);
        fprintf(file, "%d\n", worker.pid);
        fclose(file);
        snprintf(path, sizeof path, "%s/begun", daemon_.dir);
        for (int i = 0; i < WAIT_MS && access(path, F_OK) != 0; i++)
                usleep(1000);
        end_daemon(&master);
        snprintf(path, sizeof path, "%s/early", daemon_.dir);
        ck_assert_int_eq(access(path, F_OK), -1);
        snprintf(path, sizeof path, "%s/ended", daemon_.dir);
        ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(test_all_ends_when_the_forker_is_killed)
{
        struct master master;
        struct worker worker;
        pid_t daemon_pid;

        start_daemon();
        master = accept_synced_master();
        worker = fork_worker(&master, "idle");
        fd_close(worker.control);
        daemon_pid = daemon_.pid;
        kill(daemon_pid, SIGKILL);
        wait_exit(daemon_pid);
        daemon_.pid = 0;
        wait_exit(worker.pid); /* they are the test's children now */
        wait_exit(master.pid);
        kill_master(&master);
}
END_TEST

/* As from inherited hands: workers with the same sockets, then SYNCED. */
static struct master accept_next_master(struct worker *expected, unsigned count)
{
        struct master master = accept_master();

        hear_listeners(&master);
        for (unsigned i = 0; i < count; i++) {
                struct worker worker = hear_worker(&master, true);
                unsigned j = 0;

                while (j < count && expected[j].pid != worker.pid)
                        j++;
                ck_assert_uint_lt(j, count);
                ck_assert(id_equal(&worker.process_id, &expected[j].process_id));
                fd_close(expected[j].control);
                expected[j].control = worker.control;
                check_echo(&worker);
        }
        hear(&master, FORKER_SYNCED, NULL);
        return master;
}

static void expect_channel_closed(const struct master *master)
{
        char byte;
        int fd;

        wait_readable(master->channel);
        ck_assert_int_eq(fd_receive(master->channel, &byte, 1, &fd), 0);
}

static void upgrade_three_times(char *const *check_argv)
{
        const char *redis[] = { "sleep", "1000", NULL };
        struct worker workers[3];
        struct master master;
        unsigned descriptors;

        daemon_.check_argv = check_argv;
        daemon_.redis_argv = redis;
        start_daemon();
        master = accept_synced_master();
        for (int i = 0; i < 3; i++)
                workers[i] = fork_worker(&master, "idle");
        descriptors = count_descriptors(daemon_.pid);
        for (int i = 0; i < 3; i++) {
                kill(daemon_.pid, SIGUSR2);
                expect_channel_closed(&master);
                end_master(&master, 0);
                master = accept_next_master(workers, 3);
        }
        fork_worker(&master, "exit4"); /* new code forks, and reaps the old code's children */
        ck_assert_int_eq(WEXITSTATUS(hear(&master, FORKER_EXITED, NULL).number), 4);
        request(&master, FORKER_KILL, &workers[1].process_id, "", SIGKILL);
        ck_assert_int_eq(hear(&master, FORKER_EXITED, NULL).pid, workers[1].pid);
        for (int i = 0; i < WAIT_MS && count_descriptors(daemon_.pid) > descriptors; i++)
                usleep(1000);
        ck_assert_uint_le(count_descriptors(daemon_.pid), descriptors);
        end_daemon(&master);
}

START_TEST(test_keeps_its_children_when_executed_anew)
{
        upgrade_three_times(NULL);
}
END_TEST

START_TEST(test_keeps_its_children_when_executed_anew_after_a_check)
{
        char name[] = "test_forker_end", check[] = "--check";
        char *check_argv[] = { name, check, NULL };

        upgrade_three_times(check_argv);
}
END_TEST

START_TEST(test_goes_on_when_the_new_program_fails_its_check)
{
        char name[] = "test_forker_end", check[] = "--fail";
        char *check_argv[] = { name, check, NULL };
        struct master master;
        struct worker worker;

        daemon_.check_argv = check_argv;
        start_daemon();
        master = accept_synced_master();
        kill(daemon_.pid, SIGUSR2);
        wait_for_log("upgrade.refused");
        worker = fork_worker(&master, "idle");
        check_echo(&worker);
        end_daemon(&master);
}
END_TEST

START_TEST(test_goes_on_when_the_new_program_cannot_be_executed)
{
        struct master master;
        struct worker worker;

        program = "/nonexistent/agentpoold";
        start_daemon();
        master = accept_synced_master();
        kill(daemon_.pid, SIGUSR2);
        wait_for_log("upgrade.exec_failed");
        worker = fork_worker(&master, "idle");
        check_echo(&worker);
        /* What was to be left open is not left open now: standard, log, control. */
        ck_assert_uint_eq(count_descriptors(worker.pid), 3 + 2);
        end_daemon(&master);
}
END_TEST

START_TEST(test_kills_the_old_master_when_it_does_not_leave)
{
        struct master master, next;

        daemon_.shutdown_timeout_ms = 500;
        start_daemon();
        master = accept_synced_master();
        kill(daemon_.pid, SIGUSR2);
        expect_channel_closed(&master);
        next = accept_synced_master();
        kill_master(&master);
        end_daemon(&next);
}
END_TEST

START_TEST(test_refuses_a_state_when_it_is_not_its_own)
{
        struct forker_inheritance inheritance;
        char garbage[4096] = "agpfork";
        int state = memfd_create("state", MFD_CLOEXEC);

        ck_assert_int_eq(forker_inherit(state, &inheritance), -EPROTO);
        ck_assert_int_eq(write(state, garbage, sizeof garbage), sizeof garbage);
        ck_assert_int_eq(forker_inherit(state, &inheritance), -EPROTO);
        fd_close(state);
        ck_assert_int_eq(forker_inherit(-1, &inheritance), -EPROTO);
}
END_TEST

/* What USR2 executes. */
static int run_as_program(char **argv)
{
        struct forker_inheritance inheritance;
        const char *state = getenv(FORKER_STATE_VARIABLE);

        if (strcmp(argv[1], "--upgraded") == 0)
                return run_upgraded(argv[2], argv[3]);
        if (strcmp(argv[1], "--check") == 0)
                return state ? -forker_inherit(atoi(state), &inheritance) : 1;
        return 1;
}

int main(int argc, char **argv)
{
        static char path[PATH_MAX];
        Suite *suite;
        TCase *all;
        SRunner *runner;
        int failed;

        program = realpath(argv[0], path);
        if (argc > 1)
                return run_as_program(argv);
        suite = suite_create("forker_end");
        all = tcase_create("all");
        runner = srunner_create(suite);
        slow = getenv("VALGRIND") != NULL;
        tcase_add_checked_fixture(all, setup, teardown);
        tcase_set_timeout(all, 120);
        tcase_add_test(all, test_exits_with_the_masters_status_when_it_said_bye);
        tcase_add_test(all, test_passes_signals_on_and_exits_when_the_master_ends_in_order);
        tcase_add_test(all, test_ends_workers_when_the_master_said_bye_before_they_ended);
        tcase_add_test(all, test_hears_bye_when_the_master_dies_with_messages_unread);
        tcase_add_test(all, test_kills_the_master_when_it_does_not_end_in_time);
        tcase_add_test(all, test_hurries_when_a_second_signal_comes);
        tcase_add_test(all, test_ends_all_by_itself_when_no_master_lives);
        tcase_add_test(all, test_exits_with_failure_when_the_master_dies_while_ending);
        tcase_add_test(all, test_ends_redis_last_when_ending);
        tcase_add_test(all, test_all_ends_when_the_forker_is_killed);
        tcase_add_test(all, test_keeps_its_children_when_executed_anew);
        tcase_add_test(all, test_keeps_its_children_when_executed_anew_after_a_check);
        tcase_add_test(all, test_goes_on_when_the_new_program_fails_its_check);
        tcase_add_test(all, test_goes_on_when_the_new_program_cannot_be_executed);
        tcase_add_test(all, test_kills_the_old_master_when_it_does_not_leave);
        tcase_add_test(all, test_refuses_a_state_when_it_is_not_its_own);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
