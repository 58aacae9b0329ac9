#include "test/unit/forker_harness.h"

static struct worker workers[1200];

static void fork_workers(const struct master *master, unsigned count)
{
        for (unsigned i = 0; i < count; i++)
                workers[i] = fork_worker(master, "idle");
}

/* Each of the first count workers is told as exited, once, with this wait status. */
static void check_exits(const struct master *master, unsigned count, int status)
{
        for (unsigned told = 0; told < count; told++) {
                struct forker_message message = hear(master, FORKER_EXITED, NULL);
                unsigned i = 0;

                while (i < count && !id_equal(&workers[i].process_id, &message.process_id))
                        i++;
                ck_assert_msg(i < count, "unknown, or told twice");
                ck_assert_int_eq(message.pid, workers[i].pid);
                ck_assert_int_eq(message.number, status);
                workers[i].process_id = (struct id){ 0 };
                fd_close(workers[i].control);
        }
}

START_TEST(test_gives_listeners_and_nothing_else_when_first_started)
{
        struct master master;

        start_daemon();
        master = accept_synced_master();
        ck_assert_int_eq(getsid(master.pid), master.pid);
        ck_assert_uint_eq(count_descriptors(master.pid), 3 + 3); /* standard; channel, log, leash */
        end_daemon(&master);
}
END_TEST

START_TEST(test_forks_a_worker_with_one_socket_when_asked)
{
        struct master master;
        struct worker worker;

        start_daemon();
        master = accept_synced_master();
        fork_worker(&master, "idle"); /* the second has nothing of the first */
        worker = fork_worker(&master, "idle");
        check_echo(&worker);
        ck_assert_int_eq(getsid(worker.pid), worker.pid);
        ck_assert_uint_eq(count_descriptors(worker.pid), 3 + 2); /* standard; control, log */
        end_daemon(&master);
}
END_TEST

START_TEST(test_tells_the_exit_status_when_a_worker_ends)
{
        struct master master;
        struct worker worker;
        struct forker_message message;

        start_daemon();
        master = accept_synced_master();
        worker = fork_worker(&master, "exit3");
        message = hear(&master, FORKER_EXITED, NULL);
        ck_assert(id_equal(&message.process_id, &worker.process_id));
        ck_assert_int_eq(message.pid, worker.pid);
        ck_assert(WIFEXITED(message.number) && WEXITSTATUS(message.number) == 3);
        worker = fork_worker(&master, "idle");
        request(&master, FORKER_KILL, &worker.process_id, "", SIGKILL);
        message = hear(&master, FORKER_EXITED, NULL);
        ck_assert(id_equal(&message.process_id, &worker.process_id));
        ck_assert(WIFSIGNALED(message.number) && WTERMSIG(message.number) == SIGKILL);
        request(&master, FORKER_KILL, &worker.process_id, "", SIGKILL); /* a late one harms nobody */
        worker = fork_worker(&master, "idle");
        check_echo(&worker);
        end_daemon(&master);
}
END_TEST

START_TEST(test_tells_each_exit_once_when_500_workers_die_at_once)
{
        unsigned count = slow ? 50 : 500;
        struct master master;

        start_daemon();
        master = accept_synced_master();
        fork_workers(&master, count);
        for (unsigned i = 0; i < count; i++)
                kill(workers[i].pid, SIGKILL);
        check_exits(&master, count, SIGKILL);
        end_daemon(&master);
}
END_TEST

START_TEST(test_refuses_a_fork_when_its_table_is_full)
{
        struct master master;
        struct id process_id;
        struct forker_message message;

        daemon_.max_workers = 2;
        start_daemon();
        master = accept_synced_master();
        fork_workers(&master, 2);
        process_id = request_fork(&master, "idle");
        message = hear(&master, FORKER_FORK_FAILED, NULL);
        ck_assert(id_equal(&message.process_id, &process_id));
        ck_assert_int_eq(message.number, ENOSPC);
        request(&master, FORKER_KILL, &workers[0].process_id, "", SIGKILL);
        ck_assert_int_eq(hear(&master, FORKER_EXITED, NULL).pid, workers[0].pid);
        fork_worker(&master, "idle");
        end_daemon(&master);
}
END_TEST

START_TEST(test_reports_the_error_and_recovers_when_fork_fails)
{
        struct master master;
        struct id process_id;
        struct forker_message message;

        if (getuid() != 0)
                return; /* only root can become a user without other processes */
        daemon_.process_limit = 3; /* forker, master, one worker */
        start_daemon();
        master = accept_synced_master();
        workers[0] = fork_worker(&master, "idle");
        process_id = request_fork(&master, "idle");
        message = hear(&master, FORKER_FORK_FAILED, NULL);
        ck_assert(id_equal(&message.process_id, &process_id));
        ck_assert_int_eq(message.number, EAGAIN);
        request(&master, FORKER_KILL, &workers[0].process_id, "", SIGKILL);
        hear(&master, FORKER_EXITED, NULL);
        workers[0] = fork_worker(&master, "idle");
        check_echo(&workers[0]);
        end_daemon(&master);
}
END_TEST

START_TEST(test_gives_workers_and_listeners_to_the_next_master_when_one_is_killed)
{
        struct master master;
        struct worker worker;

        start_daemon();
        master = accept_synced_master();
        fork_workers(&master, 3);
        kill(master.pid, SIGKILL);
        kill_master(&master);
        kill(workers[1].pid, SIGKILL); /* dies while there is no master, or early in the next one's life */
        wait_gone(workers[1].pid);
        master = accept_master();
        hear_listeners(&master);
        for (int i = 0; i < 3; i += 2) {
                worker = hear_worker(&master, true);
                ck_assert(worker.pid == workers[0].pid || worker.pid == workers[2].pid);
                check_echo(&worker);
                check_echo(&workers[i]); /* the first master's end still works as well: it is the same socket */
        }
        hear(&master, FORKER_SYNCED, NULL);
        end_daemon(&master);
}
END_TEST

START_TEST(test_forgets_no_worker_when_masters_die_with_everything_untold)
{
        unsigned count = slow ? 30 : 300;
        struct master master;

        start_daemon();
        master = accept_synced_master();
        for (unsigned i = 0; i < count; i++)
                request_fork(&master, "idle");
        for (int i = 0; i < 3; i++) {
                kill_master(&master);
                master = accept_master();
        }
        /* Requests that the first master's end of the socket still held may be lost with it, no worker is. */
        hear_listeners(&master);
        for (count = 0; count < 1000; count++) {
                pid_t known[1] = { master.pid };

                wait_readable(master.channel);
                struct forker_message message;
                int fd;
                ck_assert_int_eq(fd_receive(master.channel, &message, sizeof message, &fd), sizeof message);
                fd_close(fd);
                if (message.type == FORKER_SYNCED)
                        break;
                ck_assert_int_eq(message.type, FORKER_WORKER);
                ck_assert_int_gt(other_child(known, 1), 0);
                workers[count].pid = message.pid;
        }
        workers[count].pid = master.pid;
        {
                pid_t known[1001];

                for (unsigned i = 0; i <= count; i++)
                        known[i] = workers[i].pid;
                ck_assert_int_eq(other_child(known, count + 1), 0);
        }
        end_daemon(&master);
}
END_TEST

START_TEST(test_backs_off_when_masters_die_young)
{
        struct master master;
        long last = 0, pause;

        start_daemon();
        for (int i = 0; i < 4; i++) {
                master = accept_synced_master();
                end_master(&master, 1);
                for (int ms = 0; ms < WAIT_MS && count_in_log("restart_in_ms=", &pause) < i + 1; ms++)
                        usleep(1000);
                ck_assert_int_ge(pause, last); /* each is between half and all of twice the one before */
                last = pause;
        }
        ck_assert_int_ge(last, 400);
        master = accept_synced_master();
        end_daemon(&master);
}
END_TEST

START_TEST(test_starts_at_once_when_masters_that_served_die)
{
        struct master master;
        long pause = -1;

        start_daemon();
        for (int i = 0; i < 20; i++) {
                master = accept_synced_master();
                say(&master, FORKER_READY);
                kill(master.pid, SIGKILL);
                kill_master(&master);
        }
        master = accept_synced_master();
        ck_assert_int_eq(count_in_log("restart_in_ms=", &pause), 20);
        ck_assert_int_eq(count_in_log("restart_in_ms=0", &pause), 20);
        end_daemon(&master);
}
END_TEST

/* Our end of the socket to the masters that follow. */
static int retire(const struct master *master)
{
        struct forker_message message = { .version = FORKER_PROTOCOL, .type = FORKER_RETIRE };
        int ends[2];

        say(master, FORKER_READY);
        ck_assert_int_eq(fd_packet_pair(ends), 0);
        ck_assert_int_eq(fd_send(master->channel, &message, sizeof message, ends[1]), 0);
        fd_close(ends[1]);
        return ends[0];
}

/* Told of so many that were there before it; the last one has the socket whose other end is ours. */
static struct master accept_next(int retired, int ours)
{
        struct master next = accept_master();
        char word[8] = "";
        int fd, ignored;

        hear_listeners(&next);
        for (int i = 0; i < retired; i++) {
                ck_assert_int_gt(hear(&next, FORKER_RETIRED, &fd).pid, 0);
                if (i == retired - 1) {
                        ck_assert_int_eq(fd_send(ours, "carry", 6, -1), 0);
                        wait_readable(fd);
                        ck_assert_int_eq(fd_receive(fd, word, sizeof word, &ignored), 6);
                }
                fd_close(fd);
        }
        hear(&next, FORKER_SYNCED, NULL);
        return next;
}

START_TEST(test_starts_at_once_and_joins_them_when_masters_retire)
{
        struct master master, next;

        start_daemon();
        master = accept_synced_master();
        for (int i = 0; i < 20; i++) {
                int ours = retire(&master);

                next = accept_next(1, ours);
                end_master(&master, 0);
                wait_readable(ours); /* reaped: nobody has the other end any more */
                fd_close(ours);
                master = next;
        }
        ck_assert_int_eq(count_in_log("master.died", NULL), 0);
        end_daemon(&master);
}
END_TEST

START_TEST(test_a_reload_waits_when_so_many_masters_are_retired)
{
        struct master masters[FORKER_RETIRED_MAX + 1];
        int ours[FORKER_RETIRED_MAX];

        start_daemon();
        masters[0] = accept_synced_master();
        for (int i = 0; i < FORKER_RETIRED_MAX; i++) {
                ours[i] = retire(&masters[i]);
                masters[i + 1] = accept_next(i + 1, ours[i]);
        }
        say(&masters[FORKER_RETIRED_MAX], FORKER_READY);
        kill(daemon_.pid, SIGHUP);
        wait_for_log("reload.waits");
        end_master(&masters[3], 0);
        hear_signal(&masters[FORKER_RETIRED_MAX], SIGHUP);
        for (int i = 0; i < FORKER_RETIRED_MAX; i++) {
                if (i != 3)
                        end_master(&masters[i], 0);
                wait_readable(ours[i]);
                fd_close(ours[i]);
        }
        end_daemon(&masters[FORKER_RETIRED_MAX]);
}
END_TEST

START_TEST(test_replaces_the_master_when_its_loop_does_not_turn)
{
        struct master master, next;
        struct worker worker;
        long silence = 0;

        daemon_.master_lease_ms = 1000;
        start_daemon();
        master = accept_synced_master();
        worker = fork_worker(&master, "idle");
        for (int i = 0; i < 6; i++) { /* three leases */
                usleep(500000);
                say(&master, FORKER_ALIVE);
        }
        ck_assert_int_eq(count_in_log("master.hung", NULL), 0);
        next = accept_master();
        ck_assert_int_eq(count_in_log("silent_ms=", &silence), 1);
        ck_assert_int_eq(silence, 1000);
        kill_master(&master);
        hear_listeners(&next);
        fd_close(worker.control);
        worker = hear_worker(&next, true);
        check_echo(&worker);
        hear(&next, FORKER_SYNCED, NULL);
        end_daemon(&next);
}
END_TEST

START_TEST(test_blames_no_master_when_it_was_stopped_itself)
{
        struct master master;

        daemon_.master_lease_ms = 1500;
        start_daemon();
        master = accept_synced_master();
        kill(daemon_.pid, SIGSTOP);
        usleep(4000000);
        kill(daemon_.pid, SIGCONT); /* it waits for what was left of its time, then knows that that took too long */
        wait_for_log("forker.held_up");
        say(&master, FORKER_ALIVE);
        fork_worker(&master, "exit0");
        hear(&master, FORKER_EXITED, NULL);
        ck_assert_int_eq(count_in_log("master.hung", NULL), 0);
        end_daemon(&master);
}
END_TEST

START_TEST(test_loses_nothing_when_the_master_is_slow)
{
        unsigned count = slow ? 260 : 900; /* more than the channel holds */
        struct master master;
        pid_t known[1];

        start_daemon();
        master = accept_synced_master();
        known[0] = master.pid;
        for (unsigned i = 0; i < count; i++)
                workers[i].process_id = request_fork(&master, "exit0");
        kill(daemon_.pid, SIGHUP);
        for (int i = 0; i < WAIT_MS && (i < 10 || other_child(known, 1)); i++)
                usleep(1000); /* until all were forked and reaped */
        for (unsigned workers_told = 0, exits = 0, hups = 0; exits < count || hups == 0;) {
                struct forker_message message;
                unsigned i = 0;
                int fd;

                wait_readable(master.channel);
                ck_assert_int_eq(fd_receive(master.channel, &message, sizeof message, &fd), sizeof message);
                if (message.type == FORKER_SIGNAL) {
                        ck_assert_int_eq(message.number, SIGHUP);
                        ck_assert_uint_eq(hups++, 0);
                        continue;
                }
                while (i < count && !id_equal(&workers[i].process_id, &message.process_id))
                        i++;
                ck_assert_uint_lt(i, count);
                if (message.type == FORKER_WORKER) {
                        ck_assert_int_eq(workers[i].pid, 0);
                        workers[i].pid = message.pid;
                        ck_assert_int_eq(fd_close(fd), -1);
                        workers_told++;
                } else {
                        ck_assert_int_eq(message.type, FORKER_EXITED);
                        ck_assert_int_eq(message.pid, workers[i].pid);
                        workers[i].pid = -1;
                        exits++;
                }
                ck_assert_uint_ge(workers_told, exits);
        }
        end_daemon(&master);
}
END_TEST

START_TEST(test_ends_strays_when_their_worker_dies)
{
        struct master master;
        struct worker worker, other;
        pid_t strays[2];
        int fd;

        start_daemon();
        master = accept_synced_master();
        other = fork_worker(&master, "idle");
        worker = fork_worker(&master, "idle");
        ck_assert_int_eq(fd_send(worker.control, "s", 1, -1), 0);
        wait_readable(worker.control);
        ck_assert_int_eq(fd_receive(worker.control, strays, sizeof strays, &fd), sizeof strays);
        ck_assert_int_eq(kill(strays[0], 0), 0);
        ck_assert_int_eq(kill(strays[1], 0), 0);
        kill(worker.pid, SIGKILL);
        hear(&master, FORKER_EXITED, NULL);
        wait_gone(strays[0]);
        wait_gone(strays[1]);
        check_echo(&other);
        end_daemon(&master);
}
END_TEST

START_TEST(test_keeps_its_descriptors_when_1000_workers_come_and_go)
{
        struct master master;
        unsigned before;

        start_daemon();
        master = accept_synced_master();
        before = count_descriptors(daemon_.pid);
        for (int i = 0; i < (slow ? 100 : 1000); i++) {
                struct worker worker = fork_worker(&master, "exit0");

                fd_close(worker.control);
                hear(&master, FORKER_EXITED, NULL);
        }
        for (int i = 0; i < WAIT_MS && count_descriptors(daemon_.pid) != before; i++)
                usleep(1000); /* the last one's is closed just after it was told */
        ck_assert_uint_eq(count_descriptors(daemon_.pid), before);
        end_daemon(&master);
}
END_TEST

START_TEST(test_restarts_redis_when_it_dies)
{
        const char *argv[] = { "sleep", "1000", NULL };
        struct master master;
        pid_t known[2], redis;

        daemon_.redis_argv = argv;
        start_daemon();
        master = accept_synced_master();
        known[0] = master.pid;
        known[1] = redis = wait_other_child(known, 1);
        for (int i = 0; i < WAIT_MS && getsid(redis) != redis; i++)
                usleep(1000); /* it has just been forked */
        ck_assert_int_eq(getsid(redis), redis);
        kill(redis, SIGKILL);
        ck_assert_int_ne(wait_other_child(known, 2), redis);
        end_daemon(&master);
}
END_TEST

START_TEST(test_ignores_a_request_when_it_is_malformed)
{
        struct master master;
        char packet[2000] = "nonsense";

        start_daemon();
        master = accept_synced_master();
        ck_assert_int_eq(fd_send(master.channel, packet, 3, -1), 0);
        ck_assert_int_eq(fd_send(master.channel, packet, sizeof packet, master.leash), 0);
        say(&master, FORKER_SYNCED);
        fork_worker(&master, "idle");
        ck_assert_int_eq(count_in_log("master.bad_request", NULL), 3);
        end_daemon(&master);
}
END_TEST

int main(int argc, char **argv)
{
        Suite *suite = suite_create("forker");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        (void)argc;
        program = argv[0];
        slow = getenv("VALGRIND") != NULL;
        tcase_add_checked_fixture(all, setup, teardown);
        tcase_set_timeout(all, 120);
        tcase_add_test(all, test_gives_listeners_and_nothing_else_when_first_started);
        tcase_add_test(all, test_forks_a_worker_with_one_socket_when_asked);
        tcase_add_test(all, test_tells_the_exit_status_when_a_worker_ends);
        tcase_add_test(all, test_tells_each_exit_once_when_500_workers_die_at_once);
        tcase_add_test(all, test_refuses_a_fork_when_its_table_is_full);
        tcase_add_test(all, test_reports_the_error_and_recovers_when_fork_fails);
        tcase_add_test(all, test_gives_workers_and_listeners_to_the_next_master_when_one_is_killed);
        tcase_add_test(all, test_forgets_no_worker_when_masters_die_with_everything_untold);
        tcase_add_test(all, test_backs_off_when_masters_die_young);
        tcase_add_test(all, test_starts_at_once_when_masters_that_served_die);
        tcase_add_test(all, test_starts_at_once_and_joins_them_when_masters_retire);
        tcase_add_test(all, test_a_reload_waits_when_so_many_masters_are_retired);
        tcase_add_test(all, test_replaces_the_master_when_its_loop_does_not_turn);
        tcase_add_test(all, test_blames_no_master_when_it_was_stopped_itself);
        tcase_add_test(all, test_loses_nothing_when_the_master_is_slow);
        tcase_add_test(all, test_ends_strays_when_their_worker_dies);
        tcase_add_test(all, test_keeps_its_descriptors_when_1000_workers_come_and_go);
        tcase_add_test(all, test_restarts_redis_when_it_dies);
        tcase_add_test(all, test_ignores_a_request_when_it_is_malformed);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
