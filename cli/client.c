#include "cli/client.h"

#include "common/json.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct client {
        CURL *curl;
        struct curl_slist *headers;
        char base[512]; /* "http://host:port" */
        char name[512]; /* as it was given */
        char *answer;
        size_t answer_len;
        char next[2048]; /* path of the next page; "" at the end */
};

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
        struct client *client = arg;
        size_t len = size * count;
        char *grown = realloc(client->answer, client->answer_len + len + 1);

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

/* From AGENTPOOL_TOKEN, or the first line of the file that AGENTPOOL_TOKEN_FILE names; never from an argument, which ps
 * would show. 0, or -1 (said). */
static int add_token(struct client *client)
{
        const char *token = getenv("AGENTPOOL_TOKEN"), *path = getenv("AGENTPOOL_TOKEN_FILE");
        char line[512] = "", header[600];
        FILE *file = !token && path ? fopen(path, "re") : NULL;

        if (!token && path && (!file || !fgets(line, sizeof line, file))) {
                fprintf(stderr, "agentpool: %s holds no token (AGENTPOOL_TOKEN_FILE)\n", path);
                if (file)
                        fclose(file);
                return -1;
        }
        if (file)
                fclose(file);
        line[strcspn(line, "\r\n")] = '\0';
        token = token ? token : line;
        if (!*token)
                return 0;
        snprintf(header, sizeof header, "Authorization: Bearer %s", token);
        client->headers = curl_slist_append(client->headers, header);
        return 0;
}

struct client *client_new(const char *url)
{
        struct client *client = calloc(1, sizeof *client);

        if (!client || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(client->curl = curl_easy_init())) {
                fprintf(stderr, "agentpool: out of memory\n");
                return client_free(client);
        }
        snprintf(client->name, sizeof client->name, "%s", url);
        if (strncmp(url, "unix:", 5) == 0) {
                snprintf(client->base, sizeof client->base, "http://localhost");
                curl_easy_setopt(client->curl, CURLOPT_UNIX_SOCKET_PATH, url + 5);
        } else {
                snprintf(client->base, sizeof client->base, "%s", url);
        }
        client->headers = curl_slist_append(NULL, "Content-Type: application/json");
        if (add_token(client) < 0)
                return client_free(client);
        if (getenv("AGENTPOOL_CA_FILE"))
                curl_easy_setopt(client->curl, CURLOPT_CAINFO, getenv("AGENTPOOL_CA_FILE"));
        curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, client->headers);
        curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, client);
        curl_easy_setopt(client->curl, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(client->curl, CURLOPT_HEADERDATA, client);
        curl_easy_setopt(client->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        return client;
}

struct client *client_free(struct client *client)
{
        if (!client)
                return NULL;
        curl_slist_free_all(client->headers);
        if (client->curl)
                curl_easy_cleanup(client->curl);
        free(client->answer);
        free(client);
        return NULL;
}

static int send_request(struct client *client, const char *path, const char *body)
{
        char url[sizeof client->base + 2048];
        CURLcode code;

        snprintf(url, sizeof url, "%s%s", client->base, path);
        curl_easy_setopt(client->curl, CURLOPT_URL, url);
        if (body)
                curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, body);
        else
                curl_easy_setopt(client->curl, CURLOPT_HTTPGET, 1L);
        client->answer_len = 0;
        if (client->answer)
                client->answer[0] = '\0';
        client->next[0] = '\0';
        code = curl_easy_perform(client->curl);
        if (code == CURLE_OK)
                return 0;
        fprintf(stderr, "agentpool: %s: %s; is agentpoold running there? (-u URL or AGENTPOOL_URL)\n", client->name,
                curl_easy_strerror(code));
        return -1;
}

/* The detail of an RFC 9457 problem, and its wrong fields. */
static void print_problem(const cJSON *problem, long status)
{
        const char *detail = json_string(problem, "detail");
        const cJSON *error;

        fprintf(stderr, "agentpool: %ld: %s\n", status, detail ? detail : "no detail");
        cJSON_ArrayForEach(error, cJSON_GetObjectItemCaseSensitive(problem, "errors"))
        {
                const char *pointer = json_string(error, "pointer"), *why = json_string(error, "detail");

                fprintf(stderr, "  %s: %s\n", pointer ? pointer : "", why ? why : "");
        }
}

int client_ask(struct client *client, const char *path, const cJSON *body, cJSON **ret_answer)
{
        char *text = body ? json_print(body) : NULL;
        struct json_error why;
        cJSON *tree = NULL;
        long status = 0;
        int r = body && !text ? -1 : send_request(client, path, text);

        free(text);
        if (r < 0)
                return r;
        curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
        if (client->answer_len > 0 && json_parse(client->answer, client->answer_len, JSON_STRICT, &tree, &why) < 0) {
                fprintf(stderr, "agentpool: %s: the answer is no JSON (%s)\n", client->name, why.detail);
                return -1;
        }
        if (status >= 200 && status < 300) {
                *ret_answer = tree;
                return 0;
        }
        print_problem(tree, status);
        cJSON_Delete(tree);
        return -1;
}

const char *client_next(const struct client *client)
{
        return client->next[0] ? client->next : NULL;
}

char *client_quote(struct client *client, const char *text)
{
        return curl_easy_escape(client->curl, text, 0);
}
