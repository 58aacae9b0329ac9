#include "common/kernel_file.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_file(const char *dir, const char *file, int flags)
{
        char path[PATH_MAX];
        int fd;

        if (snprintf(path, sizeof path, "%s/%s", dir, file) >= PATH_MAX)
                return -ENAMETOOLONG;
        fd = open(path, flags | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return fd;
}

int kernel_file_write(const char *dir, const char *file, const char *text)
{
        int fd = open_file(dir, file, O_WRONLY | O_TRUNC), r = 0;

        if (fd < 0)
                return fd;
        if (write(fd, text, strlen(text)) < 0)
                r = -errno;
        fd_close(fd);
        return r;
}

int kernel_file_read(const char *dir, const char *file, char *ret_text, size_t size)
{
        int fd = open_file(dir, file, O_RDONLY);
        size_t len = 0;
        ssize_t n = 1;

        if (fd < 0)
                return fd;
        while (n > 0 && len < size - 1) {
                n = read(fd, ret_text + len, size - 1 - len);
                len += n > 0 ? (size_t)n : 0;
        }
        ret_text[len] = '\0';
        n = n < 0 ? -errno : 0;
        fd_close(fd);
        return (int)n;
}

int kernel_file_number(const char *dir, const char *file, const char *key, uint64_t *ret_number)
{
        char text[16384], *rest = text, *line;
        size_t len = strlen(key);
        int r = kernel_file_read(dir, file, text, sizeof text);

        if (r < 0)
                return r;
        while ((line = strsep(&rest, "\n")))
                if (strncmp(line, key, len) == 0 && (line[len] == ' ' || line[len] == ':')) {
                        *ret_number = strtoull(line + len + 1, NULL, 10);
                        return 0;
                }
        return -ENOENT;
}
