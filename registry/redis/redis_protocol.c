#include "registry/redis/redis_protocol.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_SIZE 16 /* room for "*<arguments>\r\n", which is known last */

static char *reserve(struct redis_command *command, size_t len)
{
        size_t size = command->size ? command->size : 512;
        char *buffer;

        if (command->failed)
                return NULL;
        if (!command->buffer)
                command->end = HEAD_SIZE;
        while (size < command->end + len)
                size *= 2;
        if (size != command->size) {
                buffer = realloc(command->buffer, size);
                if (!buffer) {
                        command->failed = true;
                        return NULL;
                }
                command->buffer = buffer;
                command->size = size;
        }
        return command->buffer + command->end;
}

void redis_command_add(struct redis_command *command, const void *data, size_t len)
{
        char *p = reserve(command, len + 32);
        int head;

        if (!p)
                return;
        head = snprintf(p, 32, "$%zu\r\n", len);
        p += head;
        if (len > 0)
                memcpy(p, data, len);
        p[len] = '\r';
        p[len + 1] = '\n';
        command->end += (size_t)head + len + 2;
        command->arguments++;
}

void redis_command_add_text(struct redis_command *command, const char *text)
{
        redis_command_add(command, text, text ? strlen(text) : 0);
}

void redis_command_add_integer(struct redis_command *command, int64_t value)
{
        char text[24];

        redis_command_add(command, text, (size_t)snprintf(text, sizeof text, "%" PRId64, value));
}

void redis_command_add_id(struct redis_command *command, const struct id *id)
{
        redis_command_add(command, ID_TEXT(id), ID_TEXT_SIZE - 1);
}

void redis_command_add_key(struct redis_command *command, const char *prefix, const char *name, const char *suffix)
{
        char text[128]; /* a pool's name has at most 64 bytes */
        int len = snprintf(text, sizeof text, "%s%s%s", prefix, name, suffix);

        if ((size_t)len >= sizeof text)
                command->failed = true;
        else
                redis_command_add(command, text, (size_t)len);
}

void redis_command_add_id_key(struct redis_command *command, const char *prefix, const struct id *id, const char *suffix)
{
        redis_command_add_key(command, prefix, ID_TEXT(id), suffix);
}

int redis_command_finish(struct redis_command *command)
{
        char head[HEAD_SIZE];
        size_t len = (size_t)snprintf(head, sizeof head, "*%u\r\n", command->arguments);

        if (command->failed)
                return -ENOMEM;
        command->start = HEAD_SIZE - len;
        memcpy(command->buffer + command->start, head, len);
        return 0;
}

int redis_command_words(struct redis_command *command, const char *const *words)
{
        for (; *words; words++)
                redis_command_add_text(command, *words);
        return redis_command_finish(command);
}

void redis_command_done(struct redis_command *command)
{
        free(command->buffer);
        *command = (struct redis_command){ 0 };
}

#if HIREDIS_MAJOR >= 1
redisReader *redis_reader_new(void)
{
        redisReader *reader = redisReaderCreate();

        if (reader)
                reader->maxelements = REDIS_ELEMENTS_MAX;
        return reader;
}
#else
static redisReplyObjectFunctions *plain; /* hiredis' own */
static redisReplyObjectFunctions bounded;

/* hiredis before 1.0.1 allocates whatever number of elements the server names. */
static void *create_array(const redisReadTask *task, int elements)
{
        return elements > REDIS_ELEMENTS_MAX ? NULL : plain->createArray(task, elements);
}

redisReader *redis_reader_new(void)
{
        redisReader *reader = redisReaderCreate();

        if (!reader)
                return NULL;
        if (!plain) {
                plain = reader->fn;
                bounded = *plain;
                bounded.createArray = create_array;
        }
        reader->fn = &bounded;
        return reader;
}
#endif

static bool begins(const redisReply *reply, const char *word)
{
        size_t len = strlen(word);

        return reply->len >= len && memcmp(reply->str, word, len) == 0;
}

int redis_reply_error(const redisReply *reply)
{
        static const struct {
                const char *word;
                int error;
        } known[] = {
                { "OOM ", -ENOSPC },      { "NOAUTH ", -EACCES },     { "WRONGPASS ", -EACCES }, { "NOPERM ", -EACCES },
                { "NOSCRIPT ", -ENOEXEC }, { "LOADING ", -EAGAIN },   { "BUSY ", -EAGAIN },      { "MASTERDOWN ", -EAGAIN },
                { "READONLY ", -EAGAIN }, { "NOREPLICAS ", -EAGAIN }, { "MISCONF ", -EAGAIN },   { "TRYAGAIN ", -EAGAIN },
                { "ERR invalid password", -EACCES }, /* Redis before 6 */
                { "ERR max number of clients", -EAGAIN },
                { "ERR Client sent AUTH", -EACCES },
                { "ERR AUTH ", -EACCES },
        };

        if (reply->type != REDIS_REPLY_ERROR)
                return 0;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
                if (begins(reply, known[i].word))
                        return known[i].error;
        return -EPROTO;
}

bool redis_reply_fatal(const redisReply *reply)
{
        return reply->type == REDIS_REPLY_ERROR
                && (begins(reply, "READONLY ") || begins(reply, "NOAUTH ") || begins(reply, "MASTERDOWN "));
}

bool redis_reply_is_message(const redisReply *reply)
{
        return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && reply->element[0]->type == REDIS_REPLY_STRING
                && strcmp(reply->element[0]->str, "message") == 0 && reply->element[2]->type == REDIS_REPLY_STRING;
}
