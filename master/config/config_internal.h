/* What the files of the configuration share: master/config/config.c reads, config_print.c prints, config_keep.c keeps. */
#ifndef MASTER_CONFIG_CONFIG_INTERNAL_H
#define MASTER_CONFIG_CONFIG_INTERNAL_H
#include "master/config/settings.h"

/* The file's bytes, the caller's to free(). 0 or -errno. */
int config_read_file(const char *path, char **ret_text, size_t *ret_len);
/* What each setting says by itself. 0, -EINVAL when the sections make no sense, with whatever *errors says, or -ENOMEM. */
int config_read_tree(const cJSON *tree, struct config *config, struct schema_errors *errors);
/* What depends on other settings or on the system, and the defaults that do. 0 with whatever *errors says, or -ENOMEM. */
int config_complete(struct config *config, struct schema_errors *errors);
#endif
