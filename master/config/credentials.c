#include "master/config/credentials.h"

#include "common/fd.h"
#include "common/json/json.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (64 * 1024)
#define BASE64_MAX (4 * ((FILE_MAX + 2) / 3) + 1)

/* How many bytes, or -errno. */
static int read_file(const char *path, unsigned char bytes[FILE_MAX + 1])
{
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), len = 0;
        ssize_t n = fd < 0 ? -1 : 1;

        while (n > 0 && len <= FILE_MAX) {
                n = read(fd, bytes + len, (size_t)(FILE_MAX + 1 - len));
                len += n > 0 ? (int)n : 0;
        }
        if (n < 0)
                len = -errno;
        fd_close(fd);
        return len > FILE_MAX ? -EFBIG : len;
}

static cJSON *read_one(const struct pool_config *config, const cJSON *credential)
{
        unsigned char *bytes = malloc(FILE_MAX + 1);
        char *text = malloc(BASE64_MAX);
        int len = bytes && text ? read_file(credential->valuestring, bytes) : -ENOMEM;
        cJSON *item = NULL;

        if (len >= 0) {
                EVP_EncodeBlock((unsigned char *)text, bytes, len);
                item = cJSON_CreateString(text);
        } else {
                log_error("credential.unreadable", "pool=%s name=%s file=%s error=%s", config->pool_name, credential->string,
                        LOG_Q(credential->valuestring), LOG_Q(strerror(-len)));
                item = cJSON_CreateNull();
        }
        if (bytes)
                OPENSSL_cleanse(bytes, FILE_MAX + 1);
        if (text)
                OPENSSL_cleanse(text, BASE64_MAX);
        free(bytes);
        free(text);
        return item;
}

cJSON *credentials_read(const struct pool_config *config)
{
        cJSON *tree = cJSON_CreateObject();
        const cJSON *credential;

        cJSON_ArrayForEach(credential, config->runtime.credentials) {
                if (json_add_item(tree, credential->string, read_one(config, credential)) < 0) {
                        cJSON_Delete(tree);
                        return NULL;
                }
        }
        return tree;
}

void credentials_prepare(const struct config *config)
{
        char path[PATH_MAX];
        bool any = false, others = false;
        struct stat st;

        for (size_t i = 0; i < config->pool_count; i++) {
                any |= config->pools[i]->runtime.credentials != NULL;
                others |= config->pools[i]->runtime.credentials && config->pools[i]->user;
        }
        snprintf(path, sizeof path, "%s/credentials", config->run_dir);
        if (any && mkdir(path, 0700) < 0 && errno != EEXIST)
                log_error("credentials.unusable", "path=%s error=%s", LOG_Q(path), LOG_Q(strerror(errno)));
        /* Each worker's directory is its user's alone; to get there other users pass through ours, which they cannot list. */
        if (others && (chmod(path, 01777) < 0 || stat(config->run_dir, &st) < 0 || chmod(config->run_dir, (st.st_mode & 07777) | S_IXOTH) < 0))
                log_error("credentials.unusable", "path=%s error=%s", LOG_Q(path), LOG_Q(strerror(errno)));
}
