#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_ms(clockid_t clock)
{
        struct timespec now;

        clock_gettime(clock, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_mono_ms(void)
{
        return read_ms(CLOCK_BOOTTIME);
}

int64_t clock_mono_us(void)
{
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
        return read_ms(CLOCK_REALTIME);
}

char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE])
{
        const int64_t last = INT64_C(253402300799999); /* of the year 9999: the form has no more digits */
        time_t seconds;
        struct tm tm;
        size_t n;

        wall_ms = wall_ms < 0 ? 0 : wall_ms > last ? last : wall_ms;
        seconds = (time_t)(wall_ms / 1000);
        gmtime_r(&seconds, &tm);
        n = strftime(text, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(text + n, CLOCK_TEXT_SIZE - n, ".%03dZ", (int)(wall_ms % 1000));
        return text;
}

int clock_parse(const char *text, int64_t *ret_wall_ms)
{
        struct tm tm = { 0 };
        const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
        unsigned ms;
        int n = 0;

        if (!end || sscanf(end, ".%3uZ%n", &ms, &n) != 1 || n != 5 || end[n])
                return -EINVAL;
        *ret_wall_ms = (int64_t)timegm(&tm) * 1000 + ms;
        return 0;
}
