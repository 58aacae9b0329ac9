/* Any bytes as a configuration file: refused with a place in words, or loaded, printed and loaded again to the same. */
#include "master/config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int load(const void *data, size_t size, struct config **ret_config)
{
        static struct config_errors errors;
        char path[32];
        int fd = memfd_create("config", MFD_CLOEXEC), r;

        if (fd < 0 || write(fd, data, size) != (ssize_t)size)
                abort();
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        r = config_load(path, (char *[]){ NULL }, ret_config, &errors);
        if (r != 0 && r != -ENOMEM && (r != -EINVAL || errors.count == 0 || !errors.lines[0][0]))
                abort();
        close(fd);
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct config *config, *again;
        char *text, *second;

        if (load(data, size, &config) < 0)
                return 0;
        text = config_print(config, true);
        free(text);
        text = config_print(config, false);
        if (!text || load(text, strlen(text), &again) < 0)
                abort();
        second = config_print(again, false);
        if (!second || strcmp(text, second) != 0)
                abort();
        free(text);
        free(second);
        config_free(config);
        config_free(again);
        return 0;
}
