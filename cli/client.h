/* The REST API as the command line uses it: one request at a time, over TCP or a unix socket. Source: libcurl. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H
#include <cjson/cJSON.h>

struct client;

/* url: "http://host:port" or "unix:/path". NULL with a message on stderr when it cannot be used. */
struct client *client_new(const char *url);
struct client *client_free(struct client *client); /* NULL is fine; returns NULL */
/* body NULL: GET, else POST of that JSON. 0 and *ret_answer (cJSON_Delete; NULL for an empty answer) for a 2xx answer. Else
 * -1 and the problem on stderr. */
int client_ask(struct client *client, const char *path, const cJSON *body, cJSON **ret_answer);
/* The path of the next page of the list last answered, NULL at its end. Borrowed until the next client_ask. */
const char *client_next(const struct client *client);
/* text as one part of a path or query; curl_free. */
char *client_quote(struct client *client, const char *text);
#endif
