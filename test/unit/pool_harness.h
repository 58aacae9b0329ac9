/* One pool under test: events go in by short functions, what it asks for is kept as letters and copies.
 * i e s d: store insert, epoch, state, delete   r S l v: reserve, send, release, evict   F D H K R: fork, drain, shutdown,
 * kill, reap   A: answer   a w: forget agent, worker. Events for people are kept apart. */
#ifndef TEST_UNIT_POOL_HARNESS_H
#define TEST_UNIT_POOL_HARNESS_H
#include "registry/core/pool.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 64
struct shown {
        char letter;
        struct id agent_id, process_id;
        uint64_t epoch;
        enum agent_state state;
        void *waiter;
        enum pool_error error;
        char detail[192];
};

static struct pool_config config;
static struct pool *pool;
static int64_t now;
static struct shown shown[SHOWN];
static char letters[SHOWN + 1];
static char events[512]; /* names, each followed by a blank */
static struct id last_fork;

static inline void harness_setup(void)
{
        static char pool_name[] = "p", role_type[] = "r";

        now = 1000000;
        config = (struct pool_config){ .pool_name = pool_name, .role_type = role_type, .placement = POOL_PACK,
                .max_agents_per_worker = 2, .max_workers = 3, .queue_max = 5, .spawn_timeout_ms = 10000,
                .start_timeout_ms = 3000, .worker_start_timeout_ms = 4000, .stop_grace_ms = 1000, .kill_grace_ms = 1000,
                .worker_idle_timeout_ms = 60000,
                .restart = { .policy = POOL_PERMANENT, .intensity = 3, .period_seconds = 60, .delay_ms = 100,
                        .delay_max_ms = 1000, .healthy_seconds = 10 },
                .breaker = { .threshold = 3, .window_seconds = 60, .cooldown_seconds = 10, .auto_reset = true } };
        pool = pool_new(&config, 42, now);
        ck_assert_ptr_nonnull(pool);
}

static inline void harness_teardown(void)
{
        pool = pool_free(pool);
        ck_assert_ptr_null(pool);
}

/* Carries nothing out; returns the letters. */
static inline const char *acts(void)
{
        static const char alphabet[] = " iesdrSlvFDHKRA aw";
        struct pool_action action;
        unsigned count = 0;

        events[0] = '\0';
        while (pool_next_action(pool, &action)) {
                struct shown *s = &shown[count];

                if (action.type == POOL_EVENT) {
                        strcat(strcat(events, action.event), " ");
                        continue;
                }
                ck_assert_uint_lt(count, SHOWN);
                *s = (struct shown){ .letter = alphabet[action.type], .state = action.state, .waiter = action.waiter,
                        .error = action.error, .agent_id = action.agent ? action.agent->agent_id : action.agent_id,
                        .epoch = action.agent ? action.agent->epoch : action.epoch };
                strcpy(s->detail, action.detail);
                if (action.worker)
                        s->process_id = action.worker->process_id;
                if (action.type == POOL_FORK)
                        last_fork = action.worker->process_id;
                letters[count++] = s->letter;
        }
        letters[count] = '\0';
        return letters;
}

/* The first action with that letter in the last acts(). */
static inline const struct shown *act(char letter)
{
        const char *found = strchr(letters, letter);

        ck_assert_msg(found != NULL, "no %c in \"%s\"", letter, letters);
        return &shown[found - letters];
}

static inline void settle(void)
{
        pool_restored(pool, now);
}

static inline struct agent *agent_at(const struct id *id)
{
        struct agent *agent = pool_agent(pool, id);

        ck_assert_ptr_nonnull(agent);
        return agent;
}

static inline int try_spawn(void *waiter, struct id *ret_id, enum pool_error *ret_error, char detail[192])
{
        struct agent *agent = agent_new();
        int r;

        agent->waiter = waiter;
        *ret_id = agent->agent_id;
        r = pool_spawn(pool, agent, now, ret_error, detail);
        if (r < 0)
                agent_free(agent);
        return r;
}

static inline struct id spawn(void *waiter)
{
        enum pool_error error;
        char detail[192];
        struct id id;

        ck_assert_int_eq(try_spawn(waiter, &id, &error, detail), 0);
        return id;
}

static inline void stored(const struct id *id, int error)
{
        pool_stored(pool, id, agent_at(id)->epoch, error, now);
}

static inline void reserved(const struct id *id, const struct id *process)
{
        pool_reserved(pool, id, agent_at(id)->epoch, 0, process, now);
}

static inline void reply(enum reply_type type, const struct id *id, const struct id *process, uint64_t epoch, int code)
{
        struct reply reply = { .type = type, .agent_id = *id, .process_id = *process, .epoch = epoch,
                .detail = (char[]){ "no such file" }, .exit = { .code = code, .reason = "it ended" } };

        if (pool_agent(pool, id))
                reply.command_id = pool_agent(pool, id)->command_id;
        pool_reply(pool, &reply, now);
}

static inline void refused(const struct id *id, const struct id *process, uint64_t epoch)
{
        struct reply reply = { .type = REPLY_SPAWN_FAILED, .agent_id = *id, .process_id = *process, .epoch = epoch,
                .detail = (char[]){ "the worker is full" }, .refused = true };

        pool_reply(pool, &reply, now);
}

static inline void exhausted(const struct id *id, const struct id *process, uint64_t epoch)
{
        struct reply reply = { .type = REPLY_SPAWN_FAILED, .agent_id = *id, .process_id = *process, .epoch = epoch,
                .command_id = agent_at(id)->command_id, .detail = (char[]){ "no process for it" }, .exhausted = true };

        pool_reply(pool, &reply, now);
}

/* The fork just asked for comes up. */
static inline struct id worker_up(void)
{
        struct id process = last_fork;

        pool_worker_forked(pool, &process, 77, now);
        pool_worker_ready(pool, &process, NULL, 0, now);
        return process;
}

static inline struct id first_worker(void)
{
        config.min_workers = 1;
        settle();
        ck_assert_str_eq(acts(), "F");
        config.min_workers = 0;
        return worker_up();
}

/* Stored, placed and acknowledged: answered. */
static inline struct id running(const struct id *process)
{
        struct id id = spawn(NULL);

        acts();
        stored(&id, 0);
        reserved(&id, process);
        reply(REPLY_SPAWNED, &id, process, 1, 0);
        ck_assert_str_eq(acts(), "A");
        ck_assert_int_eq(agent_at(&id)->state, AGENT_IDLE);
        return id;
}

/* Time passes, deadline by deadline. */
static inline void wait_until(int64_t until)
{
        while (pool_next_deadline(pool) <= until) {
                now = pool_next_deadline(pool) > now ? pool_next_deadline(pool) : now;
                pool_tick(pool, now);
        }
        now = until;
}

static inline int run_suite(const char *name, void (*add)(TCase *tcase))
{
        Suite *suite = suite_create(name);
        TCase *tcase = tcase_create(name);
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(tcase, harness_setup, harness_teardown);
        tcase_set_timeout(tcase, 60);
        add(tcase);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
#endif
