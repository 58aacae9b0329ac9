#include "common/trace.h"

#include <string.h>

/* len lower-case hexadecimal digits, not all of them 0 when some_set; then end. */
static const char *skip(const char *text, size_t len, bool some_set, char end)
{
        if (!text || strspn(text, "0123456789abcdef") != len || text[len] != end)
                return NULL;
        if (some_set && strspn(text, "0") >= len)
                return NULL;
        return text + len + 1;
}

bool trace_valid(const char *traceparent)
{
        const char *at = traceparent && strncmp(traceparent, "00-", 3) == 0 ? traceparent + 3 : NULL;

        at = skip(at, 32, true, '-');
        at = skip(at, 16, true, '-');
        return skip(at, 2, false, '\0');
}
