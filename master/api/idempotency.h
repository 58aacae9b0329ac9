/* Idempotency-Key: the same key with the same body gets the first answer again and changes nothing; with another body
 * it is refused (422). Agents spawned under a key get ids derived from it, so a try that died half-way (with its master,
 * even) is taken up again, never doubled. */
#ifndef MASTER_API_IDEMPOTENCY_H
#define MASTER_API_IDEMPOTENCY_H
#include "common/id.h"
#include "master/control/context.h"
#include "master/http/http.h"

/* Without a key: run(request, arg) at once. With one: run follows when the key is recorded and new (or its first try was
 * never answered); else the request is answered here and drop(arg) called. scope: which operation. */
void idempotency_run(struct http_request *request, struct master *master, const char *scope,
        void (*run)(struct http_request *request, void *arg), void (*drop)(void *arg), void *arg);
/* The id of the index-th agent of this request: derived from its key. False, and *ret_id as it was, without a key. */
bool idempotency_agent_id(const struct http_request *request, size_t index, struct id *ret_id);
/* Before the answer of a request that ran: a success (2xx with its JSON body) is kept for repeats, anything else lets the
 * next try run again. Nothing without a key. */
void idempotency_answered(struct http_request *request, int status, const char *body);
#endif
