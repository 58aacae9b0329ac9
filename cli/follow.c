/* logs and events: what is there, and what comes. A stream that ends (the master was replaced) is taken up again; when its agent
 * has ended, there is nothing more to come. */
#include "cli/agents.h"
#include "cli/client/memory.h"
#include "cli/client/text.h"
#include "cli/commands.h"
#include "cli/pool_logs.h"
#include "cli/show.h"
#include "common/clock.h"
#include "common/json/json.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_S 1
#define LOOK_MS 1000
#define LOOKS 2 /* that find it ended: what it said last has come by then */

struct follow {
        struct cli *cli;
        char id[AGENT_ID_SIZE];  /* of the agent; "": of all */
        const char *pool;        /* only what happens there; NULL: anywhere */
        struct client *asker;    /* asks how the agent is, beside the stream */
        int64_t looked_at;       /* mono ms */
        int ended;               /* looks that found it ended */
        bool failed;
        char *last;              /* the line last printed: the first of a stream taken up again is that one */
};

void follow_print_line(const char *line)
{
        char *clean = isatty(STDOUT_FILENO) ? text_clean(line, strlen(line), true) : NULL;

        puts(clean ? clean : line);
        free(clean);
}

/* Whether the agent has ended; asked at most every LOOK_MS. */
static bool has_ended(void *arg)
{
        struct follow *follow = arg;
        int64_t now = clock_mono_ms();
        cJSON *agent = NULL;
        const char *state;
        char *path;

        if (ferror(stdout))
                return true;
        if (!follow->id[0] || now - follow->looked_at < LOOK_MS)
                return false;
        follow->looked_at = now;
        path = agents_path(follow->id, "");
        if (client_ask(follow->asker, path, NULL, &agent) < 0 && client_exit_status(follow->asker) != EXIT_NOT_FOUND)
                follow->ended = -1; /* not known */
        state = json_string(agent, "state");
        follow->failed = state && strcmp(state, "failed") == 0;
        if (follow->ended >= 0 && state && !follow->failed && strcmp(state, "terminated") != 0 && strcmp(state, "stopped") != 0)
                follow->ended = -1;
        follow->ended++;
        cJSON_Delete(agent);
        free(path);
        return follow->ended >= LOOKS;
}

/* Whether the stream is worth another try. */
static bool goes_on(const struct follow *follow, int r)
{
        int status = client_exit_status(follow->cli->client);

        return follow->ended < LOOKS && !ferror(stdout) && (r == 0 || status == EXIT_UNREACHABLE || status == EXIT_TRY_AGAIN);
}

/* Follows until it is interrupted or the agent ends; the first try must succeed, later ones are repeated while nobody answers. */
static int run(struct follow *follow, const char *path, const char *later,
        void (*on_event)(void *arg, const char *event, const char *data))
{
        const struct cli *cli = follow->cli;
        struct client_options options = { .url = cli->url, .token = cli->token, .ca_file = cli->ca_file, .quiet = true };
        int r;

        follow->asker = client_new(&options);
        if (!follow->asker)
                return EXIT_USAGE;
        r = client_follow(cli->client, path, on_event, has_ended, follow);
        if (r == 0)
                while (goes_on(follow, r)) {
                        sleep(AGAIN_S);
                        r = client_follow(cli->client, later, on_event, has_ended, follow);
                }
        client_free(follow->asker);
        free(follow->last);
        if (follow->ended < LOOKS)
                return client_exit_status(cli->client);
        fprintf(stderr, "agentpool: agent %s has %s\n", follow->id, follow->failed ? "failed" : "ended");
        return follow->failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void on_log(void *arg, const char *event, const char *data)
{
        struct follow *follow = arg;

        if (strcmp(event, "log") != 0 || (follow->last && strcmp(follow->last, data) == 0))
                return;
        follow_print_line(data);
        fflush(stdout);
        free(follow->last);
        follow->last = strdup(data);
}

static int print_logs(struct cli *cli, const char *path)
{
        const char *text;
        char *copy, *at, *line;
        size_t len;

        if (client_text(cli->client, path, NULL, &text, &len) < 0)
                return client_exit_status(cli->client);
        if (!isatty(STDOUT_FILENO)) {
                fwrite(text, 1, len, stdout);
                return EXIT_SUCCESS;
        }
        copy = at = strndup(text, len && text[len - 1] == '\n' ? len - 1 : len);
        while (len > 0 && (line = strsep(&at, "\n")))
                follow_print_line(line);
        free(copy);
        return EXIT_SUCCESS;
}

int cli_logs(struct cli *cli)
{
        int status, pool = agents_is_pool(cli, cli->words[0]);
        struct follow follow = { .cli = cli };
        char suffix[64], *path, *later;

        if (pool < 0)
                return client_exit_status(cli->client);
        if (pool)
                return cli_flag(cli, "follow") ? pool_logs_follow(cli, cli->words[0]) : pool_logs_print(cli, cli->words[0]);
        status = agents_find_one(cli, cli->words[0], true, follow.id);
        if (status)
                return status;
        snprintf(suffix, sizeof suffix, "/logs?lines=%.0f%s", cli_number(cli, "lines", LOG_LINES),
                cli_flag(cli, "follow") ? "&follow=true" : "");
        path = agents_path(follow.id, suffix);
        later = agents_path(follow.id, "/logs?lines=1&follow=true");
        status = cli_flag(cli, "follow") ? run(&follow, path, later, on_log) : print_logs(cli, path);
        free(path);
        free(later);
        return status;
}

static void print_event(const cJSON *event)
{
        static const char *const members[][2] = { { "agent_id", " agent=" }, { "process_id", " process=" }, { "detail", "  " } };
        const char *at = json_string(event, "at"), *name = json_string(event, "event"), *pool = json_string(event, "pool_name");

        printf("%s  %-18s ", at ? at : "-", name ? name : "-");
        text_print(stdout, pool ? pool : "-");
        for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
                const char *text = json_string(event, members[i][0]);

                if (text) {
                        fputs(members[i][1], stdout);
                        text_print(stdout, text);
                }
        }
        putchar('\n');
}

static void on_event(void *arg, const char *event, const char *data)
{
        const struct follow *follow = arg;
        struct json_error why;
        cJSON *tree = NULL;
        bool message = strcmp(event, "message") == 0;
        const char *pool;

        if (!message || follow->pool)
                json_parse(data, strlen(data), JSON_STRICT, &tree, &why);
        pool = json_string(tree, "pool_name");
        if (follow->pool && (!pool || strcmp(pool, follow->pool) != 0)) {
                cJSON_Delete(tree);
                return;
        }
        if (follow->cli->format == CLI_JSON) {
                follow_print_line(data);
        } else if (message) {
                fputs("message  ", stdout);
                follow_print_line(data);
        } else if (tree) {
                print_event(tree);
        }
        fflush(stdout);
        cJSON_Delete(tree);
}

int cli_events(struct cli *cli)
{
        struct follow follow = { .cli = cli };
        char *path;
        int status, pool = cli->count > 0 ? agents_is_pool(cli, cli->words[0]) : 1;

        if (pool < 0)
                return client_exit_status(cli->client);
        if (cli->count > 0 && pool)
                follow.pool = cli->words[0];
        if (!pool && (status = agents_find_one(cli, cli->words[0], true, follow.id)))
                return status;
        path = pool ? strdup(CLI_V1 "/agents/pools/events") : agents_path(follow.id, "/events");
        if (!path)
                memory_exhausted();
        status = run(&follow, path, path, on_event);
        free(path);
        return status;
}
