/* What a hostile agent may write to its stdout: lines however cut, JSON, JSON-RPC, ids. The first byte says in which
 * pieces the rest is read. */
#include "common/json/json_skim.h"
#include "worker/runtime/jsonrpc_pending.h"
#include "worker/runtime/line_reader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINE_BYTES 4096
#define DEPTH 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The message under another id: still the same kind, and all the rest of it as it was. */
static void exchange(const struct jsonrpc *message, struct json_raw id)
{
        struct jsonrpc again;
        struct json_error error;
        size_t len, tail = (size_t)(message->text.text + message->text.len - message->id.text) - message->id.len;
        char *text = jsonrpc_with_id(message, id, &len);

        assert(text && len == message->text.len - message->id.len + id.len);
        assert(json_raw_check(text, len, DEPTH, &error) == 0);
        jsonrpc_read(text, len, &again);
        assert(again.kind == message->kind && again.id.len == id.len);
        assert(memcmp(text + len - tail, message->id.text + message->id.len, tail) == 0);
        free(text);
}

/* An answer to a request of ours gets the client's id back. */
static void take_response(struct jsonrpc_pending *pending, const struct jsonrpc *message)
{
        struct jsonrpc_request request;
        uint64_t number;

        if (jsonrpc_number(message->id, &number) < 0 || jsonrpc_pending_take(pending, number, &request) < 0)
                return;
        exchange(message, json_raw_of(request.id));
        jsonrpc_request_done(&request);
}

/* A request is handed on under a number of ours, and its id waits. */
static void take_request(struct jsonrpc_pending *pending, const struct jsonrpc *message)
{
        struct jsonrpc_request *request;

        if (jsonrpc_pending_add(pending, 1, &request) < 0)
                return;
        request->id = strndup(message->id.text, message->id.len);
        request->client = strdup("");
        assert(request->id && request->client);
        assert(jsonrpc_pending_find_client(pending, "", message->id) == request);
        exchange(message, json_raw_of("17"));
}

static void take_line(struct jsonrpc_pending *pending, const char *line, size_t len)
{
        struct json_skim skim = { 0 };
        struct json_error error;
        struct jsonrpc message;
        struct json_raw named;

        json_skim(&skim, line, len);
        if (json_raw_check(line, len, DEPTH, &error) < 0)
                return;
        jsonrpc_read(line, len, &message);
        if (message.kind == JSONRPC_REQUEST)
                take_request(pending, &message);
        else if (message.kind == JSONRPC_RESPONSE)
                take_response(pending, &message);
        else if (message.kind == JSONRPC_NOTIFICATION)
                jsonrpc_named(&message, "x/cancel", &named);
        else
                assert(message.why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct jsonrpc_pending pending;
        struct line_reader reader;
        size_t piece, n, len;
        const char *line;
        int r = 0;

        if (size == 0)
                return 0;
        piece = (data[0] & 127) + 1u;
        jsonrpc_pending_init(&pending);
        line_reader_init(&reader, data[0] & 128 ? 16 : MAX_LINE_BYTES);
        for (size_t at = 1; at < size && r == 0; at += n) {
                n = size - at < piece ? size - at : piece;
                line_reader_push(&reader, (const char *)data + at, n);
                while ((r = line_reader_next(&reader, &line, &len)) > 0) {
                        assert(len <= MAX_LINE_BYTES && !memchr(line, '\n', len));
                        take_line(&pending, line, len);
                }
        }
        line_reader_done(&reader);
        jsonrpc_pending_done(&pending);
        return 0;
}
