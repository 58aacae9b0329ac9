/* What master and workers say to each other: JSON objects, the same on Redis channels and on control sockets. Each
 * command has an id; repeating one changes nothing. Encoders return compact text, the caller's to free(); NULL is ENOMEM. */
#ifndef REGISTRY_PROTOCOL_COMMAND_H
#define REGISTRY_PROTOCOL_COMMAND_H
#include "common/id.h"
#include "common/json/jsonrpc.h"
#include "common/trace.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A longer envelope takes the control socket, also while Redis is there: what Redis keeps for a subscriber is bounded
 * (client-output-buffer-limit), and one that reads slowly would be cut off. */
#define COMMAND_PUBLISHED_MAX (64 * 1024)
#define COMMAND_DEPTH_MAX (JSON_RAW_DEPTH_MAX + JSONRPC_ENVELOPE_DEPTH + 1) /* of an envelope with the deepest message */

enum command_type {
        COMMAND_SPAWN = 1, /* start the agent under this epoch */
        COMMAND_TERMINATE, /* end the agent */
        COMMAND_MESSAGE,   /* hand a JSON-RPC request or notification to the agent */
        COMMAND_CANCEL,    /* nobody waits for the answer to a message any more */
        COMMAND_DRAIN,     /* take no new agents, exit when empty */
        COMMAND_SHUTDOWN,  /* end all agents, then exit */
        COMMAND_TYPE_COUNT
};
enum reply_type {
        REPLY_SPAWNED = 1,   /* the agent runs */
        REPLY_SPAWN_FAILED,  /* it does not: detail says why; slot released */
        REPLY_EXITED,        /* it ran and ended: exit says how; slot released */
        REPLY_ANSWER,        /* a message's JSON-RPC answer */
        REPLY_MESSAGE_FAILED,/* detail says why there is no answer */
        REPLY_EVENT,         /* a notification that the agent emitted */
        REPLY_ACTIVITY,      /* what else there is to say of a running agent, with heartbeats */
        REPLY_TYPE_COUNT
};

/* How an agent's program ended. */
struct agent_exit {
        int code;           /* exit status, -1 when a signal ended it or it never ran */
        int signal;         /* 0 unless a signal ended it */
        bool exhausted;     /* it never ran: no process, descriptor or memory was left for it; in no record */
        char reason[160];   /* in words: "exit status 3", "killed by signal 9 (KILL)", "wrote a line over 1048576 bytes" */
};

struct command {
        enum command_type type;
        struct id command_id, agent_id, master_id; /* agent_id is zero for DRAIN and SHUTDOWN */
        uint64_t epoch;
        char *pool_name;
        /* SPAWN */
        char *role_type, *start_reason; /* "spawn", "restart", "worker_exited", "restore", "rollout" */
        char trace[TRACE_SIZE]; /* traceparent; "": none */
        struct id project_id;
        int64_t heartbeat_interval, max_idle_time; /* seconds */
        int64_t created_at;                        /* wall ms; of the agent, not of the command */
        int64_t restarts;
        cJSON *labels, *args;                      /* {string:string} or NULL */
        /* TERMINATE */
        bool graceful;
        /* MESSAGE */
        char *message;      /* JSON-RPC 2.0 as one line of text, any values; with "id": a request */
        char *client;       /* who sent it: the ids in it are that one's own */
        int64_t timeout_ms; /* the worker gives the request up after this */
        /* CANCEL */
        struct id message_id; /* command_id of the message */
        char *reason;
};

struct reply {
        enum reply_type type;
        struct id command_id, agent_id, process_id; /* command_id is zero for EXITED, EVENT and ACTIVITY */
        uint64_t epoch;
        char *detail;           /* SPAWN_FAILED, MESSAGE_FAILED */
        bool exhausted;         /* SPAWN_FAILED: as in struct agent_exit */
        bool refused;           /* SPAWN_FAILED: the worker did not try it (full, draining): another may */
        struct agent_exit exit; /* EXITED */
        char *message;          /* ANSWER, EVENT: JSON-RPC 2.0 as one line of text, any values */
        char *client;           /* EVENT: whom alone it is for; NULL: for all */
        /* ACTIVITY, since the last one */
        int64_t noise;          /* lines of its standard output that were no message */
        int64_t dropped;        /* notifications that were lost */
        bool unanswered;        /* it may work on requests that nobody waits for any more */
};

char *command_encode(const struct command *command);
/* 0, -EINVAL (not a command of ours, logged by the caller), -ENOMEM. *ret_command: command_done. */
int command_decode(const char *text, size_t len, struct command *ret_command);
void command_done(struct command *command);
const char *command_type_name(enum command_type type);

char *reply_encode(const struct reply *reply);
int reply_decode(const char *text, size_t len, struct reply *ret_reply);
void reply_done(struct reply *reply);
const char *reply_type_name(enum reply_type type);
#endif
