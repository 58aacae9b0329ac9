/* What a master that retires leaves of a request with several agents to the one that goes on with it: for each which agent
 * it is, and by when the client is answered. */
#ifndef MASTER_CONTROL_BEGUN_H
#define MASTER_CONTROL_BEGUN_H
#include "common/id.h"
#include "master/http/http.h"

#include <stdint.h>

struct begun {
        struct id agent_id; /* zero: nothing was begun */
        int64_t answer_by;  /* mono ms; 0: no time is set */
};

/* tell says it of each of count. Should there be no memory for it, the request is begun anew there. */
void begun_leave(struct http_request *request, size_t count, struct begun (*tell)(const void *arg, size_t index), const void *arg);
/* What an earlier master left of one. False: none did, or it had not begun it. */
bool begun_read(const struct http_request *request, size_t index, struct begun *ret_begun);
#endif
