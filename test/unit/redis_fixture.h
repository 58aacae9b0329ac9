/* A private redis-server for tests: a unix socket in a directory of its own, dies with the test's process. */
#ifndef TEST_REDIS_FIXTURE_H
#define TEST_REDIS_FIXTURE_H
#include "common/clock.h"
#include "registry/redis/redis_url.h"

#include <check.h>
#include <event2/event.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIXTURE_PATIENCE_MS 30000 /* a condition that takes longer never comes */

struct redis_fixture {
        char dir[32];
        char socket[64];
        char *args[16];        /* of redis-server, after the fixture's own */
        unsigned arg_count;
        pid_t pid;             /* 0: does not run */
        redisContext *context; /* of redis_fixture_command */
};

/* Runs the loop until the condition holds. */
#define LOOP_UNTIL(base, condition)                                                                          \
        do {                                                                                                 \
                int64_t end_ = clock_mono_ms() + FIXTURE_PATIENCE_MS;                                        \
                while (!(condition)) {                                                                       \
                        struct timeval tick_ = { 0, 5000 };                                                  \
                        ck_assert_msg(clock_mono_ms() < end_, "still not: " #condition);                     \
                        event_base_loopexit((base), &tick_);                                                 \
                        event_base_loop((base), EVLOOP_ONCE);                                                \
                }                                                                                            \
        } while (0)

__attribute__((unused)) static void redis_fixture_init(struct redis_fixture *f)
{
        signal(SIGPIPE, SIG_IGN);
        *f = (struct redis_fixture){ .dir = "/tmp/agentpool-redis-XXXXXX" };
        ck_assert_ptr_nonnull(mkdtemp(f->dir));
        snprintf(f->socket, sizeof f->socket, "%s/redis.sock", f->dir);
}

/* An option for the starts that follow: redis_fixture_option(f, "--requirepass"), then its value. Not copied. */
__attribute__((unused)) static void redis_fixture_option(struct redis_fixture *f, const char *option)
{
        ck_assert_uint_lt(f->arg_count, 16);
        f->args[f->arg_count++] = (char *)(uintptr_t)option;
}

__attribute__((unused)) static void redis_fixture_start(struct redis_fixture *f)
{
        const char *argv[40] = { "redis-server", "--port", "0", "--unixsocket", f->socket, "--dir", f->dir, "--save", "",
                "--appendonly", "no", "--loglevel", "warning", "--logfile", "redis.log", "--maxclients", "100" };
        int64_t end = clock_mono_ms() + FIXTURE_PATIENCE_MS;
        unsigned n = 17;
        redisContext *context;

        for (unsigned i = 0; i < f->arg_count; i++)
                argv[n++] = f->args[i];
        f->pid = fork();
        ck_assert_int_ge(f->pid, 0);
        if (f->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                execvp("redis-server", (char **)(uintptr_t)argv);
                _exit(127);
        }
        for (;;) { /* it listens once it is ready */
                context = redisConnectUnix(f->socket);
                if (context && !context->err)
                        break;
                redisFree(context);
                ck_assert_msg(clock_mono_ms() < end, "redis-server does not start, see %s/redis.log", f->dir);
                ck_assert_int_eq(waitpid(f->pid, NULL, WNOHANG), 0);
                usleep(2000);
        }
        redisFree(context);
}

__attribute__((unused)) static void redis_fixture_kill(struct redis_fixture *f)
{
        if (f->context)
                redisFree(f->context);
        f->context = NULL;
        if (f->pid <= 0)
                return;
        kill(f->pid, SIGKILL);
        waitpid(f->pid, NULL, 0);
        f->pid = 0;
        unlink(f->socket);
}

__attribute__((unused)) static void redis_fixture_done(struct redis_fixture *f)
{
        char path[64];

        redis_fixture_kill(f);
        snprintf(path, sizeof path, "%s/redis.log", f->dir);
        unlink(path);
        ck_assert_int_eq(rmdir(f->dir), 0);
}

__attribute__((unused)) static struct redis_url redis_fixture_url(struct redis_fixture *f)
{
        return (struct redis_url){ .path = f->socket };
}

/* Asks the server directly; freeReplyObject. An error answer fails the test. */
__attribute__((unused, format(printf, 2, 3))) static redisReply *redis_fixture_command(struct redis_fixture *f,
        const char *format, ...)
{
        redisReply *reply;
        va_list args;

        if (!f->context)
                f->context = redisConnectUnix(f->socket);
        ck_assert(f->context && !f->context->err);
        va_start(args, format);
        reply = redisvCommand(f->context, format, args);
        va_end(args);
        ck_assert_msg(reply != NULL, "%s", f->context->errstr);
        ck_assert_msg(reply->type != REDIS_REPLY_ERROR, "%s: %s", format, reply->str);
        return reply;
}

/* The integer answer, or -1 for nil. */
#define REDIS_INTEGER(f, ...) redis_fixture_integer(redis_fixture_command((f), __VA_ARGS__))
__attribute__((unused)) static long long redis_fixture_integer(redisReply *take_reply)
{
        long long value = take_reply->type == REDIS_REPLY_INTEGER ? take_reply->integer
                : take_reply->str                                 ? strtoll(take_reply->str, NULL, 10)
                                                                  : -1;

        freeReplyObject(take_reply);
        return value;
}

/* The text answer in a static buffer, "(nil)" for nil. */
#define REDIS_TEXT(f, ...) redis_fixture_text(redis_fixture_command((f), __VA_ARGS__))
__attribute__((unused)) static const char *redis_fixture_text(redisReply *take_reply)
{
        static char texts[4][4096];
        static unsigned next;
        char *text = texts[next++ % 4];

        snprintf(text, sizeof texts[0], "%s", take_reply->str ? take_reply->str : "(nil)");
        freeReplyObject(take_reply);
        return text;
}
#endif
