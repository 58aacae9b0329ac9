/* What becomes of a message to an agent. */
#ifndef MASTER_CONTROL_MESSAGE_H
#define MASTER_CONTROL_MESSAGE_H

enum message_result {
        MESSAGE_ANSWERED = 1, /* message is the agent's JSON-RPC response */
        MESSAGE_FAILED,       /* detail says why none comes */
        MESSAGE_TIMEOUT,
        MESSAGE_REFUSED,      /* the agent that it waited for will not run; detail says why */
};
struct message;
typedef void (*message_cb)(void *arg, enum message_result result, const char *message, const char *detail);
#endif
