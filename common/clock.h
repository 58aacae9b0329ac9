/* Time as the shells read it; what decides gets it as an argument. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H
#include <stddef.h>
#include <stdint.h>

#define CLOCK_TEXT_SIZE 25 /* 2026-01-31T23:59:59.999Z and the NUL */

/* Milliseconds since some fixed moment, never going back, counting through suspend: for deadlines. */
int64_t clock_mono_ms(void);
/* The same clock in microseconds: for what is measured. */
int64_t clock_mono_us(void);
/* Milliseconds since 1970 in UTC: for records that people read, never for deadlines. */
int64_t clock_wall_ms(void);
/* RFC 3339 in UTC with milliseconds, from 1970 to the end of 9999; returns text. */
char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]);
/* What clock_format writes. 0 or -EINVAL. */
int clock_parse(const char *text, int64_t *ret_wall_ms);
#define CLOCK_TEXT(wall_ms) clock_format((wall_ms), (char[CLOCK_TEXT_SIZE]){ 0 })
#endif
