/* The files that a pool's runtime.credentials names: read by the master, written again by each worker (worker/runtime/credentials.h). */
#ifndef MASTER_CONFIG_CREDENTIALS_H
#define MASTER_CONFIG_CREDENTIALS_H
#include "master/config/config.h"

/* {name: base64}, null what cannot be read (logged). NULL when out of memory. */
cJSON *credentials_read(const struct pool_config *config);
/* Where workers put theirs, if any pool has some. */
void credentials_prepare(const struct config *config);
#endif
