/* Messages to agents that wait for their answer: one command each, a deadline each, an execution recorded for each. Those
 * to an agent that is on its way (a restart, a rollout, a lost worker) wait here until it runs. */
#ifndef MASTER_CONTROL_MESSAGES_H
#define MASTER_CONTROL_MESSAGES_H
#include "master/control/context.h"
#include "master/control/message.h"
#include "registry/core/agent.h"

struct messages *messages_new(struct master *master);
struct messages *messages_free(struct messages *messages); /* what waits gets MESSAGE_FAILED */
/* Hands text, a JSON-RPC message of client's, to an agent that runs, or is on its way (agent_comes). A request: cb follows
 * once, and until then *ret_message may be cancelled; a notification: cb is NULL. 0; -EAGAIN: too many wait, or too much for
 * its worker; -EMSGSIZE: longer than CHANNEL_LONGEST; -EPIPE, -ENOENT: no way to its worker; -ENOMEM. text is borrowed. */
int messages_send(struct messages *messages, struct agent *agent, char *text, char *client, int64_t timeout_ms,
        message_cb cb, void *arg, struct message **ret_message);
/* Nobody waits for it any more: the agent is told, cb is called with MESSAGE_FAILED. */
void messages_cancel(struct message *message, const char *why);
/* ANSWER and MESSAGE_FAILED from master:<id>:replies. */
void messages_reply(struct messages *messages, const struct reply *reply);
/* The agent has ended, and that may be known before the answers that it gave until then: they come by other ways. What was
 * given to it fails with why unless an answer comes within grace_ms. */
void messages_agent_gone(struct messages *messages, const struct id *agent_id, int64_t grace_ms, const char *why);
/* A worker that lives tells of each message of an agent that ended; what it does not tell in this time got lost. */
#define MESSAGES_GRACE_TOLD_MS 2000
/* A worker that died tells nothing more: what it said is to be read only. */
#define MESSAGES_GRACE_READ_MS 200
/* The agent started, or it will not: what waits for that is given to it, or refused. */
void messages_agent_changed(struct messages *messages, struct agent *agent);
/* Its pool forgets the agent: nothing will come of what waits. */
void messages_agent_forgotten(struct messages *messages, const struct id *agent_id, const char *why);
/* Everything ends: no agent starts any more. */
void messages_close(struct messages *messages);
/* For those that another master goes on with: a note of each, for messages_resume there. */
void messages_each(const struct messages *messages, void (*tell)(void *arg, const char *note));
/* The notifications that wait for their agent's start, for messages_take_notification there. */
void messages_each_notification(const struct messages *messages, void (*tell)(void *arg, const char *data, size_t len), void *arg);
/* Frees all; nobody hears of it. NULL is fine; returns NULL. */
struct messages *messages_drop(struct messages *messages);
/* A message that an earlier master sent: as messages_send, but that it is not sent again, unless it still waited for its
 * agent's start. Should cb be called at once, *ret_message is left alone. -EPROTO: that is no note. */
int messages_resume(struct messages *messages, struct agent *agent, const char *note, char *text, char *client, message_cb cb,
        void *arg, struct message **ret_message);
/* A notification that an earlier master held. What cannot be delivered any more is logged. 0; -EPROTO: that is none. */
int messages_take_notification(struct messages *messages, const char *data, size_t len);
#define MESSAGES_AGENT_ENDED "the agent ended while it worked on it"
/* Until then answers that nobody waits for are kept: messages_resume may come later. */
void messages_settled(struct messages *messages);
unsigned messages_waiting(const struct messages *messages);
#endif
