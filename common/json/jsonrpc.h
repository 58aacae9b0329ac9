/* JSON-RPC 2.0 messages as the bytes they came in: what one is, where its members are, and the same with another id.
 * Everything inside params, result and error is somebody else's. Pure. Source: jsonrpc.org/specification. */
#ifndef COMMON_JSON_JSONRPC_H
#define COMMON_JSON_JSONRPC_H
#include "common/json/json_raw.h"

#define JSONRPC_INVALID_PARAMS (-32602)
#define JSONRPC_METHOD_NOT_FOUND (-32601)
/* A pool's max_depth counts inside params, result and error. */
#define JSONRPC_ENVELOPE_DEPTH 1

enum jsonrpc_kind {
        JSONRPC_INVALID = 1,
        JSONRPC_REQUEST,
        JSONRPC_NOTIFICATION,
        JSONRPC_RESPONSE,
        JSONRPC_KIND_COUNT
};

/* Borrows the text. */
struct jsonrpc {
        enum jsonrpc_kind kind;
        const char *why; /* JSONRPC_INVALID: why, in words */
        struct json_raw text, version, id, method, params, result, error;
};

/* text was accepted by json_raw_check. Batches are invalid. Members of these names are there once at most. */
void jsonrpc_read(const char *text, size_t len, struct jsonrpc *ret_message);
/* The number that an id is (1, 1.0, 1e0): 0, or -EINVAL when it is none from 1 to 2^53. */
int jsonrpc_number(struct json_raw id, uint64_t *ret_number);

/* What of the other side a notification names in its params. */
enum jsonrpc_named {
        JSONRPC_NAMES_NOTHING = 1,
        JSONRPC_NAMES_REQUEST, /* the one that is to be cancelled */
        JSONRPC_NAMES_TOKEN,   /* that of the request whose progress it tells */
};
/* *ret_value is absent when its method should name something, but params do not, or more than once. cancel_method is the
 * pool's own way to cancel, beside those that are known everywhere; what else it may mean is left to client and agent. */
enum jsonrpc_named jsonrpc_named(const struct jsonrpc *message, const char *cancel_method, struct json_raw *ret_value);
/* The member of params in which a method names the request to be cancelled. */
const char *jsonrpc_cancel_member(const char *method);
/* params._meta.progressToken of a request, a string or a number; else absent. */
struct json_raw jsonrpc_token(const struct jsonrpc *request);

/* Messages as text of one line, the caller's to free(); NULL when out of memory. */
char *jsonrpc_with_id(const struct jsonrpc *message, struct json_raw id, size_t *ret_len);
char *jsonrpc_result(struct json_raw result, struct json_raw id);
char *jsonrpc_error(int code, const char *message, struct json_raw id);
char *jsonrpc_call(uint64_t id, const char *method, struct json_raw params); /* id 0: a notification */
#endif
