#include "cli/client/text.h"

#include "cli/client/memory.h"
#include "common/clock.h"
#include "common/json/json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

/* One character from text: how many bytes it takes; *ret_width < 0: it must be escaped. */
static size_t next_character(const char *text, size_t len, wchar_t *ret_char, int *ret_width)
{
        mbstate_t state = { 0 };
        size_t n = mbrtowc(ret_char, text, len, &state);

        if (n == 0 || n > len) {
                *ret_char = (unsigned char)*text;
                *ret_width = -1;
                return 1;
        }
        *ret_width = wcwidth(*ret_char);
        return n;
}

char *text_clean(const char *text, size_t len, bool tabs)
{
        struct json_text out = { 0 };
        char escaped[16];
        wchar_t c = 0;
        int width = 0;

        for (size_t n; len > 0; text += n, len -= n) {
                n = next_character(text, len, &c, &width);
                if (width >= 0 || (tabs && c == '\t')) {
                        json_text_put(&out, text, n);
                        continue;
                }
                snprintf(escaped, sizeof escaped, n == 1 ? "\\x%02x" : "\\u{%x}", (unsigned)c);
                json_text_put(&out, escaped, strlen(escaped));
        }
        return memory_need(json_text_take(&out));
}

int text_width(const char *clean)
{
        size_t len = strlen(clean);
        int columns = 0, width = 0;
        wchar_t c = 0;

        for (size_t n; len > 0; clean += n, len -= n) {
                n = next_character(clean, len, &c, &width);
                columns += width > 0 ? width : 0;
        }
        return columns;
}

void text_print(FILE *to, const char *text)
{
        char *clean = text_clean(text, strlen(text), false);

        fputs(clean, to);
        free(clean);
}

void text_cut(char *clean, int columns)
{
        size_t len = strlen(clean), at = 0, keep = 0;
        int width = 0, seen = 0;
        wchar_t c = 0;

        if (text_width(clean) <= columns)
                return;
        while (at < len) {
                size_t n = next_character(clean + at, len - at, &c, &width);

                if (seen + width > columns - 1)
                        break;
                seen += width > 0 ? width : 0;
                keep = at += n;
        }
        /* What was cut away has at least the three bytes of "…", or is not worth it. */
        snprintf(clean + keep, len - keep + 1, "%s", len - keep >= strlen("…") ? "…" : "~");
}

char *text_duration(double seconds, char buffer[TEXT_SIZE])
{
        long long s = seconds > 0 ? (long long)seconds : 0;

        if (s < 60)
                snprintf(buffer, TEXT_SIZE, "%llds", s);
        else if (s < 3600)
                snprintf(buffer, TEXT_SIZE, s < 600 && s % 60 ? "%lldm%llds" : "%lldm", s / 60, s % 60);
        else if (s < 86400)
                snprintf(buffer, TEXT_SIZE, s / 60 % 60 ? "%lldh%lldm" : "%lldh", s / 3600, s / 60 % 60);
        else
                snprintf(buffer, TEXT_SIZE, s < 864000 && s / 3600 % 24 ? "%lldd%lldh" : "%lldd", s / 86400, s / 3600 % 24);
        return buffer;
}

char *text_age(const char *time, char buffer[TEXT_SIZE])
{
        struct tm at = { 0 };
        const char *end = time ? strptime(time, "%Y-%m-%dT%H:%M:%S", &at) : NULL;

        if (!end)
                return memcpy(buffer, "-", 2);
        return text_duration((double)(clock_wall_ms() / 1000 - timegm(&at)), buffer);
}

char *text_bytes(double bytes, char buffer[TEXT_SIZE])
{
        static const char units[] = "KMGTP";
        int unit = -1;

        while (bytes >= 1024 && units[unit + 1]) {
                bytes /= 1024;
                unit++;
        }
        if (unit < 0)
                snprintf(buffer, TEXT_SIZE, "%.0f", bytes);
        else
                snprintf(buffer, TEXT_SIZE, bytes < 99.95 ? "%.1f%c" : "%.0f%c", bytes, units[unit]);
        return buffer;
}
