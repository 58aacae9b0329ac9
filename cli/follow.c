/* logs and events: what is there, and what comes. A stream that ends (the master was replaced) is taken up again. */
#include "cli/commands.h"
#include "common/json.h"

#include <curl/curl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_S 1
#define PATH_SIZE 1024

/* Follows until it is interrupted; the first try must succeed, later ones are repeated while nobody answers. */
static int follow(struct cli *cli, const char *path, const char *later,
        void (*on_event)(void *arg, const char *event, const char *data), void *arg)
{
        int r = client_follow(cli->client, path, on_event, arg);

        while (r == 0 || client_exit_status(cli->client) == EXIT_UNREACHABLE || client_exit_status(cli->client) == EXIT_TRY_AGAIN) {
                if (r < 0 && path)
                        break;
                path = NULL;
                sleep(AGAIN_S);
                r = client_follow(cli->client, later, on_event, arg);
        }
        return client_exit_status(cli->client);
}

/* The line last printed: the first of a stream taken up again is that one. */
struct last_line {
        char *text;
};

static void on_log(void *arg, const char *event, const char *data)
{
        struct last_line *last = arg;

        if (strcmp(event, "log") != 0 || (last->text && strcmp(last->text, data) == 0))
                return;
        puts(data);
        fflush(stdout);
        free(last->text);
        last->text = strdup(data);
}

int cli_logs(struct cli *cli, int argc, char **argv)
{
        char path[PATH_SIZE], later[PATH_SIZE], *agent;
        struct last_line last = { NULL };
        const char *lines = "100", *text;
        bool following = false;
        int option, r;
        size_t len;

        optind = 0;
        while ((option = getopt(argc, argv, "fn:")) != -1) {
                following |= option == 'f';
                lines = option == 'n' ? optarg : lines;
                if (option == '?')
                        return cli_usage(cli_find("logs"));
        }
        if (optind != argc - 1 || strspn(lines, "0123456789") != strlen(lines))
                return cli_usage(cli_find("logs"));
        agent = client_quote(cli->client, argv[optind]);
        snprintf(path, sizeof path, CLI_V1 "/agents/%s/logs?lines=%.10s%s", agent, lines,
                following ? "&follow=true" : "");
        snprintf(later, sizeof later, CLI_V1 "/agents/%s/logs?lines=1&follow=true", agent);
        curl_free(agent);
        if (following) {
                r = follow(cli, path, later, on_log, &last);
                free(last.text);
                return r;
        }
        if (client_text(cli->client, path, &text, &len) < 0)
                return client_exit_status(cli->client);
        fwrite(text, 1, len, stdout);
        return EXIT_SUCCESS;
}

static void print_event(const cJSON *event)
{
        const char *at = json_string(event, "at"), *name = json_string(event, "event"), *pool = json_string(event, "pool_name");
        const char *agent = json_string(event, "agent_id"), *process = json_string(event, "process_id");
        const char *detail = json_string(event, "detail");

        printf("%s  %-18s %s", at ? at : "-", name ? name : "-", pool ? pool : "-");
        if (agent)
                printf(" agent=%s", agent);
        if (process)
                printf(" process=%s", process);
        if (detail)
                printf("  %s", detail);
        putchar('\n');
}

static void on_event(void *arg, const char *event, const char *data)
{
        const struct cli *cli = arg;
        struct json_error why;
        cJSON *tree = NULL;

        if (cli->json)
                puts(data);
        else if (strcmp(event, "message") == 0)
                printf("message  %s\n", data);
        else if (json_parse(data, strlen(data), JSON_STRICT, &tree, &why) == 0)
                print_event(tree);
        fflush(stdout);
        cJSON_Delete(tree);
}

int cli_events(struct cli *cli, int argc, char **argv)
{
        char path[PATH_SIZE] = CLI_V1 "/agents/pools/events", *agent;

        if (argc > 2)
                return cli_usage(cli_find(argv[0]));
        if (argc == 2) {
                agent = client_quote(cli->client, argv[1]);
                snprintf(path, sizeof path, CLI_V1 "/agents/%s/events", agent);
                curl_free(agent);
        }
        return follow(cli, path, path, on_event, cli);
}
