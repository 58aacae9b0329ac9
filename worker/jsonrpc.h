/* JSON-RPC 2.0 between a worker and its agents: what a message is, whose id it carries, which requests wait for an
 * answer. Clients choose ids as they like, so each request gets an id of ours that is unique within its agent, and the
 * client's own comes back into the answer. Pure: reads no clock. Source: jsonrpc.org/specification. */
#ifndef WORKER_JSONRPC_H
#define WORKER_JSONRPC_H
#include "common/id.h"
#include "common/json.h"

#define JSONRPC_PENDING_MAX 4096 /* requests of one agent that wait at the same time */
#define JSONRPC_INVALID_PARAMS (-32602)
#define JSONRPC_METHOD_NOT_FOUND (-32601)

enum jsonrpc_kind {
        JSONRPC_INVALID = 1,
        JSONRPC_REQUEST,
        JSONRPC_NOTIFICATION,
        JSONRPC_RESPONSE,
        JSONRPC_KIND_COUNT
};

/* What message is; for JSONRPC_INVALID *ret_why says why, in static words. Batches are invalid. */
enum jsonrpc_kind jsonrpc_classify(const cJSON *message, const char **ret_why);

/* An "id" member's value out of its message. {0}: none. Owned: jsonrpc_id_done. */
struct jsonrpc_id {
        int type; /* of cJSON */
        double number;
        char *text;
};
void jsonrpc_id_done(struct jsonrpc_id *id);
/* Puts number into the message's id and its old value into *ret_id. */
void jsonrpc_id_rewrite(cJSON *message, uint64_t number, struct jsonrpc_id *ret_id);
/* The other way: *take_id becomes the message's id. */
void jsonrpc_id_restore(cJSON *message, struct jsonrpc_id *take_id);
/* 0 and the number of a response's id, -EINVAL when it is none that jsonrpc_pending_add ever gave. */
int jsonrpc_id_number(const cJSON *message, uint64_t *ret_number);

/* Messages of our own; NULL when out of memory (take_ is consumed all the same). The id of a response is left as null
 * for jsonrpc_id_restore. params NULL: none. */
cJSON *jsonrpc_result(cJSON *take_result);
cJSON *jsonrpc_error(int code, const char *message);
cJSON *jsonrpc_call(uint64_t id, const char *method, cJSON *take_params); /* id 0: a notification */

struct jsonrpc_request {
        uint64_t number;          /* our id, from 1; 0: this place is free */
        struct id command_id;     /* whom to answer; zero: nobody, it was our own */
        struct jsonrpc_id client; /* the client's id */
        int64_t deadline;         /* mono ms */
};

/* The requests that wait for an agent's answer, each at place number % size. Holds no memory when new. */
struct jsonrpc_pending {
        struct jsonrpc_request *requests;
        unsigned size, count; /* size is a power of two, at least twice count */
        unsigned cursor;      /* where the search for what expired goes on */
        uint64_t last;        /* the number given last */
        int64_t earliest;     /* no deadline is before this; INT64_MAX when empty */
};

void jsonrpc_pending_init(struct jsonrpc_pending *pending);
void jsonrpc_pending_done(struct jsonrpc_pending *pending);
/* 0 and our number for it; -EAGAIN: JSONRPC_PENDING_MAX wait already; -ENOMEM. *ret_request is filled in by the caller
 * and valid until the next call. */
int jsonrpc_pending_add(struct jsonrpc_pending *pending, int64_t deadline, struct jsonrpc_request **ret_request);
/* Takes a request out; its client id is then the caller's. -ENOENT: none of that number waits. */
int jsonrpc_pending_take(struct jsonrpc_pending *pending, uint64_t number, struct jsonrpc_request *ret_request);
/* Takes any one out whose deadline is not after now (INT64_MAX: any at all). -ENOENT when there is none. */
int jsonrpc_pending_expire(struct jsonrpc_pending *pending, int64_t now, struct jsonrpc_request *ret_request);
#endif
