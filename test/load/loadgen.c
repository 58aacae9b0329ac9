/* Loads a running agentpoold: N requests from C clients, each on a keep-alive connection of its own; prints the rate,
 * latencies, the answers by status and what the errors said. Knows HTTP/1.1 as far as agentpoold speaks it. */
#include "common/fd.h"
#include "common/id.h"
#include "master/http/listen_address.h"
#include "test/load/report.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX 16384
#define EVENTS_MAX 256
#define SILENCE_MS 60000 /* no answer at all for so long: those awaited have failed */

enum mode { MODE_SPAWN = 1, MODE_MESSAGE, MODE_TERMINATE, MODE_MIX };
static const char *const mode_names[] = { "", "spawn", "message", "terminate", "mix", NULL };

struct client {
        int fd;              /* -1: closed */
        enum mode doing;     /* what its request is; 0: it has nothing left to do */
        int64_t sent_at;     /* ns */
        size_t len;          /* bytes in answer */
        char agent_id[ID_TEXT_SIZE]; /* of the last spawn */
        char answer[ANSWER_MAX];
};

static struct {
        const char *host, *ids_path, *report_path, *pool, *role;
        struct sockaddr_storage address;
        socklen_t address_size;
        unsigned long total; /* requests to make; in mode mix: rounds of three */
        unsigned clients;
        enum mode mode;
        bool json;
} options = { .pool = "tester_pool", .total = 1000, .clients = 1, .mode = MODE_SPAWN };

static struct {
        char spawn[1024];
        size_t spawn_len;
        char (*ids)[ID_TEXT_SIZE];
        unsigned long id_count, rounds;
        unsigned awaited; /* requests without their answer */
        struct report report;
        int epoll;
} run;

static void die(const char *what, const char *why)
{
        fprintf(stderr, "loadgen: %s: %s\n", what, why);
        exit(2);
}

static int64_t now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- requests ---- */

static size_t build(char *out, size_t size, const char *path, const char *body)
{
        int len = snprintf(out, size, "POST /api/v1/agents/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                "Content-Length: %zu\r\n\r\n%s", path, options.host, strlen(body), body);

        if (len < 0 || (size_t)len >= size)
                die("request", "too long");
        return (size_t)len;
}

static void build_spawn(void)
{
        struct id project_id = id_new();
        char body[512];

        snprintf(body, sizeof body, "{\"project_id\":\"%s\",\"role_type\":\"%s\",\"pool_name\":\"%s\","
                "\"heartbeat_interval\":30,\"max_idle_time\":0}", ID_TEXT(&project_id), options.role, options.pool);
        run.spawn_len = build(run.spawn, sizeof run.spawn, "spawn", body);
}

/* What this client does next; 0: nothing is left. */
static enum mode next_request(struct client *client)
{
        if (options.mode == MODE_MIX && client->agent_id[0] && client->doing == MODE_SPAWN)
                return MODE_MESSAGE;
        if (options.mode == MODE_MIX && client->agent_id[0] && client->doing == MODE_MESSAGE)
                return MODE_TERMINATE;
        if (run.rounds == options.total)
                return 0;
        if (options.mode == MODE_MESSAGE || options.mode == MODE_TERMINATE)
                memcpy(client->agent_id, run.ids[run.rounds % run.id_count], ID_TEXT_SIZE);
        else
                client->agent_id[0] = '\0';
        run.rounds++;
        return options.mode == MODE_MIX ? MODE_SPAWN : options.mode;
}

static void connect_client(struct client *client)
{
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };
        int on = 1;

        client->fd = socket(options.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&options.address, options.address_size) < 0) {
                client->fd = fd_close(client->fd);
                return;
        }
        if (options.address.ss_family != AF_UNIX)
                setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
                die("epoll_ctl", strerror(errno));
}

static bool send_request(struct client *client)
{
        char request[1024], path[64], body[256];
        const char *bytes = request;
        size_t len;

        if (client->doing == MODE_SPAWN) {
                bytes = run.spawn;
                len = run.spawn_len;
        } else if (client->doing == MODE_MESSAGE) {
                snprintf(path, sizeof path, "%s/messages", client->agent_id);
                len = build(request, sizeof request, path, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}");
        } else {
                snprintf(body, sizeof body, "{\"pool_name\":\"%s\",\"agent_id\":\"%s\"}", options.pool, client->agent_id);
                len = build(request, sizeof request, "terminate", body);
        }
        return send(client->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void finish(struct client *client, int status, const char *detail, size_t len)
{
        run.awaited--;
        client->len = 0;
        report_add(&run.report, (now_ns() - client->sent_at) / 1000, status, detail, len);
        if (status < 200 || status > 299)
                client->agent_id[0] = '\0'; /* in mode mix: a new round */
}

static void begin(struct client *client)
{
        for (client->doing = next_request(client); client->doing; client->doing = next_request(client)) {
                run.awaited++;
                client->sent_at = now_ns();
                if (client->fd < 0)
                        connect_client(client);
                if (client->fd >= 0 && send_request(client))
                        return;
                finish(client, 0, strerror(errno), strlen(strerror(errno)));
                client->fd = fd_close(client->fd);
        }
}

/* ---- answers ---- */

static const char *find_header(const char *head, const char *name)
{
        for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n"))
                if (strncasecmp(line + 2, name, strlen(name)) == 0)
                        return line + 2 + strlen(name);
        return NULL;
}

/* The text of the string member "name" in body, up to its closing quote; not decoded. */
static const char *find_text(const char *body, const char *name, size_t *ret_len)
{
        const char *at = strstr(body, name);

        if (!at)
                return NULL;
        at += strlen(name);
        for (*ret_len = 0; at[*ret_len] && at[*ret_len] != '"';)
                *ret_len += at[*ret_len] == '\\' && at[*ret_len + 1] ? 2 : 1;
        return at;
}

/* True when the answer is whole; handles it. */
static bool take_answer(struct client *client)
{
        const char *end, *length, *text;
        char *body;
        size_t body_len, len = 0;
        int status;

        client->answer[client->len] = '\0';
        end = strstr(client->answer, "\r\n\r\n");
        if (!end)
                return false;
        length = find_header(client->answer, "Content-Length:");
        body_len = length ? strtoul(length, NULL, 10) : 0;
        body = client->answer + (end - client->answer) + 4;
        if (client->len < (size_t)(body - client->answer) + body_len)
                return false;
        body[body_len] = '\0';
        status = atoi(client->answer + strlen("HTTP/1.1 "));
        if (status < 100 || status > 599)
                status = 0;
        if (find_header(client->answer, "Connection: close"))
                client->fd = fd_close(client->fd);
        if (client->doing == MODE_SPAWN && (text = find_text(body, "\"agent_id\":\"", &len)) && len == ID_TEXT_SIZE - 1) {
                memcpy(client->agent_id, text, len);
                if (options.mode == MODE_SPAWN)
                        memcpy(run.ids[run.id_count++], text, len);
        }
        text = find_text(body, "\"detail\":\"", &len);
        finish(client, status, text ? text : body, text ? len : body_len);
        return true;
}

static void on_readable(struct client *client)
{
        ssize_t n = recv(client->fd, client->answer + client->len, ANSWER_MAX - 1 - client->len, MSG_DONTWAIT);
        static const char closed[] = "the connection was closed before the answer";

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                client->fd = fd_close(client->fd);
                if (!client->doing)
                        return;
                finish(client, 0, closed, strlen(closed));
        } else {
                client->len += (size_t)n;
                if (!take_answer(client))
                        return;
        }
        begin(client);
}

static void fail_awaited(struct client *clients)
{
        static const char silent[] = "no answer";

        for (unsigned i = 0; i < options.clients; i++)
                if (clients[i].doing)
                        finish(&clients[i], 0, silent, strlen(silent));
        run.rounds = options.total;
}

static void load(struct client *clients)
{
        struct epoll_event events[EVENTS_MAX];
        int n;

        for (unsigned i = 0; i < options.clients; i++) {
                clients[i].fd = -1;
                connect_client(&clients[i]);
        }
        for (unsigned i = 0; i < options.clients; i++)
                begin(&clients[i]);
        while (run.awaited > 0) {
                n = epoll_wait(run.epoll, events, EVENTS_MAX, SILENCE_MS);
                if (n == 0) {
                        fail_awaited(clients);
                        return;
                }
                for (int i = 0; i < n; i++)
                        on_readable(events[i].data.ptr);
        }
}

/* ---- ids ---- */

static void read_ids(void)
{
        FILE *file = fopen(options.ids_path, "re");
        char line[128];
        struct id id;

        if (!file)
                die(options.ids_path, strerror(errno));
        while (fgets(line, sizeof line, file)) {
                line[strcspn(line, "\n")] = '\0';
                if (id_parse(line, &id) < 0)
                        die(options.ids_path, "not an agent id in each line");
                run.ids = realloc(run.ids, (run.id_count + 1) * sizeof *run.ids);
                if (!run.ids)
                        die("ids", "out of memory");
                id_format(&id, run.ids[run.id_count++]);
        }
        fclose(file);
        if (run.id_count == 0)
                die(options.ids_path, "no ids in it");
}

static void write_ids(void)
{
        FILE *file = fopen(options.ids_path, "we");

        for (unsigned long i = 0; file && i < run.id_count; i++)
                fprintf(file, "%s\n", run.ids[i]);
        if (!file || fclose(file) != 0)
                die(options.ids_path, strerror(errno));
}

/* ---- the command line ---- */

static void usage(FILE *out)
{
        fputs("usage: loadgen --url http://HOST:PORT|unix:PATH [options]\n"
              "  --pool NAME      tester_pool unless given     --role TYPE   its role_type; the name up to _pool unless given\n"
              "  --spawns N       how many requests (mode mix: rounds of spawn, message, terminate); 1000\n"
              "  --clients C      at the same time; 1          --mode spawn|message|terminate|mix\n"
              "  --ids FILE       spawn writes the agents' ids there, message and terminate take them from there\n"
              "  --json           the report as one JSON object     --report FILE   the same appended to FILE\n"
              "Exit status: 0; 1 when a request failed; 2 when it could not begin.\n", out);
}

static void set_url(const char *url)
{
        struct sockaddr_un *un = (struct sockaddr_un *)&options.address;
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
        struct listen_address where;
        char text[300], port[8];
        int r;

        snprintf(text, sizeof text, "%s", strncmp(url, "http://", 7) == 0 ? url + 7 : url);
        if (strncmp(text, "unix:", 5) != 0)
                text[strcspn(text, "/")] = '\0';
        if (listen_address_parse(text, &where) < 0)
                die(url, "not http://HOST:PORT nor unix:PATH");
        options.host = where.is_unix ? "localhost" : strdup(text);
        if (where.is_unix) {
                un->sun_family = AF_UNIX;
                memcpy(un->sun_path, where.host, strnlen(where.host, sizeof un->sun_path - 1));
                options.address_size = sizeof *un;
                return;
        }
        snprintf(port, sizeof port, "%u", where.port);
        r = getaddrinfo(where.host, port, &hints, &found);
        if (r != 0)
                die(url, gai_strerror(r));
        memcpy(&options.address, found->ai_addr, found->ai_addrlen);
        options.address_size = found->ai_addrlen;
        freeaddrinfo(found);
}

static enum mode parse_mode(const char *text)
{
        for (int i = MODE_SPAWN; mode_names[i]; i++)
                if (strcmp(mode_names[i], text) == 0)
                        return (enum mode)i;
        die("--mode", "must be spawn, message, terminate or mix");
        return 0;
}

static unsigned long parse_count(const char *name, const char *text, unsigned long max)
{
        char *end;
        unsigned long value = strtoul(text, &end, 10);

        if (*end || value < 1 || value > max)
                die(name, "must be a number, at least 1");
        return value;
}

static void parse_options(int argc, char **argv)
{
        static const struct option known[] = { { "url", 1, NULL, 'u' }, { "pool", 1, NULL, 'p' },
                { "role", 1, NULL, 'r' }, { "spawns", 1, NULL, 'n' }, { "clients", 1, NULL, 'c' },
                { "mode", 1, NULL, 'm' }, { "ids", 1, NULL, 'i' }, { "json", 0, NULL, 'j' },
                { "report", 1, NULL, 'o' },
                { "help", 0, NULL, 'h' }, { NULL, 0, NULL, 0 } };
        int option;

        while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
                switch (option) {
                case 'u': set_url(optarg); break;
                case 'p': options.pool = optarg; break;
                case 'r': options.role = optarg; break;
                case 'n': options.total = parse_count("--spawns", optarg, 100000000); break;
                case 'c': options.clients = (unsigned)parse_count("--clients", optarg, 100000); break;
                case 'm': options.mode = parse_mode(optarg); break;
                case 'i': options.ids_path = optarg; break;
                case 'j': options.json = true; break;
                case 'o': options.report_path = optarg; break;
                case 'h': usage(stdout); exit(0);
                default: usage(stderr); exit(2);
                }
        if (optind < argc || !options.address_size) {
                usage(stderr);
                exit(2);
        }
        if ((options.mode == MODE_MESSAGE || options.mode == MODE_TERMINATE) && !options.ids_path)
                die("--ids", "modes message and terminate take the agents from this file");
        if (!options.role)
                options.role = strndup(options.pool, strlen(options.pool) -
                        (strstr(options.pool, "_pool") ? strlen(strstr(options.pool, "_pool")) : 0));
}

static void append_report(double seconds)
{
        FILE *file = fopen(options.report_path, "ae");

        if (!file)
                die(options.report_path, strerror(errno));
        report_print(&run.report, file, mode_names[options.mode], options.clients, seconds, true);
        if (fclose(file) != 0)
                die(options.report_path, strerror(errno));
}

static void prepare(struct client **ret_clients)
{
        struct rlimit limit;
        int r;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
        if (options.mode == MODE_MESSAGE || options.mode == MODE_TERMINATE)
                read_ids();
        else
                run.ids = calloc(options.total, sizeof *run.ids);
        if (options.mode == MODE_TERMINATE && options.total > run.id_count)
                options.total = run.id_count;
        r = report_init(&run.report, options.total * (options.mode == MODE_MIX ? 3 : 1));
        *ret_clients = calloc(options.clients, sizeof **ret_clients);
        run.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (!run.ids || r < 0 || !*ret_clients || run.epoll < 0)
                die("start", strerror(errno));
        build_spawn();
}

int main(int argc, char **argv)
{
        struct client *clients;
        int64_t began;
        double seconds;

        parse_options(argc, argv);
        prepare(&clients);
        began = now_ns();
        load(clients);
        seconds = (double)(now_ns() - began) / 1e9;
        free(clients);
        report_print(&run.report, stdout, mode_names[options.mode], options.clients, seconds, options.json);
        if (options.report_path)
                append_report(seconds);
        if (options.mode == MODE_SPAWN && options.ids_path)
                write_ids();
        return run.report.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
