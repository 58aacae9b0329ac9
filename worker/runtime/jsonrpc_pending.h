/* The requests that wait for an agent's answer. Clients choose ids and progress tokens as they like, so each request gets
 * a number of ours that is unique within its agent's epoch and stands for both, and the client's own come back into what
 * the agent says of it. Pure: reads no clock. */
#ifndef WORKER_RUNTIME_JSONRPC_PENDING_H
#define WORKER_RUNTIME_JSONRPC_PENDING_H
#include "common/id.h"
#include "common/json/jsonrpc.h"

#define JSONRPC_PENDING_MAX 4096 /* requests of one agent that wait at the same time */

struct jsonrpc_request {
        uint64_t number;      /* our id, from 1; 0: this place is free */
        struct id command_id; /* whom to answer; zero: nobody, it was our own */
        char *client;         /* owned; who sent it: ids and tokens are its own; NULL: it was our own */
        char *id;             /* owned; the client's id, as it spelled it */
        char *token;          /* owned; its progress token, likewise; NULL: none */
        int64_t deadline;     /* mono ms */
        bool cancelled;       /* the agent was told so */
        bool given_up;        /* who asked was told that no answer comes: it is here only because the agent may work on it */
};
void jsonrpc_request_done(struct jsonrpc_request *request); /* frees what it owns */

/* Each at place number % size. Holds no memory when new. */
struct jsonrpc_pending {
        struct jsonrpc_request *requests;
        unsigned size, count; /* size is a power of two, at least twice count */
        unsigned given_up;    /* of count */
        unsigned cursor;      /* where the search for what expired goes on */
        uint64_t last;        /* the number given last */
        int64_t earliest;     /* no deadline is before this; INT64_MAX when empty */
};

void jsonrpc_pending_init(struct jsonrpc_pending *pending);
void jsonrpc_pending_done(struct jsonrpc_pending *pending);
/* 0 and our number for it; -EAGAIN: JSONRPC_PENDING_MAX wait already; -ENOMEM. *ret_request is filled in by the caller
 * and valid until the next call. */
int jsonrpc_pending_add(struct jsonrpc_pending *pending, int64_t deadline, struct jsonrpc_request **ret_request);
/* Takes a request out; it is then the caller's (jsonrpc_request_done). -ENOENT: none of that number waits. */
int jsonrpc_pending_take(struct jsonrpc_pending *pending, uint64_t number, struct jsonrpc_request *ret_request);
/* NULL: none. Valid until the next addition or taking. */
struct jsonrpc_request *jsonrpc_pending_find(const struct jsonrpc_pending *pending, uint64_t number);
struct jsonrpc_request *jsonrpc_pending_find_command(const struct jsonrpc_pending *pending, const struct id *command_id);
struct jsonrpc_request *jsonrpc_pending_find_client(const struct jsonrpc_pending *pending, const char *client,
        struct json_raw id);
/* It stays, given up, until deadline. */
void jsonrpc_pending_give_up(struct jsonrpc_pending *pending, struct jsonrpc_request *request, int64_t deadline);
/* Any one whose deadline is not after now (INT64_MAX: any at all); NULL when there is none. It stays. */
struct jsonrpc_request *jsonrpc_pending_due(struct jsonrpc_pending *pending, int64_t now);
/* The same, taken out. -ENOENT when there is none. */
int jsonrpc_pending_expire(struct jsonrpc_pending *pending, int64_t now, struct jsonrpc_request *ret_request);
#endif
