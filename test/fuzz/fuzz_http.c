/* libFuzzer over a connection's step function: the input is what a client sends. It goes in whole, then in pieces, and
 * the answers must be the same. Corpus: test/fuzz/corpus/http, plain requests. */
#include "master/http/http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTCOME_MAX 65536

static struct event_base *base;
static struct http_server *server;
static struct http_request *held;
static struct http_stream *stream;

static void handle_echo(struct http_request *request, void *arg)
{
        size_t len, i = 0;
        const char *body = http_request_body(request, &len), *name;

        (void)arg;
        if (body[len] != '\0' || len > (size_t)server->config.max_body_bytes)
                abort();
        while ((name = http_request_query_name(request, i++)))
                if (!http_request_query(request, name))
                        abort();
        http_answer(request, 200, "application/json", body, len);
}

static void handle_item(struct http_request *request, void *arg)
{
        const char *item = http_request_param(request, "item");

        (void)arg;
        http_answer_problem(request, 404, "no %s, said %s", item, http_request_header(request, "x-a"));
}

static void handle_later(struct http_request *request, void *arg)
{
        (void)arg;
        if (held)
                abort(); /* one request at a time */
        held = request;
}

static void on_gone(void *arg)
{
        (void)arg;
        stream = NULL;
}

static void handle_stream(struct http_request *request, void *arg)
{
        (void)arg;
        stream = http_answer_stream(request, on_gone, NULL);
        if (stream)
                http_stream_event(stream, "e", "a\r\nb", 4);
}

static const struct http_route routes[] = {
        { HTTP_GET, "/echo", handle_echo, 0 },
        { HTTP_POST, "/echo", handle_echo, 0 },
        { HTTP_PUT, "/items/{item}", handle_item, 0 },
        { HTTP_GET, "/items/{item}/x", handle_item, 0 },
        { HTTP_GET, "/later", handle_later, 0 },
        { HTTP_GET, "/stream", handle_stream, 0 },
        { 0, NULL, NULL, 0 },
};

/* Lets the server do all that it can. */
static void turn(void)
{
        do {
                event_base_loop(base, EVLOOP_NONBLOCK);
                if (held) {
                        struct http_request *request = held;

                        held = NULL;
                        http_answer(request, 202, NULL, NULL, 0);
                }
                event_base_loop(base, EVLOOP_NONBLOCK);
        } while (held);
}

static void send_pieces(struct bufferevent *client, const uint8_t *data, size_t size, uint32_t seed)
{
        while (size > 0) {
                size_t piece = size;

                if (seed) {
                        seed = seed * 1664525 + 1013904223;
                        piece = (seed >> 16) % 24 + 1;
                }
                if (piece > size)
                        piece = size;
                bufferevent_write(client, data, piece);
                data += piece;
                size -= piece;
                turn();
        }
        bufferevent_flush(client, EV_WRITE, BEV_FINISHED);
        turn();
}

/* The final statuses, one line each. */
static void read_outcome(struct bufferevent *client, char outcome[OUTCOME_MAX])
{
        struct evbuffer *input = bufferevent_get_input(client);
        const char *text = (const char *)evbuffer_pullup(input, -1);
        const char *end = text ? text + evbuffer_get_length(input) : NULL;
        size_t len = 0;

        while (text && (text = memmem(text, (size_t)(end - text), "HTTP/1.1 ", 9)) && len + 8 < OUTCOME_MAX) {
                if (memcmp(text + 9, "100", 3) != 0)
                        len += (size_t)sprintf(outcome + len, "%.3s\n", text + 9);
                text += 9;
        }
        outcome[len] = '\0';
}

static void run(const uint8_t *data, size_t size, uint32_t seed, char outcome[OUTCOME_MAX])
{
        struct bufferevent *pair[2];

        if (bufferevent_pair_new(base, BEV_OPT_DEFER_CALLBACKS, pair) < 0)
                abort();
        bufferevent_enable(pair[0], EV_READ | EV_WRITE);
        if (http_connection_open(server, pair[1], NULL, &(struct http_peer){ .text = "fuzz" }) < 0)
                abort();
        send_pieces(pair[0], data, size, seed);
        read_outcome(pair[0], outcome);
        struct http_connection *connection = TAILQ_FIRST(&server->connections);
        if (connection)
                http_connection_free(connection);
        if (server->stats.connections || server->stats.requests_active || held || stream)
                abort();
        bufferevent_free(pair[0]);
        event_base_loop(base, EVLOOP_NONBLOCK);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
        static const struct http_config config = {
                .routes = routes, .max_connections = 1, .max_connections_per_address = 1, .max_body_bytes = 1024
        };

        (void)argc;
        (void)argv;
        base = event_base_new();
        server = base ? http_server_new(base, &config) : NULL;
        return server ? 0 : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static char whole[OUTCOME_MAX], pieces[OUTCOME_MAX];

        run(data, size, 0, whole);
        run(data, size, (uint32_t)size + 1, pieces);
        if (strcmp(whole, pieces) != 0) {
                fprintf(stderr, "whole:\n%sin pieces:\n%s", whole, pieces);
                abort();
        }
        return 0;
}
