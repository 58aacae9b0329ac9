/* What the files of master/control/messages*.c share; nobody else includes it. */
#ifndef MASTER_CONTROL_MESSAGES_INTERNAL_H
#define MASTER_CONTROL_MESSAGES_INTERNAL_H
#include "common/timer.h"
#include "master/control/context.h"
#include "master/control/message.h"
#include "registry/core/agent.h"
#include "registry/protocol/command.h"

#include <sys/queue.h>
#include <uthash.h>

#define MESSAGES_MAX 100000
/* The worker forgets a request this much later than we do, so that it is always we who say that time is over. */
#define MESSAGES_FORGET_MS 1000

struct message {
        struct id command_id;
        uint64_t epoch; /* the agent's */
        struct messages *messages;
        struct message_target *target;
        struct timer deadline;
        char *method;
        char *text;                /* owned: its command, while it waits for its agent's start; NULL: given to it */
        char *ended;               /* owned: why its agent ended; an answer from before that may still be on its way */
        int64_t answer_by;         /* mono ms */
        int64_t sent_wall, sent_us; /* wall ms, mono µs */
        message_cb cb;             /* NULL: a notification, which only waits for the start */
        void *arg;
        TAILQ_ENTRY(message) link; /* in its target: held while it has text, else waiting */
        UT_hash_handle hh;         /* by command_id */
};

/* An agent that works on messages, or will. */
struct message_target {
        struct id agent_id, project_id;
        char *pool_name;
        unsigned count;
        TAILQ_HEAD(, message) held, waiting; /* for its start, for its answers */
        UT_hash_handle hh; /* by agent_id */
};

/* An answer that came before the message that it belongs to. */
struct early {
        struct reply reply; /* owned: message, detail; the rest is not used */
        UT_hash_handle hh;  /* by reply.command_id */
};

struct messages {
        struct master *master;
        struct early *early;
        bool settled; /* whatever comes late comes too late */
        struct message *by_command;
        struct message_target *by_agent;
};

/* messages.c. NULL: it works on none. */
struct message_target *messages_target(const struct messages *messages, const struct id *agent_id);
/* Tells the pool's rules how many messages the agent works on. */
void messages_count_changed(struct messages *messages, const struct message_target *target);
/* A request's place among those that wait. NULL when out of memory. */
struct message *messages_enlist(struct messages *messages, struct agent *agent, const struct command *command,
        int64_t timeout_ms, message_cb cb, void *arg);
/* 0; as channel_send: neither Redis nor the control socket takes it; -ENOMEM. take_command is consumed even then. */
int messages_post(struct messages *messages, const struct agent *agent, const struct id *command_id, char *take_command);
/* Records it, frees it, and calls back. */
void message_finish(struct message *message, enum message_result result, const char *answer, const char *detail);
void message_free(struct message *message); /* without a word */
/* Its agent has ended: as messages_agent_gone. */
void message_ended(struct message *message, int64_t grace_ms, const char *why);

/* messages_resume.c. An answer whose message may still come. */
void messages_keep_early(struct messages *messages, const struct reply *reply);
#endif
