/* Who listens to events, with a stand-in for the HTTP layer. */
#include "master/control/streams.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_stream {
        void (*on_gone)(void *arg);
        void *arg;
        unsigned events;
        char last[64];
        bool closed;
};
static struct http_stream made[4];
static unsigned made_count;
static bool client_gone;

struct http_stream *http_answer_stream(struct http_request *request, void (*on_gone)(void *arg), void *arg)
{
        struct http_stream *stream = &made[made_count];

        (void)request;
        if (client_gone)
                return NULL;
        made_count++;
        *stream = (struct http_stream){ .on_gone = on_gone, .arg = arg };
        return stream;
}

int http_stream_event(struct http_stream *stream, const char *event, const char *data, size_t len)
{
        ck_assert_ptr_nonnull(stream);
        ck_assert_uint_eq(len, strlen(data));
        stream->events++;
        snprintf(stream->last, sizeof stream->last, "%s %s", event, data);
        return 0;
}

void http_stream_close(struct http_stream *stream)
{
        ck_assert_ptr_nonnull(stream);
        stream->closed = true;
}

void http_answer_problem(struct http_request *request, int status, const char *format, ...)
{
        (void)request;
        ck_abort_msg("answered %d %s", status, format);
}

static const struct id everyone;
static struct streams *streams;

static void setup(void)
{
        made_count = 0;
        client_gone = false;
        streams = streams_new();
        ck_assert_ptr_nonnull(streams);
}

static void teardown(void)
{
        streams = streams_free(streams);
}

START_TEST(test_tells_each_what_it_listens_to_when_something_happens)
{
        struct id mine = id_new(), other = id_new();

        streams_add(streams, NULL, &everyone, "a");
        streams_add(streams, NULL, &mine, "a");
        streams_event(streams, "agent_spawned", &mine, "{1}");
        streams_event(streams, "agent_spawned", &other, "{2}");
        streams_event(streams, "worker_started", &everyone, "{3}");
        streams_emitted(streams, &mine, NULL, "{4}");
        streams_emitted(streams, &other, NULL, "{5}");
        ck_assert_uint_eq(made[0].events, 3);
        ck_assert_str_eq(made[0].last, "worker_started {3}");
        ck_assert_uint_eq(made[1].events, 2);
        ck_assert_str_eq(made[1].last, "message {4}");
}
END_TEST

START_TEST(test_forgets_a_listener_when_it_is_gone)
{
        streams_add(streams, NULL, &everyone, "a");
        streams_add(streams, NULL, &everyone, "a");
        made[0].on_gone(made[0].arg);
        streams_event(streams, "worker_started", &everyone, "{}");
        ck_assert_uint_eq(made[0].events, 0);
        ck_assert_uint_eq(made[1].events, 1);
        streams = streams_free(streams);
        ck_assert(!made[0].closed);
        ck_assert(made[1].closed);
}
END_TEST

START_TEST(test_keeps_no_listener_when_its_stream_was_never_made)
{
        client_gone = true;
        streams_add(streams, NULL, &everyone, "a");
        streams_event(streams, "worker_started", &everyone, "{}");
        streams = streams_free(streams);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("streams");
        TCase *all = tcase_create("all");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_checked_fixture(all, setup, teardown);
        tcase_set_timeout(all, 60);
        tcase_add_test(all, test_tells_each_what_it_listens_to_when_something_happens);
        tcase_add_test(all, test_forgets_a_listener_when_it_is_gone);
        tcase_add_test(all, test_keeps_no_listener_when_its_stream_was_never_made);
        suite_add_tcase(suite, all);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
