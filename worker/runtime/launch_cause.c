#include "worker/runtime/launch_cause.h"

#include "common/fd.h"
#include "common/utf8.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HEAD_MAX 256 /* as much as the kernel looks at */

/* NUL-terminated. Bytes, or -1: it may not be read. */
static ssize_t read_head(const char *path, char head[HEAD_MAX + 1])
{
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        ssize_t n = fd < 0 ? -1 : read(fd, head, HEAD_MAX);

        fd_close(fd);
        head[n > 0 ? n : 0] = '\0';
        return n;
}

/* The first folder on the way to path that this process may not pass. */
static bool find_closed_folder(const char *path, char *text, size_t size)
{
        char folder[PATH_MAX];

        for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
                snprintf(folder, sizeof folder, "%.*s", at == path ? 1 : (int)(at - path), path);
                if (access(folder, X_OK) < 0 && errno == EACCES) {
                        snprintf(text, size, "user %u may not enter the folder %s", getuid(), folder);
                        return true;
                }
        }
        return false;
}

static void explain_access(const char *path, char *text, size_t size)
{
        struct statvfs system;
        struct stat st;

        if (find_closed_folder(path, text, size) || stat(path, &st) < 0)
                return;
        if (!S_ISREG(st.st_mode))
                snprintf(text, size, "it is %s", S_ISDIR(st.st_mode) ? "a folder" : "no file");
        else if (statvfs(path, &system) == 0 && (system.f_flag & ST_NOEXEC))
                snprintf(text, size, "it lies on a file system that is mounted noexec");
        else if (access(path, X_OK) < 0)
                snprintf(text, size, "user %u may not execute it: chmod +x", getuid());
}

/* head: after "#!". */
static void explain_script(char *head, int error, char *text, size_t size)
{
        char *interpreter = head + strspn(head, " \t");
        size_t len = strcspn(interpreter, " \t\n");

        if (memchr(interpreter, '\r', len)) {
                snprintf(text, size, "its first line ends in a carriage return: save it with Unix line ends");
                return;
        }
        interpreter[len] = '\0';
        if (error == -ENOENT || error == -ENOTDIR)
                snprintf(text, size, "its interpreter %s is not there", interpreter);
        else if (error == -EACCES && access(interpreter, X_OK) < 0)
                snprintf(text, size, "its interpreter %s may not be executed", interpreter);
        else if (error == -ENOEXEC || error == -ELIBBAD)
                snprintf(text, size, "its interpreter %s is no program for this machine", interpreter);
}

static void explain_contents(const char *head, ssize_t len, int error, char *text, size_t size)
{
        bool elf = len >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
        size_t mark = utf8_mark(head, (size_t)len);

        if (elf && error == -ENOENT)
                snprintf(text, size, "the loader that it names is not there: it was built for another system or C library");
        else if (elf && (error == -ENOEXEC || error == -ELIBBAD))
                snprintf(text, size, "it was built for another kind of machine");
        else if (error == -ENOEXEC && len == 0)
                snprintf(text, size, "it is empty");
        else if (error == -ENOEXEC && mark && strncmp(head + mark, "#!", 2) == 0)
                snprintf(text, size, "a byte order mark stands before its #!: save it as UTF-8 without one");
        else if (error == -ENOEXEC)
                snprintf(text, size, "it is neither a program nor a script that begins with #!");
}

const char *launch_cause(const char *path, int error, char *text, size_t size)
{
        char head[HEAD_MAX + 1];
        struct stat st;
        ssize_t len = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? read_head(path, head) : -1;

        text[0] = '\0';
        if (error == -ETXTBSY)
                snprintf(text, size, "a program has it open for writing: is it still being copied?");
        else if (len >= 2 && memcmp(head, "#!", 2) == 0)
                explain_script(head + 2, error, text, size);
        else if (len >= 0)
                explain_contents(head, len, error, text, size);
        if (!*text && error == -EACCES)
                explain_access(path, text, size);
        return text;
}
