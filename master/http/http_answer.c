/* Answers: status, headers, bodies and problems (RFC 9457), put into the connection's output. */
#include "common/clock.h"
#include "common/json/json.h"
#include "common/log.h"
#include "master/http/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIXED_HEAD_MAX 320 /* status line and our own headers, without the server's name and the content type */

static const struct {
        int status;
        const char *title;
} titles[] = {
        { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" }, { 304, "Not Modified" },
        { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" },
        { 405, "Method Not Allowed" }, { 406, "Not Acceptable" }, { 408, "Request Timeout" }, { 409, "Conflict" },
        { 410, "Gone" }, { 411, "Length Required" }, { 412, "Precondition Failed" }, { 413, "Content Too Large" },
        { 414, "URI Too Long" }, { 415, "Unsupported Media Type" }, { 417, "Expectation Failed" },
        { 422, "Unprocessable Content" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 502, "Bad Gateway" },
        { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
};

const char *http_status_title(int status)
{
        for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
                if (titles[i].status == status)
                        return titles[i].title;
        return status < 400 ? "OK" : "Error";
}

static const char *date_text(struct http_server *server)
{
        static const char days[] = "Sun\0Mon\0Tue\0Wed\0Thu\0Fri\0Sat";
        static const char months[] = "Jan\0Feb\0Mar\0Apr\0May\0Jun\0Jul\0Aug\0Sep\0Oct\0Nov\0Dec";
        time_t now = (time_t)(clock_wall_ms() / 1000);
        struct tm tm;

        if (now == server->dated)
                return server->date;
        server->dated = now;
        gmtime_r(&now, &tm);
        snprintf(server->date, sizeof server->date, "%s, %02d %s %04d %02d:%02d:%02d GMT", days + 4 * tm.tm_wday,
                tm.tm_mday, months + 4 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour, tm.tm_min, tm.tm_sec);
        return server->date;
}

static void count_answer(struct http_stats *stats, int status)
{
        if (status < 300)
                stats->answers_2xx++;
        else if (status >= 400 && status < 500)
                stats->answers_4xx++;
        else if (status >= 500)
                stats->answers_5xx++;
}

static const char *connection_text(const struct http_request *request, bool keep_alive)
{
        if (!keep_alive)
                return "Connection: close\r\n";
        return request->head.minor == 0 ? "Connection: keep-alive\r\n" : "";
}

/* Returns its end. */
static char *write_head(const struct http_request *request, char *to, size_t size, int status, const char *content_type,
        int64_t body_len, bool keep_alive)
{
        struct http_server *server = request->connection->server;
        const char *name = server->config.server_name;
        char *end = to;

        end += snprintf(end, size, "HTTP/1.1 %d %s\r\nDate: %s\r\n%s%s%s%s", status, http_status_title(status),
                date_text(server), name ? "Server: " : "", name ? name : "", name ? "\r\n" : "",
                connection_text(request, keep_alive));
        if (content_type)
                end = stpcpy(stpcpy(stpcpy(end, "Content-Type: "), content_type), "\r\n");
        if (body_len >= 0 && status != 204)
                end += sprintf(end, "Content-Length: %lld\r\n", (long long)body_len);
        if (request->extra_len) {
                memcpy(end, request->extra, request->extra_len);
                end += request->extra_len;
        }
        return stpcpy(end, "\r\n");
}

int http_answer_write(struct http_request *request, int status, const char *content_type, const char *body,
        int64_t body_len, bool keep_alive)
{
        struct http_connection *connection = request->connection;
        struct evbuffer *output = bufferevent_get_output(connection->bev);
        const char *name = connection->server->config.server_name;
        size_t head_max = FIXED_HEAD_MAX + (name ? strlen(name) : 0) + (content_type ? strlen(content_type) : 0) +
                request->extra_len;
        size_t body_size = body_len > 0 && request->method != HTTP_HEAD ? (size_t)body_len : 0;
        struct evbuffer_iovec part;

        /* One piece of memory and one write for the whole answer. */
        if (request->broken || evbuffer_reserve_space(output, (ssize_t)(head_max + body_size), &part, 1) != 1)
                return -ENOMEM;
        char *end = write_head(request, part.iov_base, head_max, status, content_type, body_len, keep_alive);
        if (body_size)
                memcpy(end, body, body_size);
        part.iov_len = (size_t)(end - (char *)part.iov_base) + body_size;
        if (evbuffer_commit_space(output, &part, 1) < 0)
                return -ENOMEM;
        count_answer(&connection->server->stats, status);
        return 0;
}

static bool is_header_text(const char *text)
{
        for (; *text; text++)
                if ((unsigned char)*text < 0x20 || *text == 0x7f)
                        return false;
        return true;
}

void http_answer_header(struct http_request *request, const char *name, const char *value)
{
        assert(http_is_token(name, strlen(name)) && is_header_text(value));
        size_t len = strlen(name) + strlen(value) + 4;
        char *extra = realloc(request->extra, request->extra_len + len + 1);

        if (!extra) {
                request->broken = true;
                return;
        }
        request->extra = extra;
        request->extra_len += (size_t)sprintf(extra + request->extra_len, "%s: %s\r\n", name, value);
}

void http_answer_retry_after(struct http_request *request, unsigned seconds)
{
        char text[16];

        snprintf(text, sizeof text, "%u", seconds);
        http_answer_header(request, "Retry-After", text);
}

void http_answer(struct http_request *request, int status, const char *content_type, const char *body, size_t len)
{
        struct http_connection *connection = request->connection;

        assert(status >= 200 && status <= 599 && (status != 204 || !content_type));
        if (connection) {
                bool keep_alive = request->head.keep_alive && !connection->server->draining;
                int error = http_answer_write(request, status, content_type, content_type ? body : NULL,
                        content_type ? (int64_t)len : 0, keep_alive);

                log_debug("http.answered", "peer=%s method=%s path=%s status=%d bytes=%zu", request->peer,
                        request->head.method ? request->head.method : "-", LOG_Q(request->path), status, len);
                http_connection_answered(connection, error == 0, keep_alive);
        }
        http_request_free(request);
}

static char *problem_print(int status, const char *detail)
{
        cJSON *problem = cJSON_CreateObject();
        char *text = NULL;

        if (problem && json_add_string(problem, "type", "about:blank") == 0 &&
                json_add_string(problem, "title", http_status_title(status)) == 0 &&
                json_add_integer(problem, "status", status) == 0 &&
                json_add_string(problem, "detail", detail) == 0)
                text = json_print(problem);
        cJSON_Delete(problem);
        return text;
}

void http_answer_problem(struct http_request *request, int status, const char *format, ...)
{
        char *detail = NULL, *text = NULL, meagre[160];
        const char *body;
        va_list args;

        if (request->connection) {
                va_start(args, format);
                if (vasprintf(&detail, format, args) < 0)
                        detail = NULL;
                va_end(args);
                text = detail ? problem_print(status, detail) : NULL;
        }
        snprintf(meagre, sizeof meagre,
                "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"out of memory\"}",
                http_status_title(status), status);
        body = text ? text : meagre;
        http_answer(request, status, "application/problem+json", body, strlen(body));
        free(text);
        free(detail);
}
