/* What a hostile agent may write to its stdout: lines however cut, JSON, JSON-RPC, ids. The first byte says in which
 * pieces the rest is read. */
#include "worker/jsonrpc.h"
#include "worker/line_reader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINE_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An answer to a request of ours gets the client's id back and must still be the same kind of message. */
static void take_response(struct jsonrpc_pending *pending, cJSON *message)
{
        struct jsonrpc_request request;
        const char *why;
        uint64_t number;

        if (jsonrpc_id_number(message, &number) < 0 || jsonrpc_pending_take(pending, number, &request) < 0)
                return;
        jsonrpc_id_restore(message, &request.client);
        assert(jsonrpc_classify(message, &why) == JSONRPC_RESPONSE);
}

/* A request is handed on under a number of ours, and its id waits. */
static void take_request(struct jsonrpc_pending *pending, cJSON *message)
{
        struct jsonrpc_request *request;
        const char *why;
        uint64_t number;

        if (jsonrpc_pending_add(pending, 1, &request) < 0)
                return;
        jsonrpc_id_rewrite(message, request->number, &request->client);
        assert(jsonrpc_id_number(message, &number) == 0 && number == request->number);
        assert(jsonrpc_classify(message, &why) == JSONRPC_REQUEST);
}

static void take_line(struct jsonrpc_pending *pending, const char *line, size_t len)
{
        struct json_error error;
        const char *why = NULL;
        cJSON *message, *again;
        char *text;

        if (json_parse(line, len, JSON_STRICT, &message, &error) < 0)
                return;
        switch (jsonrpc_classify(message, &why)) {
        case JSONRPC_REQUEST:
                take_request(pending, message);
                break;
        case JSONRPC_RESPONSE:
                take_response(pending, message);
                break;
        case JSONRPC_INVALID:
                assert(why);
                break;
        case JSONRPC_NOTIFICATION:
        case JSONRPC_KIND_COUNT:
                break;
        }
        text = json_print(message);
        assert(text && !strchr(text, '\n'));
        assert(json_parse(text, strlen(text), JSON_STRICT, &again, &error) == 0);
        cJSON_Delete(again);
        free(text);
        cJSON_Delete(message);
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
        line_reader_init(&reader, MAX_LINE_BYTES, data[0] & 128);
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
