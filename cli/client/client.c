#include "cli/client/client.h"

#include "cli/client/address.h"
#include "cli/client/memory.h"
#include "cli/client/sse.h"
#include "cli/client/text.h"
#include "common/json/json.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 10000L
#define QUIET_MS 2000L
#define POLL_MS 1000

struct client {
        CURL *curl;
        struct curl_slist *headers;
        struct address address;
        char *name;            /* as it was given; owned */
        bool has_token, quiet;
        char why[CURL_ERROR_SIZE];
        char *answer;
        size_t answer_len;
        char next[2048]; /* path of the next page; "" at the end */
        struct sse *events; /* where a stream goes; NULL: answers are kept whole */
        bool (*is_over)(void *arg); /* of a stream, with events' arg; NULL: for ever */
        bool over;          /* it said so */
        long status;        /* of the last answer; 0: there was none */
};

static bool is_stream(const struct client *client)
{
        char *type = NULL;

        curl_easy_getinfo(client->curl, CURLINFO_CONTENT_TYPE, &type);
        return client->events && type && strncmp(type, "text/event-stream", 17) == 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
        struct client *client = arg;
        size_t len = size * count;
        char *grown;

        if (is_stream(client))
                return sse_feed(client->events, data, len) == 0 ? len : 0;
        grown = realloc(client->answer, client->answer_len + len + 1);
        if (!grown)
                return 0;
        memcpy(grown + client->answer_len, data, len);
        client->answer = grown;
        client->answer_len += len;
        grown[client->answer_len] = '\0';
        return len;
}

/* Link: <PATH>; rel="next" */
static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
        struct client *client = arg;
        size_t len = size * count;
        const char *end;

        if (len < 8 || strncasecmp(data, "link: <", 7) != 0)
                return len;
        end = memchr(data, '>', len);
        if (end && (size_t)(end - data - 7) < sizeof client->next)
                snprintf(client->next, sizeof client->next, "%.*s", (int)(end - data - 7), data + 7);
        return len;
}

static int add_header(struct client *client, const char *header)
{
        struct curl_slist *grown = curl_slist_append(client->headers, header);

        client->headers = grown ? grown : client->headers;
        return grown ? 0 : -1;
}

static int add_headers(struct client *client, const char *token)
{
        char *authorization = NULL;
        int r = add_header(client, "Content-Type: application/json");

        if (r == 0 && token && *token) {
                r = asprintf(&authorization, "Authorization: Bearer %s", token) < 0 ? -1 : add_header(client, authorization);
                free(authorization);
        }
        return r;
}

/* libcurl asks about once a second, also while nothing comes. */
static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
        struct client *client = arg;

        (void)down_total;
        (void)down;
        (void)up_total;
        (void)up;
        if (client->events && client->is_over)
                client->over = client->is_over(client->events->arg);
        return client->over;
}

/* A token is never shown to a proxy, and this machine's own addresses are none of its business; what is encrypted goes
 * through it unread (https_proxy, no_proxy). */
static int set_address(struct client *client)
{
        const struct address *address = &client->address;
        CURLcode code = CURLE_OK;

        if (address->socket)
                code = curl_easy_setopt(client->curl, CURLOPT_UNIX_SOCKET_PATH, address->socket);
        if (code == CURLE_OK && (address->loopback || (!address->tls && client->has_token)))
                code = curl_easy_setopt(client->curl, CURLOPT_PROXY, "");
        if (code == CURLE_OK)
                code = curl_easy_setopt(client->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        return code == CURLE_OK ? 0 : -1;
}

static int set_up(struct client *client, const struct client_options *options)
{
        client->quiet = options->quiet;
        if (options->ca_file && curl_easy_setopt(client->curl, CURLOPT_CAINFO, options->ca_file) != CURLE_OK)
                return -1;
        curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, client->headers);
        curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, client);
        curl_easy_setopt(client->curl, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(client->curl, CURLOPT_HEADERDATA, client);
        curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, client->why);
        curl_easy_setopt(client->curl, CURLOPT_CONNECTTIMEOUT_MS, options->quiet ? QUIET_MS : CONNECT_MS);
        if (options->quiet)
                curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, QUIET_MS);
        curl_easy_setopt(client->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(client->curl, CURLOPT_XFERINFODATA, client);
        curl_easy_setopt(client->curl, CURLOPT_NOPROGRESS, 0L);
        return set_address(client);
}

struct client *client_new(const struct client_options *options)
{
        struct client *client = calloc(1, sizeof *client);

        if (!client || !(client->name = strdup(options->url)) || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ||
                !(client->curl = curl_easy_init()))
                memory_exhausted();
        client->has_token = options->token && *options->token;
        if (address_parse(options->url, &client->address) < 0)
                return client_free(client);
        if (add_headers(client, options->token) < 0 || set_up(client, options) < 0)
                memory_exhausted();
        return client;
}

struct client *client_free(struct client *client)
{
        if (!client)
                return NULL;
        curl_slist_free_all(client->headers);
        if (client->curl)
                curl_easy_cleanup(client->curl);
        address_done(&client->address);
        free(client->answer);
        free(client->name);
        free(client);
        return NULL;
}

/* Nobody answered, or not in HTTP. */
static void print_failure(const struct client *client, CURLcode code)
{
        long error = 0;

        curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &error);
        if (!client->quiet)
                address_explain(&client->address, client->name, code, error, client->why);
}

/* body NULL: GET. */
static void begin_request(struct client *client, const char *path, const char *body)
{
        char *url;

        if (asprintf(&url, "%s%s", client->address.base, path) < 0 || curl_easy_setopt(client->curl, CURLOPT_URL, url) != CURLE_OK)
                memory_exhausted();
        free(url);
        if (body) {
                curl_easy_setopt(client->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
                curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, body);
        } else {
                curl_easy_setopt(client->curl, CURLOPT_HTTPGET, 1L);
        }
        client->answer_len = 0;
        if (client->answer)
                client->answer[0] = '\0';
        client->next[0] = client->why[0] = '\0';
        client->status = 0;
}

static int end_request(struct client *client, CURLcode code)
{
        curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &client->status);
        if (code == CURLE_OK || is_stream(client))
                return 0;
        client->status = 0;
        print_failure(client, code);
        return -1;
}

static int send_request(struct client *client, const char *path, const char *body)
{
        begin_request(client, path, body);
        return end_request(client, curl_easy_perform(client->curl));
}

/* What to do about it, where that is not in the answer. */
static const char *remedy_of(const struct client *client)
{
        if (client->status == 401)
                return client->has_token ? "; the token that was sent is not, or no longer, known there (-t FILE, AGENTPOOL_TOKEN)"
                                         : "; a token is wanted: -t FILE, AGENTPOOL_TOKEN_FILE or AGENTPOOL_TOKEN";
        return client->status == 403 && client->has_token ? "; the token that was sent has not this right" : "";
}

/* The detail of an RFC 9457 problem, and its wrong fields. */
static void print_problem(const struct client *client, const cJSON *problem)
{
        const char *detail = json_string(problem, "detail");
        const cJSON *error;

        fprintf(stderr, "agentpool: %ld: ", client->status);
        text_print(stderr, detail ? detail : "no detail: is it agentpoold that answers there?");
        fprintf(stderr, "%s\n", remedy_of(client));
        cJSON_ArrayForEach(error, cJSON_GetObjectItemCaseSensitive(problem, "errors"))
        {
                const char *pointer = json_string(error, "pointer"), *why = json_string(error, "detail");

                fprintf(stderr, "  ");
                text_print(stderr, pointer ? pointer : "");
                fprintf(stderr, ": ");
                text_print(stderr, why ? why : "");
                fputc('\n', stderr);
        }
}

static int read_answer(struct client *client, cJSON **ret_tree)
{
        struct json_error why;

        *ret_tree = NULL;
        if (client->answer_len == 0 || json_parse(client->answer, client->answer_len, JSON_STRICT, ret_tree, &why) == 0)
                return 0;
        if (!client->quiet)
                fprintf(stderr, "agentpool: %s: the answer is no JSON (%s)\n", client->name, why.detail);
        return -1;
}

/* 0 for a 2xx answer, else the problem is printed. */
static int check_status(struct client *client)
{
        struct json_error why;
        cJSON *problem = NULL;

        if (client->status >= 200 && client->status < 300)
                return 0;
        if (client->answer_len > 0)
                json_parse(client->answer, client->answer_len, JSON_STRICT, &problem, &why);
        if (!client->quiet)
                print_problem(client, problem);
        cJSON_Delete(problem);
        return -1;
}

static int ask(struct client *client, const char *path, const char *body, cJSON **ret_answer)
{
        int r = send_request(client, path, body);

        r = r ? r : check_status(client);
        return r ? r : read_answer(client, ret_answer);
}

int client_ask(struct client *client, const char *path, const cJSON *body, cJSON **ret_answer)
{
        char *text = body ? json_print(body) : NULL;
        int r = body && !text ? -1 : ask(client, path, text, ret_answer);

        free(text);
        return r;
}

int client_post(struct client *client, const char *path, cJSON **ret_answer)
{
        return ask(client, path, "", ret_answer);
}

int client_text(struct client *client, const char *path, const char *body, const char **ret_text, size_t *ret_len)
{
        int r = send_request(client, path, body);

        r = r ? r : check_status(client);
        if (r < 0)
                return r;
        *ret_text = client->answer_len ? client->answer : "";
        *ret_len = client->answer_len;
        return 0;
}

int client_follow(struct client *client, const char *path, void (*on_event)(void *arg, const char *event, const char *data),
        bool (*is_over)(void *arg), void *arg)
{
        struct sse events = { .on_event = on_event, .arg = arg };
        int r;

        client->events = &events;
        client->is_over = is_over;
        client->over = false;
        r = send_request(client, path, NULL);
        client->events = NULL;
        sse_done(&events);
        if (client->over)
                return 0;
        return r ? r : check_status(client);
}

static void run_all(CURLM *multi)
{
        int running = 1;

        while (running && !ferror(stdout))
                if (curl_multi_perform(multi, &running) != CURLM_OK || curl_multi_poll(multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
                        return;
}

void client_follow_all(struct client_stream *streams, size_t count, void (*on_event)(void *arg, const char *event, const char *data))
{
        struct sse *events = calloc(count + 1, sizeof *events);
        CURLM *multi = curl_multi_init();

        if (!events || !multi)
                memory_exhausted();
        for (size_t i = 0; i < count; i++) {
                struct client *client = streams[i].client;

                events[i] = (struct sse){ .on_event = on_event, .arg = streams[i].arg };
                client->events = &events[i];
                client->is_over = NULL;
                begin_request(client, streams[i].path, NULL);
                if (curl_multi_add_handle(multi, client->curl) != CURLM_OK)
                        memory_exhausted();
        }
        run_all(multi);
        for (size_t i = 0; i < count; i++) {
                curl_multi_remove_handle(multi, streams[i].client->curl);
                streams[i].client->events = NULL;
                sse_done(&events[i]);
        }
        curl_multi_cleanup(multi);
        free(events);
}

int client_exit_status(const struct client *client)
{
        switch (client->status) {
        case 0:
                return EXIT_UNREACHABLE;
        case 404:
                return EXIT_NOT_FOUND;
        case 429:
        case 503:
        case 504:
                return EXIT_TRY_AGAIN;
        default:
                return EXIT_FAILURE;
        }
}

const char *client_next(const struct client *client)
{
        return client->next[0] ? client->next : NULL;
}

char *client_quote(struct client *client, const char *text)
{
        return memory_need(curl_easy_escape(client->curl, text, 0));
}
