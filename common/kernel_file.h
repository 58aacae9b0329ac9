/* The short text files of /proc and of cgroups. dir and file are joined by "/". Functions return 0 or -errno. */
#ifndef COMMON_KERNEL_FILE_H
#define COMMON_KERNEL_FILE_H
#include <stddef.h>
#include <stdint.h>

/* Replaces its content; it must be there. */
int kernel_file_write(const char *dir, const char *file, const char *text);
/* Its content, cut at size, NUL-terminated. */
int kernel_file_read(const char *dir, const char *file, char *ret_text, size_t size);
/* The number of its line "KEY NUMBER" or "KEY: NUMBER". -ENOENT: it has none. */
int kernel_file_number(const char *dir, const char *file, const char *key, uint64_t *ret_number);
#endif
