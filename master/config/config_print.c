/* The settings as text that config_load reads. */
#include "master/config/config.h"

#include "common/json/json.h"
#include "master/config/config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything that may be a password in a database URL becomes "***": up to the last @, and what is called password. */
static char *mask_url(const char *url)
{
        const char *colon = strstr(url, "://"), *end;
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        if (!out)
                return NULL;
        end = colon ? strrchr(colon + 3, '@') : NULL;
        colon = end ? memchr(colon + 3, ':', (size_t)(end - colon) - 3) : NULL;
        if (colon) {
                fprintf(out, "%.*s***", (int)(colon + 1 - url), url);
                url = end;
        }
        while ((end = strstr(url, "password="))) {
                end += strlen("password=");
                fprintf(out, "%.*s***", (int)(end - url), url);
                url = end + strcspn(end, "&");
        }
        fputs(url, out);
        if (fclose(out) != 0) {
                free(text);
                text = NULL;
        }
        return text;
}

static cJSON *print_pools(const struct config *config, bool mask)
{
        cJSON *pools = cJSON_CreateObject();

        for (size_t i = 0; pools && i < config->pool_count; i++) {
                cJSON *pool = pool_config_print(config->pools[i], mask);

                cJSON_DeleteItemFromObjectCaseSensitive(pool, "pool_name");
                if (json_add_item(pools, config->pools[i]->pool_name, pool) < 0) {
                        cJSON_Delete(pools);
                        pools = NULL;
                }
        }
        return pools;
}

/* Puts masked URLs in a printed tree. */
static int mask_urls(cJSON *tree, const struct config *config)
{
        const struct {
                const char *section, *url;
        } urls[] = { { "redis", config->redis.url }, { "database", config->database.url } };

        for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
                char *masked = mask_url(urls[i].url);
                cJSON *section = cJSON_GetObjectItemCaseSensitive(tree, urls[i].section);
                bool done = masked && cJSON_SetValuestring(cJSON_GetObjectItemCaseSensitive(section, "url"), masked);

                free(masked);
                if (!done)
                        return -ENOMEM;
        }
        return 0;
}

char *config_print(const struct config *config, bool mask)
{
        struct config_draft draft = { .config = *config, .pools = print_pools(config, mask) };
        cJSON *tree = draft.pools ? schema_print(config_fields, &draft, mask) : NULL;
        char *text = NULL;

        cJSON_Delete(draft.pools);
        if (tree && (!mask || mask_urls(tree, config) == 0))
                text = cJSON_Print(tree);
        cJSON_Delete(tree);
        return text;
}
