/* Redis' protocol (RESP2): commands going out, answers coming in with bounds on what a server may make us allocate. */
#ifndef REGISTRY_REDIS_REDIS_PROTOCOL_H
#define REGISTRY_REDIS_REDIS_PROTOCOL_H
#include "common/id.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDIS_ELEMENTS_MAX (1 << 20)    /* of one array in an answer */
#define REDIS_REPLY_MAX (64UL << 20)    /* bytes of one answer */

/* A command being put together. Begin with { 0 }; additions after a failure do nothing. */
struct redis_command {
        char *buffer;       /* owned; redis_command_done */
        size_t start, end;  /* the finished text within buffer */
        size_t size;
        unsigned arguments;
        bool failed;
};

void redis_command_add(struct redis_command *command, const void *data, size_t len);
void redis_command_add_text(struct redis_command *command, const char *text); /* NULL counts as "" */
void redis_command_add_integer(struct redis_command *command, int64_t value);
void redis_command_add_id(struct redis_command *command, const struct id *id);
/* "PREFIX<id>SUFFIX" and "PREFIX<name>SUFFIX", as keys and channels are called. */
void redis_command_add_id_key(struct redis_command *command, const char *prefix, const struct id *id, const char *suffix);
void redis_command_add_key(struct redis_command *command, const char *prefix, const char *name, const char *suffix);
/* Makes buffer[start..end) what goes to Redis. 0 or -ENOMEM. */
int redis_command_finish(struct redis_command *command);
/* A whole command of those words (NULL-terminated), finished. */
int redis_command_words(struct redis_command *command, const char *const *words);
void redis_command_done(struct redis_command *command);

/* A reader that refuses arrays over REDIS_ELEMENTS_MAX; redisReaderFree. NULL when out of memory. */
redisReader *redis_reader_new(void);

/* The errno an error answer stands for: -ENOSPC full, -EACCES password or rights, -EAGAIN a state that passes (loading,
 * failing over, no disk), -ENOEXEC script not loaded, else -EPROTO. 0 unless reply is an error. */
int redis_reply_error(const redisReply *reply);
/* True when the connection is of no use after this error: the server is a replica now, or took our rights away. */
bool redis_reply_fatal(const redisReply *reply);
/* ["message", channel, data]: an answer to nothing, so only what nobody could have asked for has this form. */
bool redis_reply_is_message(const redisReply *reply);
#endif
