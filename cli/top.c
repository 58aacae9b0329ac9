/* top: pools, workers, rates and latencies, drawn again and again. Without a terminal: one frame after the other as text. */
#include "cli/client/text.h"
#include "cli/commands.h"
#include "cli/samples.h"
#include "cli/show.h"
#include "common/clock.h"
#include "common/json/json.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ROWS_WITHOUT_TERMINAL 20

struct top {
        struct cli *cli;
        struct samples *now, *before;
        int64_t at, before_at; /* mono ms */
        cJSON *health, *pools, *workers;
        double interval_s;
        long frames;           /* left; negative: for ever */
        struct termios terminal;
        bool raw;              /* keys are read one by one */
};

static double rate(const struct top *top, double now, double before)
{
        double seconds = (double)(top->at - top->before_at) / 1000;

        return top->before && seconds > 0 && now >= before ? (now - before) / seconds : 0;
}

static double rate_of(const struct top *top, const char *name, const char *label)
{
        return rate(top, samples_sum(top->now, name, label), samples_sum(top->before, name, label));
}

/* "<2.5 ms" of this interval, or since the master began when nothing happened in it; "-": never. */
static const char *quantile(const struct top *top, const char *name, const char *label, double q, char text[16])
{
        double seconds = samples_quantile(top->now, top->before, name, label, q);

        if (seconds < 0)
                seconds = samples_quantile(top->now, NULL, name, label, q);
        if (seconds < 0)
                return "-";
        if (isinf(seconds))
                return ">30 s";
        snprintf(text, 16, seconds < 1 ? "<%.4g ms" : "<%.4g s", seconds < 1 ? seconds * 1000 : seconds);
        return text;
}

static void print_latency(const struct top *top, const char *title, const char *name)
{
        char p50[16], p99[16];

        printf("  %s %s / %s", title, quantile(top, name, NULL, 0.5, p50), quantile(top, name, NULL, 0.99, p99));
}

static void print_head(const struct top *top)
{
        const char *reason = json_string(top->health, "reason");
        long up = (long)(clock_wall_ms() / 1000) - (long)samples_get(top->now, "process_start_time_seconds");

        printf("agentpool %s  %s%s%s  master up %ld:%02ld:%02ld\n", json_string(top->health, "version"),
                json_string(top->health, "status"), reason ? ": " : "", reason ? reason : "", up / 3600, up / 60 % 60, up % 60);
        printf("agents  %.0f starting  %.0f idle  %.0f busy  %.0f failed   workers  %.0f ready  %.0f starting   waiting  %.0f spawns  "
               "%.0f messages\n",
                samples_sum(top->now, "agentpool_agents", "state=\"starting\""), samples_sum(top->now, "agentpool_agents", "state=\"idle\""),
                samples_sum(top->now, "agentpool_agents", "state=\"busy\""), samples_sum(top->now, "agentpool_agents", "state=\"failed\""),
                samples_sum(top->now, "agentpool_workers", "state=\"ready\""),
                samples_sum(top->now, "agentpool_workers", "state=\"starting\""),
                samples_sum(top->now, "agentpool_waiting_spawns", NULL), samples_get(top->now, "agentpool_waiting_messages"));
        printf("a second  %.1f spawns  %.1f messages  %.1f crashes  %.1f commits  %.1f answers\n",
                rate_of(top, "agentpool_spawns_total", "result=\"ok\""), rate_of(top, "agentpool_messages_total", NULL),
                rate_of(top, "agentpool_events_total", "event=\"agent_crashed\""), rate_of(top, "agentpool_store_commits_total", NULL),
                rate_of(top, "agentpool_http_answers_total", NULL));
        printf("p50 / p99");
        print_latency(top, "spawn", "agentpool_spawn_duration_seconds");
        print_latency(top, " message", "agentpool_message_duration_seconds");
        print_latency(top, " fork to ready", "agentpool_worker_start_duration_seconds");
        print_latency(top, " commit", "agentpool_store_commit_duration_seconds");
        printf("\n\n");
}

static double number_of(const cJSON *object, const char *name)
{
        return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static void print_pool(const struct top *top, const cJSON *pool)
{
        const char *name = json_string(pool, "pool_name"), *state = "ok";
        const cJSON *states = cJSON_GetObjectItemCaseSensitive(pool, "agents_by_state");
        char label[96], p99[16];

        snprintf(label, sizeof label, "pool=\"%s\"", name);
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(pool, "draining")))
                state = "DRAINING";
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(pool, "degraded")))
                state = "DEGRADED";
        printf("%-24.24s %7.0f %5.0f/%-6.0f %7.0f %6.0f %6.0f %6.0f %9.1f %9.1f %10s  %s\n", name,
                number_of(pool, "process_count"), number_of(pool, "used_capacity"), number_of(pool, "total_capacity"),
                number_of(pool, "waiting_spawns"), number_of(states, "idle"), number_of(states, "busy"), number_of(states, "failed"),
                rate(top, samples_get(top->now, "agentpool_spawns_total{%s,result=\"ok\"}", label),
                        samples_get(top->before, "agentpool_spawns_total{%s,result=\"ok\"}", label)),
                rate_of(top, "agentpool_messages_total", label),
                quantile(top, "agentpool_spawn_duration_seconds", label, 0.99, p99), state);
}

static int print_pools(const struct top *top, int rows)
{
        const cJSON *pool;

        printf("%-24s %7s %12s %7s %6s %6s %6s %9s %9s %10s  %s\n", "POOL", "WORKERS", "SLOTS", "WAITING", "IDLE", "BUSY", "FAILED",
                "SPAWNS/S", "MESS./S", "SPAWN P99", "STATE");
        cJSON_ArrayForEach(pool, top->pools)
        {
                if (rows-- > 0)
                        print_pool(top, pool);
        }
        putchar('\n');
        return rows > 0 ? rows : 0;
}

static int by_cpu(const void *a, const void *b)
{
        double left = number_of(*(const cJSON *const *)a, "cpu_ms"), right = number_of(*(const cJSON *const *)b, "cpu_ms");

        return (left < right) - (left > right);
}

/* Those that used most processor time first. */
static void print_workers(const struct top *top, int rows)
{
        size_t count = (size_t)cJSON_GetArraySize(top->workers), i = 0;
        const cJSON **sorted = calloc(count + 1, sizeof(const cJSON *)), *worker;

        if (!sorted)
                return;
        cJSON_ArrayForEach(worker, top->workers)
                sorted[i++] = worker;
        qsort(sorted, count, sizeof(const cJSON *), by_cpu);
        printf("%-36s %-20s %8s %-9s %9s %9s %9s\n", "WORKER", "POOL", "PID", "STATE", "AGENTS", "RSS MiB", "CPU s");
        for (i = 0; i < count && rows-- > 0; i++)
                printf("%-36s %-20.20s %8.0f %-9s %4.0f/%-4.0f %9.1f %9.1f\n", json_string(sorted[i], "process_id"),
                        json_string(sorted[i], "pool_name"), number_of(sorted[i], "pid"), json_string(sorted[i], "state"),
                        number_of(sorted[i], "agents"), number_of(sorted[i], "capacity"),
                        number_of(sorted[i], "rss_bytes") / 1048576, number_of(sorted[i], "cpu_ms") / 1000);
        free(sorted);
}

static void forget(struct top *top)
{
        cJSON_Delete(top->health);
        cJSON_Delete(top->pools);
        cJSON_Delete(top->workers);
        top->health = top->pools = top->workers = NULL;
}

static int look(struct top *top)
{
        struct client *client = top->cli->client;
        const char *text;
        size_t len;

        forget(top);
        if (client_ask(client, "/health", NULL, &top->health) < 0 || client_ask(client, CLI_V1 "/agents/pools", NULL, &top->pools) < 0 ||
                client_ask(client, CLI_V1 "/agents/metrics/processes", NULL, &top->workers) < 0 ||
                client_text(client, "/metrics", NULL, &text, &len) < 0)
                return -1;
        samples_free(top->before);
        top->before = top->now;
        top->before_at = top->at;
        top->now = samples_new(text, len);
        top->at = clock_mono_ms();
        return top->now ? 0 : -1;
}

static void draw(const struct top *top)
{
        struct winsize size = { .ws_row = 0 };
        int rows = ROWS_WITHOUT_TERMINAL;

        if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 12)
                rows = size.ws_row - 10;
        show_frame();
        print_head(top);
        print_workers(top, print_pools(top, rows / 2) + rows / 2);
        fflush(stdout);
}

/* Waits for the next frame. False: q was pressed. */
static bool wait_for_frame(const struct top *top)
{
        struct pollfd keys = { .fd = top->raw ? STDIN_FILENO : -1, .events = POLLIN };
        char key;

        return poll(&keys, 1, (int)(top->interval_s * 1000)) <= 0 || read(STDIN_FILENO, &key, 1) != 1 || key != 'q';
}

static void read_keys(struct top *top)
{
        struct termios raw;

        top->raw = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &top->terminal) == 0;
        if (!top->raw)
                return;
        raw = top->terminal;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static int run(struct top *top)
{
        bool seen = false;

        while (top->frames != 0) {
                if (look(top) == 0)
                        draw(top);
                else if (!seen || client_exit_status(top->cli->client) != EXIT_UNREACHABLE)
                        return client_exit_status(top->cli->client);
                seen = true;
                top->frames -= top->frames > 0;
                if (top->frames != 0 && !wait_for_frame(top))
                        break;
        }
        return EXIT_SUCCESS;
}

int cli_top(struct cli *cli)
{
        struct top top = { .cli = cli, .interval_s = cli_number(cli, "delay", 2), .frames = (long)cli_number(cli, "frames", -1) };
        int status;

        read_keys(&top);
        status = run(&top);
        if (top.raw)
                tcsetattr(STDIN_FILENO, TCSANOW, &top.terminal);
        forget(&top);
        samples_free(top.now);
        samples_free(top.before);
        return status;
}
