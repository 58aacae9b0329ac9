/* What master and worker say on the worker's control socket: one compact JSON object per packet, {"type": "…", …}.
 * It works when Redis does not, and its end is the end of the other side. */
#ifndef REGISTRY_PROTOCOL_CONTROL_H
#define REGISTRY_PROTOCOL_CONTROL_H
#include "registry/protocol/command.h"
#include "registry/protocol/hosted.h"
#include "registry/protocol/usage.h"

enum control_type {
        /* master to worker */
        CONTROL_WELCOME = 1, /* settings: sent once to a new worker, again by each new master -> HOSTED…, READY | FAILED */
        CONTROL_COMMAND,     /* a command envelope, acted on as if it came by its channel */
        CONTROL_STOP,        /* number: enum control_stop; drain_ms: what agents have for their answers, at most */
        CONTROL_PING,        /* number                               -> PONG with the same number */
        CONTROL_REOPEN_LOGS,
        CONTROL_REGISTRY,    /* up, generation: let go of the registry -> HOSTED…, READY; or use it (again) -> the same,
                                once registered */
        CONTROL_USAGE,       /* number: what do its programs use?    -> USED… with the same number */
        /* worker to master */
        CONTROL_HOSTED,      /* hosted: agents it runs, in portions, before READY */
        CONTROL_READY,       /* takes agents, number of them; generation: of the last WELCOME or REGISTRY. When that said up:
                                subscribed and registered; else nothing comes by the registry any more. away: it had let go
                                of it before this WELCOME */
        CONTROL_FAILED,      /* reason: cannot serve its pool; it exits */
        CONTROL_PONG,        /* number, rss_bytes, cpu_ms: its own figures */
        CONTROL_REPLY,       /* a reply envelope: any while the registry is let go of, else what could not be published */
        CONTROL_USED,        /* used: in portions; more: another follows */
        CONTROL_LINE,        /* agent_id, number (wall ms), line: printed by an agent; from a worker that may not write its file */
        CONTROL_REFUSED,     /* reason, generation: the registry does not serve this worker */
        CONTROL_TYPE_COUNT
};

enum control_stop {
        CONTROL_STOP_DRAIN = 0, /* take no new agents, exit when empty */
        CONTROL_STOP_END,       /* end the agents gracefully, then exit */
        CONTROL_STOP_NOW,       /* kill the agents, then exit */
};

#define CONTROL_OVERHEAD (1024 * 1024) /* the longest that a worker says beside a line of an agent; a portion, for one */

struct control_used {
        struct id agent_id;
        uint64_t epoch;
        struct usage usage;
};

struct control {
        enum control_type type;
        int64_t number;
        int64_t drain_ms;           /* STOP */
        uint64_t generation;        /* REGISTRY, READY, REFUSED: exact in JSON */
        bool up, away;              /* REGISTRY; READY */
        struct id agent_id;         /* LINE */
        uint64_t rss_bytes, cpu_ms; /* PONG */
        char *line;                 /* LINE */
        char *reason;               /* FAILED, REFUSED */
        cJSON *settings;            /* WELCOME: see worker/welcome.c */
        struct command command;     /* COMMAND */
        struct reply reply;         /* REPLY */
        struct hosted_agent *hosted; /* HOSTED */
        size_t hosted_count;
        struct control_used *used;  /* USED */
        size_t used_count;
        bool more;
};

/* Compact text, the caller's to free(); NULL when out of memory. Borrows everything. Not of COMMAND and REPLY. */
char *control_encode(const struct control *control);
/* COMMAND or REPLY: envelope, as command_encode or reply_encode wrote it, goes in as the bytes that it is. Likewise. */
char *control_wrap(enum control_type type, const char *envelope);
/* 0, -EINVAL, -ENOMEM. control_done afterwards. */
int control_decode(const char *text, size_t len, struct control *ret_control);
void control_done(struct control *control);
#endif
