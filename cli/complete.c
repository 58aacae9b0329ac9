/* What may stand at the end of a command line, for the shells' completions (etc/completion/). */
#include "cli/agents.h"
#include "cli/client/memory.h"
#include "cli/client/text.h"
#include "cli/contexts.h"
#include "cli/settings.h"
#include "common/json/json.h"

#include <stdlib.h>
#include <string.h>

/* Where in a command line we are. */
struct place {
        struct cli *cli;
        const struct cli_option *wants; /* the option whose value comes next */
        bool plain;                     /* after "--" */
        const char *word, *prefix;      /* to complete; what of it stands before, as "--state=" */
        size_t prefix_len;
};

static void offer(const struct place *place, const char *candidate, const char *what)
{
        char *clean, *about;

        if (strncasecmp(candidate, place->word, strlen(place->word)) != 0)
                return;
        clean = text_clean(candidate, strlen(candidate), false);
        about = text_clean(what, strlen(what), false);
        printf("%.*s%s\t%s\n", (int)place->prefix_len, place->prefix_len ? place->prefix : "", clean, about);
        free(clean);
        free(about);
}

static const struct cli_option *find_option(const struct cli *cli, const char *name, size_t len, int letter)
{
        const struct cli_option *tables[] = { cli->command ? cli->command->options : NULL, cli_global_options };

        for (size_t i = 0; i < 2; i++)
                for (const struct cli_option *o = tables[i]; o && o->name; o++)
                        if (name ? strlen(o->name) == len && strncmp(o->name, name, len) == 0 : o->letter == letter)
                                return o;
        return NULL;
}

static void give(struct place *place, const struct cli_option *option, const char *value)
{
        place->cli->given[place->cli->given_count++] = (struct cli_given){ .option = option, .value = value };
}

static void take_option(struct place *place, const char *word)
{
        const struct cli_option *option;

        if (word[1] == '-') {
                size_t len = strcspn(word + 2, "=");

                option = find_option(place->cli, word + 2, len, 0);
                if (option && option->value && word[2 + len])
                        give(place, option, word + 3 + len);
                else if (option && option->value)
                        place->wants = option;
                return;
        }
        for (word++; *word; word++) {
                option = find_option(place->cli, NULL, 0, *word);
                if (option && option->value) {
                        if (word[1])
                                give(place, option, word + 1);
                        else
                                place->wants = option;
                        return;
                }
        }
}

static void take_word(struct place *place, const char *word)
{
        struct cli *cli = place->cli;

        if (place->wants) {
                give(place, place->wants, word);
                place->wants = NULL;
        } else if (!place->plain && strcmp(word, "--") == 0) {
                place->plain = true;
        } else if (!place->plain && word[0] == '-' && word[1]) {
                take_option(place, word);
        } else if (!cli->command) {
                cli->command = cli_find(word);
        } else {
                cli->count++;
        }
}

static void offer_options(const struct place *place, const struct cli_option *options)
{
        char text[64];

        for (; options && options->name; options++) {
                snprintf(text, sizeof text, "--%s", options->name);
                offer(place, text, options->meaning);
                snprintf(text, sizeof text, "-%c", options->letter);
                if (options->letter && strlen(place->word) < 2 && find_option(place->cli, NULL, 0, options->letter) == options)
                        offer(place, text, options->meaning);
        }
}

static void offer_words(const struct place *place, const char *words)
{
        char text[64];

        for (const char *at = words; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
                snprintf(text, sizeof text, "%.*s", (int)strcspn(at, "|"), at);
                offer(place, text, "");
        }
}

static void offer_commands(const struct place *place)
{
        for (const struct cli_command *c = cli_commands; c->name; c++)
                offer(place, c->name, c->summary);
}

static void offer_contexts(const struct place *place)
{
        cJSON *file = contexts_load();
        const cJSON *context;

        cJSON_ArrayForEach(context, cJSON_GetObjectItemCaseSensitive(file, "contexts"))
        {
                const char *url = json_string(context, "url");

                offer(place, context->string, url ? url : "");
        }
        cJSON_Delete(file);
}

/* The members of a list's objects, as the daemon has them. */
static void offer_list(const struct place *place, const char *path, const char *member, const char *about)
{
        const cJSON *item;
        cJSON *list;

        if (!place->cli->client || agents_list(place->cli, path, 0, &list) < 0)
                return;
        cJSON_ArrayForEach(item, list)
        {
                const char *text = json_string(item, member), *what = json_string(item, about);

                if (text)
                        offer(place, text, what ? what : "");
        }
        cJSON_Delete(list);
}

static void offer_kind(const struct place *place, enum cli_kind kind, const char *words)
{
        switch (kind) {
        case CLI_WORD:
                offer_words(place, words);
                return;
        case CLI_COMMAND:
                offer_commands(place);
                return;
        case CLI_CONTEXT:
                offer_contexts(place);
                return;
        case CLI_URL:
                offer_words(place, "http://|https://|unix:");
                return;
        case CLI_FILE:
        case CLI_DIRECTORY: /* the shell knows better */
                puts(kind == CLI_FILE ? ":files" : ":directories");
                return;
        case CLI_AGENT:
        case CLI_POOL:
        case CLI_TARGET:
                settings_apply(place->cli, true);
                if (kind != CLI_AGENT)
                        offer_list(place, CLI_V1 "/agents/pools", "pool_name", "role_type");
                if (kind != CLI_POOL)
                        offer_list(place, CLI_V1 "/agents?limit=1000", "agent_id", "human_name");
                settings_done(place->cli);
                return;
        case CLI_FREE:
        case CLI_WHOLE:
        case CLI_NUMBER:
        case CLI_DURATION:
        case CLI_PAIR:
                return;
        }
}

static void offer_argument(const struct place *place)
{
        const struct cli_command *command = place->cli->command;
        int count = place->cli->count;

        if (command->kind == CLI_CONTEXT) {
                if (count == 0)
                        offer_words(place, "use|set|rm");
                else
                        offer_contexts(place);
        } else if (count == 0 || command->max < 0) {
                offer_kind(place, command->kind, command->words);
        }
}

int cli_complete(struct cli *cli, int argc, char **argv)
{
        struct place place = { .cli = cli, .word = argc > 0 ? argv[argc - 1] : "" };
        const struct cli_option *option;
        size_t len;

        cli->given = memory_need(calloc((size_t)argc + 1, sizeof *cli->given));
        for (int i = 0; i < argc - 1; i++)
                take_word(&place, argv[i]);
        len = strcspn(place.word, "=");
        if (place.wants) {
                offer_kind(&place, place.wants->kind, place.wants->words);
        } else if (!place.plain && strncmp(place.word, "--", 2) == 0 && place.word[len]) {
                option = find_option(cli, place.word + 2, len - 2, 0);
                place.prefix = place.word;
                place.prefix_len = len + 1;
                place.word += len + 1;
                if (option && option->value)
                        offer_kind(&place, option->kind, option->words);
        } else if (!place.plain && place.word[0] == '-') {
                offer_options(&place, cli->command ? cli->command->options : NULL);
                offer_options(&place, cli_global_options);
        } else if (cli->command) {
                offer_argument(&place);
        } else {
                offer_commands(&place);
        }
        free(cli->given);
        return EXIT_SUCCESS;
}
