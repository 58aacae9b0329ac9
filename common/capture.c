#include "common/capture.h"

#include "common/clock.h"
#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define TAIL_MAX (1 << 20)

char *capture_path(char path[CAPTURE_PATH_MAX], const char *directory, const struct id *agent_id, bool older)
{
        snprintf(path, CAPTURE_PATH_MAX, "%s/%s.log%s", directory, ID_TEXT(agent_id), older ? ".1" : "");
        return path;
}

/* What this directory may hold besides: whoever has the user of a pool can put a FIFO there, or a file that is somebody else's. */
static int check_file(int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        return S_ISREG(st.st_mode) && st.st_nlink <= 1 ? 0 : -EINVAL;
}

static int open_file(const char *directory, const struct id *agent_id, bool older, int flags)
{
        char path[CAPTURE_PATH_MAX];
        int fd = open(capture_path(path, directory, agent_id, older), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0640);
        int r = fd < 0 ? -errno : check_file(fd);

        if (r == 0)
                return fd;
        fd_close(fd);
        return r;
}

/* The file to append to, after a change of files when it is full. */
static int open_to_append(const char *directory, int64_t max_bytes, const struct id *agent_id)
{
        char path[CAPTURE_PATH_MAX], older[CAPTURE_PATH_MAX];
        int fd = open_file(directory, agent_id, false, O_WRONLY | O_APPEND | O_CREAT);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < max_bytes)
                return fd;
        fd_close(fd);
        if (rename(capture_path(path, directory, agent_id, false), capture_path(older, directory, agent_id, true)) < 0)
                return -errno;
        return open_file(directory, agent_id, false, O_WRONLY | O_APPEND | O_CREAT);
}

int capture_append(const char *directory, int64_t max_bytes, const struct id *agent_id, int64_t at, const char *line, size_t len)
{
        char time[CLOCK_TEXT_SIZE];
        struct iovec parts[] = { { clock_format(at, time), CLOCK_TEXT_SIZE - 1 }, { (char[]){ " " }, 1 },
                { (void *)(uintptr_t)line, len }, { (char[]){ "\n" }, 1 } };
        int fd = open_to_append(directory, max_bytes, agent_id), r = 0;

        if (fd < 0)
                return fd;
        if (writev(fd, parts, sizeof parts / sizeof *parts) != (ssize_t)(len + CLOCK_TEXT_SIZE + 1))
                r = errno ? -errno : -ENOSPC;
        fd_close(fd);
        return r;
}

/* ---- the end of it ---- */

/* Which file it is; 0: none. A new file soon has the inode of one that went, so that its birth counts, too. */
static uint64_t file_of(int fd, int64_t *ret_size)
{
        struct statx st;

        if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_SIZE | STATX_BTIME, &st) < 0)
                return 0;
        *ret_size = (int64_t)st.stx_size;
        return st.stx_ino ^ ((uint64_t)st.stx_btime.tv_sec << 34) ^ ((uint64_t)st.stx_btime.tv_nsec << 4);
}

/* Up to size bytes from the file's end, and where they begin. Bytes, or -errno. */
static ssize_t read_end(const char *directory, const struct id *agent_id, bool older, char *buffer, size_t size,
        struct capture_position *ret_from)
{
        int fd = open_file(directory, agent_id, older, O_RDONLY);
        int64_t end = 0;
        ssize_t n;

        if (fd < 0)
                return fd;
        ret_from->file = file_of(fd, &end);
        ret_from->offset = end > (int64_t)size ? end - (int64_t)size : 0;
        n = pread(fd, buffer, size, ret_from->offset);
        if (n < 0)
                n = -errno;
        fd_close(fd);
        return n;
}

/* Where the last lines begin; what is no whole line at the beginning of a cut text is none. */
static const char *find_lines(const char *text, size_t len, unsigned lines, bool cut)
{
        const char *at = text + len;
        unsigned found = 0;

        while (at > text) {
                if (at[-1] == '\n' && at < text + len && ++found == lines)
                        return at;
                at--;
        }
        if (cut && (at = memchr(text, '\n', len)))
                return at + 1;
        return text;
}

/* skipped: bytes of both before them. */
static struct capture_position find_start(const struct capture_position starts[2], size_t older, size_t skipped)
{
        struct capture_position start = starts[skipped >= older];

        start.offset += (int64_t)(skipped - (skipped >= older ? older : 0));
        return start;
}

int capture_tail(const char *directory, const struct id *agent_id, unsigned lines, char **ret_text, size_t *ret_len,
        struct capture_position *ret_from)
{
        struct capture_position starts[2] = { { 0 }, { 0 } };
        char *both = calloc(2, TAIL_MAX);
        ssize_t older, newer;
        const char *from;
        size_t len, before;

        *ret_from = starts[0];
        if (!both)
                return -ENOMEM;
        older = read_end(directory, agent_id, true, both, TAIL_MAX, &starts[0]);
        before = (size_t)(older > 0 ? older : 0);
        newer = read_end(directory, agent_id, false, both + before, TAIL_MAX, &starts[1]);
        if (older < 0 && newer < 0) {
                free(both);
                return (int)newer;
        }
        len = before + (size_t)(newer > 0 ? newer : 0);
        from = len > TAIL_MAX ? both + len - TAIL_MAX : both;
        from = find_lines(from, (size_t)(both + len - from), lines, len >= TAIL_MAX);
        *ret_from = find_start(starts, newer < 0 ? len + 1 : before, (size_t)(from - both));
        *ret_len = (size_t)(both + len - from);
        memmove(both, from, *ret_len);
        *ret_text = both;
        return 0;
}

/* ---- as it comes ---- */

/* Whole lines from where the position stands; one that fills the buffer counts as whole. */
static size_t read_lines(struct capture_position *position, int fd, char *buffer, size_t size)
{
        ssize_t n = pread(fd, buffer, size, position->offset);
        const char *last = n > 0 ? memrchr(buffer, '\n', (size_t)n) : NULL;
        size_t len = last ? (size_t)(last + 1 - buffer) : n == (ssize_t)size ? size : 0;

        position->offset += (int64_t)len;
        return len;
}

size_t capture_read(struct capture_position *position, const char *directory, const struct id *agent_id, char *buffer, size_t size)
{
        int newer = open_file(directory, agent_id, false, O_RDONLY), older = open_file(directory, agent_id, true, O_RDONLY);
        int64_t newer_size = 0, older_size = 0;
        uint64_t newer_file = file_of(newer, &newer_size), older_file = file_of(older, &older_size);
        size_t len = 0;

        /* So much came that its file has gone: what is left begins with the older one. */
        if (position->file && position->file != newer_file && position->file != older_file && older_file)
                *position = (struct capture_position){ .file = older_file };
        if (position->file && position->file == older_file)
                len = read_lines(position, older, buffer, size);
        if (len == 0 && newer_file) {
                if (position->file != newer_file || position->offset > newer_size)
                        *position = (struct capture_position){ .file = newer_file };
                len = read_lines(position, newer, buffer, size);
        }
        fd_close(newer);
        fd_close(older);
        return len;
}

/* ---- its end ---- */

/* AGENT.log or AGENT.log.1 */
static bool is_ours(const char *name)
{
        char id[ID_TEXT_SIZE];
        struct id parsed;

        snprintf(id, sizeof id, "%.36s", name);
        if (strlen(name) < ID_TEXT_SIZE - 1 || id_parse(id, &parsed) < 0)
                return false;
        return strcmp(name + ID_TEXT_SIZE - 1, ".log") == 0 || strcmp(name + ID_TEXT_SIZE - 1, ".log.1") == 0;
}

unsigned capture_prune(const char *directory, int64_t before)
{
        DIR *dir = opendir(directory);
        const struct dirent *entry;
        unsigned count = 0;
        struct stat st;

        if (!dir)
                return 0;
        while ((entry = readdir(dir)))
                if (is_ours(entry->d_name) && fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                        (int64_t)st.st_mtim.tv_sec * 1000 < before && unlinkat(dirfd(dir), entry->d_name, 0) == 0)
                        count++;
        closedir(dir);
        return count;
}
