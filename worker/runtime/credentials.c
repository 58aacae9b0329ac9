#include "worker/runtime/credentials.h"

#include "common/fd.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[PATH_MAX];
static int held = -1; /* the directory, locked for as long as this worker lives */

/* take_fd: a directory of this user's, to be emptied and removed from parent. */
static void remove_directory(int take_fd, int parent, const char *name)
{
        DIR *dir = fdopendir(take_fd);
        const struct dirent *entry;

        if (!dir) {
                fd_close(take_fd);
                return;
        }
        fchmod(take_fd, 0700);
        while ((entry = readdir(dir)))
                if (entry->d_name[0] != '.' || (entry->d_name[1] && strcmp(entry->d_name, "..") != 0))
                        unlinkat(take_fd, entry->d_name, 0);
        unlinkat(parent, name, AT_REMOVEDIR);
        closedir(dir);
}

/* Those whose worker does not hold them any more. */
static void sweep(int parent)
{
        int again = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = again < 0 ? NULL : fdopendir(again);
        const struct dirent *entry;
        struct stat st;
        struct id id;

        if (!dir)
                fd_close(again);
        while (dir && (entry = readdir(dir))) {
                int fd = id_parse(entry->d_name, &id) < 0
                        ? -1 : openat(parent, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

                if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
                        remove_directory(fd, parent, entry->d_name);
                else
                        fd_close(fd);
        }
        if (dir)
                closedir(dir);
}

/* Made and locked before another's sweep sees it unlocked: that one would remove it, so it is made again. */
static int make_directory(int parent, const char *name)
{
        struct stat st = { 0 };
        int fd = -1;

        for (int i = 0; i < 10 && st.st_nlink == 0; i++) {
                fd_close(fd);
                if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
                        return -errno;
                fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0))
                        st.st_nlink = 0;
        }
        if (st.st_nlink > 0 && st.st_uid == geteuid())
                return fd;
        fd_close(fd);
        return -EBUSY;
}

static int write_file(const char *name, const char *base64)
{
        size_t len = strlen(base64);
        unsigned char *bytes = malloc(len + 1);
        int n = bytes && len <= INT_MAX ? EVP_DecodeBlock(bytes, (const unsigned char *)base64, (int)len) : -1, fd = -1, r;

        for (size_t i = len; n > 0 && i > 0 && base64[i - 1] == '='; i--)
                n--; /* it counts what the padding stands for */
        if (n >= 0)
                fd = openat(held, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
        r = !bytes ? -ENOMEM : n < 0 ? -EINVAL : fd < 0 ? -errno : write(fd, bytes, (size_t)n) == n ? 0 : -ENOSPC;
        fd_close(fd);
        if (bytes)
                OPENSSL_cleanse(bytes, len);
        free(bytes);
        return r;
}

static int write_files(const cJSON *contents, char *reason, size_t size)
{
        const cJSON *item;

        cJSON_ArrayForEach(item, contents) {
                int r = cJSON_IsString(item) ? write_file(item->string, item->valuestring) : -ENOENT;

                if (!cJSON_IsString(item))
                        snprintf(reason, size, "the daemon cannot read the file of credential %s", item->string);
                else if (r < 0)
                        snprintf(reason, size, "cannot write credential %s in %s: %s", item->string, directory, strerror(-r));
                if (r < 0)
                        return r;
        }
        return fchmod(held, 0500) < 0 ? -errno : 0;
}

int credentials_open(const char *run_dir, const struct id *process_id, const cJSON *contents, char *reason, size_t size)
{
        char parent[PATH_MAX];
        int fd, r;

        if (!contents || !contents->child)
                return 0;
        snprintf(parent, sizeof parent, "%s/credentials", run_dir);
        if (snprintf(directory, sizeof directory, "%s/credentials/%s", run_dir, ID_TEXT(process_id)) >= (int)sizeof directory)
                return -ENAMETOOLONG;
        fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0)
                sweep(fd);
        held = fd < 0 ? -errno : make_directory(fd, ID_TEXT(process_id));
        fd_close(fd);
        r = held;
        if (held < 0)
                snprintf(reason, size, "cannot make %s: %s", directory, strerror(-held));
        else
                r = write_files(contents, reason, size);
        if (r < 0)
                credentials_close();
        return r < 0 ? r : 0;
}

const char *credentials_directory(void)
{
        return held >= 0 ? directory : NULL;
}

void credentials_close(void)
{
        if (held >= 0)
                remove_directory(held, AT_FDCWD, directory);
        held = -1;
}
