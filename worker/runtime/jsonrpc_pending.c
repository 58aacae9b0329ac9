#include "worker/runtime/jsonrpc_pending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_SIZE_MIN 8
/* A table that grew beyond this gives its memory back when it is empty. */
#define PENDING_SIZE_KEPT 16

void jsonrpc_request_done(struct jsonrpc_request *request)
{
        free(request->client);
        free(request->id);
        free(request->token);
        *request = (struct jsonrpc_request){ 0 };
}

void jsonrpc_pending_init(struct jsonrpc_pending *pending)
{
        *pending = (struct jsonrpc_pending){ .earliest = INT64_MAX };
}

void jsonrpc_pending_done(struct jsonrpc_pending *pending)
{
        for (unsigned i = 0; i < pending->size; i++)
                jsonrpc_request_done(&pending->requests[i]);
        free(pending->requests);
        jsonrpc_pending_init(pending);
}

static struct jsonrpc_request *place(const struct jsonrpc_pending *pending, uint64_t number)
{
        return &pending->requests[number & (pending->size - 1)];
}

/* Numbers that differ modulo size differ modulo 2 * size, so each finds its new place free. */
static int grow(struct jsonrpc_pending *pending)
{
        struct jsonrpc_pending grown = *pending;

        grown.size = pending->size > 0 ? pending->size * 2 : PENDING_SIZE_MIN;
        grown.requests = calloc(grown.size, sizeof *grown.requests);
        if (!grown.requests)
                return -ENOMEM;
        for (unsigned i = 0; i < pending->size; i++)
                if (pending->requests[i].number > 0)
                        *place(&grown, pending->requests[i].number) = pending->requests[i];
        free(pending->requests);
        *pending = grown;
        return 0;
}

static void take(struct jsonrpc_pending *pending, struct jsonrpc_request *request, struct jsonrpc_request *ret_request)
{
        *ret_request = *request;
        *request = (struct jsonrpc_request){ 0 };
        pending->given_up -= ret_request->given_up;
        if (--pending->count > 0)
                return;
        pending->earliest = INT64_MAX;
        if (pending->size > PENDING_SIZE_KEPT) {
                free(pending->requests);
                pending->requests = NULL;
                pending->size = 0;
        }
}

/* The table is full: what nobody waits for any more makes room. */
static void make_room(struct jsonrpc_pending *pending)
{
        struct jsonrpc_request request;

        for (unsigned i = 0; i < pending->size; i++) {
                if (pending->requests[i].number == 0 || !pending->requests[i].given_up)
                        continue;
                take(pending, &pending->requests[i], &request);
                jsonrpc_request_done(&request);
                return;
        }
}

int jsonrpc_pending_add(struct jsonrpc_pending *pending, int64_t deadline, struct jsonrpc_request **ret_request)
{
        struct jsonrpc_request *request;
        int r;

        if (pending->count == JSONRPC_PENDING_MAX)
                make_room(pending);
        if (pending->count == JSONRPC_PENDING_MAX)
                return -EAGAIN;
        if ((pending->count + 1) * 2 > pending->size) {
                r = grow(pending);
                if (r < 0)
                        return r;
        }
        do {
                request = place(pending, ++pending->last);
        } while (request->number > 0);
        *request = (struct jsonrpc_request){ .number = pending->last, .deadline = deadline };
        pending->count++;
        if (deadline < pending->earliest)
                pending->earliest = deadline;
        *ret_request = request;
        return 0;
}

int jsonrpc_pending_take(struct jsonrpc_pending *pending, uint64_t number, struct jsonrpc_request *ret_request)
{
        struct jsonrpc_request *request;

        if (pending->count == 0 || number == 0)
                return -ENOENT;
        request = place(pending, number);
        if (request->number != number)
                return -ENOENT;
        take(pending, request, ret_request);
        return 0;
}

struct jsonrpc_request *jsonrpc_pending_find(const struct jsonrpc_pending *pending, uint64_t number)
{
        struct jsonrpc_request *request = pending->count > 0 && number > 0 ? place(pending, number) : NULL;

        return request && request->number == number ? request : NULL;
}

struct jsonrpc_request *jsonrpc_pending_find_command(const struct jsonrpc_pending *pending, const struct id *command_id)
{
        for (unsigned i = 0; i < pending->size; i++)
                if (pending->requests[i].number > 0 && id_equal(&pending->requests[i].command_id, command_id))
                        return &pending->requests[i];
        return NULL;
}

struct jsonrpc_request *jsonrpc_pending_find_client(const struct jsonrpc_pending *pending, const char *client,
        struct json_raw id)
{
        struct jsonrpc_request *found = NULL;

        for (unsigned i = 0; i < pending->size; i++) {
                struct jsonrpc_request *request = &pending->requests[i];

                if (request->number == 0 || !request->client || strcmp(request->client, client) != 0 ||
                        !json_raw_same(json_raw_of(request->id), id))
                        continue;
                if (!found || request->number > found->number)
                        found = request; /* an id used again: the last one is meant */
        }
        return found;
}

void jsonrpc_pending_give_up(struct jsonrpc_pending *pending, struct jsonrpc_request *request, int64_t deadline)
{
        pending->given_up += !request->given_up;
        request->given_up = true;
        request->deadline = deadline;
        if (deadline < pending->earliest)
                pending->earliest = deadline;
}

struct jsonrpc_request *jsonrpc_pending_due(struct jsonrpc_pending *pending, int64_t now)
{
        int64_t earliest = INT64_MAX;

        if (pending->count == 0 || pending->earliest > now)
                return NULL;
        for (unsigned i = 0; i < pending->size; i++) {
                struct jsonrpc_request *request = place(pending, pending->cursor + i);

                if (request->number == 0)
                        continue;
                if (request->deadline <= now) {
                        pending->cursor += i;
                        return request;
                }
                if (request->deadline < earliest)
                        earliest = request->deadline;
        }
        pending->earliest = earliest;
        return NULL;
}

int jsonrpc_pending_expire(struct jsonrpc_pending *pending, int64_t now, struct jsonrpc_request *ret_request)
{
        struct jsonrpc_request *request = jsonrpc_pending_due(pending, now);

        if (!request)
                return -ENOENT;
        take(pending, request, ret_request);
        return 0;
}
