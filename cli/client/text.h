/* Text for people: nothing that a terminal would obey, and numbers as they are spoken. */
#ifndef CLI_CLIENT_TEXT_H
#define CLI_CLIENT_TEXT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* text with control characters and what is no UTF-8 as \xNN or \u{NNNN}, a tab as it is when tabs; the caller's to free(). */
char *text_clean(const char *text, size_t len, bool tabs);
/* Columns that cleaned text takes on a terminal. */
int text_width(const char *clean);
/* Cleaned, without a line break. */
void text_print(FILE *to, const char *text);
/* Cut to that many columns, with … at the end when something is missing. */
void text_cut(char *clean, int columns);

#define TEXT_SIZE 32
/* Seconds as the largest unit or two: 42s, 3m, 5h12m, 12d. */
char *text_duration(double seconds, char buffer[TEXT_SIZE]);
/* How long ago an RFC 3339 time in UTC was; "-" when it is none. */
char *text_age(const char *time, char buffer[TEXT_SIZE]);
/* 512, 12.4M */
char *text_bytes(double bytes, char buffer[TEXT_SIZE]);
#endif
