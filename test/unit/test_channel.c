#include "common/channel.h"

#include "common/fd.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* One end is a channel, the other a bare socket. */
static struct event_base *base;
static struct channel *channel;
static int peer;

struct seen {
        unsigned packets, closed;
        unsigned free_at; /* frees the channel in that packet's callback */
        bool free_at_end;
        char last[64];
        size_t last_len;
        int fd;
};
static struct seen seen;

static void on_packet(void *arg, const char *data, size_t len, int fd)
{
        struct seen *s = arg;

        ck_assert_int_eq(data[len], 0);
        s->packets++;
        s->last_len = len;
        snprintf(s->last, sizeof s->last, "%s", data);
        s->fd = fd;
        if (s->packets == s->free_at)
                channel = channel_free(channel);
}

static void on_closed(void *arg)
{
        struct seen *s = arg;

        s->closed++;
        if (s->free_at_end)
                channel = channel_free(channel);
}

static void setup(void)
{
        static const struct channel_events events = { on_packet, on_closed };
        int ends[2];

        signal(SIGPIPE, SIG_IGN);
        seen = (struct seen){ .fd = -1 };
        base = event_base_new();
        ck_assert_int_eq(fd_packet_pair(ends), 0);
        channel = channel_new(base, ends[0], &events, &seen);
        ck_assert_ptr_nonnull(channel);
        peer = ends[1];
}

static void teardown(void)
{
        channel = channel_free(channel);
        fd_close(peer);
        event_base_free(base);
}

static void turn(void)
{
        event_base_loop(base, EVLOOP_NONBLOCK);
}

START_TEST(test_hands_over_whole_packets_when_they_come)
{
        ck_assert_int_eq(fd_send(peer, "one", 3, -1), 0);
        ck_assert_int_eq(fd_send(peer, "two!", 4, -1), 0);
        turn();
        ck_assert_uint_eq(seen.packets, 2);
        ck_assert_str_eq(seen.last, "two!");
        ck_assert_uint_eq(seen.last_len, 4);
}
END_TEST

START_TEST(test_hands_over_a_descriptor_when_one_comes)
{
        int pipe_ends[2];
        char c;

        ck_assert_int_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
        ck_assert_int_eq(fd_send(peer, "x", 1, pipe_ends[1]), 0);
        turn();
        ck_assert_int_ge(seen.fd, 0);
        ck_assert_int_eq(write(seen.fd, "!", 1), 1);
        ck_assert_int_eq(read(pipe_ends[0], &c, 1), 1);
        fd_close(seen.fd);
        fd_close(pipe_ends[0]);
        fd_close(pipe_ends[1]);
}
END_TEST

START_TEST(test_gives_others_a_turn_when_packets_keep_coming)
{
        unsigned sent = 0, turns = 0;

        while (fd_send(peer, "x", 1, -1) == 0)
                sent++;
        ck_assert_uint_gt(sent, 64);
        for (; seen.packets < sent; turns++) {
                unsigned before = seen.packets;

                event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
                ck_assert_uint_gt(seen.packets, before);
                ck_assert_uint_le(seen.packets - before, 64);
        }
        ck_assert_uint_gt(turns, 1);
}
END_TEST

START_TEST(test_takes_nothing_more_when_freed_in_a_callback)
{
        seen.free_at = 2;
        for (int i = 0; i < 5; i++)
                ck_assert_int_eq(fd_send(peer, "x", 1, -1), 0);
        turn();
        ck_assert_uint_eq(seen.packets, 2);
        ck_assert_uint_eq(seen.closed, 0);
        ck_assert_int_lt(fd_send(peer, "x", 1, -1), 0); /* and its socket is closed */
}
END_TEST

START_TEST(test_says_once_that_it_ended_when_the_other_end_is_gone)
{
        ck_assert_int_eq(fd_send(peer, "last", 4, -1), 0);
        peer = fd_close(peer);
        for (int i = 0; i < 3; i++)
                turn();
        ck_assert_uint_eq(seen.packets, 1);
        ck_assert_uint_eq(seen.closed, 1);
        ck_assert_int_eq(channel_send(channel, "x", 1), -EPIPE);
        turn();
}
END_TEST

/* The kernel tells of the unread packet first, as a reset. */
START_TEST(test_hears_last_words_when_the_other_end_went_without_reading)
{
        ck_assert_int_eq(channel_send(channel, "never read", 10), 0);
        ck_assert_int_eq(fd_send(peer, "why", 3, -1), 0);
        peer = fd_close(peer);
        turn();
        ck_assert_uint_eq(seen.packets, 1);
        ck_assert_str_eq(seen.last, "why");
        ck_assert_uint_eq(seen.closed, 1);
}
END_TEST

START_TEST(test_hears_all_last_words_at_once_when_asked_to)
{
        seen.free_at_end = _i == 1;
        for (unsigned i = 0; i < 100; i++)
                ck_assert_int_eq(fd_send(peer, "word", 4, -1), 0);
        peer = fd_close(peer);
        channel_hear_out(channel);
        ck_assert_uint_eq(seen.packets, 100);
        ck_assert_uint_eq(seen.closed, 1);
}
END_TEST

START_TEST(test_may_be_freed_when_the_other_end_is_gone)
{
        seen.free_at_end = true;
        peer = fd_close(peer);
        turn();
        ck_assert_uint_eq(seen.closed, 1);
        ck_assert_ptr_null(channel);
}
END_TEST

/* Numbers that wait in the channel. */
static unsigned fill_queue(unsigned until, size_t len)
{
        char *packet = calloc(1, len);
        unsigned sent = 0;

        ck_assert_ptr_nonnull(packet);
        for (int r = 0; r == 0 && sent < until;) {
                memcpy(packet, &sent, sizeof sent);
                r = channel_send(channel, packet, len);
                if (r == 0)
                        sent++;
                else
                        ck_assert_int_eq(r, -EAGAIN);
        }
        free(packet);
        return sent;
}

START_TEST(test_keeps_the_order_when_the_other_end_is_slow)
{
        unsigned sent = fill_queue(5000, 1000), number, got = 0;
        char data[1000];
        int fd;

        ck_assert_uint_eq(sent, 5000);
        while (got < sent) {
                ssize_t n = fd_receive(peer, data, sizeof data, &fd);

                if (n == -EAGAIN) {
                        turn();
                        continue;
                }
                ck_assert_int_eq(n, 1000);
                memcpy(&number, data, sizeof number);
                ck_assert_uint_eq(number, got++);
        }
        ck_assert_int_eq(fd_receive(peer, data, sizeof data, &fd), -EAGAIN);
}
END_TEST

START_TEST(test_refuses_when_its_queue_is_full)
{
        unsigned sent = fill_queue(UINT32_MAX, CHANNEL_PACKET_MAX);

        ck_assert_uint_ge(sent, CHANNEL_QUEUE_MAX / CHANNEL_PACKET_MAX);
        ck_assert_uint_le(sent, CHANNEL_QUEUE_MAX / CHANNEL_PACKET_MAX + 64);
        peer = fd_close(peer); /* what waits is dropped, not sent for ever */
        for (int i = 0; i < 3; i++)
                turn();
        ck_assert_uint_eq(seen.closed, 1);
}
END_TEST

START_TEST(test_takes_short_packets_for_longer_when_its_queue_is_full)
{
        unsigned sent;

        fill_queue(UINT32_MAX, CHANNEL_PACKET_MAX);
        sent = fill_queue(UINT32_MAX, CHANNEL_SHORT);
        ck_assert_uint_ge(sent, CHANNEL_RESERVE / CHANNEL_SHORT);
        ck_assert_uint_le(sent, (CHANNEL_RESERVE + CHANNEL_PACKET_MAX) / CHANNEL_SHORT);
}
END_TEST

START_TEST(test_refuses_when_a_packet_is_empty_or_too_long)
{
        ck_assert_int_eq(channel_send(channel, "", 0), -EMSGSIZE);
        ck_assert_int_eq(channel_send(channel, "", CHANNEL_LONGEST + 1), -EMSGSIZE); /* nothing of it is read */
}
END_TEST

/* What came to the other end of a pair of channels. */
struct heard {
        const char *expected;
        size_t len;
        unsigned whole, small, wrong;
};

static void on_heard(void *arg, const char *data, size_t len, int fd)
{
        struct heard *heard = arg;

        ck_assert_int_eq(fd, -1);
        ck_assert_int_eq(data[len], 0);
        if (len == 1)
                heard->small++;
        else if (len == heard->len && memcmp(data, heard->expected, len) == 0)
                heard->whole++;
        else
                heard->wrong++;
}

static void on_other_closed(void *arg)
{
        (void)arg;
}

static struct channel *other_end(struct heard *heard)
{
        static const struct channel_events events = { on_heard, on_other_closed };
        struct channel *other = channel_new(base, peer, &events, heard);

        ck_assert_ptr_nonnull(other);
        peer = -1;
        return other;
}

/* Not one byte of it like its neighbours, so that no piece could take another's place. */
static char *long_text(size_t len)
{
        char *text = malloc(len);

        ck_assert_ptr_nonnull(text);
        for (size_t i = 0; i < len; i++)
                text[i] = (char)('a' + (i * 31 + i / 997) % 26);
        return text;
}

START_TEST(test_carries_whole_what_is_longer_than_the_socket_takes)
{
        static const size_t lengths[] = { CHANNEL_PACKET_MAX, CHANNEL_PACKET_MAX + 1, 2 * CHANNEL_PACKET_MAX - 4, 20971521 };
        struct heard heard = { .len = lengths[_i] };
        char *text = long_text(heard.len);
        struct channel *other = other_end(&heard);

        heard.expected = text;
        ck_assert_int_eq(channel_send(channel, "1", 1), 0);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(channel_send(channel, text, heard.len), 0);
        ck_assert_int_eq(channel_send(channel, "2", 1), 0);
        while (heard.small < 2)
                turn();
        ck_assert_uint_eq(heard.whole, 2);
        ck_assert_uint_eq(heard.wrong, 0);
        channel_free(other);
        free(text);
}
END_TEST

START_TEST(test_takes_a_packet_of_any_length_when_its_queue_is_empty)
{
        struct heard heard = { .len = CHANNEL_QUEUE_MAX + 1000 };
        char *text = long_text(heard.len);
        struct channel *other = other_end(&heard);

        heard.expected = text;
        ck_assert_int_eq(channel_send(channel, text, heard.len), 0);
        ck_assert_int_eq(channel_send(channel, text, CHANNEL_SHORT + 1), -EAGAIN);
        while (heard.whole < 1)
                turn();
        ck_assert_int_eq(channel_send(channel, "x", 1), 0);
        channel_free(other);
        free(text);
}
END_TEST

static void send_piece(char flags, const char *text)
{
        char piece[64] = { 0, flags };

        memcpy(piece + 2, text, strlen(text));
        ck_assert_int_eq(fd_send(peer, piece, 2 + strlen(text), -1), 0);
        turn();
}

/* A new master may have taken over one end in the middle of a packet. */
START_TEST(test_drops_what_is_unfinished_when_something_else_comes)
{
        send_piece(2, "the end of what another was told");
        ck_assert_uint_eq(seen.packets, 0);
        send_piece(1, "never ");
        ck_assert_int_eq(fd_send(peer, "whole", 5, -1), 0);
        send_piece(2, "ended");
        ck_assert_uint_eq(seen.packets, 1);
        ck_assert_str_eq(seen.last, "whole");
        send_piece(1, "never");
        send_piece(1, "in ");
        send_piece(0, "three ");
        send_piece(2, "pieces");
        ck_assert_uint_eq(seen.packets, 2);
        ck_assert_str_eq(seen.last, "in three pieces");
        ck_assert_uint_eq(seen.last_len, 15);
        send_piece(3, "in one");
        ck_assert_str_eq(seen.last, "in one");
}
END_TEST

START_TEST(test_keeps_no_more_than_its_limit_when_pieces_never_end)
{
        channel_limit(channel, 10);
        send_piece(1, "12345");
        for (int i = 0; i < 100; i++)
                send_piece(0, "67890 and more");
        ck_assert_uint_eq(seen.packets, 0);
        send_piece(2, "!");
        ck_assert_uint_eq(seen.packets, 1);
        ck_assert_str_eq(seen.last, "1234567890");
        ck_assert_int_eq(fd_send(peer, "longer than that", 16, -1), 0);
        turn();
        ck_assert_str_eq(seen.last, "longer than that");
}
END_TEST

START_TEST(test_closes_a_descriptor_that_comes_with_a_piece)
{
        int ends[2];

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        ck_assert_int_eq(fd_send(peer, "\0\3x", 3, ends[1]), 0);
        fd_close(ends[1]);
        turn();
        ck_assert_str_eq(seen.last, "x");
        ck_assert_int_eq(seen.fd, -1);
        ck_assert_int_eq(read(ends[0], (char[1]){ 0 }, 1), 0); /* end of file: nobody holds it */
        fd_close(ends[0]);
}
END_TEST

START_TEST(test_ends_when_a_packet_is_longer_than_any_of_ours)
{
        static char large[CHANNEL_PACKET_MAX + 1];

        ck_assert_int_eq(fd_send(peer, large, sizeof large, -1), 0);
        turn();
        ck_assert_uint_eq(seen.packets, 0);
        ck_assert_uint_eq(seen.closed, 1);
}
END_TEST

/* --- before an exit --- */

static char large[20UL << 20]; /* more than a socket holds */

/* Another process, which reads until the end and exits with 0 if that was enough. Nothing is allocated before: valgrind would
 * call it lost there. */
static pid_t fork_reader(size_t expected)
{
        static char data[CHANNEL_PACKET_MAX];
        pid_t pid = fork();
        size_t total = 0;
        ssize_t n;

        if (pid != 0)
                return pid;
        fcntl(peer, F_SETFL, 0);
        channel = channel_free(channel);
        while ((n = recv(peer, data, sizeof data, 0)) > 0)
                total += (size_t)n;
        _exit(total >= expected ? 0 : 1);
}

START_TEST(test_waits_until_all_is_sent_when_it_is_flushed)
{
        pid_t pid = fork_reader(sizeof large);
        int status;

        ck_assert_int_gt(pid, 0);
        memset(large, 'x', sizeof large);
        ck_assert_int_eq(channel_send(channel, large, sizeof large), 0);
        ck_assert_int_eq(channel_flush(channel, 10000), 0);
        channel = channel_free(channel);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(test_gives_up_a_flush_when_nobody_reads)
{
        memset(large, 'x', sizeof large);
        ck_assert_int_eq(channel_flush(channel, 1), 0); /* nothing waits */
        ck_assert_int_eq(channel_send(channel, large, sizeof large), 0);
        ck_assert_int_eq(channel_flush(channel, 1), -ETIMEDOUT);
        peer = fd_close(peer);
        ck_assert_int_eq(channel_flush(channel, 10000), -ECONNRESET); /* it closed with packets unread */
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("channel");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_checked_fixture(all, setup, teardown);
        tcase_set_timeout(all, 60);
        tcase_add_test(all, test_hands_over_whole_packets_when_they_come);
        tcase_add_test(all, test_hands_over_a_descriptor_when_one_comes);
        tcase_add_test(all, test_gives_others_a_turn_when_packets_keep_coming);
        tcase_add_test(all, test_takes_nothing_more_when_freed_in_a_callback);
        tcase_add_test(all, test_says_once_that_it_ended_when_the_other_end_is_gone);
        tcase_add_test(all, test_hears_last_words_when_the_other_end_went_without_reading);
        tcase_add_loop_test(all, test_hears_all_last_words_at_once_when_asked_to, 0, 2);
        tcase_add_test(all, test_may_be_freed_when_the_other_end_is_gone);
        tcase_add_test(all, test_keeps_the_order_when_the_other_end_is_slow);
        tcase_add_test(all, test_refuses_when_its_queue_is_full);
        tcase_add_test(all, test_takes_short_packets_for_longer_when_its_queue_is_full);
        tcase_add_test(all, test_refuses_when_a_packet_is_empty_or_too_long);
        tcase_add_loop_test(all, test_carries_whole_what_is_longer_than_the_socket_takes, 0, 4);
        tcase_add_test(all, test_takes_a_packet_of_any_length_when_its_queue_is_empty);
        tcase_add_test(all, test_drops_what_is_unfinished_when_something_else_comes);
        tcase_add_test(all, test_keeps_no_more_than_its_limit_when_pieces_never_end);
        tcase_add_test(all, test_closes_a_descriptor_that_comes_with_a_piece);
        tcase_add_test(all, test_ends_when_a_packet_is_longer_than_any_of_ours);
        tcase_add_test(all, test_waits_until_all_is_sent_when_it_is_flushed);
        tcase_add_test(all, test_gives_up_a_flush_when_nobody_reads);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
