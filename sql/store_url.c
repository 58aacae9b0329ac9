/* Reads the scheme of a database's URL. */
#include "sql/store_url.h"

#include <stddef.h>
#include <string.h>

const char *store_postgres_address(const char *url)
{
        static const char *const names[] = { "postgresql", "postgres" };
        const char *end = strstr(url, "://");

        for (size_t i = 0; end && i < sizeof names / sizeof *names; i++) {
                size_t len = strlen(names[i]);

                if (strncmp(url, names[i], len) == 0 && (url + len == end || url[len] == '+'))
                        return end + strlen("://");
        }
        return NULL;
}
