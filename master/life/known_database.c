#include "master/life/known_database.h"

#include "common/log.h"
#include "sql/store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void fill_path(const struct config *config, char path[PATH_MAX])
{
        snprintf(path, PATH_MAX, "%s/database_id", config->run_dir);
}

/* Where the database is, without who asks and how: those may change. NULL when out of memory. */
static char *address_of(const struct config_database *database)
{
        const char *url = database->url, *address = store_postgres_address(url), *at;
        char *text;

        if (!address)
                return strdup(url);
        at = strrchr(address, '@');
        address = at ? at + 1 : address;
        if (asprintf(&text, "%.*s %s", (int)strcspn(address, "?"), address, database->schema ? database->schema : "") < 0)
                return NULL;
        return text;
}

struct id known_database_read(const struct config *config)
{
        char path[PATH_MAX], text[ID_TEXT_SIZE + 1], *address = address_of(&config->database), *line = NULL;
        struct id id = { { 0 } };
        size_t size = 0;
        FILE *file;

        fill_path(config, path);
        file = fopen(path, "re");
        if (file && address && fgets(text, sizeof text, file) && getline(&line, &size, file) > 0) {
                text[strcspn(text, "\n")] = line[strcspn(line, "\n")] = '\0';
                if (strcmp(line, address) != 0 || id_parse(text, &id) < 0)
                        id = (struct id){ { 0 } };
        }
        if (file)
                fclose(file);
        free(line);
        free(address);
        return id;
}

void known_database_write(const struct config *config, const struct id *id)
{
        char path[PATH_MAX], fresh[PATH_MAX + 4], *address = address_of(&config->database);
        FILE *file;
        bool done = false;

        fill_path(config, path);
        snprintf(fresh, sizeof fresh, "%s.new", path);
        file = address ? fopen(fresh, "we") : NULL;
        if (file) {
                done = fprintf(file, "%s\n%s\n", ID_TEXT(id), address) > 0;
                done = fclose(file) == 0 && done && chmod(fresh, 0600) == 0 && rename(fresh, path) == 0;
        }
        if (!done)
                log_warn("run_dir.unusable", "path=%s error=%s", LOG_Q(path), LOG_Q(strerror(errno)));
        free(address);
}
