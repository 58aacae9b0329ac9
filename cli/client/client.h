/* The REST API as the command line uses it: one request at a time, over TCP, TLS or a unix socket. Source: libcurl. */
#ifndef CLI_CLIENT_CLIENT_H
#define CLI_CLIENT_CLIENT_H
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit statuses beside 0, 1 and 2. */
#define EXIT_UNREACHABLE 3 /* nobody answers there */
#define EXIT_NOT_FOUND 4   /* 404 */
#define EXIT_TRY_AGAIN 5   /* 429, 503, 504: nothing is wrong with the request */

struct client;
struct client_options {
        const char *url;      /* "http://host:port", "https://host:port" or "unix:/path" */
        const char *token;    /* bearer token; NULL: none */
        const char *ca_file;  /* certificates to trust instead of the system's; NULL: those */
        bool quiet;           /* says nothing, waits for nobody longer than two seconds */
};

/* NULL with a message on stderr when the URL is none of ours. */
struct client *client_new(const struct client_options *options);
struct client *client_free(struct client *client); /* NULL is fine; returns NULL */
/* body NULL: GET, else POST of that JSON. 0 and *ret_answer (cJSON_Delete; NULL for an empty answer) for a 2xx answer. Else
 * -1 and the problem on stderr. */
int client_ask(struct client *client, const char *path, const cJSON *body, cJSON **ret_answer);
/* POST without a body. */
int client_post(struct client *client, const char *path, cJSON **ret_answer);
/* GET, or POST of body unless that is NULL; the answer as it came, borrowed until the next request. 0; -1 as above. */
int client_text(struct client *client, const char *path, const char *body, const char **ret_text, size_t *ret_len);
/* Server-Sent Events until the stream ends (0), or -1 as above. event is "message" unless named. About once a second
 * is_over(arg) is asked, unless NULL, whether the stream is to be left (0). */
int client_follow(struct client *client, const char *path, void (*on_event)(void *arg, const char *event, const char *data),
        bool (*is_over)(void *arg), void *arg);
/* Many streams at once, each of a client of its own, until all have ended or standard output is closed. */
struct client_stream {
        struct client *client;
        char *path;
        void *arg; /* of its events */
};
void client_follow_all(struct client_stream *streams, size_t count, void (*on_event)(void *arg, const char *event, const char *data));
/* What the program should exit with after -1. */
int client_exit_status(const struct client *client);
/* The path of the next page of the list last answered, NULL at its end. Borrowed until the next request. */
const char *client_next(const struct client *client);
/* text as one part of a path or query; curl_free. */
char *client_quote(struct client *client, const char *text);
#endif
